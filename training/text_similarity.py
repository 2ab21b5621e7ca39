"""From the texts of a batch to the similarity that its soft targets are made of."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from selip.processing.assignment_similarity import assignment_similarity, limit_links, measure_statistics
from selip.processing.corpus_statistics import CorpusStatistics
from selip.processing.rendering import Language, TextItem
from selip.processing.similarity import released_similarity

from .config import OptimizationConfig

STATISTICS_FILE = "similarity.json"

# (texts of a batch, None where one is missing; number of the study of each) -> (P, P)
TextSimilarity = Callable[[Sequence[TextItem | None], Sequence[int]], npt.NDArray[np.float32]]


class ReleasedTextSimilarity:
    """The similarity as released."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, texts: Sequence[TextItem | None], studies: Sequence[int]) -> npt.NDArray[np.float32]:
        """
        Args:
            texts: P texts; None pads the batch.
            studies: number of the study of each.

        Returns:
            (P, P) in [0, 1], symmetric, 1 on the diagonal; rows and columns of padding are 0.
        """
        return _padded(texts, lambda items: released_similarity(items, self.language))


class AssignmentTextSimilarity:
    """The recommended similarity: by assignment, with a limit on how many texts share a target."""

    def __init__(self, statistics: CorpusStatistics, limit: int) -> None:
        """
        Args:
            statistics: of the training texts.
            limit: texts of other studies that may share the target of one.
        """
        self.statistics, self.limit = statistics, limit

    def __call__(self, texts: Sequence[TextItem | None], studies: Sequence[int]) -> npt.NDArray[np.float32]:
        """As `ReleasedTextSimilarity`, but 0 between texts of one study: they are never compared, and take no room."""
        similarity = _padded(texts, lambda items: assignment_similarity(items, items, self.statistics))
        numbers = np.asarray(studies)
        similarity[numbers[:, None] == numbers[None, :]] = 0.0
        np.fill_diagonal(similarity, [0.0 if text is None else 1.0 for text in texts])
        return limit_links(similarity, self.limit)


def build_similarity(
    config: OptimizationConfig, language: Language, run: Path, studies: Iterable[Sequence[TextItem]], *, is_main: bool
) -> TextSimilarity:
    """The similarity that a configuration names.

    Statistics of the training texts are measured once and stored in the folder of the run, so that a resumed run has
    the same targets even where the findings table has been made anew.

    Args:
        run: folder of the run.
        studies: the texts of each training study; read only where they are needed.
        is_main: whether this process writes.
    """
    if config.similarity == "released":
        return ReleasedTextSimilarity(language)
    path = run / STATISTICS_FILE
    if path.exists():
        statistics = CorpusStatistics.load(path)
    else:
        statistics = measure_statistics(studies)
        if is_main:
            statistics.save(path)
    return AssignmentTextSimilarity(statistics, config.similarity_limit)


def _padded(
    texts: Sequence[TextItem | None], similarity: Callable[[list[TextItem]], npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32]:
    """The similarity of the texts that are there, 0 elsewhere, (P, P)."""
    real = [place for place, text in enumerate(texts) if text is not None]
    full = np.zeros((len(texts), len(texts)), dtype=np.float32)
    full[np.ix_(real, real)] = similarity([text for text in texts if text is not None])
    return full
