"""From the texts of a batch to the similarity that its soft targets are made of."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from selip.processing.assignment_similarity import (
    assignment_similarity,
    draw_texts,
    limit_links,
    measure_statistics,
)
from selip.processing.corpus_statistics import CorpusStatistics
from selip.processing.rendering import Language, TextItem
from selip.processing.similarity import released_similarity

from .config import OptimizationConfig
from .structuring.embedding_similarity import EmbeddingSimilarity, TextEncoder, embed_texts, mean_cosine

STATISTICS_FILE = "similarity.json"
EMBEDDING_FILE = "embedding_similarity.json"

Matrix = npt.NDArray[np.float32]
# (texts of a batch, None where one is missing; number of the study of each) -> (P, P)
TextSimilarity = Callable[[Sequence[TextItem | None], Sequence[int]], Matrix]
PairSimilarity = Callable[[list[TextItem]], Matrix]  # of all pairs of texts, symmetric


class ReleasedTextSimilarity:
    """The similarity as released."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, texts: Sequence[TextItem | None], studies: Sequence[int]) -> Matrix:
        """
        Args:
            texts: P texts; None pads the batch.
            studies: number of the study of each.

        Returns:
            (P, P) in [0, 1], symmetric, 1 on the diagonal; rows and columns of padding are 0.
        """
        return _padded(texts, partial(released_similarity, language=self.language))


def equal_texts(texts: Sequence[TextItem | None], studies: Sequence[int]) -> Matrix:
    """1 between texts that are the same or both normal, 0 elsewhere (fVLM, ICLR 2025); as `ReleasedTextSimilarity`."""

    def pairs(real: list[TextItem]) -> Matrix:
        said = np.array(["normal" if text.normal else f"abnormal: {text.text}" for text in real])
        return (said[:, None] == said[None, :]).astype(np.float32)

    return _padded(texts, pairs)


class LimitedTextSimilarity:
    """A similarity of pairs, with a limit on how many texts share a target."""

    def __init__(self, pairs: PairSimilarity, limit: int) -> None:
        """
        Args:
            pairs: similarity of all pairs of texts.
            limit: texts of other studies that may share the target of one.
        """
        self.pairs, self.limit = pairs, limit

    def __call__(self, texts: Sequence[TextItem | None], studies: Sequence[int]) -> Matrix:
        """As `ReleasedTextSimilarity`, but 0 between texts of one study: they are never compared, and take no room."""
        similarity = _padded(texts, self.pairs)
        numbers = np.asarray(studies)
        similarity[numbers[:, None] == numbers[None, :]] = 0.0
        np.fill_diagonal(similarity, [0.0 if text is None else 1.0 for text in texts])
        return limit_links(similarity, self.limit)


class AssignmentTextSimilarity(LimitedTextSimilarity):
    """The recommended similarity: by assignment."""

    def __init__(self, statistics: CorpusStatistics, limit: int) -> None:
        """
        Args:
            statistics: of the training texts.
            limit: as in `LimitedTextSimilarity`.
        """
        super().__init__(partial(assignment_pairs, statistics=statistics), limit)
        self.statistics = statistics


def assignment_pairs(texts: list[TextItem], statistics: CorpusStatistics) -> Matrix:
    """The similarity by assignment of all pairs of texts."""
    return assignment_similarity(texts, texts, statistics)


def embedding_pairs(texts: list[TextItem], embedded: EmbeddingSimilarity) -> Matrix:
    """The similarity of the embeddings of all pairs of texts."""
    return embedded([text.text for text in texts])


def mixed_pairs(texts: list[TextItem], parts: Sequence[tuple[float, PairSimilarity]]) -> Matrix:
    """The weighted mean of similarities of all pairs of texts."""
    mixed = np.zeros((len(texts), len(texts)), dtype=np.float32)
    for weight, pairs in parts:
        mixed += np.float32(weight) * pairs(texts)
    return mixed


def build_similarity(
    config: OptimizationConfig,
    language: Language,
    run: Path,
    studies: Iterable[Sequence[TextItem]],
    corpus: Sequence[str],
    *,
    is_main: bool,
) -> TextSimilarity:
    """The similarity that a configuration names.

    What is measured on the training texts (statistics, chance levels, embeddings) is measured once and stored in the
    folder of the run, so that a resumed run has the same targets even where the findings table has been made anew.

    Args:
        run: folder of the run.
        studies: the texts of each training study; read only where they are needed.
        corpus: every text that a batch may hold, mirrored ones too; read for embeddings only.
        is_main: whether this process writes.

    Raises:
        ValueError: the run began with another encoder.
    """
    if config.similarity == "released":
        return ReleasedTextSimilarity(language)
    if config.similarity == "equal":
        return equal_texts
    weights: Mapping[str, float] = config.similarity_weights or {config.similarity: 1.0}
    studies = [texts for texts in studies if texts]
    parts: dict[str, PairSimilarity] = {}
    if "released" in weights:
        parts["released"] = partial(released_similarity, language=language)
    if "assignment" in weights:
        statistics = _stored_statistics(run / STATISTICS_FILE, studies, is_main=is_main)
        if weights["assignment"] == 1:
            return AssignmentTextSimilarity(statistics, config.similarity_limit)
        parts["assignment"] = partial(assignment_pairs, statistics=statistics)
    if config.similarity_encoder is not None:
        embedded = _stored_embeddings(config.similarity_encoder, run, studies, corpus, is_main=is_main)
        parts["embedding"] = partial(embedding_pairs, embedded=embedded)
    mixture = [(weight, parts[name]) for name, weight in weights.items()]
    return LimitedTextSimilarity(partial(mixed_pairs, parts=mixture), config.similarity_limit)


def _stored_statistics(path: Path, studies: Sequence[Sequence[TextItem]], *, is_main: bool) -> CorpusStatistics:
    if path.exists():
        return CorpusStatistics.load(path)
    statistics = measure_statistics(studies)
    if is_main:
        statistics.save(path)
    return statistics


def _stored_embeddings(
    name: str, run: Path, studies: Sequence[Sequence[TextItem]], corpus: Sequence[str], *, is_main: bool
) -> EmbeddingSimilarity:
    encoder = TextEncoder(name)
    embeddings = embed_texts(corpus, encoder, run, writes=is_main)
    path = run / EMBEDDING_FILE
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["fingerprint"] != encoder.fingerprint:
            raise ValueError(
                f"expected the text encoder that the run in {run} began with, got other weights or another vocabulary "
                f"in {name}; put the encoder back, or start another run"
            )
        return EmbeddingSimilarity(embeddings, stored["chance"])
    chance = mean_cosine(embeddings, (text.text for text in draw_texts(studies)))
    if is_main:
        content = {"encoder": name, "fingerprint": encoder.fingerprint, "chance": chance}
        unfinished = path.with_name(f".{path.name}.partial")
        unfinished.write_text(json.dumps(content) + "\n", encoding="utf-8")
        os.replace(unfinished, path)
    return EmbeddingSimilarity(embeddings, chance)


def _padded(texts: Sequence[TextItem | None], similarity: Callable[[list[TextItem]], Matrix]) -> Matrix:
    """The similarity of the texts that are there, 0 elsewhere, (P, P)."""
    real = [place for place, text in enumerate(texts) if text is not None]
    full = np.zeros((len(texts), len(texts)), dtype=np.float32)
    full[np.ix_(real, real)] = similarity([text for text in texts if text is not None])
    return full
