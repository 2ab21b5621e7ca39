"""Ranking metrics against loops, enumeration and hand-computed cases."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from selip.training.evaluation.metrics import (
    best_hit_ranks,
    blind_ranks,
    chance_ndcg_at_k,
    chance_recall_at_k,
    ndcg_at_k,
    recall_among,
    recall_at_k,
    reciprocal_ranks,
    retrieval_metrics,
    unit_rows,
)


def naive_rank(scores, hits):
    """Sort with wrong answers before right ones of the same score, then look for the first right one."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], hits[i]))
    return next((place for place, i in enumerate(order, start=1) if hits[i]), 0)


def test_ranks_equal_a_naive_sort_also_with_ties():
    """The vectorised rank is the place of the first hit in a sorted list that puts ties against the model."""
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 4, size=(200, 9)).astype(np.float32)
    hits = generator.random((200, 9)) < 0.25
    expected = [naive_rank(s.tolist(), h.tolist()) for s, h in zip(scores, hits, strict=True)]
    assert (~hits.any(axis=1)).any(), "or the case without hits would not be tested"
    assert best_hit_ranks(scores, hits).tolist() == expected


def test_ranks_of_a_hand_case():
    """Two hits: the better one counts, and the other hit before nothing else costs nothing."""
    scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.7, 0.1], [0.5, 0.5, 0.5, 0.5]])
    hits = np.array([[0, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]], dtype=bool)
    ranks = best_hit_ranks(scores, hits)
    assert ranks.tolist() == [2, 4, 4]
    assert recall_at_k(ranks, 2).tolist() == [1, 0, 0]
    assert reciprocal_ranks(ranks).tolist() == [0.5, 0.25, 0.25]


def test_a_model_with_equal_scores_is_last():
    """A collapsed model gets no credit from the order of the table."""
    hits = np.eye(6, dtype=bool)
    assert best_hit_ranks(np.zeros((6, 6)), hits).tolist() == [6] * 6
    assert ndcg_at_k(np.zeros((6, 6)), 3 * hits.astype(int), 5).tolist() == [0] * 6


def test_ndcg_equals_scikit_learn():
    """Without ties, nDCG with gain 2^g - 1 equals scikit-learn's (linear in what it is given) on the same gains."""
    generator = np.random.default_rng(1)
    grades = generator.integers(0, 4, size=(50, 20))
    scores = generator.permuted(np.tile(np.arange(20.0), (50, 1)), axis=1)
    for k in (1, 5, 10, 30):
        expected = [ndcg_score([2.0**g - 1], [s], k=k) for g, s in zip(grades, scores, strict=True)]
        assert ndcg_at_k(scores, grades, k) == pytest.approx(expected, abs=1e-12)


def test_ndcg_of_a_hand_case():
    """Grades 1, 3 in the wrong order: (1 + 7/log2(3)) / (7 + 1/log2(3))."""
    value = ndcg_at_k(np.array([[2.0, 1.0, 0.0]]), np.array([[1, 3, 0]]), 10)
    assert value[0] == pytest.approx((1 + 7 / math.log2(3)) / (7 + 1 / math.log2(3)))
    assert ndcg_at_k(np.array([[1.0, 2.0]]), np.array([[0, 0]]), 10).tolist() == [0.0]


@pytest.mark.parametrize(("candidates", "hits"), [(5, 1), (5, 2), (6, 3), (4, 4), (3, 0)])
def test_chance_recall_equals_enumeration(candidates, hits):
    """The closed form is the share of all orders that have a hit in the first k."""
    orders = list(permutations([True] * hits + [False] * (candidates - hits)))
    for k in range(1, candidates + 3):
        share = sum(any(order[:k]) for order in orders) / len(orders)
        assert chance_recall_at_k(candidates, hits, k) == pytest.approx(share)


def test_chance_ndcg_equals_the_mean_over_all_orders():
    """Every order of five candidates equally often."""
    grades = np.array([3, 1, 0, 2, 0])
    orders = np.array(list(permutations(range(5))), dtype=float)
    for k in (1, 3, 10):
        expected = ndcg_at_k(orders, np.tile(grades, (len(orders), 1)), k).mean()
        assert chance_ndcg_at_k(grades[None], k) == pytest.approx([expected])


def test_recall_in_a_smaller_gallery_is_what_drawing_one_gives():
    """Exact against all draws of wrong candidates; the whole gallery is recall@k; too large ones have no value."""
    ranks, wrong, size = np.array([1, 3, 6, 0]), np.array([6, 6, 6, 6]), 4
    got = recall_among(ranks, wrong, 2, size)
    for query, rank in enumerate(ranks[:3]):
        draws = list(
            combinations(range(6), size - 1)
        )  # wrong candidates by their place; the hit has rank - 1 before it
        found = [sum(place < rank - 1 for place in draw) < 2 for draw in draws]
        assert got[query] == pytest.approx(np.mean(found))
    assert got[3] == 0
    assert recall_among(ranks, wrong, 2, 7).tolist() == recall_at_k(ranks, 2).tolist()
    assert np.isnan(recall_among(ranks, wrong, 2, 8)).all()


def test_blind_order_is_the_best_constant_order():
    """For hits that split queries into classes, no single order of candidates has a higher recall at any k."""
    classes = np.array([0, 0, 0, 1, 1, 2, 3])
    candidate_class = np.array([3, 1, 0, 2, 0])  # class 0 has two right candidates: the second must not take a place
    hits = classes[:, None] == candidate_class[None, :]
    ranks = blind_ranks(hits, depth=5)
    for k in (1, 2, 3):
        best = max(hits[:, list(order[:k])].any(axis=1).mean() for order in permutations(range(5)))
        assert recall_at_k(ranks, k).mean() == pytest.approx(best)


def test_retrieval_metrics_equal_loops_over_groups():
    """Each query ranks the candidates of its own group only; both directions; duplicates are hits."""
    generator = np.random.default_rng(2)
    images, texts = generator.normal(size=(30, 8)), generator.normal(size=(12, 8))
    image_groups, text_groups = generator.integers(0, 3, 30), np.arange(12) % 3
    hits = (generator.random((30, 12)) < 0.3) & (image_groups[:, None] == text_groups[None, :])
    got = retrieval_metrics(images, texts, hits, image_groups, text_groups)

    cosine = unit_rows(images) @ unit_rows(texts).T
    ranks = []
    for i in range(30):
        own = [j for j in range(12) if text_groups[j] == image_groups[i]]
        rank = naive_rank([float(cosine[i, j]) for j in own], [bool(hits[i, j]) for j in own])
        ranks += [rank] if rank else []
    assert got["image_to_text/n_queries"] == len(ranks)
    assert got["image_to_text/recall@1"] == pytest.approx(np.mean([r <= 1 for r in ranks]))
    assert got["image_to_text/median_rank"] == pytest.approx(np.median(ranks))
    back = []
    for j in range(12):
        own = [i for i in range(30) if image_groups[i] == text_groups[j]]
        rank = naive_rank([float(cosine[i, j]) for i in own], [bool(hits[i, j]) for i in own])
        back += [rank] if rank else []
    assert got["text_to_image/recall@5"] == pytest.approx(np.mean([r <= 5 for r in back]))
    assert got["text_to_image/mean_reciprocal_rank"] == pytest.approx(np.mean([1 / r for r in back]))


def test_retrieval_metrics_refuse_what_does_not_fit():
    """Unpaired texts need groups, and hits must be images x texts."""
    with pytest.raises(ValueError, match="expected text_groups"):
        retrieval_metrics(np.eye(3), np.eye(3)[:2], np.ones((3, 2), dtype=bool), [0, 0, 0])
    with pytest.raises(ValueError, match="expected hits"):
        retrieval_metrics(np.eye(3), np.eye(3), np.ones((3, 2), dtype=bool), [0, 0, 0])


def test_bad_embeddings_are_refused():
    """NaN, zero and flat arrays would rank silently."""
    with pytest.raises(ValueError, match="1 of 2 rows"):
        unit_rows([[1.0, 0.0], [np.nan, 1.0]])
    with pytest.raises(ValueError, match="non-zero"):
        unit_rows([[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"\(N, E\)"):
        unit_rows([1.0, 2.0])
    with pytest.raises(ValueError, match="without NaN"):
        best_hit_ranks(np.array([[np.nan]]), np.array([[True]]))
