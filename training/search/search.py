"""`selip search`: an index and a query in, the nearest series or studies out."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers.utils.logging import disable_progress_bar

from selip.processing.findings import StructuredReport
from selip.processing.rendering import study_text
from selip.processing.sequences_selip import SEQUENCE_NAMES, sequence_id
from selip.processing.sources.nifti_study import study_of_file

from ..configuration import nearest
from ..evaluate import load_checkpoint
from ..evaluation.embedding import CheckpointEmbedder, Embedder
from ..evaluation.provenance import checkpoint_fingerprint
from .config import SearchConfig
from .embeddings_file import study_embedding
from .filters import FindingFilter, filtered_studies
from .index import SearchIndex
from .sources import source_of_study

logger = logging.getLogger(__name__)

_TABLE_TEXT = 60


@dataclass(frozen=True)
class ShownSeries:
    """A series and its file, for pictures."""

    series_id: str
    sequence: str
    volume: str


@dataclass(frozen=True)
class Hit:
    """One result.

    Attributes:
        rank: From 1.
        cosine: Of query and row.
        study_id: The study.
        patient_id: None where unknown.
        series_id: None for a study.
        sequence: Of the series; of a study all its sequences, comma between.
        findings: Text of the study's findings; "" where they are not known.
        series: The series, or those of the study, whose files are known.
    """

    rank: int
    cosine: float
    study_id: str
    patient_id: str | None
    series_id: str | None
    sequence: str
    findings: str
    series: list[ShownSeries]


@dataclass(frozen=True)
class SearchResult:
    """What a search found; as text, a table.

    Attributes:
        query: `kind` (text, study or image), `value`, `sequence`.
        level: series or study.
        filter: The filter on findings in words, "" for none.
        candidates: Number of rows that were searched.
        simulated: Whether the studies are simulated.
        checkpoint: Name and fingerprint of what embedded them.
        hits: Best first.
        query_series: What the query shows, as far as its files are known.
    """

    query: dict[str, str | None]
    level: str
    filter: str
    candidates: int
    simulated: bool
    checkpoint: dict[str, str]
    hits: list[Hit]
    query_series: list[ShownSeries]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return asdict(self)

    def __str__(self) -> str:
        kind = ", simulated studies" if self.simulated else ""
        among = f"{self.candidates} {'series' if self.level == 'series' else 'studies'}"
        lines = [f"{self.title}, among {among}{kind}" + (f"; {self.filter}" if self.filter else "")]
        rows = [("rank", "cosine", "study", "sequence" if self.level == "series" else "sequences", "findings")]
        rows += [
            (str(hit.rank), f"{hit.cosine:.3f}", hit.study_id, hit.sequence, _short(hit.findings)) for hit in self.hits
        ]
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        return "\n".join(lines)

    @property
    def title(self) -> str:
        """The query in words."""
        of = f", {self.query['sequence']}" if self.query["sequence"] else ""
        return f"{self.query['kind']} {self.query['value']!r}{of}"


def search(config: SearchConfig, open_embedder: Callable[[], tuple[Embedder, Any]] | None = None) -> SearchResult:
    """Find the rows of an index that are nearest to a query.

    Args:
        config: The request.
        open_embedder: Gives what embeds texts and images, and its image processor; None: the checkpoint of the index.

    Raises:
        FileNotFoundError: Index, checkpoint or image are not there.
        ValueError: The checkpoint is another one than that of the index; study, sequence or a term of the filter is
            unknown; nothing matches the filter.
    """
    condition = _filter_of(config)
    if config.sequence is not None:
        sequence_id(config.sequence)  # raises with the allowed names
    index = SearchIndex.open(config.index)
    allowed = _allowed_rows(config, index, condition)
    left_out = _own_rows(config, index)
    level = config.searched_level
    candidates = int((allowed & ~left_out & (index.columns["level"] == level)).sum())
    if not candidates:
        raise ValueError(
            f"expected {level} rows to search in {config.index}, got none but those of the query and what its filters "
            "leave out; leave out a condition"
        )
    query, query_series = _query_vector(
        config, index, open_embedder or (lambda: embedder_of(index, config.checkpoint))
    )
    rows, cosines = index.nearest(query, level, allowed, left_out, config.top)
    return SearchResult(
        query=_described(config),
        level=level,
        filter=str(condition) if condition.is_active else "",
        candidates=candidates,
        simulated=bool(index.info["simulated"]),
        checkpoint={name: index.info["checkpoint"][name] for name in ("name", "sha256")},
        hits=[
            _hit(index, rank, int(row), float(cosine))
            for rank, (row, cosine) in enumerate(zip(rows, cosines, strict=True), start=1)
        ],
        query_series=query_series,
    )


def embedder_of(index: SearchIndex, folder: Path | None) -> tuple[Embedder, Any]:
    """The checkpoint that made an index, and its image processor.

    Args:
        index: The index.
        folder: Of the checkpoint; None: where it was when the embeddings were made.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is another checkpoint, or its processor has other settings.
    """
    made_by = index.info["checkpoint"]
    path = Path(made_by["folder"]) if folder is None else folder
    if not path.is_dir():
        raise FileNotFoundError(
            f"expected the checkpoint of the index ({made_by['name']}) at {path}, found none; say where it is: "
            "--checkpoint FOLDER"
        )
    disable_progress_bar()  # Transformers draws one for reading the weights, which takes no time
    model, processor = load_checkpoint(path)
    found = checkpoint_fingerprint(path)
    if found != made_by["sha256"]:
        raise ValueError(
            f"expected the checkpoint that the index was made with ({made_by['name']}, sha256 "
            f"{made_by['sha256'][:12]}), got another one in {path} (sha256 {found[:12]}); name the right one, or "
            "embed and index again with this one"
        )
    settings = processor.image_processor.settings()
    differing = [name for name, value in index.info["processor"].items() if settings.get(name) != value]
    if differing:
        raise ValueError(
            f"expected the processor that the index was made with, but that in {path} differs in "
            f"{', '.join(differing)}; embed and index again with this one"
        )
    return CheckpointEmbedder(model, processor, batch_size=16), processor.image_processor


def _filter_of(config: SearchConfig) -> FindingFilter:
    return FindingFilter(**{item.name: getattr(config, item.name) for item in fields(FindingFilter)})


def _own_rows(config: SearchConfig, index: SearchIndex) -> npt.NDArray[np.bool_]:
    """bool (n,), the rows of the study that is the query, which would be nearest to itself."""
    if config.study is not None:
        _check_study(config.study, index)
    return np.asarray(index.columns["study_id"] == config.study, dtype=bool)


def _allowed_rows(config: SearchConfig, index: SearchIndex, condition: FindingFilter) -> npt.NDArray[np.bool_]:
    """bool (n,), the rows that the filters leave."""
    columns = index.columns
    allowed = np.ones(len(index.vectors), dtype=bool)
    if condition.is_active:
        if not index.stored_reports:
            raise ValueError(
                f"expected findings in the index for the filter ({condition}), got none; make it again with "
                "--findings or --studies"
            )
        matching = filtered_studies(index.reports, condition)
        allowed &= np.array([study_id in matching for study_id in columns["study_id"]], dtype=bool)
    if config.sequence is not None and config.searched_level == "series":
        of_sequence = columns["sequence"] == config.sequence
        if not of_sequence.any():
            known = sorted(set(columns["sequence"]) - {None}, key=SEQUENCE_NAMES.index)
            raise ValueError(f"expected a sequence of the index ({', '.join(known)}), got {config.sequence!r}")
        allowed &= of_sequence
    return allowed


def _check_study(study_id: str, index: SearchIndex) -> None:
    known = index.columns["study_id"]
    if study_id not in known:
        named = sorted(set(known))
        shown = nearest(study_id, named) if len(named) <= 20 else nearest(study_id, named).partition(" (allowed")[0]
        raise ValueError(f"expected a study of the index, got {study_id!r}{shown}")


def _query_vector(
    config: SearchConfig, index: SearchIndex, open_embedder: Callable[[], tuple[Embedder, Any]]
) -> tuple[npt.NDArray[np.float32], list[ShownSeries]]:
    """(E,) of the query, and the files that show it."""
    if config.study is not None:
        return _study_vector(index, config.study, config.sequence)
    embedder, image_processor = open_embedder()
    if config.text is not None:
        return embedder.embed_texts([config.text])[0], []
    assert config.image is not None, "SearchConfig holds one query"
    row = study_of_file(config.image, config.sequence)
    if row["series"][0]["sequence"] == SEQUENCE_NAMES[0]:
        logger.warning("the name of %s does not tell its sequence; say it: --sequence FLAIR or so", config.image.name)
    source = source_of_study("file", row, image_processor)
    names = source.studies[0].series
    embeds = embedder.embed_series(source.series, names).embeds
    return embeds[0], [ShownSeries(names[0].series_id, names[0].sequence, str(config.image.absolute()))]


def _study_vector(
    index: SearchIndex, study_id: str, sequence: str | None
) -> tuple[npt.NDArray[np.float32], list[ShownSeries]]:
    """The row of a study, or the mean of its series of one sequence."""
    columns = index.columns
    own = columns["study_id"] == study_id
    if sequence is None:
        row = int(np.flatnonzero(own & (columns["level"] == "study"))[0])
        return index.vectors[row], _shown(index, own)
    of_sequence = own & (columns["sequence"] == sequence)
    if not of_sequence.any():
        has = ", ".join(sorted(set(columns["sequence"][own]) - {None}, key=SEQUENCE_NAMES.index))
        raise ValueError(f"expected a sequence of study {study_id} ({has}), got {sequence!r}")
    return study_embedding(index.vectors[of_sequence]), _shown(index, of_sequence)


def _shown(index: SearchIndex, rows: npt.NDArray[np.bool_]) -> list[ShownSeries]:
    """The series among some rows whose files are known."""
    columns = index.columns
    return [
        ShownSeries(columns["series_id"][row], columns["sequence"][row], columns["volume"][row])
        for row in np.flatnonzero(rows)
        if columns["volume"][row] is not None
    ]


def _hit(index: SearchIndex, rank: int, row: int, cosine: float) -> Hit:
    columns = index.columns
    study_id, series_id = columns["study_id"][row], columns["series_id"][row]
    own = columns["study_id"] == study_id
    if series_id is None:
        sequences = ", ".join(dict.fromkeys(name for name in columns["sequence"][own] if name is not None))
    else:
        sequences, own = columns["sequence"][row], own & (columns["series_id"] == series_id)
    return Hit(
        rank=rank,
        cosine=round(cosine, 6),
        study_id=study_id,
        patient_id=columns["patient_id"][row],
        series_id=series_id,
        sequence=sequences,
        findings=_findings_text(index.report(study_id)),
        series=_shown(index, own),
    )


def _findings_text(report: StructuredReport | None) -> str:
    """Findings as one English text, rendered from the structured ones; "" where they are not known."""
    if report is None:
        return ""
    if report.normal:
        return "Normal."
    text = study_text(report, "en")
    return "No finding is present." if text is None else text.text


def _described(config: SearchConfig) -> dict[str, str | None]:
    kind = next(name for name in ("text", "study", "image") if getattr(config, name) is not None)
    value = config.image.name if config.image is not None else getattr(config, kind)
    return {"kind": kind, "value": str(value), "sequence": config.sequence}


def _short(text: str) -> str:
    return text if len(text) <= _TABLE_TEXT else text[: _TABLE_TEXT - 3] + "..."
