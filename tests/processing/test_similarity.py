"""The released similarity, against the published test vectors and against nested loops."""

import random

import numpy as np
import pytest

from selip.processing.rendering import Clause, TextItem
from selip.processing.similarity import released_blocks, released_similarity

TAGS = {
    "zh": ["高信号", "低信号", "长信号", "短信号", "等信号"],
    "en": ["hyperintense", "hypointense", "isointense", "restricted diffusion", "enhancing", "mixed-signal"],
}
PLACES = {
    "zh": ["左侧额叶", "右侧额叶", "双侧丘脑", "脑桥"],
    "en": ["left frontal lobe", "right frontal lobe", "pons"],
}
WORDS = {
    "zh": ["斑片状高信号", "点状低信号", "稍高信号", "急性脑梗死", "片状等信号", "水肿"],
    "en": [
        "patchy hyperintense signal",
        "hypointense cyst",
        "small cyst",
        "acute infarct with restricted diffusion",
        "edema",
    ],
}


def item(*clauses: tuple[str, str], normal: bool = False) -> TextItem:
    return TextItem("", tuple(Clause(*c) for c in clauses), normal)


def reference(rows: list[TextItem], columns: list[TextItem], language: str) -> np.ndarray:
    """Nested loops, written from the formula; no forced diagonal."""

    def tag(clause: Clause) -> str:
        for name in TAGS[language]:
            if name in clause.description:
                return name
        return clause.description

    def marks(clause: Clause) -> set[str]:
        if language == "zh":
            return set(clause.location) | set(clause.description)
        return set((clause.location + " " + clause.description).replace("-", " ").split())

    def score(a: Clause, b: Clause) -> float:
        semantic = 0.5 * (a.location == b.location) + 0.5 * (tag(a) == tag(b))
        return semantic * 2 * len(marks(a) & marks(b)) / (len(marks(a)) + len(marks(b)))

    out = np.zeros((len(rows), len(columns)))
    for i, a in enumerate(rows):
        for j, b in enumerate(columns):
            if a.normal or b.normal or not a.clauses or not b.clauses:
                continue
            out[i, j] = min(1.0, np.mean([np.mean([score(c, d) for d in b.clauses]) for c in a.clauses]))
    return out


def random_items(rng: random.Random, language: str, n: int) -> list[TextItem]:
    items = []
    for _ in range(n):
        clauses = [(rng.choice(PLACES[language]), rng.choice(WORDS[language])) for _ in range(rng.randint(0, 4))]
        items.append(item(*clauses) if rng.random() > 0.1 else item(normal=True))
    return items


def test_published_vectors() -> None:
    """Invariant: the values computed for the released code (fact sheet 1.4), and the first target row made of them."""
    first = ("左侧基底节区", "斑片状高信号")
    items = [
        item(first),
        item(("右侧基底节区", "斑片状高信号")),
        item(("左侧基底节区", "点状低信号")),
        item(first, ("双侧脑室旁", "斑点状稍高信号")),
        item(("左侧小脑半球", "片状低信号")),
    ]
    row = released_similarity(items, "zh")[0]
    np.testing.assert_allclose(row, [1, 0.5 * 22 / 24, 0.5 * 18 / 23, 0.625, 0], atol=1e-6)
    target = np.maximum(row / row.sum(), 1e-3)
    np.testing.assert_allclose(target[:4], [0.4041, 0.1852, 0.1581, 0.2526], atol=5e-5)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_matches_nested_loops(language: str) -> None:
    """Invariant: the vectorised matrix equals nested loops over texts and clauses, square and rectangular."""
    rng = random.Random(0)
    items = random_items(rng, language, 150)
    expected = reference(items, items, language)
    np.fill_diagonal(expected, 1.0)
    found = released_similarity(items, language)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(found, found.T)
    assert found.dtype == np.float32
    columns = random_items(rng, language, 70)
    np.testing.assert_allclose(
        released_similarity(items, language, columns), reference(items, columns, language), atol=1e-6
    )


def test_rows_of_a_gathered_batch_equal_the_whole() -> None:
    """Invariant: two processes that compare their rows with all gathered columns get the matrix of one process."""
    items = random_items(random.Random(1), "en", 40)
    whole = released_similarity(items, "en")
    parts = [
        released_similarity(items[start : start + 20], "en", items, own_column=np.arange(start, start + 20))
        for start in (0, 20)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_blocks_are_the_whole() -> None:
    """Invariant: blocks of any size, the last one short, put together are the whole matrix."""
    items = random_items(random.Random(2), "zh", 50)
    for size in (1, 20, 100):
        blocks = list(released_blocks(items, "zh", size))
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), released_similarity(items, "zh"))
        assert [len(range(*rows.indices(50))) for rows, _ in blocks] == [len(block) for _, block in blocks]
    assert list(released_blocks([], "zh")) == []


def test_normal_texts_are_like_nothing_but_themselves() -> None:
    """Invariant: a normal text is 1 with itself and 0 with all others, also with another normal one."""
    items = [item(normal=True), item(("pons", "cyst")), item(normal=True), item()]
    np.testing.assert_array_equal(
        released_similarity(items, "en"), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    assert released_similarity([], "en").shape == (0, 0)


def test_wrong_arguments_are_refused() -> None:
    """Invariant: unknown languages and impossible own columns are errors, not silent zeros."""
    items = [item(("pons", "cyst"))]
    with pytest.raises(ValueError, match="language"):
        released_similarity(items, "fr")
    with pytest.raises(ValueError, match="own_column"):
        released_similarity(items, "en", items, own_column=np.array([1]))
    with pytest.raises(ValueError, match="own_column"):
        released_similarity(items, "en", own_column=np.array([0]))
