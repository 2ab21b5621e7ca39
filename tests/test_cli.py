"""The `selip` command: help, speed, errors, and arguments made from dataclasses."""

import dataclasses
import inspect
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from selip import cli
from selip.arguments import parse_config
from selip.training.configuration import (
    as_dict,
    build_config,
    load_config,
    options_of,
    overrides_from_arguments,
)

COMMANDS = {command.name: command for command in cli.COMMANDS}


@dataclass(frozen=True)
class Schedule:
    """Steps of a run."""

    steps: int = field(default=10, metadata={"help": "Number of steps, 100% of them."})
    decay: Literal["cosine", "none"] = "cosine"
    is_warm: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"expected at least 1 step, got {self.steps}")


@dataclass(frozen=True)
class Example:
    """Every kind of field.

    Attributes:
        source: Where to read,
            over two lines.
        rate: Learning rate.
    """

    source: Path
    rate: float = 1e-3
    seed: int | None = None
    fractions: tuple[float, float] = (0.5, 0.5)
    names: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    schedule: Schedule = field(default_factory=lambda: Schedule(steps=20))


@dataclass(frozen=True)
class Grouped:
    """A group without a default."""

    data: Example


def parse(*words: str) -> Example:
    return parse_config(Example, words, prog="example")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_lists_its_options_and_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a command's dataclass has is in its help, described, with an example."""
    command = COMMANDS[name]
    with pytest.raises(SystemExit) as stop:
        cli.main([*command.words, *command.option, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert command.example in text
    for option in options_of(cli.load(command.config)):
        shown = option.key.replace("_", "-")
        assert (shown.upper() if option.is_positional and not command.config_first else f"--{shown}") in text
        assert option.help, f"{command.config}: field {option.key} has no help text"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_something_to_run(name: str) -> None:
    """The functions and dataclasses that the table of commands names exist and fit each other."""
    command = COMMANDS[name]
    function, config = cli.load(command.run), cli.load(command.config)
    assert callable(function)
    assert dataclasses.is_dataclass(config)
    assert inspect.signature(function).parameters["config"].annotation is config


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_no_heavy_package(name: str) -> None:
    """The help of a command is there before torch could be: it imports none of the large packages."""
    command = COMMANDS[name]
    program = (
        "import sys\nfrom selip import cli\n"
        f"try: cli.main({[*command.words, *command.option, '--help']!r})\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'nibabel', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["-c", "import selip"], ["-m", "selip.cli", "--help"]])
def test_import_and_help_take_less_than_half_a_second(words: list[str]) -> None:
    """`import selip` and `selip --help` answer in under 0.5 s (best of five: the machine may be busy)."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_import_of_the_facade_loads_nothing_heavy() -> None:
    """`import selip` and its version need neither torch nor transformers."""
    program = "import sys, selip; assert selip.__version__; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt command exits with 2 and one line that names the right one."""
    assert cli.main(["simulat"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("selip: error: unknown command 'simulat'; did you mean 'simulate'?")
    assert error.count("\n") == 1


def test_command_group_without_kind_lists_the_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    """`selip ingest` alone says which sources there are."""
    assert cli.main(["ingest"]) == 2
    assert "allowed: bids" in capsys.readouterr().err


def test_errors_of_a_stage_are_one_line_and_traceback_shows_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A caller's mistake inside a stage is one clear line; --traceback raises it instead."""
    words = ["ingest", "bids", str(tmp_path / "nothing"), str(tmp_path / "out")]
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("selip: error: ")
    assert error.count("\n") == 1
    with pytest.raises(OSError, match="nothing"):
        cli.main([*words, "--traceback"])


def test_arguments_give_the_same_configuration_as_yaml(tmp_path: Path) -> None:
    """One configuration, written as words or as YAML, is the same object."""
    file = tmp_path / "example.yaml"
    file.write_text(
        "source: data\nrate: 1e-4\nseed: 7\nfractions: [0.25, 0.75]\nnames: [a, b]\nextra: {depth: 18}\n"
        "schedule: {steps: 5, decay: none, is_warm: false}\n"
    )
    words = ["data", "--rate", "1e-4", "--seed", "7", "--fractions", "0.25,0.75", "--names", "a,b"]
    words += ["--extra", "{depth: 18}", "--schedule.steps", "5", "--schedule.decay", "none", "--no-schedule.is-warm"]
    expected = Example(
        source=Path("data"),
        rate=1e-4,
        seed=7,
        fractions=(0.25, 0.75),
        names=("a", "b"),
        extra={"depth": 18},
        schedule=Schedule(steps=5, decay="none", is_warm=False),
    )
    assert load_config(Example, file) == expected
    assert parse(*words) == expected
    assert parse("--config", str(file)) == expected
    assert build_config(Example, as_dict(expected), where="a test") == expected


def test_options_win_over_the_file(tmp_path: Path) -> None:
    """An option changes its own value and no other, in a group too."""
    file = tmp_path / "example.yaml"
    file.write_text("source: data\nrate: 0.5\nschedule: {steps: 5, decay: none}\n")
    config = parse("--config", str(file), "--schedule.steps", "6")
    assert config == Example(source=Path("data"), rate=0.5, schedule=Schedule(steps=6, decay="none"))


def test_group_default_survives_a_partial_override() -> None:
    """What an override does not name keeps the default of the outer class, not of the group's class."""
    assert parse("x", "--schedule.decay", "none").schedule == Schedule(steps=20, decay="none")


def test_words_after_the_configuration_become_overrides() -> None:
    """Both spellings of an override are read; the last one wins."""
    words = ["--schedule.is-warm=false", "--schedule.steps", "3", "--schedule.steps=4"]
    assert overrides_from_arguments(words) == {"schedule.is_warm": "false", "schedule.steps": "4"}
    for wrong in (["steps", "3"], ["--schedule.steps"]):
        with pytest.raises(ValueError, match="expected"):
            overrides_from_arguments(wrong)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x", "--sed", "1"], "unknown option '--sed'; did you mean '--seed'"),
        (["x", "y"], "unexpected argument 'y'"),
        ([], "expected a value for 'source'"),
        (["x", "--seed", "1.5"], "expected a whole number for 'seed'"),
        (["x", "--rate", "fast"], "expected a number for 'rate'"),
        (["x", "--fractions", "1,2,3"], "expected 2 values for 'fractions'"),
        (["x", "--schedule.decay", "cosin"], "did you mean 'cosine'"),
        (["x", "--schedule.steps", "0"], "expected at least 1 step, got 0"),
        (["x", "--seed"], "expected one argument"),
    ],
)
def test_wrong_words_say_what_is_wrong(words: list[str], message: str) -> None:
    """Each kind of mistake on the command line is a ValueError that names it."""
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace("?", r"\?")):
        parse(*words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source: x\nrat: 1\n", "unknown key 'rat' in .*; did you mean 'rate'"),
        ("source: x\nschedule: {step: 1}\n", "unknown key 'schedule.step' in .*; did you mean 'steps'"),
        ("source: x\nschedule: 3\n", "'schedule'"),
        ("- a\n- b\n", "expected a mapping"),
        ("a: [\n", "is not valid YAML"),
        ("source: x\nschedule: {is_warm: 3}\n", "expected true or false for 'schedule.is_warm'"),
        ("source: x\nnames: [1]\n", "expected text for 'names'"),
        ("rate: 1\n", "expected a value for 'source'"),
    ],
)
def test_wrong_yaml_says_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    """Each kind of mistake in a file is a ValueError that names the key."""
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_config(Example, file)


def test_missing_group_names_its_first_required_key() -> None:
    """A group without default that is not given is reported by the key to write, not by the group."""
    with pytest.raises(ValueError, match=r"expected a value for 'data\.source'"):
        build_config(Grouped, {}, where="a test")


def test_missing_file_lists_the_shipped_configurations() -> None:
    """A name that is neither a file nor shipped is an error that lists what is shipped."""
    with pytest.raises(FileNotFoundError, match="shipped configuration"):
        parse("x", "--config", "no-such-file.yaml")


def test_help_of_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """`selip annotate --help` shows the four commands and no other."""
    assert cli.main(["annotate", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"annotate {kind}" in shown for kind in ("sample", "export", "import", "agree"))
    assert "selip pretrain" not in shown
