"""`selip predict`: a file, a study or a studies table in, a score for each study and label out.

    selip predict runs/tiny/best data/studies scores.parquet --protocol simulated-simple --calibrate-on validation.json

A score is called a probability only after a calibration on validation studies. A table is scored in chunks of studies,
each kept beside the output until all are there, as by `selip embed`.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from transformers.utils.logging import disable_progress_bar

from ..evaluation.provenance import checkpoint_fingerprint, environment
from ..evaluation.series_source import BoxedSeries
from ..parts import Quarantined, make_parts, parts_folder, read_part
from ..search.sources import EmbedSource, RecordingSource, SourceStudy, open_source
from .calibration import Calibration, probability_of, read_calibration
from .config import PredictConfig
from .predictions_file import DISCLAIMER, FORMAT_VERSION, predictions_schema, write_predictions
from .scoring import LoadedScorer, checkpoint_folder_name, load_scorer

# Studies of a chunk: what a killed run loses at most.
CHUNK_STUDIES = 64


@dataclass(frozen=True)
class PredictSummary:
    """What was scored; as text, the lines for the end of a run.

    Attributes:
        out: The file.
        studies: Number of studies with scores.
        labels: Number of labels.
        calibrated: Number of labels that have probabilities.
        without: Number of scores without a probability, by why.
        quarantined: Number of series that could not be read, by reason.
        without_series: Number of studies without any usable series.
        simulated: Whether the studies are known to be simulated.
        calibrated_on: What the probabilities were fitted on, in words; empty: nothing.
    """

    out: Path
    studies: int
    labels: int
    calibrated: int
    without: dict[str, int]
    quarantined: dict[str, int]
    without_series: int
    simulated: bool
    calibrated_on: str

    def __str__(self) -> str:
        kind = "simulated studies" if self.simulated else "studies"
        lines = [f"{self.studies} {kind}, {self.labels} labels: {self.out}"]
        if self.calibrated_on:
            lines.append(
                f"probabilities for {self.calibrated} of {self.labels} labels, fitted on {self.calibrated_on}"
            )
            lines += [f"{count} scores without a probability: {why}" for why, count in self.without.items()]
        else:
            lines.append("scores only, which are no probabilities: give a validation result with --calibrate-on")
        if self.quarantined:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.quarantined.items())
            lines.append(f"quarantined {sum(self.quarantined.values())} series: {reasons} (listed in the metadata)")
        if self.without_series:
            lines.append(f"{self.without_series} studies have no usable series and no row")
        lines.append(DISCLAIMER)
        return "\n".join(lines)


def predict(config: PredictConfig) -> PredictSummary:
    """Score every study of a source for every label.

    Raises:
        FileExistsError: `out` is there and `overwrite` is False.
        FileNotFoundError: Checkpoint, source, protocol or calibration are not there.
        ValueError: The source, the checkpoint, the protocol or the calibration cannot be used, not one study has a
            usable series, or there is an unfinished run of other settings.
    """
    if config.out.exists() and not config.overwrite:
        raise FileExistsError(f"{config.out} exists; choose another name, or say --overwrite")
    disable_progress_bar()  # Transformers draws one for reading the weights, which takes no time
    scorer = load_scorer(config)
    sha256 = checkpoint_fingerprint(config.checkpoint)
    calibration = None
    if config.calibrate_on is not None:
        calibration = read_calibration(
            config.calibrate_on,
            task=scorer.task,
            checkpoint_sha256=sha256,
            labels=scorer.labels,
            settings=scorer.shared_settings,
        )
    source = open_source(config, scorer.image_processor)
    info = {
        "format_version": FORMAT_VERSION,
        "disclaimer": DISCLAIMER,
        "task": scorer.task,
        "labels": list(scorer.labels),
        "checkpoint": {"name": checkpoint_folder_name(config.checkpoint), "sha256": sha256},
        "sequences_of_checkpoint": list(scorer.sequences),
        "settings": {
            **scorer.settings,
            "batch_size": config.batch_size,
            "chunk_studies": CHUNK_STUDIES,
            "device": scorer.device,
            "volumes": source.volumes,
            "split": config.split,
        },
        "calibration": None if calibration is None else calibration.info,
        "source": {"kind": source.kind, "fingerprint": source.fingerprint},
        "simulated": source.simulated,
        "environment": {name: value for name, value in environment().items() if name != "date"},
    }
    return _predict_source(scorer, calibration, source, info, config)


def _predict_source(
    scorer: LoadedScorer,
    calibration: Calibration | None,
    source: EmbedSource,
    info: dict[str, Any],
    config: PredictConfig,
) -> PredictSummary:
    fitted_on: frozenset[str] = frozenset()
    if calibration is not None and calibration.studies_fingerprint == source.fingerprint:
        fitted_on = calibration.study_ids

    def score(studies: Sequence[SourceStudy]) -> tuple[pa.Table | None, Quarantined]:
        recording = RecordingSource(source.series)
        rows: list[dict[str, Any]] = []
        for some in _groups(recording, studies, config.batch_size):
            rows += _rows(scorer, calibration, some, fitted_on, info)
        return pa.Table.from_pylist(rows, predictions_schema()) if rows else None, recording.quarantined

    files = make_parts(
        config.out,
        info,
        source.studies,
        score,
        chunk_studies=CHUNK_STUDIES,
        name="predict",
        overwrite=config.overwrite,
    )
    try:
        return _join(files, source, info, config, calibration)
    finally:
        # also where no series was usable: the next run shall read the files again
        shutil.rmtree(parts_folder(config.out))


@dataclass(frozen=True)
class _ReadStudy:
    """A study with those of its series that could be read."""

    study: SourceStudy
    series: dict[str, BoxedSeries]


def _groups(source: RecordingSource, studies: Sequence[SourceStudy], size: int) -> Iterator[list[_ReadStudy]]:
    """Studies with a usable series, as many as have `size` series together, or one that has more."""
    waiting: list[_ReadStudy] = []
    for study in studies:
        found = source.study(study.study_id, [each.series_id for each in study.series]) if study.series else {}
        usable = {name: each for name, each in found.items() if isinstance(each, BoxedSeries)}
        if not usable:
            continue
        if waiting and sum(len(each.series) for each in waiting) + len(usable) > size:
            yield waiting
            waiting = []
        waiting.append(_ReadStudy(study, usable))
    if waiting:
        yield waiting


def _rows(
    scorer: LoadedScorer,
    calibration: Calibration | None,
    studies: Sequence[_ReadStudy],
    fitted_on: frozenset[str],
    info: dict[str, Any],
) -> list[dict[str, Any]]:
    """A row for each study and label, those of one study side by side."""
    scores = scorer.score([list(each.series.values()) for each in studies])  # (N, K)
    own = np.array([each.study.study_id in fitted_on for each in studies])
    said = [probability_of(calibration, label, scores[:, k], own) for k, label in enumerate(scorer.labels)]
    named = {
        "checkpoint_sha256": info["checkpoint"]["sha256"],
        "protocol": info["settings"].get("protocol"),
        "protocol_sha256": info["settings"].get("protocol_sha256"),
    }
    rows = []
    for number, each in enumerate(studies):
        sequences = _sequences(each, scorer.sequences)
        for k, label in enumerate(scorer.labels):
            probabilities, reasons = said[k]
            rows.append(
                {
                    "study_id": each.study.study_id,
                    "label": label,
                    "score": float(scores[number, k]),
                    "probability": probabilities[number],
                    "no_probability": reasons[number],
                    **sequences,
                    **named,
                }
            )
    return rows


def _sequences(read: _ReadStudy, known: Sequence[str]) -> dict[str, Any]:
    """Which sequences a study's scores come from, which could not be read, and which it has not at all."""
    used = sorted({each.sequence for each in read.study.series if each.series_id in read.series})
    unusable = sorted({each.sequence for each in read.study.series if each.series_id not in read.series})
    there = {each.sequence for each in read.study.series}
    return {
        "series_used": len(read.series),
        "sequences_used": used,
        "sequences_unusable": unusable,
        "sequences_lacking": [name for name in known if name not in there],
    }


def _join(
    files: Sequence[Path],
    source: EmbedSource,
    info: dict[str, Any],
    config: PredictConfig,
    calibration: Calibration | None,
) -> PredictSummary:
    """Write the file from its parts."""
    quarantined = list(source.quarantined)
    tables = []
    for table, bad in map(read_part, files):
        quarantined += bad
        if table.num_rows:
            tables.append(table.replace_schema_metadata())
    reasons = dict(Counter(item["reason"] for item in quarantined).most_common())
    if not tables:
        raise ValueError(f"expected at least one study with a usable series, got none ({reasons})")
    rows = pa.concat_tables(tables)
    scored = set(rows["study_id"].to_pylist())
    without_series = [study.study_id for study in source.studies if study.study_id not in scored]
    without = Counter(why for why in rows["no_probability"].to_pylist() if why)
    info = info | {
        "n": {"studies": len(scored), "labels": len(info["labels"])},
        "without_probability": dict(without.most_common()),
        "quarantined": quarantined,
        "quarantined_by_reason": reasons,
        "studies_without_usable_series": without_series,
    }
    write_predictions(rows, info, config.out)
    calibrated = [] if calibration is None else [name for name in info["labels"] if name in calibration.sigmoids]
    return PredictSummary(
        out=config.out,
        studies=len(scored),
        labels=len(info["labels"]),
        calibrated=len(calibrated),
        without={} if calibration is None else dict(without.most_common()),
        quarantined=reasons,
        without_series=len(without_series),
        simulated=source.simulated,
        calibrated_on="" if calibration is None else _told(calibration),
    )


def _told(calibration: Calibration) -> str:
    info = calibration.info
    kind = "simulated validation studies" if info["simulated"] else "validation studies"
    sequences = info["sequences"]
    shown = "" if sequences == "all" else f" with {', '.join(sequences)} alone"
    return f"{info['studies']} {kind} of {info['patients']} patients{shown}"
