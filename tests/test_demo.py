"""The demo: its commands, the process that is really without selip, and the whole at its smallest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from selip import demo
from selip.model_cards.publishing import fresh_process


def test_each_stage_is_a_command_that_is_understood() -> None:
    """The words shown to the user are those that are run, and the command line takes them."""
    from selip import cli
    from selip.arguments import parse_config

    for stage in demo.demo_stages(demo.DemoConfig(steps=100)):
        if stage.words:
            command = cli.find_command(stage.words)
            words = stage.words[len(command.words) :]
            config = parse_config(cli.load(command.config), words, prog="selip", config_first=command.config_first)
            assert hasattr(config, "overwrite")


def test_fresh_process_cannot_import_selip(tmp_path: Path) -> None:
    """The script forbids selip before anything else; here, where selip is installed, an import fails after it."""
    script = Path(fresh_process.__file__)
    program = (
        f"import runpy, sys\nrun = runpy.run_path({str(script)!r}, run_name='script')\n"
        "run['forbid_selip']()\n"
        "try:\n    from selip import SelipModel\n"
        "except ImportError: sys.exit(0)\n"
        "sys.exit('selip was imported')"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_smallest_demo_makes_page_card_and_checkpoint(tmp_path: Path) -> None:
    """The whole path on 60 studies and two steps: every file is there, texts were ranked without selip."""
    summary = demo.run_demo(demo.DemoConfig(out=tmp_path / "demo", studies=60, steps=2))
    page = summary.page.read_text()
    assert "Not a medical device" in page
    assert page.count("data:image/png;base64,") == 3
    ranking = json.loads((tmp_path / "demo" / "ranking.json").read_text())
    assert len(ranking["cosines"]) == len(ranking["texts"])
    assert all(-1.001 <= cosine <= 1.001 for cosine in ranking["cosines"])
    assert "Trained on simulated studies" in (summary.checkpoint / "README.md").read_text()
