"""Options of publishing. Standard library only: `selip --help` reads it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# OWNER/NAME as the Hub takes it.
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")


@dataclass(frozen=True, kw_only=True)
class Publishing:
    """What all that is published takes, whatever it is; given by name."""

    licence: tuple[str, ...] = field(
        default=(),
        metadata={"help": "licences of data sets that the table of terms does not know, as NAME=LICENCE"},
    )
    private: bool = field(default=False, metadata={"help": "make the repository private, where it is made"})
    revision: str = field(default="main", metadata={"help": "branch to push to; made if it is not there"})
    message: str = field(default="Publish with selip", metadata={"help": "message of the commit"})
    dry_run: bool = field(default=False, metadata={"help": "push nothing; leave the exact folder to look at"})
    out: Path | None = field(
        default=None, metadata={"help": "folder for what goes; published/NAME if not given. It stays there"}
    )
    forbid: tuple[Path, ...] = field(
        default=(),
        metadata={"help": "text files, one string a line (names, ids, canaries), none of which may be in what goes"},
    )
    accept: tuple[str, ...] = field(
        default=(),
        metadata={"help": "findings that you have looked at and that may go, as FILE:KIND, e.g. README.md:DATE"},
    )
    overwrite: bool = field(
        default=False, metadata={"help": "replace what is in out, even if publishing did not make it"}
    )


@dataclass(frozen=True)
class PublishConfig(Publishing):
    """Options of `selip publish`. The help text of each field is its documentation."""

    folder: Path = field(metadata={"help": "folder of a checkpoint, a head, a structurer or its adapter"})
    repo: str = field(metadata={"help": "repository on the Hub, OWNER/NAME; made if it is not there"})
    trained_on: tuple[str, ...] = field(
        default=(),
        metadata={"help": "data sets that it was trained on, with those of its base; they decide the licence"},
    )
    base: Path | None = field(
        default=None, metadata={"help": "folder of the base of an adapter, where it is not in the cache"}
    )
    studies: Path | None = field(
        default=None,
        metadata={"help": "studies table it was trained on: no sentence of its reports and no id may be in what goes"},
    )

    def __post_init__(self) -> None:
        check_repository(self.repo)


@dataclass(frozen=True)
class PublishDatasetConfig(Publishing):
    """Options of `selip publish-dataset`. The help text of each field is its documentation."""

    studies: Path = field(metadata={"help": "folder of a studies table"})
    repo: str = field(metadata={"help": "repository on the Hub, OWNER/NAME; made if it is not there"})
    source: tuple[str, ...] = field(
        default=(),
        metadata={"help": "data sets that the studies come from; they decide the licence and whether it may go"},
    )
    may_be_shared: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "data sets among these whose images you are allowed to give to anybody (patients, ethics board, "
            "owner): you answer for it"
        },
    )
    findings: Path | None = field(
        default=None, metadata={"help": "findings table (.parquet), as a second configuration"}
    )
    texts: Literal["none", "findings", "reports"] = field(
        default="findings",
        metadata={
            "help": "none: images alone; findings: structured findings without any word of a report; reports: the "
            "reports too"
        },
    )
    about: str = field(default="", metadata={"help": "what the data is, in one sentence for the card"})
    shard_mb: int = field(default=300, metadata={"help": "size in MB at which a shard is closed, at most 500"})
    clean_headers: bool = field(
        default=True,
        metadata={
            "help": "empty the free-text fields and extensions of NIfTI headers in what goes (your files stay as "
            "they are); otherwise such a field is refused"
        },
    )

    def __post_init__(self) -> None:
        check_repository(self.repo)
        if not 1 <= self.shard_mb <= 500:
            raise ValueError(f"shard_mb: expected 1 to 500, got {self.shard_mb}")
        if self.texts == "none" and self.findings is not None:
            raise ValueError("expected no findings with texts none; leave --findings out, or say --texts findings")


def check_repository(name: str) -> None:
    """Refuse what is no OWNER/NAME.

    Raises:
        ValueError: It is none.
    """
    if not _REPOSITORY.fullmatch(name):
        raise ValueError(f"repo: expected OWNER/NAME, e.g. my-group/selip-tiny, got {name!r}")


def declared_licences(given: tuple[str, ...]) -> dict[str, str]:
    """Licences by data set, from entries NAME=LICENCE; the licence itself may be NAME=URL.

    Raises:
        ValueError: An entry has another form.
    """
    found = {}
    for entry in given:
        name, _, licence = entry.partition("=")
        if not name.strip() or not licence.strip():
            raise ValueError(f"licence: expected NAME=LICENCE, e.g. my-hospital=cc-by-nc-4.0, got {entry!r}")
        found[name.strip()] = licence.strip()
    return found


def staged_folder(out: Path | None, repo: str) -> Path:
    """Where what goes is put."""
    return out if out is not None else Path("published") / repo.rpartition("/")[2]
