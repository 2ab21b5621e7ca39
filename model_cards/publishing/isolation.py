"""A process of its own for what a user of a checkpoint does, with nothing of this one: `fresh_process.py` runs in it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def ask_fresh_process(request: dict[str, Any], answer: Path) -> None:
    """Run `fresh_process.py` on a request, isolated: no PYTHONPATH, no working folder, no cached code of checkpoints.

    Raises:
        RuntimeError: The process failed; the message holds the end of what it wrote.
    """
    script = Path(__file__).with_name("fresh_process.py")
    with tempfile.TemporaryDirectory(prefix="selip-fresh-") as folder:
        question = Path(folder) / "request.json"
        question.write_text(json.dumps(request), encoding="utf-8")
        environment = {**os.environ, "HF_HOME": folder, "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-I", str(script), str(question), str(answer.resolve())]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the process without selip failed:\n{done.stderr[-3000:]}")
