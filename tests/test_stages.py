"""Work in stages: what is finished is kept, what failed goes on, other settings are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from selip.stages import Stage, StagedWork

Run = Callable[..., list[str]]


def three_stages(folder: Path, log: list[str], *, seed: int, failing: str) -> list[Stage]:
    """Stages that write a file each; the words of the second depend on a setting."""

    def stage(name: str, words: tuple[str, ...]) -> Stage:
        def act() -> None:
            if name == failing:
                raise OSError("the disk is full")
            log.append(name)
            (folder / name).write_text(name)

        return Stage(name, words, folder / name, act)

    return [stage("a", ()), stage("b", (str(seed),)), stage("c", ())]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the stages write."""
    return tmp_path / "work"


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs the stages; returns the names of those that were carried out."""

    def run(seed: int = 0, failing: str = "", overwrite: bool = False) -> list[str]:
        log: list[str] = []
        stages = three_stages(folder, log, seed=seed, failing=failing)
        StagedWork(folder, "demo.json", stages, overwrite=overwrite).run()
        return log

    return run


def test_finished_stages_are_not_run_again(run: Run) -> None:
    """The second run of the same work carries out nothing."""
    assert run() == ["a", "b", "c"]
    assert run() == []


def test_interrupted_work_goes_on_where_it_stopped(run: Run) -> None:
    """A stage that failed, and those after it, run next time; those before it do not."""
    with pytest.raises(OSError, match="disk is full"):
        run(failing="b")
    assert run() == ["b", "c"]


def test_a_lost_output_is_made_again(run: Run, folder: Path) -> None:
    """The record does not outvote the disk."""
    run()
    (folder / "c").unlink()
    assert run() == ["c"]


def test_other_settings_need_overwrite_and_then_run_what_differs(run: Run) -> None:
    """Another seed is refused; with overwrite the stages that see the seed, and all after them, run."""
    run()
    with pytest.raises(FileExistsError, match="other settings"):
        run(seed=1)
    assert run(seed=1, overwrite=True) == ["b", "c"]
    assert run(seed=1) == []


def test_only_stages_that_need_what_changed_run_anew(folder: Path) -> None:
    """A stage is new where its own settings or those of a stage it needs are; one more stage disturbs no other."""
    log: list[str] = []

    def stage(name: str, needs: tuple[str, ...], setting: str = "") -> Stage:
        def act() -> None:
            log.append(name)
            (folder / name).write_text(name)

        return Stage(name, (setting,), folder / name, act, needs)

    def run(*stages: Stage) -> list[str]:
        log.clear()
        StagedWork(folder, "demo.json", stages, overwrite=True).run()
        return list(log)

    data, left, right = stage("data", ()), stage("left", ("data",)), stage("right", ("data",))
    result = stage("result", ("left",))
    assert run(data, left, right, result) == ["data", "left", "right", "result"]
    assert run(data, left, stage("more", ("data",)), right, result) == ["more"]
    assert run(data, stage("left", ("data",), "other"), right, result) == ["left", "result"]


def test_a_folder_with_something_else_is_left_alone(run: Run, folder: Path) -> None:
    """A folder that no work made is refused, its files stay."""
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="something else"):
        run()
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
