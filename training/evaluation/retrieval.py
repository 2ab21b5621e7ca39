"""Retrieval of reports by series and of series by report: `RetrievalEvaluator`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .bootstrap import PatientBootstrap, weighted_median
from .case_metrics import CaseMetrics, Cases
from .gallery import STUDY, RetrievalGallery
from .metrics import (
    AMONG_AT,
    GALLERY_SIZES,
    NDCG_AT,
    RECALL_AT,
    best_hit_ranks,
    blind_ranks,
    chance_ndcg_at_k,
    chance_recall_at_k,
    ndcg_at_k,
    recall_among,
    recall_at_k,
    reciprocal_ranks,
    unit_rows_of_both,
)
from .relevance import SAME_FINDINGS

Direction = Literal["image_to_text", "text_to_image"]
DIRECTIONS: tuple[Direction, ...] = ("image_to_text", "text_to_image")
# Candidates of the query's own sequence, or all.
Kind = Literal["within", "overall"]

# Queries that are scored at once against the whole gallery.
_QUERY_BLOCK = 1024

_RELEVANCE = (
    "grades 0-3 from sets of (finding, site, laterality) that the sequence can show, see "
    "selip.training.evaluation.relevance; hit = same text or same set"
)


@dataclass(frozen=True)
class RetrievalResult:
    """Outcome of one evaluation.

    Attributes:
        metrics: Value by name, `{scope}/{direction}/{metric}`.
        intervals: Lower and upper end by the same name; empty without bootstrap, none for counts.
        cases: Columns of the per-case table; one row is one share of one query (see `RetrievalEvaluator`).
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    cases: dict[str, npt.NDArray[Any]]


class RetrievalEvaluator:
    """Scores a checkpoint's embeddings on a fixed gallery.

    Names of metrics are `{scope}/{direction}/{metric}`.

    Scopes: `within_sequence` (headline: candidates are those of the query's own sequence; mean over all queries),
    `within_sequence_abnormal` (the same, queries with findings only, so that the many normal studies cannot carry it),
    each sequence by its name, and `overall` (all series against all texts; a text of another sequence is wrong). With
    cases of a study gallery also `study` and `study_abnormal`, which the others leave out.

    Directions: `image_to_text` (a query is a series) and `text_to_image` (a query is a unique text, one that no
    embedded series answers is left out).

    Metrics: `recall@k`, `mean_reciprocal_rank`, `median_rank`, `ndcg@10`, and three yardsticks that see no embedding:
    `chance_recall@k` and `chance_ndcg@10` are exact expectations of a random order *given the sequence* (also in
    the scope `overall`, where it is the harder yardstick), `blind_recall@k` is what the best fixed order of a
    sequence's candidates reaches, for instance the normal sentence first (one order for all queries of the sequence,
    also in the scope of abnormal ones). `above_chance_recall@k` and `above_blind_recall@k` are the
    differences, with intervals of their own. `n_queries`, `n_candidates` (mean over queries). `recall@5_among_{g}` is
    what would be found among g candidates, the best right one and g - 1 drawn of the wrong ones: exact, by the
    hypergeometric distribution, so that data sets of different sizes can be compared; chance is 5 / g. It is left out
    where a query has fewer wrong candidates.

    Intervals resample patients. A text that is right for several series is shared out among them in equal weights
    that sum to one: one row of `RetrievalResult.cases` for each, with study, series and patient id. The points and
    intervals can be recomputed from that table.

    Args:
        gallery: What to retrieve from what.
        bootstrap_samples: Replicates for the intervals; 0 = points only.
        confidence: Share of replicates inside the interval.
        seed: Seed of the patient draws.

    Example:
        >>> evaluator = RetrievalEvaluator(gallery)  # doctest: +SKIP
        >>> evaluator(image_embeds, text_embeds)[evaluator.primary_metric]  # doctest: +SKIP
    """

    primary_metric = "within_sequence/image_to_text/recall@5"
    greater_is_better = True

    def __init__(
        self, gallery: RetrievalGallery, *, bootstrap_samples: int = 0, confidence: float = 0.95, seed: int = 0
    ) -> None:
        self.gallery = gallery
        self.bootstrap_samples = bootstrap_samples
        self.confidence = confidence
        self.seed = seed
        self._grades = {sequence: gallery.grades(sequence) for sequence in gallery.sequences}

    def get_config_dict(self) -> dict[str, Any]:
        """Settings for the result file and the model card."""
        return {
            "task": "retrieval",
            "recall_at": list(RECALL_AT),
            "ndcg_at": NDCG_AT,
            "gallery_sizes": list(GALLERY_SIZES),
            "ndcg_gain": "2^grade - 1",
            "relevance": _RELEVANCE,
            "ties": "against the model",
            "interval": "patient-clustered percentile bootstrap",
            "bootstrap_samples": self.bootstrap_samples,
            "confidence": self.confidence,
            "seed": self.seed,
            "n_images": len(self.gallery.images),
            "n_texts": len(self.gallery.texts),
            "gallery_fingerprint": self.gallery.fingerprint(),
        }

    def __call__(self, image_embeds: npt.ArrayLike, text_embeds: npt.ArrayLike) -> dict[str, float]:
        """Metrics by name; arguments as for `evaluate`."""
        return self.evaluate(image_embeds, text_embeds).metrics

    def evaluate(self, image_embeds: npt.ArrayLike, text_embeds: npt.ArrayLike) -> RetrievalResult:
        """Metrics, intervals and per-case scores.

        Args:
            image_embeds: (N, E) in the order of `gallery.images`; scaled to unit length here.
            text_embeds: (M, E) in the order of `gallery.texts`.

        Raises:
            ValueError: Counts do not fit the gallery, or embeddings are not finite.
        """
        return self.summarise(self.score(image_embeds, text_embeds))

    def score(self, image_embeds: npt.ArrayLike, text_embeds: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
        """The table of cases; arguments and errors as for `evaluate`."""
        images, texts = self._checked(image_embeds, text_embeds)

        def scores_of(direction: Direction, queries: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            return images[queries] @ texts.T if direction == "image_to_text" else texts[queries] @ images.T

        return self._cases(scores_of)

    def score_matrix(self, scores: npt.NDArray[np.floating]) -> dict[str, npt.NDArray[Any]]:
        """The table of cases of scores of every image against every text, of whatever origin.

        Args:
            scores: (N, M) in the order of `gallery.images` and `gallery.texts`; larger is more alike.

        Raises:
            ValueError: The shape does not fit the gallery, or scores are not finite.
        """
        expected = (len(self.gallery.images), len(self.gallery.texts))
        if scores.shape != expected:
            raise ValueError(f"expected scores {expected} of every image against every text, got {scores.shape}")
        if not np.isfinite(scores).all():
            raise ValueError(f"expected finite scores, got {int((~np.isfinite(scores)).sum())} that are not")

        def scores_of(direction: Direction, queries: npt.NDArray[np.int64]) -> npt.NDArray[np.floating]:
            return scores[queries] if direction == "image_to_text" else scores[:, queries].T

        return self._cases(scores_of)

    def cosines(self, image_embeds: npt.ArrayLike, text_embeds: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The scores (N, M) behind a table of cases; arguments and errors as for `evaluate`."""
        images, texts = self._checked(image_embeds, text_embeds)
        found: npt.NDArray[np.float32] = images @ texts.T
        return found

    def summarise(self, cases: dict[str, npt.NDArray[Any]]) -> RetrievalResult:
        """Metrics and intervals of a table of cases, of this gallery or of several."""
        resampling = None
        if self.bootstrap_samples:
            resampling = PatientBootstrap(
                cases["patient_id"].astype(str), num_samples=self.bootstrap_samples, seed=self.seed
            )
        found = retrieval_case_metrics(cases, resampling)
        return RetrievalResult(found.points, found.intervals(self.confidence), cases)

    def ranked_texts(
        self, image_embeds: npt.ArrayLike, text_embeds: npt.ArrayLike, image: int, count: int
    ) -> list[tuple[int, float, int]]:
        """The first `count` texts of its own sequence for one series: (text index, cosine, grade), best first."""
        images, texts = self._checked(image_embeds, text_embeds)
        rows, columns = self.gallery.members(self.gallery.images[image].sequence)
        grades = self._grades[self.gallery.images[image].sequence][int(np.flatnonzero(rows == image)[0])]
        scores = texts[columns] @ images[image]
        order = np.lexsort((grades, -scores))[:count]
        return [(int(columns[i]), float(scores[i]), int(grades[i])) for i in order]

    def _checked(
        self, image_embeds: npt.ArrayLike, text_embeds: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        counts = (len(self.gallery.images), len(self.gallery.texts))
        return unit_rows_of_both(image_embeds, text_embeds, counts=counts)

    def _cases(self, scores_of: "_Scores") -> dict[str, npt.NDArray[Any]]:
        """Per-case columns of both directions and all sequences."""
        parts = [
            self._score_sequence(direction, sequence, scores_of)
            for direction in DIRECTIONS
            for sequence in self.gallery.sequences
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _score_sequence(
        self, direction: Direction, sequence: str, scores_of: "_Scores"
    ) -> dict[str, npt.NDArray[Any]]:
        """Per-case columns of the queries of one direction and sequence."""
        queries, candidates = self.gallery.members(sequence)
        grades, overall = self._grades[sequence], len(self.gallery.texts)
        if direction == "text_to_image":
            queries, candidates, grades = candidates, queries, grades.T
            overall = len(self.gallery.images)
        hits = grades == SAME_FINDINGS
        answerable = hits.any(axis=1)
        queries, grades, hits = queries[answerable], grades[answerable], hits[answerable]
        columns: dict[str, npt.NDArray[Any]] = {
            "query": queries,
            "n_candidates": np.full(len(queries), len(candidates)),
            "n_candidates_overall": np.full(len(queries), overall),
            "n_hits": hits.sum(axis=1),
            "chance_ndcg": chance_ndcg_at_k(grades, NDCG_AT),
            "blind_rank": blind_ranks(hits, max(RECALL_AT)),
            **_ranking(direction, queries, scores_of, candidates, grades),
        }
        return self._shares(direction, columns, hits, candidates)

    def _shares(
        self,
        direction: Direction,
        columns: Mapping[str, npt.NDArray[Any]],
        hits: npt.NDArray[np.bool_],
        candidates: npt.NDArray[np.int64],
    ) -> dict[str, npt.NDArray[Any]]:
        """One row for each share of a query, with ids: the series itself, or each series that a text is right for."""
        gallery = self.gallery
        if direction == "image_to_text":
            row = np.arange(len(hits))
            owners = [gallery.images[i] for i in columns["query"]]
            normal = [not owner.findings for owner in owners]
            texts = [gallery.texts[owner.text] for owner in owners]
        else:
            row, column = np.nonzero(hits)
            owners = [gallery.images[i] for i in candidates[column]]
            texts = [gallery.texts[i] for i in columns["query"][row]]
            normal = [text.is_normal for text in texts]
        shares = np.bincount(row, minlength=len(hits))
        return {
            "direction": np.array([direction] * len(row), dtype=object),
            "sequence": np.array([owner.sequence for owner in owners], dtype=object),
            "study_id": np.array([owner.study_id for owner in owners], dtype=object),
            "patient_id": np.array([owner.patient_id for owner in owners], dtype=object),
            "series_id": np.array([owner.series_id for owner in owners], dtype=object),
            "text": np.array([text.text for text in texts], dtype=object),
            "is_normal": np.array(normal, dtype=bool),
            "weight": 1.0 / shares[row],
            **{name: values[row] for name, values in columns.items()},
        }


# Scores (Q, C) of some queries of a direction against all candidates of the gallery.
_Scores = Callable[[Direction, npt.NDArray[np.int64]], npt.NDArray[np.floating]]


def _ranking(
    direction: Direction,
    queries: npt.NDArray[np.int64],
    scores_of: _Scores,
    own: npt.NDArray[np.int64],
    grades: npt.NDArray[np.int8],
) -> dict[str, npt.NDArray[Any]]:
    """Ranks and nDCG among the candidates of the own sequence and among all.

    Args:
        direction: Which side asks.
        queries: (Q,) indices.
        scores_of: Gives their scores against all C candidates.
        own: (m,) which candidates are of the queries' sequence.
        grades: (Q, m).
    """
    ranks, ranks_overall, ndcg, ndcg_overall = [], [], [], []
    for start in range(0, len(queries), _QUERY_BLOCK):
        block = slice(start, start + _QUERY_BLOCK)
        scores = scores_of(direction, queries[block])  # (block, C)
        everywhere = np.zeros(scores.shape, dtype=grades.dtype)
        everywhere[:, own] = grades[block]
        ranks.append(best_hit_ranks(scores[:, own], grades[block] == SAME_FINDINGS))
        ndcg.append(ndcg_at_k(scores[:, own], grades[block], NDCG_AT))
        ranks_overall.append(best_hit_ranks(scores, everywhere == SAME_FINDINGS))
        ndcg_overall.append(ndcg_at_k(scores, everywhere, NDCG_AT))
    return {
        "rank": np.concatenate([np.zeros(0, dtype=np.int64), *ranks]),
        "rank_overall": np.concatenate([np.zeros(0, dtype=np.int64), *ranks_overall]),
        "ndcg": np.concatenate([np.zeros(0), *ndcg]),
        "ndcg_overall": np.concatenate([np.zeros(0), *ndcg_overall]),
    }


def case_values(cases: Cases, kind: Kind) -> dict[str, Any]:
    """Per-case value (R,) of every metric that is a mean over queries."""
    suffix = "" if kind == "within" else "_overall"
    values: dict[str, npt.NDArray[np.float64]] = {}
    for k in RECALL_AT:
        found = recall_at_k(cases[f"rank{suffix}"], k)
        chance = chance_recall_at_k(cases["n_candidates"], cases["n_hits"], k)
        blind = recall_at_k(cases["blind_rank"], k)
        values[f"recall@{k}"] = found
        values[f"chance_recall@{k}"] = chance
        values[f"blind_recall@{k}"] = blind
        values[f"above_chance_recall@{k}"] = found - chance
        values[f"above_blind_recall@{k}"] = found - blind
    wrong = cases[f"n_candidates{suffix}"] - cases["n_hits"]
    for size in GALLERY_SIZES:
        values[f"recall@{AMONG_AT}_among_{size}"] = recall_among(cases[f"rank{suffix}"], wrong, AMONG_AT, size)
    values["mean_reciprocal_rank"] = reciprocal_ranks(cases[f"rank{suffix}"])
    values[f"ndcg@{NDCG_AT}"] = cases[f"ndcg{suffix}"]
    values[f"chance_ndcg@{NDCG_AT}"] = cases["chance_ndcg"]
    return values


def retrieval_case_metrics(cases: Cases, resampling: PatientBootstrap | None) -> CaseMetrics:
    """Every metric of `RetrievalEvaluator` from its case table alone.

    Args:
        cases: Case table of a `RetrievalResult`.
        resampling: Draws of the patients of its rows; None: points only.
    """
    found = CaseMetrics({}, {})
    for name, rows, kind in _groups(cases):
        points, replicates = _summary(cases, rows, kind, resampling)
        found.points.update({f"{name}/{metric}": value for metric, value in points.items()})
        found.replicates.update({f"{name}/{metric}": values for metric, values in replicates.items()})
    return found


def _groups(cases: Cases) -> list[tuple[str, npt.NDArray[np.int64], Kind]]:
    """Name, rows and kind of every group of queries that is summarised."""
    groups: list[tuple[str, npt.NDArray[np.int64], Kind]] = []
    is_abnormal, is_study = ~cases["is_normal"].astype(bool), cases["sequence"] == STUDY
    for direction in DIRECTIONS:
        chosen = cases["direction"] == direction
        series = chosen & ~is_study
        groups.append((f"within_sequence/{direction}", np.flatnonzero(series), "within"))
        groups.append((f"within_sequence_abnormal/{direction}", np.flatnonzero(series & is_abnormal), "within"))
        for sequence in dict.fromkeys(cases["sequence"][~is_study]):
            rows = np.flatnonzero(chosen & (cases["sequence"] == sequence))
            groups.append((f"{sequence}/{direction}", rows, "within"))
        groups.append((f"overall/{direction}", np.flatnonzero(series), "overall"))
        studies = chosen & is_study
        groups.append((f"{STUDY}/{direction}", np.flatnonzero(studies), "within"))
        groups.append((f"{STUDY}_abnormal/{direction}", np.flatnonzero(studies & is_abnormal), "within"))
    return [(name, rows, kind) for name, rows, kind in groups if len(rows)]


def _summary(
    cases: Cases, rows: npt.NDArray[np.int64], kind: Kind, resampling: PatientBootstrap | None
) -> tuple[dict[str, float], dict[str, npt.NDArray[np.float64]]]:
    """Points and replicates of one group of rows."""
    suffix = "" if kind == "within" else "_overall"
    weights = cases["weight"]
    share = weights[rows]
    named = {name: values for name, values in case_values(cases, kind).items() if not np.isnan(values[rows]).any()}
    points = {name: float(np.average(values[rows], weights=share)) for name, values in named.items()}
    ranks = cases[f"rank{suffix}"].astype(np.float64)
    points["median_rank"] = weighted_median(ranks[rows], share)
    points["n_queries"] = float(round(share.sum()))
    points["n_candidates"] = float(np.average(cases[f"n_candidates{suffix}"][rows], weights=share))
    if resampling is None:
        return points, {}
    columns = np.nan_to_num(np.column_stack(list(named.values())))  # NaN only in rows of other groups
    means = resampling.means(columns, weights, rows)
    replicates = dict(zip(named, means.T, strict=True))
    return points, {**replicates, "median_rank": resampling.medians(ranks, weights, rows)}
