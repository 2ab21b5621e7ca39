"""Tables beside a conversion: reports and decisions that a user brings, and what leads back to patients."""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selip.processing.atomic_files import replacing
from selip.processing.row_files import read_rows
from selip.processing.sources.bids_layout import FILE_NAMES

NAMES = "series_names.tsv"


def read_reports(path: Path) -> dict[str, list[str]]:
    """Texts of reports by accession number or StudyInstanceUID.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A row lacks the text or both ids.
    """
    reports: dict[str, list[str]] = defaultdict(list)
    for place, row in read_rows(path):
        ids = [str(row.get(name) or "").strip() for name in ("study_uid", "accession_number")]
        if "text" not in row or not any(ids):
            raise ValueError(
                f"{place}: expected the column text and a value of study_uid or accession_number, got the columns "
                f"{', '.join(row)}"
            )
        reports[next(each for each in ids if each)].append(str(row["text"] or ""))
    return dict(reports)


def read_decided(path: Path) -> dict[str, str]:
    """What somebody has decided of series, by their description in lower case: a sequence, or `-` to leave out.

    Raises:
        ValueError: A decision is no sequence.
    """
    if not path.is_file():
        return {}
    decided = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file, delimiter="\t"), start=2):
            value = (row.get("decided") or "").strip()
            if value and value != "-" and value not in FILE_NAMES:
                raise ValueError(
                    f"{path}, line {number}: expected one of {', '.join(FILE_NAMES)} or - in the column decided, got "
                    f"{value!r}"
                )
            if value:
                decided[(row.get("description") or "").strip().lower()] = value
    return decided


def write_names(path: Path, records: Iterable[Mapping[str, Any]], decided: Mapping[str, str]) -> None:
    """Write how series are called, how often each was named what, and what was decided of it."""
    told: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for row in record["series"]:
            told[row["description"]][row["sequence"] or row["reason"]] += 1
    waiting = set(decided) - {text.lower() for text in told}  # decided before such a series came
    rows = [
        (text, counted(told[text].most_common()), decided.get(text.lower(), ""))
        for text in sorted({*told, *waiting} - {""})
    ]
    write_table(path, ("description", "named", "decided"), rows)


def counted(counts: Iterable[tuple[str, int]]) -> str:
    """Names with their counts, in words."""
    return ", ".join(f"{name} {count}" for name, count in counts)


def write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write tab-separated values, atomically."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
