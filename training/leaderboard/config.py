"""Options of `selip leaderboard`. Standard library only."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# Ids are folder names and parts of pages, so they are plain.
ID_PATTERN = r"[a-z0-9][a-z0-9_-]{0,47}"
MAX_RUNS = 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){0,2}")


@dataclass(frozen=True)
class LeaderboardInitConfig:
    """`selip leaderboard init`: freeze studies and tasks as a benchmark."""

    out: Path = field(metadata={"help": "Folder of the benchmark: a dataset repository."})
    studies: Path = field(metadata={"help": "Studies table, as `selip ingest` writes it."})
    name: str = field(default="head-mri", metadata={"help": "Name of the benchmark."})
    version: str = field(default="1.0", metadata={"help": "Its version; other studies or rules are another version."})
    description: str = field(default="", metadata={"help": "What it asks, in one or two sentences."})
    tasks: tuple[Literal["retrieval", "pairs", "probe", "zero_shot"], ...] = field(
        default=("retrieval", "probe"), metadata={"help": "Tasks, with commas: retrieval, pairs, probe, zero_shot."}
    )
    pairs: Path | None = field(
        default=None,
        metadata={"help": "Table (.tsv) of minimal pairs, for the task pairs; the others leave the partners out."},
    )
    protocol: str | None = field(
        default=None, metadata={"help": "Protocol of the task zero_shot: a shipped name or a YAML file."}
    )
    split: Literal["validation", "test"] = field(default="test", metadata={"help": "Studies that are asked about."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a folder of the same name."})

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("expected name of letters, digits, spaces and . _ + -, at most 64")
        if not _VERSION.fullmatch(self.version):
            raise ValueError(f"expected version such as 1.0, got {self.version!r}")
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"expected each task once and at least one, got {', '.join(self.tasks)}")
        if "pairs" in self.tasks and self.pairs is None:
            raise ValueError("expected --pairs FILE with the task pairs, got none")
        if ("zero_shot" in self.tasks) != (self.protocol is not None):
            raise ValueError("expected --protocol with the task zero_shot and with no other")


@dataclass(frozen=True)
class LeaderboardSubmitConfig:
    """`selip leaderboard submit`: make a submission of result files."""

    results: tuple[Path, ...] = field(
        metadata={
            "help": "Result files of `selip evaluate`, with commas: of each task one, or one a training seed in the "
            "same order. Tables of cases are read beside them; a retrieval needs `--scores`."
        }
    )
    out: Path = field(metadata={"help": "Folder of the submission; its name is the id of the system."})
    benchmark: Path = field(metadata={"help": "Folder of the benchmark.", "positional": False})
    system: str = field(metadata={"help": "Name of the system on the leaderboard.", "positional": False})
    organisation: str = field(default="", metadata={"help": "Who submits."})
    link: str = field(default="", metadata={"help": "https address of code or model."})
    description: str = field(default="", metadata={"help": "What the system is, in a sentence."})
    licence: str = field(default="", metadata={"help": "Licence of the model, e.g. Apache-2.0."})
    trained_on: str = field(default="", metadata={"help": "Data that it was trained on."})
    date: str = field(default="", metadata={"help": "Date of the submission, YYYY-MM-DD."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a folder of the same name."})

    def __post_init__(self) -> None:
        if not re.fullmatch(ID_PATTERN, self.out.name):
            raise ValueError(
                "expected a folder name of lower-case letters, digits, _ and -, at most 48: it is the id of the system"
            )


@dataclass(frozen=True)
class LeaderboardCheckConfig:
    """`selip leaderboard check`: whether a submission would be taken, and why not."""

    submission: Path = field(metadata={"help": "Folder of the submission."})
    benchmark: Path = field(metadata={"help": "Folder of the benchmark.", "positional": False})


@dataclass(frozen=True)
class LeaderboardBuildConfig:
    """`selip leaderboard build`: recompute, rank and write the pages."""

    benchmark: Path = field(metadata={"help": "Folder of the benchmark."})
    submissions: Path = field(metadata={"help": "Folder with one folder a submission."})
    out: Path = field(metadata={"help": "Folder for leaderboard.json, metrics.json, leaderboard.md and index.html."})
    bootstrap_samples: int = field(
        default=2000,
        metadata={"help": "Draws of patients (and runs); more are taken where many systems are compared."},
    )
    seed: int = field(default=0, metadata={"help": "Seed of the draws."})
    alpha: float = field(default=0.05, metadata={"help": "Family-wise error of the differences of one table (Holm)."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a folder of the same name."})

    def __post_init__(self) -> None:
        if self.bootstrap_samples < 100:
            raise ValueError(f"expected bootstrap_samples of at least 100, got {self.bootstrap_samples}")
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"expected alpha between 0 and 0.5, got {self.alpha}")


@dataclass(frozen=True)
class LeaderboardServeConfig:
    """`selip leaderboard serve`: the leaderboard as an app in the browser, with a check of submissions."""

    leaderboard: Path = field(metadata={"help": "Folder that `selip leaderboard build` wrote."})
    benchmark: Path | None = field(
        default=None, metadata={"help": "Folder of the benchmark; without it submissions cannot be checked."}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen at; only this machine by default."})
    port: int = field(default=7860, metadata={"help": "Port to listen at."})

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ValueError(f"expected port between 1 and 65535, got {self.port}")


@dataclass(frozen=True)
class LeaderboardSpaceConfig:
    """`selip leaderboard space`: a folder to push as a Space of the Hub."""

    leaderboard: Path = field(metadata={"help": "Folder that `selip leaderboard build` wrote."})
    benchmark: Path = field(metadata={"help": "Folder of the benchmark."})
    out: Path = field(metadata={"help": "Folder of the Space."})
    title: str = field(default="Head MRI leaderboard", metadata={"help": "Title of the Space."})
    requirement: str = field(
        default="selip[space]", metadata={"help": "Line of requirements.txt that installs selip, e.g. a git address."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace a folder of the same name."})

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.title):
            raise ValueError("expected title of letters, digits, spaces and . _ + -, at most 64")
        if "\n" in self.requirement or not self.requirement.strip():
            raise ValueError("expected requirement of one line")
