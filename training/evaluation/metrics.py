"""Ranking metrics: pure NumPy functions of scores, hits and grades.

Letters: Q queries, C candidates. A larger score ranks higher. `hits` (Q, C) says which candidates are right answers
(there may be several, identical reports for instance). `grades` (Q, C) are whole numbers, 0 = not relevant.

Ties always count against the model: a right candidate stands behind every wrong one of the same score, so a model
that gives all pairs one score is last everywhere instead of first by the order of the table.
"""

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

RECALL_AT = (1, 5, 10)
NDCG_AT = 10
# Recall at this rank among galleries of these sizes.
AMONG_AT = 5
GALLERY_SIZES = (10, 30, 100, 300, 1000)


def unit_rows(embeds: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Rows scaled to unit length, so that a dot product is a cosine.

    Args:
        embeds: (N, E) embeddings; arrays and detached CPU tensors are accepted.

    Raises:
        ValueError: Not two-dimensional, not finite, or a row of zero length.
    """
    rows = np.asarray(embeds, dtype=np.float32)
    if rows.ndim != 2:
        raise ValueError(f"expected embeddings of shape (N, E), got {rows.shape}")
    if not np.isfinite(rows).all():
        count = int((~np.isfinite(rows)).any(axis=1).sum())
        raise ValueError(f"expected finite embeddings, got NaN or infinity in {count} of {len(rows)} rows")
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if (length == 0).any():
        raise ValueError(f"expected embeddings of non-zero length, got {int((length == 0).sum())} zero rows")
    return rows / length


def unit_rows_of_both(
    images: npt.ArrayLike, texts: npt.ArrayLike, *, counts: tuple[int, int], images_are: str = "image"
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """`unit_rows` of embeddings that are compared with each other.

    Args:
        images: (N, E).
        texts: (M, E).
        counts: N and M that are expected.
        images_are: What the first are of, for the error.

    Raises:
        ValueError: Other shapes, or as `unit_rows`.
    """
    rows, columns = unit_rows(images), unit_rows(texts)
    if (len(rows), len(columns)) != counts or rows.shape[1] != columns.shape[1]:
        raise ValueError(
            f"expected {counts[0]} {images_are} and {counts[1]} text embeddings of one width, "
            f"got {rows.shape} and {columns.shape}"
        )
    return rows, columns


def best_hit_ranks(scores: npt.NDArray[np.floating], hits: BoolArray) -> IntArray:
    """Rank (1 = first) of the best-scored right candidate of each query.

    The rank is one more than the number of wrong candidates that score at least as much; other right candidates
    never push it back.

    Args:
        scores: (Q, C).
        hits: (Q, C).

    Returns:
        (Q,) ranks in 1 ... C; 0 where the query has no right candidate at all.

    Raises:
        ValueError: Shapes differ or a score is NaN.
    """
    if scores.shape != hits.shape or scores.ndim != 2:
        raise ValueError(f"expected scores and hits of one shape (Q, C), got {scores.shape} and {hits.shape}")
    if np.isnan(scores).any():
        raise ValueError(f"expected scores without NaN, got {int(np.isnan(scores).sum())}")
    best = np.where(hits, scores, -np.inf).max(axis=1, initial=-np.inf)
    wrong_at_least_as_good = (~hits & (scores >= best[:, None])).sum(axis=1)
    return np.where(hits.any(axis=1), wrong_at_least_as_good + 1, 0).astype(np.int64)


def recall_at_k(ranks: IntArray, k: int) -> FloatArray:
    """1.0 for each query (Q,) whose best hit is within the first `k`, else 0.0. Rank 0 (no hit exists) gives 0.0."""
    return ((ranks >= 1) & (ranks <= k)).astype(np.float64)


def recall_among(ranks: IntArray, wrong: IntArray, k: int, size: int) -> FloatArray:
    """Chance that the best hit is within the first `k` of a smaller gallery: itself and `size - 1` drawn wrong ones.

    Args:
        ranks: (Q,) as of `best_hit_ranks`: one more than the wrong candidates before the best hit.
        wrong: (Q,) number of wrong candidates.
        k: Rank.
        size: Candidates of the smaller gallery.

    Returns:
        (Q,), hypergeometric; NaN where there are fewer than size - 1 wrong candidates; 0 where no hit exists (rank 0).
    """
    before = np.maximum(ranks - 1, 0)
    chance = hypergeom.cdf(k - 1, np.maximum(wrong, size - 1), before, size - 1)
    return np.where(wrong < size - 1, np.nan, np.where(ranks > 0, chance, 0.0))


def reciprocal_ranks(ranks: IntArray) -> FloatArray:
    """1 / rank of each query (Q,); 0.0 where no hit exists (rank 0)."""
    return np.divide(1.0, ranks, out=np.zeros(ranks.shape), where=ranks > 0)


def _discounts(count: int) -> FloatArray:
    return 1.0 / np.log2(np.arange(2, count + 2, dtype=np.float64))


def _ideal_dcg(gains: FloatArray, k: int) -> FloatArray:
    best_first = -np.sort(-gains, axis=1)[:, :k]
    return best_first @ _discounts(best_first.shape[1])


def ndcg_at_k(scores: npt.NDArray[np.floating], grades: npt.NDArray[np.integer], k: int) -> FloatArray:
    """Normalised discounted cumulative gain of the first `k` candidates (Järvelin and Kekäläinen 2002).

    Exponential gain 2^grade - 1 (grades 0, 1, 2, 3 gain 0, 1, 3, 7) and discount 1 / log2(1 + rank); the ideal order
    is taken over all candidates.

    Args:
        scores: (Q, C).
        grades: (Q, C) whole numbers >= 0.
        k: Cut-off >= 1.

    Returns:
        (Q,) in [0, 1]; 0 where no candidate has a grade above 0.
    """
    gains = np.exp2(grades.astype(np.float64)) - 1.0
    order = np.lexsort((gains, -scores), axis=1)[:, :k]  # ties: least relevant first
    found = np.take_along_axis(gains, order, axis=1)
    dcg = found @ _discounts(found.shape[1])
    ideal = _ideal_dcg(gains, k)
    return np.divide(dcg, ideal, out=np.zeros_like(dcg), where=ideal > 0)


def chance_recall_at_k(num_candidates: npt.ArrayLike, num_hits: npt.ArrayLike, k: int) -> FloatArray:
    """Exact expected recall@k of a random order: 1 - C(n - h, k) / C(n, k) (hypergeometric, no hit drawn).

    Args:
        num_candidates: n, (Q,) or a number.
        num_hits: h, (Q,) or a number, 0 <= h <= n.
        k: Cut-off >= 1; more than n candidates counts as n.

    Returns:
        Probability that at least one hit is among the first k, of the broadcast shape.

    Raises:
        ValueError: More hits than candidates, or fewer than none.
    """
    candidates, hits = np.broadcast_arrays(
        np.asarray(num_candidates, dtype=np.float64), np.asarray(num_hits, dtype=np.float64)
    )
    if (hits < 0).any() or (hits > candidates).any():
        raise ValueError("expected 0 <= hits <= candidates for every query")
    miss = np.ones(candidates.shape)
    for drawn in range(k):
        left = np.maximum(candidates - drawn, 1.0)
        miss = miss * np.maximum(candidates - hits - drawn, 0.0) / left
    return np.where(hits > 0, 1.0 - miss, 0.0)


def chance_ndcg_at_k(grades: npt.NDArray[np.integer], k: int) -> FloatArray:
    """Exact expected nDCG@k of a random order: every place holds the mean gain.

    Args:
        grades: (Q, C) whole numbers >= 0.
        k: Cut-off >= 1.

    Returns:
        (Q,) in [0, 1]; 0 where no candidate has a grade above 0.
    """
    gains = np.exp2(grades.astype(np.float64)) - 1.0
    expected = gains.mean(axis=1) * _discounts(min(k, gains.shape[1])).sum()
    ideal = _ideal_dcg(gains, k)
    return np.divide(expected, ideal, out=np.zeros_like(expected), where=ideal > 0)


def blind_ranks(hits: BoolArray, depth: int) -> IntArray:
    """Ranks under the best single order of the candidates that looks at no query.

    It puts the candidate that is right for most queries first (often the normal sentence), then the one that is right
    for most of the remaining queries, and so on: what a model could score without looking at any image. Greedy, which
    is optimal where hits split the queries into classes (each query has hits in one class only).

    Args:
        hits: (Q, C).
        depth: Number of places to fill.

    Returns:
        (Q,) rank in 1 ... depth; 0 where the query has no right candidate within `depth`.
    """
    ranks = np.zeros(len(hits), dtype=np.int64)
    open_queries = np.ones(len(hits), dtype=bool)
    for place in range(1, min(depth, hits.shape[1]) + 1):
        gained = hits[open_queries].sum(axis=0)
        if not gained.any():
            break
        answered = open_queries & hits[:, int(gained.argmax())]
        ranks[answered] = place
        open_queries &= ~answered
    return ranks


def retrieval_metrics(
    image_embeds: npt.ArrayLike,
    text_embeds: npt.ArrayLike,
    hits: BoolArray,
    image_groups: npt.ArrayLike,
    text_groups: npt.ArrayLike | None = None,
    recall_at: tuple[int, ...] = RECALL_AT,
) -> dict[str, float]:
    """Retrieval within groups (sequences), both directions, in memory: the light form for validation while training.

    Each query sees only the candidates of its own group. Queries without a right candidate are left out.

    Args:
        image_embeds: (N, E); scaled to unit length here.
        text_embeds: (M, E).
        hits: (N, M) True where the text is right for the image.
        image_groups: (N,) group of each image, e.g. the sequence id.
        text_groups: (M,) group of each text; may be left out if texts and images are paired row by row (N = M).
        recall_at: Cut-offs.

    Returns:
        `{direction}/recall@k`, `{direction}/chance_recall@k`, `{direction}/mean_reciprocal_rank`,
        `{direction}/median_rank`, `{direction}/n_queries` for the directions `image_to_text` and `text_to_image`; over
        all queries of all groups. NaN where there is no query.

    Raises:
        ValueError: Shapes do not fit together.
    """
    images, texts = unit_rows(image_embeds), unit_rows(text_embeds)
    of_image = np.asarray(image_groups)
    if text_groups is None and len(images) != len(texts):
        raise ValueError(f"expected text_groups, as {len(images)} images and {len(texts)} texts are not paired")
    of_text = of_image if text_groups is None else np.asarray(text_groups)
    expected = (len(images), len(texts))
    if hits.shape != expected or (len(of_image), len(of_text)) != expected:
        raise ValueError(
            f"expected hits {expected} and groups of these lengths, got {hits.shape}, {len(of_image)}, {len(of_text)}"
        )
    result: dict[str, float] = {}
    for direction in ("image_to_text", "text_to_image"):
        ranks, candidates, right = [], [], []
        for group in np.unique(of_image):
            rows, columns = of_image == group, of_text == group
            scores, is_hit = images[rows] @ texts[columns].T, hits[np.ix_(rows, columns)]
            if direction == "text_to_image":
                scores, is_hit = scores.T, is_hit.T
            answerable = is_hit.any(axis=1)
            ranks.append(best_hit_ranks(scores, is_hit)[answerable])
            right.append(is_hit.sum(axis=1)[answerable])
            candidates.append(np.full(int(answerable.sum()), is_hit.shape[1]))
        rank, count, num_hits = np.concatenate(ranks), np.concatenate(candidates), np.concatenate(right)
        values = {f"recall@{k}": recall_at_k(rank, k) for k in recall_at}
        values |= {f"chance_recall@{k}": chance_recall_at_k(count, num_hits, k) for k in recall_at}
        values["mean_reciprocal_rank"] = reciprocal_ranks(rank)
        for name, value in values.items():
            result[f"{direction}/{name}"] = float(value.mean()) if len(rank) else float("nan")
        result[f"{direction}/median_rank"] = float(np.median(rank)) if len(rank) else float("nan")
        result[f"{direction}/n_queries"] = float(len(rank))
    return result
