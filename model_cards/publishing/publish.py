"""`selip publish`: a checkpoint, head, structurer or adapter into a folder, verified, shown, and onto the Hub."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from ..cards.terms import InheritedLicence, inherited_licence, known_datasets
from .card_checks import find_card_problems, find_licence_problems
from .config import PublishConfig, Publishing, declared_licences, staged_folder
from .file_checks import find_code_carriers, find_missing, find_strange_files, find_wrong_sizes
from .hub import Pushed, push_folder
from .kinds import ADAPTER, Kind, files_that_go, kind_of
from .model_checks import find_class_problems, find_weight_problems
from .reference import write_reference
from .staging import add_licence, copy_files, stage
from .text_checks import (
    find_forbidden,
    find_local_paths,
    find_personal_patterns,
    find_report_text,
    read_strings,
)
from .verification import Check, verify

logger = logging.getLogger(__name__)

_SHORTEST_SENTENCE = 30  # characters; shorter ones are stock phrases that a card may hold


@dataclass(frozen=True)
class Publication:
    """What was published, or would be; as text, where it is."""

    folder: Path
    repo: str
    files: int
    bytes: int
    pushed: Pushed | None

    def __str__(self) -> str:
        size = f"{self.files} files, {self.bytes / 1e6:.2f} MB"
        if self.pushed is None:
            return f"nothing was pushed: {self.folder} holds what would go to {self.repo} ({size})"
        lines = [f"pushed {size} to {self.pushed.url}, commit {self.pushed.commit[:12]}; all arrived as they are here"]
        if self.pushed.others:
            lines.append(f"there before, not part of this: {', '.join(self.pushed.others)}")
        return "\n".join(lines)


def publish(config: PublishConfig) -> Publication:
    """Stage, verify, show and, unless `dry_run` is on, push a checkpoint.

    Raises:
        FileNotFoundError: There is no checkpoint, or no list of forbidden strings.
        FileExistsError: The folder for what goes holds something else.
        ValueError: What would go is a link, or text that cannot be read.
        PublishError: What was found, all of it.
        ConnectionError: The Hub is not reached, or refuses.
    """
    kind = kind_of(config.folder)
    terms = terms_of(config.trained_on, config.licence)
    base = _base_of(config, kind)
    out = staged_folder(config.out, config.repo)
    goes, stays = files_that_go(config.folder, kind)
    links = [name for name in goes if (config.folder / name).is_symlink()]
    if links:
        raise ValueError(
            f"expected files in {config.folder}, got links: {', '.join(links)}; put the files themselves there"
        )
    logger.info("%s: a repository of kind %s; staging %d files in %s", config.folder, kind.name, len(goes), out)
    if stays:
        logger.info("staying here: %s", ", ".join(stays))
    reasons: list[str] = []  # why there are no reference outputs
    stage(out, partial(_fill, config.folder, goes, kind, terms, base, reasons), overwrite=config.overwrite)
    logger.info("verifying")
    verify(out, _checks(config, kind, terms, base, reasons), config.accept)
    files, size = show(out)
    pushed = push(out, config.repo, "model", config)
    return Publication(out, config.repo, files, size, pushed)


def push(folder: Path, repo: str, repo_type: Literal["model", "dataset"], how: Publishing) -> Pushed | None:
    """Push what was verified; None where it is a dry run.

    Args:
        folder: What goes, all of it.
        repo: OWNER/NAME.
        repo_type: model or dataset.
        how: Branch, message, and whether at all.

    Raises:
        ConnectionError: The Hub is not reached, or refuses.
    """
    if how.dry_run:
        return None
    return push_folder(
        folder, repo, repo_type=repo_type, private=how.private, revision=how.revision, message=how.message
    )


def terms_of(names: Sequence[str], licences: tuple[str, ...], option: str = "trained-on") -> InheritedLicence:
    """The licence that follows from data sets.

    Raises:
        ValueError: None is named, or their terms are unknown or cannot be combined.
    """
    if not names:
        raise ValueError(
            f"expected --{option} NAME,... of {', '.join(known_datasets())}, or with --licence NAME=LICENCE"
        )
    return inherited_licence(names, declared_licences(licences))


def show(folder: Path) -> tuple[int, int]:
    """Log the files of a folder with their sizes; returns how many and how many bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    sizes = [path.stat().st_size for path in files]
    width = max(map(len, names))
    logger.info("\nwhat goes:")
    for name, size in zip(names, sizes, strict=True):
        logger.info("  %-*s %12s", width, name, f"{size:,}")
    logger.info("  %-*s %12s bytes", width, f"{len(files)} files", f"{sum(sizes):,}")
    return len(files), sum(sizes)


def _fill(
    source: Path,
    goes: Sequence[str],
    kind: Kind,
    terms: InheritedLicence,
    base: str | None,
    reasons: list[str],
    to: Path,
) -> None:
    copy_files(source, goes, to)
    add_licence(to, terms)
    try:
        write_reference(to, kind, base)
    except (ValueError, OSError, RuntimeError) as error:
        # What is wrong is found and named by the checks, with everything else that is wrong.
        reasons.append(" ".join(str(error).replace(str(to), ".").split())[:400])


def _checks(
    config: PublishConfig, kind: Kind, terms: InheritedLicence, base: str | None, reasons: Sequence[str]
) -> list[Check]:
    checks = [
        Check("all files are there", lambda folder: find_missing(folder, kind)),
        Check("no links, hidden files or state of a run", find_strange_files),
        Check("no pickle or other file that runs code", find_code_carriers),
        Check("sizes", find_wrong_sizes),
        Check("card", lambda folder: find_card_problems(folder, kind.sections, config.repo)),
        Check("licence and sources by the terms of the data", lambda folder: find_licence_problems(folder, terms)),
        Check("no path of this machine", find_local_paths),
        Check("nothing with the form of a person's data", find_personal_patterns),
    ]
    strings = read_strings(config.forbid)
    if strings:
        checks.append(Check("no forbidden string", lambda folder: find_forbidden(folder, strings)))
    if config.studies is not None:
        sentences = report_sentences(config.studies)
        checks.append(Check("no words of the reports", lambda folder: find_report_text(folder, sentences)))
    checks += [
        Check("weights are whole and finite", find_weight_problems),
        Check(
            "loads without selip, strictly, with the stored outputs",
            lambda folder: find_class_problems(folder, base, reasons),
        ),
    ]
    return checks


def report_sentences(studies: Path) -> list[str]:
    """Sentences of the reports of a studies table, and ids of studies and patients, each once."""
    from selip.processing.reports import split_sentences
    from selip.processing.sources.studies import iter_studies

    found: dict[str, None] = {}
    for row in iter_studies(studies):
        found |= {row["study_id"]: None, row["patient_id"]: None}
        for section in row["report"].values():
            for sentence in split_sentences(section, row["language"]):
                if len(sentence.text) >= _SHORTEST_SENTENCE:
                    found[" ".join(sentence.text.split())] = None
    return list(found)


def _base_of(config: PublishConfig, kind: Kind) -> str | None:
    """Folder of the base of an adapter, as given or in the cache of the Hub."""
    if kind is not ADAPTER:
        return None
    if config.base is not None:
        if not (config.base / "config.json").is_file():
            raise FileNotFoundError(f"base: expected the folder of a model, found no config.json in {config.base}")
        return str(config.base.resolve())
    import json

    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    named = json.loads((config.folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    try:
        return str(snapshot_download(named, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        raise FileNotFoundError(
            f"expected the base {named} in the cache of the Hub, to verify the adapter on it; fetch it with "
            "`hf download`, or say --base FOLDER"
        ) from None
