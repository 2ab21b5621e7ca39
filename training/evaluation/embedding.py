"""Embeddings of series and texts by a checkpoint.

A series is embedded alone, as a study of one series, on the box of its whole study (series_source.py).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from selip.modeling_selip.loss_selip import scale_of

from .embedding_store import EmbeddingStore
from .series_source import BoxedSeries, NamedSeries, SeriesSource, boxed_series


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
        for place, series in boxed_series(source, names):
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
    for place, series in boxed_series(source, names):
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
