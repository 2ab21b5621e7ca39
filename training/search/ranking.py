"""The nearest rows of a query: exact, by one matrix product, or by a FAISS graph."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Links of a row and breadth of the search while the graph is built and read: with these, recall@10 on random
# directions, the hardest case there is, is above 0.9 (tests/training/search/test_ranking.py).
_LINKS = 32
_BREADTH = 256


def nearest_rows(
    vectors: npt.NDArray[np.float32], query: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], top: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The rows with the largest cosine, exactly.

    Args:
        vectors: (N, E) unit length.
        query: (E,) unit length.
        rows: Which rows are searched, ascending.
        top: Most rows to return.

    Returns:
        Rows and their cosines, best first; of equal ones the earlier row first.
    """
    every = len(rows) == len(vectors)
    scores = (vectors if every else vectors[rows]) @ query
    order = np.argsort(-scores, kind="stable")[:top]
    return rows[order], scores[order]


def require_faiss() -> Any:
    """FAISS, or ModuleNotFoundError that names the extra to install."""
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--faiss and an index made with it need FAISS; install it with `pip install 'selip[search]'`, or leave "
            "--faiss out: exact search takes a fraction of a second up to a million rows"
        ) from error
    return faiss


def write_graph(vectors: npt.NDArray[np.float32], path: Path) -> None:
    """Build a graph (HNSW, inner product) over vectors (n, E) and write it."""
    faiss = require_faiss()
    graph = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _BREADTH
    graph.add(np.ascontiguousarray(vectors))
    faiss.write_index(graph, str(path))


def nearest_in_graph(
    path: Path, query: npt.NDArray[np.float32], top: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Places among the vectors of a graph, and cosines, best first; a few of the best may be missing."""
    faiss = require_faiss()
    graph = faiss.read_index(str(path))
    graph.hnsw.efSearch = max(_BREADTH, top)
    scores, places = graph.search(np.ascontiguousarray(query[None]), min(top, graph.ntotal))
    found = places[0] >= 0
    return places[0][found], scores[0][found]
