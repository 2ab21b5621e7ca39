"""`selip index`: embeddings with their findings and files, in the form in which they are searched.

A folder of four files: `vectors.safetensors` (n, E); `rows.arrow`, what each row is; `studies.arrow`, the findings of
each study; `index.json`, written last, so where it is the others are whole. With FAISS also `series.faiss` and
`study.faiss`.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from selip.processing.atomic_files import replacing, write_json
from selip.processing.findings import StructuredReport, read_report
from selip.processing.findings_table import load_findings
from selip.processing.sources.studies import iter_studies, studies_fingerprint

from .config import IndexConfig
from .embeddings_file import Embeddings, read_embeddings
from .ranking import nearest_in_graph, nearest_rows, require_faiss, write_graph

FORMAT_VERSION = 1
INFO_NAME = "index.json"
LEVELS = ("series", "study")
_VECTORS, _ROWS, _STUDIES = "vectors.safetensors", "rows.arrow", "studies.arrow"


@dataclass(frozen=True)
class IndexSummary:
    """What is in an index; as text, the lines for the end of a run."""

    out: Path
    series: int
    studies: int
    with_findings: int
    with_volume: int
    faiss: bool

    def __str__(self) -> str:
        kind = "exact search and FAISS graphs" if self.faiss else "exact search"
        return (
            f"{self.series} series and {self.studies} studies, {kind}: {self.out}\n"
            f"findings known of {self.with_findings} studies, volumes of {self.with_volume} series"
        )


def index_embeddings(config: IndexConfig) -> IndexSummary:
    """Make an index of a file of embeddings.

    Raises:
        FileExistsError: `out` has an index and `overwrite` is False.
        FileNotFoundError: Embeddings, studies or findings are not there.
        ModuleNotFoundError: FAISS is asked for and not installed.
        ValueError: The studies table is another one than was embedded, or none of the studies is in it or in the
            findings.
    """
    info_path = config.out / INFO_NAME
    if info_path.exists() and not config.overwrite:
        raise FileExistsError(f"{config.out} already has an index; choose another folder, or say --overwrite")
    if config.faiss:
        require_faiss()
    embeddings = read_embeddings(config.embeddings)
    volumes, reports = _joined(config, embeddings)
    config.out.mkdir(parents=True, exist_ok=True)
    info_path.unlink(missing_ok=True)
    levels = np.array(embeddings.rows["level"].to_pylist(), dtype=object)
    for level in LEVELS:
        graph = config.out / f"{level}.faiss"
        graph.unlink(missing_ok=True)
        if config.faiss:
            with replacing(graph) as partial:
                write_graph(embeddings.vectors[levels == level], partial)
    with replacing(config.out / _VECTORS) as partial:
        save_file({"embeddings": embeddings.vectors}, partial)
    keys = zip(embeddings.rows["study_id"].to_pylist(), embeddings.rows["series_id"].to_pylist(), strict=True)
    rows = embeddings.rows.append_column("volume", pa.array([volumes.get(key) for key in keys], pa.string()))
    _write(rows, config.out / _ROWS)
    stored = {study_id: _without_words(report) for study_id, report in reports.items()}
    _write(
        pa.table({"study_id": pa.array(stored, pa.string()), "report": pa.array(stored.values(), pa.string())}),
        config.out / _STUDIES,
    )
    counts = Counter(levels.tolist())
    summary = IndexSummary(
        out=config.out,
        series=counts["series"],
        studies=counts["study"],
        with_findings=len(stored),
        with_volume=rows.num_rows - rows["volume"].null_count,
        faiss=config.faiss,
    )
    origin = {name: embeddings.info[name] for name in ("checkpoint", "processor", "settings", "source", "simulated")}
    n = {name: getattr(summary, name) for name in ("series", "studies", "with_findings", "with_volume")}
    write_json(info_path, {"format_version": FORMAT_VERSION, **origin, "n": n, "faiss": config.faiss})
    return summary


def _joined(
    config: IndexConfig, embeddings: Embeddings
) -> tuple[dict[tuple[str, str], str], dict[str, StructuredReport]]:
    """Paths of volumes by study and series id, and findings by study id, of what was embedded."""
    embedded = set(embeddings.rows["study_id"].to_pylist())
    volumes: dict[tuple[str, str], str] = {}
    reports: dict[str, StructuredReport] = {}
    if config.studies is not None:
        source = embeddings.info["source"]
        if source["kind"] == "table" and source["fingerprint"] != studies_fingerprint(config.studies):
            raise ValueError(
                f"expected the studies table that was embedded, but {config.studies} is another one; embed it, or "
                "name the other"
            )
        known = 0
        for row in iter_studies(config.studies):
            if row["study_id"] not in embedded:
                continue
            known += 1
            for item in row["series"]:
                if item["volume"]["bytes"] is None:  # an export has its volumes inside, no file to refer to
                    volumes[row["study_id"], item["series_id"]] = item["volume"]["path"]
            if row["reference_findings"]:
                reports[row["study_id"]] = read_report(row["reference_findings"])
        if not known:
            raise ValueError(f"expected studies of {config.embeddings} in {config.studies}, got none of them")
    if config.findings is not None:
        found = load_findings(config.findings)
        reports = {study_id: report for study_id, report in found.items() if study_id in embedded}
        if not reports:
            raise ValueError(f"expected findings of studies of {config.embeddings} in {config.findings}, got none")
    return volumes, reports


def _without_words(report: StructuredReport) -> str:
    """JSON of a report without the words of the written one: an index is shown to people who search."""
    findings = [finding.model_copy(update={"quote": ""}) for finding in report.findings]
    return report.model_copy(update={"findings": findings, "impression": []}).model_dump_json()


def _write(table: pa.Table, path: Path) -> None:
    with replacing(path) as partial, pa.ipc.new_file(str(partial), table.schema) as file:
        file.write_table(table)


@dataclass(frozen=True)
class SearchIndex:
    """An index in memory.

    Attributes:
        folder: Where it is.
        info: Contents of `index.json`.
        vectors: (n, E) float32 of unit length.
        rows: level, study_id, patient_id, series_id, sequence, volume of each.
        stored_reports: JSON of the structured report by study id, where it is known.
    """

    folder: Path
    info: Mapping[str, Any]
    vectors: npt.NDArray[np.float32]
    rows: pa.Table
    stored_reports: Mapping[str, str]

    @classmethod
    def open(cls, folder: Path) -> "SearchIndex":
        """Read an index.

        Raises:
            FileNotFoundError: There is none, or one of its files is missing.
            ValueError: It is of another format version, or a file is damaged.
        """
        if not (folder / INFO_NAME).is_file():
            raise FileNotFoundError(f"expected an index in {folder}, found none; make one with `selip index`")
        info = json.loads((folder / INFO_NAME).read_text(encoding="utf-8"))
        if info.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{folder / INFO_NAME}: expected format_version {FORMAT_VERSION}, got {info.get('format_version')}; "
                "make the index again"
            )
        try:
            vectors = load_file(folder / _VECTORS)["embeddings"]
            rows, studies = (_read(folder / name) for name in (_ROWS, _STUDIES))
        except (SafetensorError, pa.ArrowInvalid, KeyError) as error:
            raise ValueError(
                f"expected a whole index in {folder}, but a file is damaged; make it again: selip index --overwrite"
            ) from error
        if len(vectors) != rows.num_rows:
            raise ValueError(f"expected {rows.num_rows} vectors in {folder}, got {len(vectors)}; make the index again")
        reports = dict(zip(studies["study_id"].to_pylist(), studies["report"].to_pylist(), strict=True))
        return cls(folder, info, vectors, rows, reports)

    @cached_property
    def columns(self) -> dict[str, npt.NDArray[np.object_]]:
        """The rows by column."""
        return {name: np.array(self.rows[name].to_pylist(), dtype=object) for name in self.rows.column_names}

    @cached_property
    def reports(self) -> dict[str, StructuredReport]:
        """Findings by study id, where they are known."""
        return {study_id: read_report(report) for study_id, report in self.stored_reports.items()}

    def report(self, study_id: str) -> StructuredReport | None:
        """Findings of one study; None where they are not known."""
        stored = self.stored_reports.get(study_id)
        return None if stored is None else read_report(stored)

    def nearest(
        self,
        query: npt.NDArray[np.float32],
        level: str,
        allowed: npt.NDArray[np.bool_],
        left_out: npt.NDArray[np.bool_],
        top: int,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The rows of a level that are nearest to a query.

        Args:
            query: (E,) unit length.
            level: series or study.
            allowed: bool (n,), the rows that may be found. Where these are not all of the level, search is exact.
            left_out: bool (n,), rows that are not found: those of the query itself.
            top: Most rows.

        Returns:
            Row numbers and cosines, best first.
        """
        of_level = self.columns["level"] == level
        if self.info["faiss"] and allowed[of_level].all():
            path = self.folder / f"{level}.faiss"
            places, scores = nearest_in_graph(path, query, top + int((left_out & of_level).sum()))
            rows = np.flatnonzero(of_level)[places]
            kept = ~left_out[rows]
            return rows[kept][:top], scores[kept][:top]
        return nearest_rows(self.vectors, query, np.flatnonzero(of_level & allowed & ~left_out), top)


def _read(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()
