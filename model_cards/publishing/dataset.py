"""`selip publish-dataset`: studies as Parquet with their volumes inside, verified, shown, and onto the Hub."""

import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from selip.processing.sources import fresh_reader
from selip.processing.sources.release import (
    Release,
    has_words_of_reports,
    header_text,
    personal_patterns,
    text_columns,
    write_release,
)
from selip.processing.sources.studies import EXPORT_INFO_NAME

from ..cards.card import write_card
from ..cards.config import CardConfig
from ..cards.terms import InheritedLicence, dataset_terms
from ..templates import render
from .card_checks import find_card_problems, find_licence_problems
from .config import PublishDatasetConfig, declared_licences, staged_folder
from .file_checks import find_code_carriers, find_strange_files, find_wrong_sizes
from .isolation import ask_fresh_process
from .kinds import CARD_NAME
from .publish import Publication, push, show, terms_of
from .staging import add_licence, stage
from .text_checks import find_forbidden, find_local_paths, find_personal_patterns, folded, read_strings
from .verification import Check, Problem, verify

logger = logging.getLogger(__name__)

MAX_SHARD_BYTES = 500_000_000
MAX_LOADED_BYTES = 2_000_000_000  # larger sets are streamed alone, since loading writes them into a cache
_SECTIONS = ("Use", "Data statement", "Limits", "Licence", "What was left out")


@dataclass(frozen=True)
class DatasetPublication(Publication):
    """What was published of a studies table."""

    release: Release

    def __str__(self) -> str:
        fields = ", ".join(f"{name} in {count} files" for name, count in sorted(self.release.emptied.items()))
        lines = [str(self.release.export), f"text taken out of headers: {fields or 'none'}"]
        if self.release.findings or self.release.left_out:
            left = f", {self.release.left_out} unreadable ones left out" if self.release.left_out else ""
            lines.append(f"findings of {self.release.findings} studies{left}")
        return "\n".join([*lines, super().__str__()])


def publish_dataset(config: PublishDatasetConfig) -> DatasetPublication:
    """Stage, verify, show and, unless `dry_run` is on, push a studies table.

    Raises:
        PermissionError: A data set may not be given to others, or nobody says that it may.
        FileNotFoundError: There is no studies table, a volume is gone, or there is no list of forbidden strings.
        FileExistsError: The folder for what goes holds something else.
        PublishError: What was found, all of it.
        ConnectionError: The Hub is not reached, or refuses.
    """
    terms = terms_of(config.source, config.licence, option="source")
    refuse_gated(config)
    strings = read_strings(config.forbid)
    out = staged_folder(config.out, config.repo)
    releases: list[Release] = []
    logger.info("writing shards into %s", out)
    stage(out, lambda folder: releases.append(_fill(folder, config, terms)), overwrite=config.overwrite)
    logger.info("verifying")
    verify(out, _checks(config, terms, strings), config.accept)
    files, size = show(out)
    pushed = push(out, config.repo, "dataset", config)
    return DatasetPublication(out, config.repo, files, size, pushed, releases[0])


def refuse_gated(config: PublishDatasetConfig) -> None:
    """Refuse data that is given by agreement, and data of which nothing is known and nobody answers for.

    Raises:
        PermissionError: There is such data among the sources.
    """
    for name in config.source:
        row = dataset_terms(name)
        if row is not None and row.gated:
            raise PermissionError(
                f"data set {row.name} is given by agreement, so its images and texts must not be published "
                f"({row.url}); publish the model instead, whose licence follows from the terms"
            )
        if row is None and name not in config.may_be_shared:
            raise PermissionError(
                f"nothing is known of data set {name}: if its patients, ethics board and owner allow to give it to "
                f"anybody, say --may-be-shared {name}"
            )


def _fill(folder: Path, config: PublishDatasetConfig, terms: InheritedLicence) -> Release:
    release = write_release(
        config.studies,
        folder,
        findings=config.findings,
        texts=config.texts,
        shard_bytes=config.shard_mb * 1_000_000,
        clean_headers=config.clean_headers,
    )
    licences = declared_licences(config.licence)
    named = tuple(f"{name}={licences[name]}" if name in licences else name for name in config.source)
    write_card(
        CardConfig(
            folder, kind="dataset", name=config.repo, datasets=named, training_data=config.about, overwrite=True
        )
    )
    card = folder / CARD_NAME
    section = render("publishing/dataset_privacy.md.jinja", {"texts": config.texts, "findings": release.findings})
    card.write_text(card.read_text(encoding="utf-8") + section, encoding="utf-8")
    add_licence(folder, terms)
    return release


def _checks(config: PublishDatasetConfig, terms: InheritedLicence, strings: list[str]) -> list[Check]:
    checks = [
        Check("no links, hidden files or state of a run", find_strange_files),
        Check("no pickle or other file that runs code", find_code_carriers),
        Check("sizes", _find_large_shards),
        Check("card", lambda folder: find_card_problems(folder, _SECTIONS, config.repo)),
        Check("licence and sources by the terms of the data", lambda folder: find_licence_problems(folder, terms)),
        Check("no path of this machine", find_local_paths),
        Check("no text in NIfTI headers", _find_header_text),
        Check("nothing with the form of a person's data", _find_patterns),
        Check("plain load_dataset reads it, whole and streaming", _find_unreadable),
    ]
    if config.texts != "reports":
        checks.append(Check("no words of reports", _find_words))
    if strings:
        checks.append(Check("no forbidden string", lambda folder: _find_forbidden(folder, strings)))
    return checks


def _find_large_shards(folder: Path) -> Iterator[Problem]:
    yield from find_wrong_sizes(folder)
    for path in sorted(folder.rglob("*.parquet")):
        size = path.stat().st_size
        if size > 1.2 * MAX_SHARD_BYTES:  # a row group more than asked for is no fault
            yield Problem(path.name, f"{size / 1e6:.0f} MB, expected about 500 MB at most", "say a smaller --shard-mb")


def _find_header_text(folder: Path) -> Iterator[Problem]:
    for name, count in sorted(header_text(folder).items()):
        yield Problem("data", f"{count} volumes hold text in {name}", "leave --clean-headers on", f"data:{name}")


def _find_patterns(folder: Path) -> Iterator[Problem]:
    yield from find_personal_patterns(folder)
    for (column, kind), count in sorted(personal_patterns(folder).items()):
        remedy = "ingest again with --deidentify, or with other ids"
        yield Problem("data", f"{count} of kind {kind} by their form in column {column}", remedy, f"{column}:{kind}")


def _find_words(folder: Path) -> Iterator[Problem]:
    for column in has_words_of_reports(folder):
        yield Problem("data", f"column {column} holds words of reports", "publish again with this version of selip")


def _find_forbidden(folder: Path, strings: list[str]) -> Iterator[Problem]:
    yield from find_forbidden(folder, strings)
    wanted = [folded(string) for string in strings]
    counts: dict[str, int] = {}
    for column, text in text_columns(folder):
        if any(string in folded(text) for string in wanted):
            counts[column] = counts.get(column, 0) + 1
    for column, count in sorted(counts.items()):
        yield Problem("data", f"{count} rows with a forbidden string in column {column}", "take them out of the table")


def _find_unreadable(folder: Path) -> Iterator[Problem]:
    info = json.loads((folder / EXPORT_INFO_NAME).read_text(encoding="utf-8"))
    shards = sorted(folder.glob("data/*.parquet"))
    request = {
        "folder": str(folder.resolve()),
        "whole": sum(path.stat().st_size for path in shards) <= MAX_LOADED_BYTES,
    }
    with tempfile.TemporaryDirectory(prefix="selip-verify-") as scratch:
        answer_file = Path(scratch) / "answer.json"
        try:
            ask_fresh_process(request, answer_file, Path(fresh_reader.__file__))
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            yield Problem(CARD_NAME, f"load_dataset failed: {lines[-1]}", "publish again; if it stays, report it")
            return
        answer = json.loads(answer_file.read_text(encoding="utf-8"))
    rows: Counter[str] = Counter()
    for path in shards:
        rows[path.name.partition("-")[0]] += pq.read_metadata(path).num_rows
    for found in [dict(rows), *([answer["rows"]["default"]] if request["whole"] else [])]:
        if found != info["studies"]:
            yield Problem("data", f"expected studies {info['studies']}, found {found}", "publish again")
    for split, shapes in sorted(answer["first"].items()):
        if any(shape != shapes[0] for shape in shapes):
            yield Problem("data", f"the first volume of {split} differs when it is streamed", "publish again")
