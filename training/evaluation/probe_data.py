"""The studies of a probe: their embeddings, labels and places, what colours them, and the features of baselines."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from selip.processing.findings import StructuredReport, is_abnormal
from selip.processing.sources.schema import StudyRow
from selip.processing.sources.studies import studies_fingerprint

from .embedding import CheckpointEmbedder, SeriesEmbeddings, embed_stored
from .embedding_map import main_finding, side_of
from .embedding_store import EmbeddingStore, store_folder
from .probe import FloatArray, ProbeStudies, check_labels, mean_of_series
from .probe_baselines import (
    kind_of_series,
    sequences_present,
    series_statistics,
    statistics_of_studies,
    with_random_weights,
)
from .series_source import SeriesSource, StudySeries, series_of
from .task import EvaluationInputs

_MAP_KINDS = ("main finding", "side", "sequences", "report language")


@dataclass(frozen=True)
class ProbeData:
    """Studies of all splits that take part, with what is known of them.

    Attributes:
        studies: N studies.
        splits: Split of each.
        series: M usable series.
        kinds: What the table says of each series (`kind_of_series`).
        embeds: (M, E).
        colours: Category of each study by name, for the map.
        reasons: Number of unusable series by reason.
    """

    studies: ProbeStudies
    splits: tuple[str, ...]
    series: tuple[StudySeries, ...]
    kinds: tuple[str, ...]
    embeds: npt.NDArray[np.float32]
    colours: dict[str, tuple[str, ...]]
    reasons: dict[str, int]

    @property
    def owners(self) -> list[str]:
        """Study of each series."""
        return [each.study_id for each in self.series]

    def means(self, of_series: npt.NDArray[np.floating]) -> FloatArray:
        """(N, E) mean of what the series of each study have, (M, E)."""
        return mean_of_series(of_series, self.owners, self.studies.study_ids)


def gather(inputs: EvaluationInputs, splits: Sequence[str]) -> ProbeData:
    """Embed the series of some splits, and read what the table says of their studies.

    Raises:
        ValueError: No study of a split is usable, or none has a label that is asked for.
    """
    tables = {split: list(inputs.rows(split)) for split in splits}
    # Before an hour of work on volumes, not after it.
    check_labels((_labels(row) for rows in tables.values() for row in rows), inputs.config.labels)
    series: list[StudySeries] = []
    kinds: list[str] = []
    embeds, rows, split_of = [], [], []
    reasons: Counter[str] = Counter()
    for split, found in tables.items():
        names = series_of(found)
        embedded = inputs.embedder.embed_series(inputs.source(split), names)
        reasons.update(embedded.reasons)
        told = [kind_of_series(str(each["sequence"]), each["b_value"]) for row in found for each in row["series"]]
        kept = np.flatnonzero(embedded.kept)
        series += [names[place] for place in kept]
        kinds += [told[place] for place in kept]
        embeds.append(embedded.embeds)
        usable = {names[place].study_id for place in kept}
        mine = [row for row in found if row["study_id"] in usable]
        rows += mine
        split_of += [split] * len(mine)
    present: dict[str, set[str]] = {}
    for each in series:
        present.setdefault(each.study_id, set()).add(each.sequence)
    labels = [frozenset(row["labels"]) for row in rows]
    findings = [row["reference_findings"] for row in rows]
    colours = (
        [main_finding(*each) for each in zip(labels, findings, strict=True)],
        [side_of(each) for each in findings],
        ["+".join(sorted(present[row["study_id"]])) for row in rows],
        [row["language"] for row in rows],
    )
    return ProbeData(
        studies_of(rows),
        tuple(split_of),
        tuple(series),
        tuple(kinds),
        np.concatenate(embeds),
        dict(zip(_MAP_KINDS, map(tuple, colours), strict=True)),
        dict(reasons),
    )


def studies_of(rows: Sequence[StudyRow]) -> ProbeStudies:
    """Ids and labels of studies, places among the labels."""
    return ProbeStudies(
        tuple(row["study_id"] for row in rows),
        tuple(row["patient_id"] for row in rows),
        tuple(map(_labels, rows)),
    )


def baseline_features(inputs: EvaluationInputs, data: ProbeData, *, with_network: bool) -> dict[str, FloatArray]:
    """(N, F) features by name of baseline.

    Args:
        inputs: The request.
        data: Its studies and usable series.
        with_network: Also by the same network with random weights, if a checkpoint is evaluated.
    """
    ids, sequences = data.studies.study_ids, [each.sequence for each in data.series]
    origin: dict[str, Any] = {
        "processor": inputs.image_processor.to_dict(),
        "studies": studies_fingerprint(inputs.config.studies),
    }
    size, folder = inputs.config.batch_size, inputs.embeddings
    store = None if folder is None else EmbeddingStore(store_folder(folder, statistics="volume", **origin))
    statistics = _of_series(
        inputs, data, lambda source, names: embed_stored(series_statistics, store, source, names, batch_size=size)
    )
    features = {
        "sequences": sequences_present(data.kinds, data.owners, ids),
        "statistics": statistics_of_studies(statistics, sequences, data.owners, ids),
    }
    if with_network and isinstance(inputs.embedder, CheckpointEmbedder):
        device = inputs.embedder.model.device.type
        untrained = with_random_weights(inputs.embedder, inputs.config.seed, folder, device=device, **origin)
        features["random_weights"] = data.means(_of_series(inputs, data, untrained.embed_series))
    return features


def _of_series(
    inputs: EvaluationInputs,
    data: ProbeData,
    embed: Callable[[SeriesSource, Sequence[StudySeries]], SeriesEmbeddings],
) -> npt.NDArray[np.float32]:
    """(M, F) of the usable series by another embedder, split by split."""
    split_of = dict(zip(data.studies.study_ids, data.splits, strict=True))
    parts = []
    for split in dict.fromkeys(data.splits):
        names = [each for each in data.series if split_of[each.study_id] == split]
        parts.append(embed(inputs.source(split), names).embeds)
    return np.concatenate(parts)


def _labels(row: StudyRow) -> frozenset[str]:
    return frozenset(row["labels"]) | places(row["reference_findings"])


def places(reference_findings: str) -> frozenset[str]:
    """Where the abnormal findings are, such as `at left thalamus`; nothing for a study without true findings.

    Args:
        reference_findings: JSON of a `StructuredReport`, or empty.
    """
    if not reference_findings:
        return frozenset()
    report = StructuredReport.model_validate_json(reference_findings)
    found = [finding for finding in report.findings if is_abnormal(finding)]
    return frozenset(
        f"at {each.site}" if each.laterality == "none" else f"at {each.laterality} {each.site}" for each in found
    )
