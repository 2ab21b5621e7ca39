"""Controls: the same evaluation with the link between image and text cut, which must give what chance gives.

A control that stays above chance shows that a metric rewards something else than what text and image have in common:
how often a finding is normal, how long a text is, which sequence a series is of.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from .embedding import Embedder, SeriesEmbeddings, SeriesMapper
from .series_source import NamedSeries, SeriesSource

Control = Literal["shuffled_text", "empty_text", "shuffled_images"]
CONTROLS: tuple[Control, ...] = get_args(Control)


def under_control(embedder: Embedder, control: Control, seed: int) -> Embedder:
    """The embedder with its link between image and text cut.

    Args:
        embedder: What is evaluated.
        control: `shuffled_text`, each text has the embedding of another; `empty_text`, all texts that of no words;
            `shuffled_images`, each series has the embedding of another one of its sequence, if there are two.
        seed: Seed of the shuffling.
    """
    kinds: dict[Control, Callable[[Embedder, int], Embedder]] = {
        "shuffled_text": ShuffledText,
        "empty_text": EmptyText,
        "shuffled_images": ShuffledImages,
    }
    return kinds[control](embedder, seed)


@dataclass(frozen=True)
class _Controlled:
    """An embedder as it is; each control changes one side of it."""

    embedder: Embedder
    seed: int

    @property
    def scale(self) -> float:
        """See `Embedder`."""
        return self.embedder.scale

    def embed_series(self, source: SeriesSource, names: Sequence[NamedSeries]) -> SeriesEmbeddings:
        """See `Embedder`."""
        return self.embedder.embed_series(source, names)

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `Embedder`."""
        return self.embedder.embed_texts(texts)

    def map_series(
        self, source: SeriesSource, names: Sequence[NamedSeries], texts: Sequence[npt.NDArray[np.float32]]
    ) -> Iterator[npt.NDArray[np.float32] | str]:
        """See `SeriesMapper`."""
        return mapper(self.embedder).map_series(source, names, texts)


class ShuffledText(_Controlled):
    """Each text has the embedding of another text."""

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `Embedder`."""
        return self.embedder.embed_texts(texts)[_in_a_ring(np.arange(len(texts)), np.random.default_rng(self.seed))]


class EmptyText(_Controlled):
    """All texts have the embedding of a text without words."""

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `Embedder`."""
        return np.repeat(self.embedder.embed_texts([""]), len(texts), axis=0)


class ShuffledImages(_Controlled):
    """Each series has the embedding of another series of its sequence, if there are two."""

    def embed_series(self, source: SeriesSource, names: Sequence[NamedSeries]) -> SeriesEmbeddings:
        """See `Embedder`."""
        found = self.embedder.embed_series(source, names)
        kept = [name for name, is_kept in zip(names, found.kept, strict=True) if is_kept]
        return SeriesEmbeddings(found.embeds[self._others(kept)], found.kept, found.reasons)

    def map_series(
        self, source: SeriesSource, names: Sequence[NamedSeries], texts: Sequence[npt.NDArray[np.float32]]
    ) -> Iterator[npt.NDArray[np.float32] | str]:
        """See `SeriesMapper`. The map of another head lies on the box of this one: both hang from the vertex."""
        return mapper(self.embedder).map_series(source, [names[place] for place in self._others(names)], texts)

    def _others(self, names: Sequence[NamedSeries]) -> npt.NDArray[np.int64]:
        """For each series the place of another one of its sequence."""
        sequences = np.array([name.sequence for name in names])
        generator = np.random.default_rng(self.seed)
        of = np.arange(len(names))
        for sequence in dict.fromkeys(sequences):
            members = np.flatnonzero(sequences == sequence)
            of[members] = _in_a_ring(members, generator)
        return of


def mapper(embedder: Embedder) -> SeriesMapper:
    """The embedder as one that knows where a series speaks for a text.

    Raises:
        ValueError: It does not.
    """
    if not isinstance(embedder, SeriesMapper):
        raise ValueError(f"expected a checkpoint, which can be asked for maps, got {type(embedder).__name__}")
    return embedder


def _in_a_ring(items: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """For each item another one (if there are two): the next in a random ring."""
    ring = generator.permutation(len(items))
    following = np.empty(len(items), dtype=np.int64)
    following[ring] = np.roll(ring, -1)
    return items[following]
