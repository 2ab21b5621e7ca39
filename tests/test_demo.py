"""The demo: stages resume, the fresh process is really without selip, and the whole runs at its smallest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from selip import demo, fresh_process


def staged(config: demo.DemoConfig, log: list[str], failing: str = "") -> list[demo.Stage]:
    """Three stages that write a file each; their words depend on the settings as those of the demo do."""

    def stage(name: str, words: tuple[str, ...]) -> demo.Stage:
        def act() -> None:
            if name == failing:
                raise OSError("the disk is full")
            log.append(name)
            (config.out / name).write_text(name)

        return demo.Stage(name, words, config.out / name, act)

    return [stage("a", ()), stage("b", (str(config.seed),)), stage("c", ())]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs the stand-in stages; returns the names of those that were carried out."""
    monkeypatch.setattr(demo, "_write_page", lambda config, stages, record: config.out / "index.html")

    def run(failing: str = "", **settings: object) -> list[str]:
        log: list[str] = []
        monkeypatch.setattr(demo, "demo_stages", lambda config: staged(config, log, failing))
        demo.run_demo(demo.DemoConfig(out=tmp_path / "demo", **settings))  # type: ignore[arg-type]
        return log

    return run


def test_finished_stages_are_not_run_again(run) -> None:  # type: ignore[no-untyped-def]
    """The second run of the same demo carries out nothing."""
    assert run() == ["a", "b", "c"]
    assert run() == []


def test_an_interrupted_demo_goes_on_where_it_stopped(run) -> None:  # type: ignore[no-untyped-def]
    """A stage that failed, and those after it, run next time; those before it do not."""
    with pytest.raises(OSError, match="disk is full"):
        run(failing="b")
    assert run() == ["b", "c"]


def test_a_lost_output_is_made_again(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The record does not outvote the disk."""
    run()
    (tmp_path / "demo" / "c").unlink()
    assert run() == ["c"]


def test_other_settings_need_overwrite_and_then_run_what_differs(run) -> None:  # type: ignore[no-untyped-def]
    """Another seed is refused; with --overwrite the stages that see the seed, and all after them, run."""
    run()
    with pytest.raises(FileExistsError, match="other settings"):
        run(seed=1)
    assert run(seed=1, overwrite=True) == ["b", "c"]
    assert run(seed=1) == []


def test_a_folder_with_something_else_is_left_alone(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A folder that no demo made is refused, its files stay."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="something else"):
        run()
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["thesis.txt"]


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
