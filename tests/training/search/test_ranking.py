"""The nearest rows: as NumPy sorts them, and with FAISS nearly so."""

import sys

import numpy as np
import pytest

from selip.training.search.ranking import nearest_in_graph, nearest_rows, require_faiss, write_graph


def unit_vectors(count: int, width: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_exact_search_is_an_argsort() -> None:
    """All rows or some of them, fewer rows than asked for, and equal rows in their order."""
    vectors, query = unit_vectors(200, 8, 0), unit_vectors(1, 8, 1)[0]
    vectors[150] = vectors[20]
    scores = vectors @ query
    rows, found = nearest_rows(vectors, query, np.arange(200), 200)
    assert np.array_equal(rows, np.argsort(-scores, kind="stable"))
    assert found == pytest.approx(scores[rows], abs=1e-6)
    assert list(rows).index(20) + 1 == list(rows).index(150)
    some = np.arange(0, 200, 3)
    rows, _ = nearest_rows(vectors, query, some, 10)
    assert np.array_equal(rows, some[np.argsort(-scores[some], kind="stable")[:10]])
    assert len(nearest_rows(vectors, query, some[:4], 10)[0]) == 4


def test_graph_finds_nearly_all_of_the_nearest(tmp_path) -> None:
    """On random directions recall@10 is above 0.9, and the cosines are those of the vectors."""
    pytest.importorskip("faiss", reason="needs the extra `search`")
    vectors, queries = unit_vectors(3000, 32, 2), unit_vectors(50, 32, 3)
    write_graph(vectors, tmp_path / "graph.faiss")
    shared = 0
    for query in queries:
        rows, scores = nearest_in_graph(tmp_path / "graph.faiss", query, 10)
        assert scores == pytest.approx(vectors[rows] @ query, abs=1e-5)
        assert (np.diff(scores) <= 0).all()
        shared += len(set(rows) & set(nearest_rows(vectors, query, np.arange(3000), 10)[0]))
    assert shared / 500 > 0.9
    assert len(nearest_in_graph(tmp_path / "graph.faiss", queries[0], 5000)[0]) > 2900


def test_missing_faiss_names_the_extra(monkeypatch) -> None:
    """Without FAISS the option says what to install."""
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ModuleNotFoundError, match=r"selip\[search\]"):
        require_faiss()
