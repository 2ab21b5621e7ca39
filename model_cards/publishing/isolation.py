"""A process of its own for what a user of the Hub does, with nothing of this one."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("fresh_process.py")


def ask_fresh_process(request: dict[str, Any], answer: Path, script: Path = SCRIPT) -> None:
    """Run a script on a request, isolated: no PYTHONPATH, no working folder, no cached code of checkpoints.

    Args:
        request: What the script takes, as JSON.
        answer: File that it writes.
        script: Takes the files of request and answer.

    Raises:
        RuntimeError: The process failed; the message holds the end of what it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="selip-fresh-") as folder:
        question = Path(folder) / "request.json"
        question.write_text(json.dumps(request), encoding="utf-8")
        environment = {**os.environ, "HF_HOME": folder, "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-I", str(script), str(question), str(answer.resolve())]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the process without selip failed:\n{done.stderr[-3000:]}")
