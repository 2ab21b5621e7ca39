"""The studies table: one row a study, with references to its NIfTI files; voxels are never copied.

Local form: `studies.arrow` (Arrow IPC stream), `studies.json` (where the files are, counts, fingerprint),
`skipped.tsv` (what was left out, and why) and `repeated_reports.tsv` (whose report repeats another's). Hub form: the
Parquet folder that `parquet.export_parquet` writes.
`load_studies` reads both; `studies_writer.write_studies` writes the local form.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from datasets import (
    Dataset,
    DatasetDict,
    DatasetInfo,
    IterableDataset,
    IterableDatasetDict,
    NamedSplit,
    load_dataset,
)

from .reports_column import valid_reports, with_reports
from .schema import StudiesInfo, StudyRow, study_features
from .splits import SPLITS

ARROW_NAME = "studies.arrow"
INFO_NAME = "studies.json"
EXPORT_INFO_NAME = "export.json"
FORMAT_VERSION = 1
HUB_PREFIX = "hf://datasets/"
FINDINGS_CONFIG = "findings"


def read_studies_info(path: str | Path) -> StudiesInfo:
    """Read `studies.json` of a local studies table.

    Raises:
        FileNotFoundError: The folder has no table, or one that was not written to its end.
        ValueError: The table was written in another format version.
    """
    info_path = Path(path) / INFO_NAME
    if not info_path.exists():
        raise FileNotFoundError(f"{path} has no {INFO_NAME}; write the table with `selip ingest`")
    content = json.loads(info_path.read_text(encoding="utf-8"))
    if content.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{info_path}: expected format_version {FORMAT_VERSION}, got {content.get('format_version')}; ingest again"
        )
    return StudiesInfo(**content)


def studies_fingerprint(path: str | Path) -> str:
    """Return the fingerprint of a studies table or of an export of it, for records of what data was used."""
    export_info = Path(path) / EXPORT_INFO_NAME
    if export_info.exists():
        return str(json.loads(export_info.read_text(encoding="utf-8"))["fingerprint"])
    return read_studies_info(path).fingerprint


def _find_root(folder: Path, info: StudiesInfo, first_file: str, root: str | Path | None) -> Path:
    """Return the folder of the files: as asked, else as it lies from the table, else where it was at writing."""
    tried = [Path(root).absolute()] if root is not None else [folder / info.root, Path(info.root_absolute)]
    for candidate in tried:
        if (candidate / first_file).is_file():  # an absolute first_file stands for itself
            return Path(os.path.normpath(candidate))
    places = " nor ".join(str(candidate) for candidate in tried)
    raise FileNotFoundError(
        f"the studies table in {folder} refers to files that are not there: {first_file} is neither under {places}; "
        f"move the files back, or say where they are: load_studies({str(folder)!r}, root=...)"
    )


def _with_absolute_paths(column: pa.ChunkedArray, root: Path) -> pa.Array:
    """Return a list<struct<..., volume>> column whose relative volume paths are joined to root."""
    lists = column.combine_chunks()
    items = lists.values
    volumes = items.field("volume")
    paths = volumes.field("path")
    joined = pc.binary_join_element_wise(pa.scalar(str(root)), paths, "/")
    is_absolute = pc.match_substring_regex(paths, r"^(/|\\\\|[A-Za-z]:[\\/])")
    volumes = pa.StructArray.from_arrays(
        [volumes.field("bytes"), pc.if_else(is_absolute, paths, joined)], fields=list(volumes.type)
    )
    fields = list(items.type)
    arrays = [volumes if item.name == "volume" else items.field(item.name) for item in fields]
    return pa.ListArray.from_arrays(lists.offsets, pa.StructArray.from_arrays(arrays, fields=fields))


def _load_local(folder: Path, root: str | Path | None) -> DatasetDict:
    """Load the Arrow form; the table (text and paths) is in memory, the volumes stay in their files."""
    info = read_studies_info(folder)
    with pa.memory_map(str(folder / ARROW_NAME)) as source:
        table = pa.ipc.open_stream(source).read_all()
    first_file = table.column("series")[0].as_py()[0]["volume"]["path"]
    found = _find_root(folder, info, first_file, root)
    for name in ("series", "masks"):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(name), _with_absolute_paths(table.column(name), found))
    parts = {}
    for name in SPLITS:
        rows = table.filter(pc.equal(table.column("split"), name))
        fingerprint = hashlib.sha256(f"{info.fingerprint}\0{found}\0{name}".encode()).hexdigest()[:16]
        parts[name] = Dataset(
            rows, info=DatasetInfo(features=study_features()), split=NamedSplit(name), fingerprint=fingerprint
        )
    return DatasetDict(parts)


def _with_all_splits(loaded: DatasetDict | IterableDatasetDict) -> dict[str, Any]:
    """Return the splits in their order; a Parquet export has no shard for a split without studies."""
    parts = {}
    for name in SPLITS:
        empty = Dataset(study_features().arrow_schema.empty_table(), split=NamedSplit(name))
        given = loaded.get(name, empty)
        parts[name] = _streamed(given) if isinstance(loaded, IterableDatasetDict) else given
    return parts


def _streamed(part: Dataset | IterableDataset) -> IterableDataset:
    """One split to iterate over; `datasets` (5.2) has no iterable form of an empty one but a generator."""
    if isinstance(part, IterableDataset):
        return part
    if not len(part):
        return IterableDataset.from_generator(_nothing, features=study_features())
    return part.to_iterable_dataset()


def _nothing() -> Iterator[dict[str, Any]]:
    yield from ()


def load_studies(
    path: str | Path,
    *,
    split: str | None = None,
    findings: str | Path | Literal[True] | None = None,
    streaming: bool = False,
    root: str | Path | None = None,
) -> DatasetDict | Dataset | IterableDatasetDict | IterableDataset:
    """Load a studies table: one line, no network unless asked.

    Args:
        path: Folder of a local studies table, folder of an `export-parquet` or `publish-dataset`, or
            `hf://datasets/OWNER/NAME` to fetch one from the Hub (the only form that uses the network).
        split: Only this split: "train", "validation" or "test".
        findings: Findings table of these studies, or True for the findings that were published with them. Adds a
            column `structured`: JSON of a `StructuredReport`, "" for a study without valid findings.
        streaming: Read study by study and never all of it: nothing is fetched or cached before it is asked for.
        root: Where the NIfTI files of a local table are now, if they were moved without the table.

    Returns:
        Datasets "train", "validation" and "test" (one may be empty), or the one asked for; iterable ones where
        streaming. `volume` cells decode lazily to nibabel images on access; `iter_studies` gives them undecoded.

    Raises:
        FileNotFoundError: No table at `path`, or its files are gone (the message says where they were looked for).
        ValueError: Another format version, no such split, `root` given for a form that embeds its volumes, or
            published findings of a table that has none.

    Example:
        >>> studies = load_studies("hf://datasets/OWNER/NAME", split="test", streaming=True)
        >>> image = next(iter(studies))["series"][0]["volume"].nifti_image
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
    parts = _load_parts(path, root, streaming=streaming)
    if findings is not None:
        reports = _published_findings(path) if findings is True else valid_reports(findings)
        parts = {name: with_reports(part, reports) for name, part in parts.items()}
    if split is not None:
        return parts[split]
    return (IterableDatasetDict if streaming else DatasetDict)(parts)


def _load_parts(path: str | Path, root: str | Path | None, *, streaming: bool) -> dict[str, Any]:
    """All splits by name, in their order."""
    if str(path).startswith(HUB_PREFIX):
        if root is not None:
            raise ValueError("root: a table on the Hub embeds its volumes; leave root out")
        return _with_all_splits(load_dataset(str(path).removeprefix(HUB_PREFIX), streaming=streaming))
    folder = Path(path).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder; write a table with `selip ingest`, or write {HUB_PREFIX}OWNER/NAME for the Hub"
        )
    if (folder / EXPORT_INFO_NAME).exists():
        if root is not None:
            raise ValueError(f"root: the export in {folder} embeds its volumes; leave root out")
        # Files are named one by one: then the cache of `datasets` (5.2) goes by path and time. For a bare local folder
        # it goes by the last name and the README.
        files = {name: sorted(str(path) for path in folder.glob(f"data/{name}-*.parquet")) for name in SPLITS}
        named = {name: paths for name, paths in files.items() if paths}
        return _with_all_splits(load_dataset("parquet", data_files=named, streaming=streaming))
    local = _load_local(folder, root)
    return {name: _streamed(part) for name, part in local.items()} if streaming else dict(local)


def _published_findings(path: str | Path) -> dict[str, str]:
    """Reports of the configuration `findings` of a published table, by study id."""
    if str(path).startswith(HUB_PREFIX):
        parts = load_dataset(str(path).removeprefix(HUB_PREFIX), FINDINGS_CONFIG)
        return {row["study_id"]: row["report"] for part in parts.values() for row in part if row["valid"]}
    found: dict[str, str] = {}
    for file in sorted((Path(path) / FINDINGS_CONFIG).glob("*.parquet")):
        found |= valid_reports(file)
    if not found:
        raise ValueError(f"findings: no findings were published in {path}; give the file of a findings table")
    return found


def iter_studies(studies: str | Path | Dataset | DatasetDict, split: str | None = None) -> Iterator[StudyRow]:
    """Yield studies as plain dicts with undecoded volume cells {"path", "bytes"}: no NIfTI file is opened.

    Args:
        studies: A path as `load_studies` takes it, its result, or one split of it.
        split: Only this split; None = all, in the order train, validation, test.

    Raises:
        ValueError: `split` is not a split, or `studies` is one split already.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
    if isinstance(studies, str | Path):
        studies = load_studies(studies)
    if isinstance(studies, Dataset):
        if split is not None:
            raise ValueError("split: the dataset given is one split already; leave split out")
        parts = [studies]
    else:
        parts = [studies[name] for name in SPLITS if split in (None, name)]
    for part in parts:
        # One row at a time: with embedded volumes a row can be 100 MB.
        for table in part.with_format("arrow").iter(batch_size=1):
            yield from table.to_pylist()
