"""The documents tell the truth: links lead somewhere, commands exist, nothing is promised that is not there."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from selip import cli
from selip.arguments import parse_config
from selip.training.configuration import options_of

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


def document_name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def code_blocks(path: Path) -> list[str]:
    return re.findall(r"^```(?:bash|sh)\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[str]:
    """Command lines of the shell blocks, comments and continuation lines taken away."""
    lines = "\n".join(code_blocks(path)).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_name)
def test_links_inside_the_repository_resolve(path: Path) -> None:
    """Each relative link leads to a file of the repository, and to a heading where it names one."""
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or not file.is_relative_to(REPOSITORY):
            wrong.append(target)
        elif fragment and file.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            if fragment not in {anchor(heading) for heading in headings}:
                wrong.append(target)
    assert not wrong, f"{document_name(path)}: {wrong}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_name)
def test_files_named_in_code_style_exist(path: Path) -> None:
    """A file of the repository that a document names in code style is there."""
    folders = "src|modeling_selip|processing|training|model_cards|tests|tools|docs|benchmarks"
    names = re.findall(rf"`((?:{folders})/[\w/.-]+)`", path.read_text(encoding="utf-8"))
    wrong = [name for name in names if not (REPOSITORY / name).exists()]
    assert not wrong, f"{document_name(path)} names {wrong}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_name)
def test_selip_commands_in_the_documents_are_understood(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `selip ...` line parses into a configuration; nothing is run."""
    monkeypatch.setattr(cli, "load", _loader_without_run(cli.load))
    for line in commands(path):
        words = shlex.split(line)
        if words[0] != "selip" or words[1].startswith("-"):  # `selip --version` is no subcommand
            continue
        if "CONFIG.yaml" in words:  # a file of the reader's own
            continue
        command = cli.find_command(words[1:])
        cli.run(command, words[1 + len(command.words) :])


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_name)
def test_launch_commands_in_the_documents_are_understood(path: Path) -> None:
    """Accelerate's own parser takes each `accelerate launch ...` line, and the options after it are those of a run."""
    from accelerate.commands.launch import launch_command_parser

    from selip.training.config import PretrainConfig
    from selip.training.configuration import overrides_from_arguments
    from selip.training.finetuning.config import FinetuneConfig
    from selip.training.structuring.config import TuneConfig

    runs: dict[str, type] = {
        "selip.training.pretrain": PretrainConfig,
        "selip.training.finetuning.run": FinetuneConfig,
        "selip.training.structuring.tuning": TuneConfig,
    }
    for line in commands(path):
        _, launched, rest = line.partition("accelerate launch ")
        if launched:
            rest = re.sub(r"\$\(\(.*?\)\)|\$\w+", "1", rest.rstrip("'"))  # what the shell puts in
            parsed = launch_command_parser().parse_args(shlex.split(rest))
            assert parsed.module, line
            known = {option.key for option in options_of(runs[parsed.training_script])}
            assert overrides_from_arguments(parsed.training_script_args[1:]).keys() <= known, line


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_examples_in_the_help_are_understood(command: cli.Command) -> None:
    """The example of each command parses, for `pretrain` with any of the shipped configurations."""
    words = shlex.split(command.example)[1 + len(command.words) :]
    if command.config_first:
        known = {option.key for option in options_of(cli.load(command.config))}
        assert {word[2:].replace("-", "_") for word in words if word.startswith("--")} <= known
        return
    parse_config(cli.load(command.config), words, prog="selip")


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_name)
def test_make_targets_in_the_documents_exist(path: Path) -> None:
    """Each `make TARGET` of a document is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z-]+)", text))
    for line in commands(path):
        named |= {word for word in shlex.split(line)[1:] if line.startswith("make ") and "=" not in word}
    assert named <= targets


def test_help_of_make_lists_every_target() -> None:
    """`make help` names each target that a person may call."""
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert phony is not None
    shown = set(re.findall(r'@echo "make ([a-z-]+)', MAKEFILE))
    assert shown == set(phony.group(1).split()) - {"help"}


def test_continuous_integration_calls_the_same_targets() -> None:
    """The workflow runs `.ci/run` and make targets, and nothing else does set-up."""
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/checks.yml").read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert {step["run"] for step in steps if "run" in step} == {"make quality", ".ci/run", "make demo"}
    assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in steps if "uses" in step)
    assert "make test" in (REPOSITORY / ".ci/run").read_text(encoding="utf-8")


def test_shipped_configurations_are_valid() -> None:
    """Each shipped YAML file builds a PretrainConfig once the paths are given, those of a folder their own."""
    from selip.training.config import PretrainConfig
    from selip.training.configuration import load_config
    from selip.training.finetuning.config import FinetuneConfig
    from selip.training.structuring.config import TuneConfig

    files = sorted((REPOSITORY / "training" / "configs").glob("*.yaml"))
    structuring = sorted((REPOSITORY / "training" / "configs" / "structuring").glob("*.yaml"))
    finetuning = sorted((REPOSITORY / "training" / "configs" / "finetuning").glob("*.yaml"))
    assert all((files, structuring, finetuning))
    assert {*files, *structuring, *finetuning} == set((REPOSITORY / "training" / "configs").rglob("*.yaml"))
    for file in structuring:
        assert load_config(TuneConfig, file, {"output": "run"}).output == Path("run")
    for file in finetuning:
        task = load_config(FinetuneConfig, file, {"model.checkpoint": "best"}).task
        assert file.stem.startswith(task)
    paths = {"output": "run", "data.studies": "s", "data.findings": "f", "data.volumes": "v"}
    for file in files:
        config = load_config(PretrainConfig, file, paths)
        assert config.data.studies == Path("s")


def _loader_without_run(load: Callable[[str], Any]) -> Callable[[str], Any]:
    """`cli.load` that gives a function doing nothing in the place of a stage."""

    def loaded(target: str) -> Any:
        found = load(target)
        return found if isinstance(found, type) else lambda config: None

    return loaded
