"""`selip structure` with any structurer: in chunks that are kept, so that a run that was cut goes on.

Texts that occur more than once are structured once. What a language model gets wrong is read by the rules instead,
and says so. Chunks lie in a hidden folder beside the output until all are there; several runs (shards) may fill it.
"""

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from .atomic_files import write_json
from .findings import StructuredReport
from .report_files import Outcome, open_reports
from .row_files import read_rows, write_rows
from .sources.config import StructureConfig
from .structurer import ReportText, RuleStructurer, Structurer

CHUNK = 256
"""Texts of a chunk: what is lost at most when a run is cut."""

EMPTY = "empty report"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StructuringSummary:
    """What a run did; also written beside the output.

    Attributes:
        out: The file; not there yet where chunks of other shards are missing.
        reports: Rows.
        texts: Different texts.
        findings: Findings in all rows.
        fallbacks: Texts that the rules read in the place of the structurer, by reason.
        invalid: Rows without findings, by reason.
        missing: Chunks that other shards have still to make.
        structurer: What was asked, with its version.
        removed: What was replaced in the texts, by kind.
    """

    out: Path
    reports: int
    texts: int
    findings: int
    fallbacks: dict[str, int]
    invalid: dict[str, int]
    missing: int
    structurer: str
    removed: dict[str, int]

    def __str__(self) -> str:
        if self.missing:
            return f"{self.missing} chunks are left to other shards; the last to finish writes {self.out}"
        texts, found = f"{self.reports} reports ({self.texts} different texts)", f"{self.findings} findings"
        lines = [f"{texts}, {found} by {self.structurer}: {self.out}"]
        for reason, n in self.fallbacks.items():
            lines.append(f"  read by the rules instead: {n} ({_percent(n, self.texts)}), {reason}")
        for reason, n in self.invalid.items():
            lines.append(f"  without findings: {n} ({_percent(n, self.reports)}), {reason}")
        if self.removed:
            lines.append("  replaced: " + ", ".join(f"{n} {kind}" for kind, n in sorted(self.removed.items())))
        return "\n".join(lines)


def structure_reports(config: StructureConfig, structurer: Structurer | None = None) -> StructuringSummary:
    """Structure the reports of a studies table or of a file of texts.

    Args:
        config: What and where; `config.structurer` is not looked at.
        structurer: What reads the reports; the rules if not given.

    Returns:
        The summary, also in `summary_path(config.out)`.

    Raises:
        FileExistsError: The output exists and `overwrite` is False.
        ValueError: Several processes for what is no rules, or wrong input (see `open_reports`).
    """
    structurer = structurer or RuleStructurer()
    out = Path(config.out)
    if out.exists() and not config.overwrite and config.num_shards == 1:
        raise FileExistsError(f"{out} exists; choose another file or say overwrite")
    if config.num_proc > 1 and not isinstance(structurer, RuleStructurer):
        raise ValueError(
            "expected --num-proc 1 for a language model: a server has --concurrency, a GPU one process each"
        )
    reports = open_reports(
        Path(config.studies),
        text_column=config.text_column,
        language=config.language,
        is_deidentified=config.deidentify,
    )
    asked = [text for text in reports.texts if not _is_empty(text)]
    texts = list(dict.fromkeys(asked))
    fingerprint = _fingerprint(structurer, texts)
    if out.exists() and not config.overwrite:
        return _made_by_another_shard(out, fingerprint)
    folder = out.with_name(f".{out.name}.{fingerprint}.chunks")
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    own = [number for number in range(len(chunks)) if number % config.num_shards == config.shard_index]
    _fill(folder, {number: chunks[number] for number in own}, structurer, config.num_proc)
    missing = sum(not _chunk_path(folder, number).exists() for number in range(len(chunks)))
    told = f"{structurer.name} {structurer.version}"
    if missing:
        return StructuringSummary(out, len(reports.texts), len(texts), 0, {}, {}, missing, told, {})
    try:
        read = [outcome for number in range(len(chunks)) for outcome in _read_chunk(_chunk_path(folder, number))]
    except FileNotFoundError:  # another shard was last at the same moment and has cleared up
        return _made_by_another_shard(out, fingerprint)
    by_text = dict(zip(texts, read, strict=True))
    empty = Outcome(None, structurer.name, structurer.version, EMPTY)
    outcomes = [empty if _is_empty(text) else by_text[text] for text in reports.texts]
    reports.write(outcomes, out)
    summary = _summarise(out, outcomes, read, told, reports.removed)
    write_json(summary_path(out), {**asdict(summary), "out": out.name, "fingerprint": fingerprint})
    shutil.rmtree(folder, ignore_errors=True)
    return summary


def summary_path(out: Path) -> Path:
    """Where the summary of an output is: `findings.structuring.json` beside `findings.parquet`."""
    return out.with_name(f"{out.stem}.structuring.json")


def _made_by_another_shard(out: Path, fingerprint: str) -> StructuringSummary:
    """The summary of an output that another shard of the same work has written."""
    path = summary_path(out)
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if record.pop("fingerprint", None) != fingerprint:
        raise FileExistsError(f"{out} exists and is of other work; choose another file or say overwrite")
    return StructuringSummary(**{**record, "out": out})


def read_with_fallback(structurer: Structurer, texts: Sequence[ReportText]) -> list[Outcome]:
    """Outcomes of a structurer; where it gives a reason instead of findings, those of the rules."""
    rules = RuleStructurer()
    outcomes = []
    for text, result in zip(texts, structurer(texts), strict=True):
        reader: Structurer = structurer
        reason = ""
        if isinstance(result, str) and not isinstance(structurer, RuleStructurer):
            reason, reader = result, rules
            result = rules([text])[0]
        if isinstance(result, str):
            outcomes.append(Outcome(None, reader.name, reader.version, reason or result))
        else:
            outcomes.append(Outcome(result, reader.name, reader.version, reason))
    return outcomes


def _fill(folder: Path, chunks: dict[int, list[ReportText]], structurer: Structurer, num_proc: int) -> None:
    """Structure the chunks that are not there yet."""
    todo = [number for number in chunks if not _chunk_path(folder, number).exists()]
    if not todo:
        return
    folder.mkdir(parents=True, exist_ok=True)
    done = sum(len(chunks[number]) for number in chunks if number not in todo)
    total = done + sum(len(chunks[number]) for number in todo)
    with tqdm(total=total, initial=done, desc="structure", unit="report", disable=None) as bar:
        for number, outcomes in _outcomes(todo, chunks, structurer, num_proc):
            _write_chunk(_chunk_path(folder, number), outcomes)
            bar.update(len(outcomes))


def _outcomes(
    todo: Sequence[int], chunks: dict[int, list[ReportText]], structurer: Structurer, num_proc: int
) -> Iterable[tuple[int, list[Outcome]]]:
    if num_proc == 1:
        for number in todo:
            yield number, read_with_fallback(structurer, chunks[number])
        return
    with ProcessPoolExecutor(num_proc, mp_context=get_context("spawn")) as pool:
        futures = {number: pool.submit(read_with_fallback, structurer, chunks[number]) for number in todo}
        for number, future in futures.items():
            yield number, future.result()


def _is_empty(text: ReportText) -> bool:
    return not (text.findings + text.impression).strip()


def _fingerprint(structurer: Structurer, texts: Sequence[ReportText]) -> str:
    """Of what is asked and by what: chunks of another input or structurer are never taken for these."""
    digest = hashlib.sha256(f"{structurer.name}\0{structurer.version}\0{RuleStructurer.version}\0{CHUNK}".encode())
    for text in texts:
        digest.update(json.dumps(text).encode())
    return digest.hexdigest()[:16]


def _chunk_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.jsonl"


def _write_chunk(path: Path, outcomes: Sequence[Outcome]) -> None:
    write_rows((outcome.columns() for outcome in outcomes), path)


def _read_chunk(path: Path) -> list[Outcome]:
    return [
        Outcome(
            StructuredReport.model_validate_json(row["report"]) if row["valid"] else None,
            row["structurer"],
            row["version"],
            row["fallback"],
        )
        for _, row in read_rows(path)
    ]


def _summarise(
    out: Path, outcomes: Sequence[Outcome], read: Sequence[Outcome], structurer: str, removed: Mapping[str, int]
) -> StructuringSummary:
    return StructuringSummary(
        out,
        reports=len(outcomes),
        texts=len(read),
        findings=sum(len(each.report.findings) for each in outcomes if each.report is not None),
        fallbacks=dict(Counter(each.fallback for each in read if each.fallback and each.report is not None)),
        invalid=dict(Counter(each.fallback for each in outcomes if each.report is None)),
        missing=0,
        structurer=structurer,
        removed=dict(removed),
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f} %"
