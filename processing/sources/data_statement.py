"""What a data set is, in counts: for the card of whatever was trained on it. No id, no text, no name, no date."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .studies import EXPORT_INFO_NAME, INFO_NAME, load_studies, studies_fingerprint

# Makers of scanners as cards name them, by a word of the field Manufacturer; what is none of them is "other".
_MAKERS = {
    "siemens": "Siemens",
    "philips": "Philips",
    "general electric": "GE",
    "ge ": "GE",
    "ge": "GE",
    "canon": "Canon",
    "toshiba": "Canon",
    "hitachi": "Hitachi",
    "fujifilm": "Hitachi",
    "united imaging": "United Imaging",
    "uih": "United Imaging",
}
_PARQUET_COLUMNS = ["study_id", "patient_id", "split", "language", "series.list.element.sequence"]


def data_statement(
    studies: str | Path,
    findings: str | Path | None = None,
    *,
    splits: Collection[str] = ("train",),
    study_ids: Collection[str] | None = None,
    scanners: bool = False,
) -> dict[str, Any]:
    """Count what is in a studies table, and in the findings table beside it.

    Args:
        studies: Studies table, local or as Parquet.
        findings: Findings table of it.
        splits: Splits that count.
        study_ids: Studies that count, among those of the splits; None: all.
        scanners: Also read the JSON file beside one series of each study, where there is one (BIDS).

    Returns:
        JSON of counts: `studies`, `patients`, `series`; `sequences` (series by sequence), `languages` (studies by
        language), `splits`; `simulated`; `fingerprint` of the table. With findings: `with_findings` studies, of them
        `normal`, `structurers` (studies by name and version), and `fallbacks`, read by another structurer than was
        asked. With scanners: studies by maker and by field strength in tesla, where files say so.

    Raises:
        ValueError: No study counts.
    """
    counted = [
        row
        for row in _rows(Path(studies))
        if row["split"] in splits and (study_ids is None or row["study_id"] in study_ids)
    ]
    if not counted:
        raise ValueError(f"expected studies in the splits {', '.join(splits)} of {studies}, got none")
    sequences = Counter(sequence for row in counted for sequence in row["sequences"])
    statement: dict[str, Any] = {
        "studies": len(counted),
        "patients": len({row["patient_id"] for row in counted}),
        "series": sum(sequences.values()),
        "sequences": dict(sequences.most_common()),
        "languages": dict(Counter(row["language"] for row in counted).most_common()),
        "splits": dict(Counter(row["split"] for row in counted)),
        "simulated": is_simulated(Path(studies)),
        "fingerprint": studies_fingerprint(studies),
    }
    if findings is not None:
        statement |= _findings_statement(Path(findings), {row["study_id"] for row in counted})
    if scanners:
        statement |= _scanner_statement(row["file"] for row in counted)
    return statement


def is_simulated(studies: Path) -> bool:
    """Whether a studies table says that its source is simulated.

    `simulated` in the table's own description counts; where it is not said, the `dataset_description.json` of the
    BIDS folder that the table refers to.
    """
    for name in (EXPORT_INFO_NAME, INFO_NAME):
        if not (studies / name).is_file():
            continue
        info = json.loads((studies / name).read_text(encoding="utf-8"))
        if "simulated" in info:
            return bool(info["simulated"])
        for root in (studies / info.get("root", "."), Path(info.get("root_absolute", ""))):
            description = root / "dataset_description.json"
            if description.is_file():
                return _generated_by_simulator(json.loads(description.read_text(encoding="utf-8")))
    return False


def _generated_by_simulator(description: Mapping[str, Any]) -> bool:
    generators = [str(item.get("Name", "")) for item in description.get("GeneratedBy", [])]
    return any("simulat" in name.lower() for name in generators)


def _rows(studies: Path) -> Iterator[dict[str, Any]]:
    """Ids, split, language, sequences and first file of each study; volumes are not read."""
    shards = sorted((studies / "data").glob("*.parquet")) if (studies / EXPORT_INFO_NAME).is_file() else []
    tables = [pq.ParquetFile(path).read(columns=_PARQUET_COLUMNS) for path in shards]
    if not shards:
        tables = [split.data.table for split in load_studies(studies).values() if len(split)]
    for table in tables:
        columns = ["study_id", "patient_id", "split", "language", "series"]
        for row in _plain(table.select(columns)):
            series = row.pop("series")
            volume = (series[0].get("volume") or {}) if series else {}
            yield {**row, "sequences": [each["sequence"] for each in series], "file": volume.get("path")}


def _plain(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches():
        yield from batch.to_pylist()


def _findings_statement(findings: Path, study_ids: Collection[str]) -> dict[str, Any]:
    rows = [row for row in _plain(pq.read_table(findings)) if row["study_id"] in study_ids]
    read = [row for row in rows if row["valid"] and row["report"]]
    structurers = Counter(
        f"{Path(row['structurer']).name} {row.get('version') or ''}".strip() for row in read if row.get("structurer")
    )
    return {
        "with_findings": len(read),
        "normal": sum(bool(json.loads(row["report"])["normal"]) for row in read),
        "structurers": dict(structurers.most_common()),
        "fallbacks": sum(bool(row.get("fallback")) for row in read),
    }


def _scanner_statement(files: Iterator[str | None]) -> dict[str, Any]:
    """Makers and field strengths; words of the files themselves never go on."""
    makers: Counter[str] = Counter()
    strengths: Counter[str] = Counter()
    for file in files:
        if file is None:
            continue
        path = Path(file)
        about = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
        if not about.is_file():
            continue
        content = json.loads(about.read_text(encoding="utf-8"))
        maker, strength = content.get("Manufacturer"), content.get("MagneticFieldStrength")
        if isinstance(maker, str) and maker.strip():
            words = maker.strip().lower()
            makers[next((name for word, name in _MAKERS.items() if words.startswith(word)), "other")] += 1
        if isinstance(strength, int | float) and 0 < strength < 30:
            strengths[f"{strength:.1f}".removesuffix(".0")] += 1
    return {"makers": dict(makers.most_common()), "field_strengths_t": dict(strengths.most_common())}
