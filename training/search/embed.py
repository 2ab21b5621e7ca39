"""`selip embed`: a file, a study or a studies table in, a Parquet file of embeddings out.

    selip embed runs/tiny/best data/studies embeddings.parquet --volumes data/volumes

A table is embedded in chunks of studies, each kept beside the output until all are there. The chunks do not depend on
where a run was interrupted, so one that was goes on and ends with the same bytes.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers.utils.logging import disable_progress_bar

from selip.processing.atomic_files import replacing

from ..evaluate import load_checkpoint
from ..evaluation.embedding import embed_batches, image_features
from ..evaluation.provenance import checkpoint_fingerprint
from ..evaluation.series_source import BoxedSeries, SeriesSource
from ..parts import make_parts, parts_folder, read_part
from .config import EmbedConfig
from .embeddings_file import FORMAT_VERSION, METADATA_KEY, embeddings_schema, rows_table, study_embedding
from .sources import EmbedSource, RecordingSource, SourceStudy, open_source

# Studies of a chunk: what a killed run loses at most. Batches end with it, so another number gives other last bits.
CHUNK_STUDIES = 64

Embed = Callable[[Sequence[BoxedSeries]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class EmbedSummary:
    """What was embedded; as text, the lines for the end of a run."""

    out: Path
    series: int
    studies: int
    width: int
    quarantined: dict[str, int]
    without_series: int
    unknown_sequence: int

    def __str__(self) -> str:
        lines = [f"{self.series} series of {self.studies} studies, {self.width} numbers each: {self.out}"]
        if self.quarantined:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.quarantined.items())
            lines.append(f"quarantined {sum(self.quarantined.values())} series: {reasons} (listed in its metadata)")
        if self.without_series:
            lines.append(f"{self.without_series} studies have no usable series and no row")
        if self.unknown_sequence:
            lines.append(f"{self.unknown_sequence} series are of unknown sequence: their names do not tell it")
        return "\n".join(lines)


def embed(config: EmbedConfig) -> EmbedSummary:
    """Embed every series of a source, and of every study the mean of its series.

    Raises:
        FileExistsError: `out` is there and `overwrite` is False.
        FileNotFoundError: Checkpoint or source are not there.
        ValueError: The source cannot be used, not one series of it can be read, or there is an unfinished run of other
            settings.
    """
    if config.out.exists() and not config.overwrite:
        raise FileExistsError(f"{config.out} exists; choose another name, or say --overwrite")
    disable_progress_bar()  # Transformers draws one for reading the weights, which takes no time
    model, processor = load_checkpoint(config.checkpoint)
    source = open_source(config, processor.image_processor)
    info = {
        "format_version": FORMAT_VERSION,
        "checkpoint": {
            "name": config.checkpoint.resolve().name,
            "sha256": checkpoint_fingerprint(config.checkpoint),
            "folder": str(config.checkpoint.resolve()),
        },
        "processor": processor.image_processor.settings(),
        "settings": {
            "batch_size": config.batch_size,
            "chunk_studies": CHUNK_STUDIES,
            "device": model.device.type,
            "volumes": source.volumes,
            "split": config.split,
            "study": "mean of the series embeddings, scaled to unit length",
        },
        "source": {"kind": source.kind, "fingerprint": source.fingerprint},
        "simulated": source.simulated,
    }
    return embed_source(partial(image_features, model), source, info, config)


def embed_source(embed: Embed, source: EmbedSource, info: dict[str, Any], config: EmbedConfig) -> EmbedSummary:
    """Embed a source by any function of boxed series, and write the file.

    Args:
        embed: (n, E) embeddings of unit length of n series.
        source: What is embedded.
        info: What the embeddings come from, for the metadata; a run is gone on with only if it is the same.
        config: Where to write, and how many series at once.
    """
    files = make_parts(
        config.out,
        info,
        source.studies,
        lambda studies: _embed_chunk(embed, source.series, studies, config.batch_size),
        chunk_studies=CHUNK_STUDIES,
        name="embed",
        overwrite=config.overwrite,
    )
    try:
        return _join(files, source, info, config.out)
    finally:
        # also where no series was usable: the next run shall read the files again
        shutil.rmtree(parts_folder(config.out))


@torch.inference_mode()
def _embed_chunk(
    embed: Embed, source: SeriesSource, studies: Sequence[SourceStudy], batch_size: int
) -> tuple[pa.Table | None, list[dict[str, str]]]:
    """Rows of some studies, those of series before that of their study (None: not one series), and the quarantined."""
    names = [series for study in studies for series in study.series]
    recording = RecordingSource(source)
    found: dict[tuple[str, str], npt.NDArray[np.float32]] = {}
    batches = embed_batches(embed, recording, names, batch_size=batch_size, reasons=Counter(), progress=False)
    for places, vectors in batches:
        found.update(
            ((names[place].study_id, names[place].series_id), vector)
            for place, vector in zip(places, vectors, strict=True)
        )
    rows, kept = [], []
    for study in studies:
        series = [each for each in study.series if (each.study_id, each.series_id) in found]
        if not series:
            continue
        of_series = np.stack([found[each.study_id, each.series_id] for each in series])
        about = {"study_id": study.study_id, "patient_id": study.patient_id}
        rows += [
            {"level": "series", **about, "series_id": each.series_id, "sequence": each.sequence} for each in series
        ]
        rows.append({"level": "study", **about, "series_id": None, "sequence": None})
        kept += [of_series, study_embedding(of_series)[None]]
    return (rows_table(rows, np.concatenate(kept)) if rows else None), recording.quarantined


def _join(files: Sequence[Path], source: EmbedSource, info: dict[str, Any], out: Path) -> EmbedSummary:
    """Write the file from its chunks, one row group each."""
    counts: Counter[str] = Counter()
    quarantined = list(source.quarantined)
    width = 0
    for table, bad in map(read_part, files):
        quarantined += bad
        if table.num_rows:
            counts.update(table["level"].to_pylist())
            counts.update(f"sequence {name}" for name in table["sequence"].to_pylist())
            width = table.schema.field("embedding").type.list_size
    reasons = dict(Counter(item["reason"] for item in quarantined).most_common())
    if not width:
        raise ValueError(f"expected at least one usable series, got none ({reasons})")
    info = info | {
        "n": {"series": counts["series"], "studies": counts["study"]},
        "quarantined": quarantined,
        "quarantined_by_reason": reasons,
    }
    schema = embeddings_schema(width).with_metadata({METADATA_KEY: json.dumps(info, ensure_ascii=False).encode()})
    with replacing(out) as partial_out, pq.ParquetWriter(partial_out, schema) as writer:
        for table in _tables(files):
            writer.write_table(table.replace_schema_metadata(schema.metadata))
    return EmbedSummary(
        out=out,
        series=counts["series"],
        studies=counts["study"],
        width=width,
        quarantined=reasons,
        without_series=len(source.studies) - counts["study"],
        unknown_sequence=counts["sequence unknown"],
    )


def _tables(files: Sequence[Path]) -> Iterator[pa.Table]:
    return (table for table, _ in map(read_part, files) if table.num_rows)
