"""Embeddings of series and texts by a checkpoint.

A series is embedded alone, as a study of one series, on the box of its whole study: the same voxels whether they come
from the volumes table or from the NIfTI files.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from tqdm import tqdm

from selip.modeling_selip.loss_selip import scale_of
from selip.processing.image_processing_selip import SeriesInput
from selip.processing.intensity_selip import dequantise, quantise
from selip.processing.nifti_selip import VolumeError

from .embedding_store import EmbeddingStore


@dataclass(frozen=True)
class BoxedSeries:
    """One series on the box of its study.

    Attributes:
        volume: float32 (X, Y, Z) in [0, 1].
        sequence_id: Number of the sequence.
        affine: float64 (4, 4), box voxel to scanner mm.
        patch_mask: bool (X / px, Y / py, Z / pz), the patches that touch the head of its study.
    """

    volume: npt.NDArray[np.float32]
    sequence_id: int
    affine: npt.NDArray[np.float64]
    patch_mask: npt.NDArray[np.bool_]


class NamedSeries(Protocol):
    """Anything that names a series of a study."""

    @property
    def study_id(self) -> str:
        """The study."""
        ...

    @property
    def series_id(self) -> str:
        """The series, unique within its study."""
        ...

    @property
    def sequence(self) -> str:
        """Its MRI sequence."""
        ...


class SeriesSource(Protocol):
    """Where boxed series come from."""

    def study(self, study_id: str, series_ids: Sequence[str]) -> dict[str, BoxedSeries | str]:
        """The named series of one study by id; a series that cannot be had is the reason why, as text."""
        ...


class PreparedSeries:
    """Series from a volumes table.

    Args:
        table: `VolumesTable`.
        image_processor: The checkpoint's own; the table must have been prepared for the same box.

    Raises:
        ValueError: Table and checkpoint differ in box, patches or sequence names.
    """

    def __init__(self, table: Any, image_processor: Any) -> None:
        for key in ("spatial_size", "spacing_mm", "patch_size", "sequence_names"):
            ours, theirs = getattr(image_processor, key), table.processor_config[key]
            if list(ours) != list(theirs):
                raise ValueError(
                    f"expected volumes prepared with {key} {list(ours)} as the checkpoint's processor has, got "
                    f"{list(theirs)}; prepare them again, or leave volumes out to read the NIfTI files"
                )
        self.table = table
        self.known = frozenset(table.study_ids())

    def study(self, study_id: str, series_ids: Sequence[str]) -> dict[str, BoxedSeries | str]:
        """See `SeriesSource`."""
        rows = {row.series_id: row for row in self.table.series_of(study_id)} if study_id in self.known else {}
        found: dict[str, BoxedSeries | str] = {}
        for series_id in series_ids:
            if series_id not in rows:
                found[series_id] = "not in the volumes table"
                continue
            row = rows[series_id]
            volume = dequantise(self.table.read(row.row))
            patch_mask = self.table.head_patches([row.row])[0]
            found[series_id] = BoxedSeries(volume, int(row.sequence_id), self.table.affine(row.row), patch_mask)
        return found


class NiftiSeries:
    """Series from the NIfTI files of a studies table, through the checkpoint's own processor.

    Args:
        studies: One split of `load_studies`.
        image_processor: The checkpoint's own.
    """

    def __init__(self, studies: Dataset, image_processor: Any) -> None:
        self.image_processor = image_processor
        self.rows = studies.with_format("arrow")
        self.position = {study_id: place for place, study_id in enumerate(studies["study_id"])}

    def study(self, study_id: str, series_ids: Sequence[str]) -> dict[str, BoxedSeries | str]:
        """See `SeriesSource`. As in preparation: unusable series are left out, values are rounded to 8 bits."""
        cells = self.rows[self.position[study_id]].to_pylist()[0]["series"]
        inputs = [SeriesInput(cell["volume"], cell["sequence"], cell["series_id"]) for cell in cells]
        try:
            boxed = self.image_processor.process_study(inputs, study_id, skip_invalid=True)
        except VolumeError as error:
            return {series_id: f"unusable volume ({error.reason})" for series_id in series_ids}
        found: dict[str, BoxedSeries | str] = {
            inputs[place].series_id: f"unusable volume ({error.reason})" for place, error in boxed.errors
        }
        for place, volume, sequence_id in zip(boxed.kept, boxed.volumes, boxed.sequence_ids, strict=True):
            stored = dequantise(quantise(volume))
            patch_mask = boxed.patch_counts > 0
            found[inputs[place].series_id] = BoxedSeries(stored, int(sequence_id), boxed.affine, patch_mask)
        return {series_id: found[series_id] for series_id in series_ids}


@dataclass(frozen=True)
class SeriesEmbeddings:
    """Embeddings of the series that could be had.

    Attributes:
        embeds: (K, E) float32.
        kept: (N,) which of the series asked for these are, in order.
        reasons: Number of the others by reason.
    """

    embeds: npt.NDArray[np.float32]
    kept: npt.NDArray[np.bool_]
    reasons: dict[str, int]


@dataclass(frozen=True)
class StudySeries:
    """One series of a study."""

    study_id: str
    patient_id: str
    series_id: str
    sequence: str


def series_of(rows: Iterable[Mapping[str, Any]]) -> list[StudySeries]:
    """Every series of some studies, those of one study side by side."""
    return [
        StudySeries(str(row["study_id"]), str(row["patient_id"]), str(each["series_id"]), str(each["sequence"]))
        for row in rows
        for each in row["series"]
    ]


class Embedder(Protocol):
    """What maps series and texts into one space: a checkpoint, or a reference that it is compared with."""

    @property
    def scale(self) -> float:
        """What a cosine is multiplied by before a softmax or a sigmoid."""
        ...

    def embed_series(self, source: SeriesSource, names: Sequence[NamedSeries]) -> SeriesEmbeddings:
        """Embeddings of the series that could be had, each embedded alone."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(M, E) embeddings of texts."""
        ...


@runtime_checkable
class SeriesMapper(Embedder, Protocol):
    """An embedder that also knows where a series speaks for a text."""

    def map_series(
        self, source: SeriesSource, names: Sequence[NamedSeries], texts: Sequence[npt.NDArray[np.float32]]
    ) -> Iterator[npt.NDArray[np.float32] | str]:
        """Maps (P, gx, gy, gz) of one series after the other for the P embeddings (P, E) that are its own.

        A series that cannot be had gives the reason why.
        """
        ...


@dataclass(frozen=True)
class CheckpointEmbedder:
    """A checkpoint as an `Embedder`.

    Attributes:
        model: `SelipModel` in evaluation mode; decides the device.
        processor: Its own.
        batch_size: Series at once; four times as many texts.
        store: Where embeddings of series are kept for the next evaluation; None: nowhere.
    """

    model: Any
    processor: Any
    batch_size: int
    store: EmbeddingStore | None = None

    @property
    def scale(self) -> float:
        """See `Embedder`."""
        return float(scale_of(self.model.logit_scale.detach()))

    def embed_series(self, source: SeriesSource, names: Sequence[NamedSeries]) -> SeriesEmbeddings:
        """See `Embedder`."""
        embed = partial(image_features, self.model)
        return embed_stored(embed, self.store, source, names, batch_size=self.batch_size)

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `Embedder`."""
        return embed_texts(self.model, self.processor, texts, batch_size=4 * self.batch_size)

    def map_series(
        self, source: SeriesSource, names: Sequence[NamedSeries], texts: Sequence[npt.NDArray[np.float32]]
    ) -> Iterator[npt.NDArray[np.float32] | str]:
        """See `SeriesMapper`."""
        for place, series in _boxed(source, names):
            yield series if isinstance(series, str) else series_maps(self.model, series, texts[place])[0]


@torch.inference_mode()
def embed_stored(
    embed: Callable[[Sequence[BoxedSeries]], npt.NDArray[np.float32]],
    store: EmbeddingStore | None,
    source: SeriesSource,
    names: Sequence[NamedSeries],
    *,
    batch_size: int,
) -> SeriesEmbeddings:
    """`embed_with` for the series that a store lacks, which are kept there; all others are read from it.

    Args:
        store: Where embeddings are kept; None: nowhere.
    """
    if store is None:
        return embed_with(embed, source, names, batch_size=batch_size)
    keys = [(name.study_id, name.series_id) for name in names]
    missing = [place for place, key in enumerate(keys) if key not in store]
    reasons: Counter[str] = Counter()
    batches = embed_batches(embed, source, [names[place] for place in missing], batch_size=batch_size, reasons=reasons)
    with store.writing():
        for places, vectors in batches:
            store.add([keys[missing[place]] for place in places], vectors)
    kept = np.array([key in store for key in keys], dtype=bool)
    return _usable([store[key][None] for key in keys if key in store], kept, reasons)


@torch.inference_mode()
def embed_series(
    model: Any, source: SeriesSource, names: Sequence[NamedSeries], *, batch_size: int, progress: bool = True
) -> SeriesEmbeddings:
    """Embed series by a model, each alone: `embed_with` of `model.get_image_features`.

    Args:
        model: `SelipModel` in evaluation mode; decides the device.
    """
    return embed_with(
        lambda series: image_features(model, series), source, names, batch_size=batch_size, progress=progress
    )


def embed_with(
    embed: Callable[[Sequence[BoxedSeries]], npt.NDArray[np.float32]],
    source: SeriesSource,
    names: Sequence[NamedSeries],
    *,
    batch_size: int,
    progress: bool = True,
) -> SeriesEmbeddings:
    """Embed series by a function of boxed series.

    Args:
        embed: (n, E) embeddings of n series.
        source: Where the volumes come from.
        names: The series; those of one study side by side.
        batch_size: Series at once.
        progress: Show a progress bar on a terminal.

    Raises:
        ValueError: Not one series could be had.
    """
    embeds: list[npt.NDArray[np.float32]] = []
    kept = np.zeros(len(names), dtype=bool)
    reasons: Counter[str] = Counter()
    for places, vectors in embed_batches(
        embed, source, names, batch_size=batch_size, reasons=reasons, progress=progress
    ):
        kept[places] = True
        embeds.append(vectors)
    return _usable(embeds, kept, reasons)


def embed_batches(
    embed: Callable[[Sequence[BoxedSeries]], npt.NDArray[np.float32]],
    source: SeriesSource,
    names: Sequence[NamedSeries],
    *,
    batch_size: int,
    reasons: Counter[str],
    progress: bool = True,
) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
    """Places among the names (ascending) and embeddings (n, E) of one batch after another; arguments as `embed_with`.

    Args:
        reasons: Series that cannot be had are counted here.
    """
    waiting: list[tuple[int, BoxedSeries]] = []
    bar = tqdm(total=len(names), desc="series", unit="volume", disable=None if progress else True)
    for place, series in _boxed(source, names):
        bar.update()
        if isinstance(series, str):
            reasons[series] += 1
            continue
        waiting.append((place, series))
        if len(waiting) == batch_size:
            yield [place for place, _ in waiting], embed([each for _, each in waiting])
            waiting = []
    if waiting:
        yield [place for place, _ in waiting], embed([each for _, each in waiting])
    bar.close()


def _usable(
    embeds: Sequence[npt.NDArray[np.float32]], kept: npt.NDArray[np.bool_], reasons: Counter[str]
) -> SeriesEmbeddings:
    if not embeds:
        raise ValueError(f"expected at least one usable series, got none ({dict(reasons)})")
    return SeriesEmbeddings(np.concatenate(embeds), kept, dict(reasons))


@torch.inference_mode()
def embed_texts(model: Any, processor: Any, texts: Sequence[str], *, batch_size: int) -> npt.NDArray[np.float32]:
    """Embed texts.

    Args:
        model: `SelipModel` in evaluation mode.
        processor: Its processor, called with `text=` only.
        texts: M texts.
        batch_size: Texts at once.

    Returns:
        (M, E) float32.
    """
    embeds = []
    for start in range(0, len(texts), batch_size):
        inputs = processor(text=list(texts[start : start + batch_size]), return_tensors="pt")
        output = model.get_text_features(
            input_ids=inputs["input_ids"].to(model.device), attention_mask=inputs["attention_mask"].to(model.device)
        )
        embeds.append(output.pooler_output.float().cpu().numpy())
    return np.concatenate(embeds)


def _boxed(source: SeriesSource, names: Sequence[NamedSeries]) -> Iterator[tuple[int, BoxedSeries | str]]:
    """Index and series (or why it is missing) in the order of the names, one study at a time."""
    start = 0
    while start < len(names):
        study_id, stop = names[start].study_id, start
        while stop < len(names) and names[stop].study_id == study_id:
            stop += 1
        series_ids = [image.series_id for image in names[start:stop]]
        found = source.study(study_id, series_ids)
        for offset, series_id in enumerate(series_ids):
            yield start + offset, found[series_id]
        start = stop


def series_maps(
    model: Any, series: BoxedSeries, text_embeds: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Where a series speaks for texts.

    Args:
        model: `SelipModel` in evaluation mode; decides the device.
        series: The series.
        text_embeds: (P, E), unit length.

    Returns:
        maps (P, gx, gy, gz) and cosines (P,), float32.
    """
    found = model.compute_similarity_maps(
        torch.from_numpy(series.volume)[None, None].to(model.device),
        torch.from_numpy(text_embeds).to(model.device),
        sequence_ids=torch.tensor([[series.sequence_id]], device=model.device),
    )
    maps: npt.NDArray[np.float32] = found.maps[0, 0].float().cpu().numpy()
    return maps, found.similarities[0, 0].float().cpu().numpy()


def image_features(model: Any, series: Sequence[BoxedSeries]) -> npt.NDArray[np.float32]:
    """Embed single series at once.

    Args:
        model: `SelipModel` in evaluation mode; decides the device.
        series: n series.

    Returns:
        (n, E) float32, unit length.
    """
    pixel_values = torch.from_numpy(np.stack([each.volume for each in series]))[:, None]  # (B, X, Y, Z) -> (B, 1, ...)
    sequence_ids = torch.tensor([[each.sequence_id] for each in series])
    patch_mask = torch.from_numpy(np.stack([each.patch_mask for each in series]))[:, None]
    output = model.get_image_features(
        pixel_values=pixel_values.to(model.device),
        series_mask=torch.ones_like(sequence_ids, dtype=torch.bool, device=model.device),
        sequence_ids=sequence_ids.to(model.device),
        patch_mask=patch_mask.to(model.device),
    )
    features: npt.NDArray[np.float32] = output.pooler_output.float().cpu().numpy()
    return features
