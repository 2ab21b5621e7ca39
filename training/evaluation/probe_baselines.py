"""Features that cost nothing, for the probe to be compared with: what the checkpoint adds to them is what it learnt.

Sequences: which series a study has, and nothing of their voxels (contrast is given where a tumour is suspected).
Statistics: intensities of each volume. Random weights: the checkpoint's own network before training.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from selip.modeling_selip.modeling_selip import SelipModel
from selip.modeling_selip.population_selip import SelipPopulation

from .embedding import CheckpointEmbedder
from .embedding_store import EmbeddingStore, store_folder
from .series_source import BoxedSeries
from .volume_statistics import volume_statistics


def sequences_present(kinds: Sequence[str], study_of_series: Sequence[str], study_ids: Sequence[str]) -> npt.NDArray:
    """(N, number of kinds) how many series of each kind a study has.

    Args:
        kinds: Kind of each of M series, see `kind_of_series`.
        study_of_series: M study ids.
        study_ids: N ids, the order of the result.
    """
    column = {kind: number for number, kind in enumerate(sorted(set(kinds)))}
    row = {study_id: number for number, study_id in enumerate(study_ids)}
    counts = np.zeros((len(study_ids), len(column)))
    for kind, study_id in zip(kinds, study_of_series, strict=True):
        counts[row[study_id], column[kind]] += 1
    return counts


def kind_of_series(sequence: str, b_value: float | None) -> str:
    """What a table says of a series without its voxels: the sequence, and the b-value where it has one."""
    return sequence if b_value is None else f"{sequence}, b={b_value:g}"


def statistics_of_studies(
    statistics: npt.NDArray[np.floating],
    sequences: Sequence[str],
    study_of_series: Sequence[str],
    study_ids: Sequence[str],
) -> npt.NDArray[np.float64]:
    """Mean statistics of each study's series, sequence by sequence.

    Args:
        statistics: (M, F) of the series.
        sequences: M sequences.
        study_of_series: M study ids.
        study_ids: N ids, the order of the result.

    Returns:
        (N, number of sequences x F). A sequence that a study lacks has the mean of the others, so that a linear
        classifier cannot read from it which sequences there are.
    """
    row = {study_id: number for number, study_id in enumerate(study_ids)}
    owner = np.array([row[study_id] for study_id in study_of_series])
    names, blocks = np.asarray(sequences), []
    for sequence in sorted(set(sequences)):
        mine = names == sequence
        sums = np.zeros((len(study_ids), statistics.shape[1]))
        np.add.at(sums, owner[mine], statistics[mine])
        counts = np.bincount(owner[mine], minlength=len(study_ids))[:, None]
        means = sums / np.maximum(counts, 1)
        blocks.append(np.where(counts > 0, means, means[counts[:, 0] > 0].mean(axis=0)))
    return np.column_stack(blocks)


def series_statistics(series: Sequence[BoxedSeries]) -> npt.NDArray[np.float32]:
    """(n, 12) `volume_statistics` of n series."""
    return np.stack([volume_statistics(each.volume) for each in series]).astype(np.float32)


def with_random_weights(
    embedder: CheckpointEmbedder, seed: int, folder: Path | None, **origin: Any
) -> CheckpointEmbedder:
    """The checkpoint's network with the weights it would start training from, and a store of its own.

    The population of each sequence, where it has one, is kept: it is measured, not learnt.

    Args:
        embedder: The checkpoint.
        seed: Seed of the weights.
        folder: Where stores of embeddings are; None: nothing is kept.
        origin: What else the embeddings follow from (studies, processor).
    """
    trained = embedder.model
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SelipModel(trained.config)
    measured = hashlib.sha256()
    ours, theirs = (
        [module for module in each.modules() if isinstance(module, SelipPopulation)] for each in (model, trained)
    )
    for mine, its in zip(ours, theirs, strict=True):
        mine.load_state_dict(its.state_dict())
        measured.update(its.mean.cpu().numpy().tobytes())
    store = None
    if folder is not None:
        config = trained.config.to_dict()
        config.pop("_name_or_path", None)  # all checkpoints of one shape and population start from the same network
        described = {**origin, "random_weights": seed, "model": config, "population": measured.hexdigest()}
        store = EmbeddingStore(store_folder(folder, **described))
    return replace(embedder, model=model.eval().to(trained.device), store=store)
