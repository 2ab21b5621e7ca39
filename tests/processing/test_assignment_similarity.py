"""The recommended similarity: its properties, and nested loops that know nothing of its arrays."""

import itertools
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from selip.processing.agreement import agreement, contradictions
from selip.processing.assignment_similarity import (
    assignment_blocks,
    assignment_similarity,
    limit_links,
    measure_statistics,
)
from selip.processing.corpus_statistics import CorpusStatistics
from selip.processing.findings import Finding, StructuredReport
from selip.processing.rendering import TextItem, series_text, study_text
from selip.processing.similarity import released_similarity
from selip.processing.statements import Statement
from selip.processing.vocabulary import load_terms

UNKNOWN = CorpusStatistics(0, {})  # every weight is 1, chance is 0
TERMS = ("acute infarct", "chronic infarct", "mass", "glioma", "signal abnormality", "hemorrhage", "atrophy")
SITES = ("frontal lobe", "parietal lobe", "cerebral hemisphere", "brain", "thalamus", "pons", "brainstem")
SIDES = ("left", "right", "bilateral", "none")
WORDS = ("small", "patchy", "possible", "multiple")


def text(*said: Statement, name: str = "") -> TextItem:
    return TextItem(name or repr(said), (), normal=False, statements=said)


def random_statement(rng: random.Random, sequence: str | None, *, is_denied: bool = False) -> Statement:
    place = rng.choice(TERMS), rng.choice(SITES), rng.choice(SIDES)
    if is_denied:
        return Statement(*place, is_denied=True)
    told = [sequence] if sequence else ["FLAIR", "DWI", "any"]
    signals = {(rng.choice(told), rng.choice(["hyper", "hypo"])) for _ in range(rng.randint(0, 2))}
    return Statement(
        *place, sequence=sequence, signals=frozenset(signals), details=frozenset(rng.sample(WORDS, rng.randint(0, 2)))
    )


def random_texts(seed: int, n: int, most: int = 4) -> list[TextItem]:
    """Texts of 1 to `most` statements and some denials, of two sequences and of whole studies; some normal."""
    rng = random.Random(seed)
    texts = []
    for number in range(n):
        sequence = rng.choice(["FLAIR", "DWI", None])
        said = list(dict.fromkeys(random_statement(rng, sequence) for _ in range(rng.randint(1, most))))
        denied = [random_statement(rng, sequence, is_denied=True) for _ in range(rng.randint(0, 2))]
        denied = [each for each in denied if not any(each.contradicts(other) for other in said)]
        if rng.random() < 0.1:
            said, denied = [Statement("normal", "brain", sequence=sequence)], []
        texts.append(text(*said, *denied, name=f"text {number}"))
    return texts


class Reference:
    """The formulas of docs/similarity.md in plain Python, with the numbers written out."""

    FAMILIES = ({"acute infarct", "chronic infarct"}, {"mass", "glioma"})

    def __init__(self, statistics: CorpusStatistics) -> None:
        self.statistics = statistics

    def weight(self, said: Statement) -> float:
        n = self.statistics.num_studies
        df = self.statistics.counts.get((said.term, said.site), 0)
        return (np.log((1 + n) / (1 + df)) + 1) / (np.log(1 + n) + 1)

    def agreement(self, a: Statement, b: Statement) -> float:
        return self.term(a.term, b.term) * self.site(a.site, b.site) * self.side(a, b) * self.look(a, b)

    def term(self, a: str, b: str) -> float:
        if a == b:
            return 1.0
        if "normal" in (a, b):
            return 0.0
        if any({a, b} <= family for family in self.FAMILIES):
            return 0.5
        return 0.25 if "signal abnormality" in (a, b) else 0.0

    def site(self, a: str, b: str) -> float:
        def path(site: str) -> list[str]:
            parent = load_terms().sites[site].parent
            return [*path(parent), site] if parent else [site]

        up, down = path(a), path(b)
        common = len([1 for x, y in zip(up, down, strict=False) if x == y])
        if common == 0 or (common == 1 and min(len(up), len(down)) > 1):
            return 0.0
        return 0.5 ** (len(up) + len(down) - 2 * common)

    def side(self, a: Statement, b: Statement) -> float:
        if a.laterality == b.laterality:
            return 1.0
        return 0.2 if {a.laterality, b.laterality} == {"left", "right"} else 0.6

    def look(self, a: Statement, b: Statement) -> float:
        both = {s for s, _ in a.signals} & {s for s, _ in b.signals}
        x, y = ({pair for pair in of.signals if pair[0] in both} for of in (a, b))
        factor = 0.9 if a.signals or b.signals else 1.0
        if both:
            factor = 0.5 + 0.5 * len(x & y) / len(x | y)
        if a.sequence and b.sequence and a.sequence != b.sequence:
            factor *= 0.5
        words = len(a.details) + len(b.details)
        return factor * (0.9 + 0.1 * (2 * len(a.details & b.details) / words if words else 1.0))

    def raw(self, a: TextItem, b: TextItem) -> float:
        said, other = ([s for s in item.statements if not s.is_denied] for item in (a, b))
        denied, other_denied = ([s for s in item.statements if s.is_denied] for item in (a, b))
        worth = np.array(
            [[(self.weight(s) + self.weight(o)) * self.agreement(s, o) for o in other] for s in said]
        ).reshape(len(said), len(other))
        matched = worth[linear_sum_assignment(worth, maximize=True)].sum()
        lost = sum(self.weight(s) for s in said if any(d.contradicts(s) for d in other_denied))
        lost += sum(self.weight(s) for s in other if any(d.contradicts(s) for d in denied))
        total = sum(map(self.weight, [*said, *other]))
        return max(0.0, matched - lost) / total if total else 0.0

    def __call__(self, rows: list[TextItem], columns: list[TextItem]) -> np.ndarray:
        c = self.statistics.chance
        return np.array([[max(0.0, (self.raw(a, b) - c) / (1 - c)) for b in columns] for a in rows])


@pytest.mark.parametrize("most", [3, 5, 9])
def test_matches_nested_loops(most: int) -> None:
    """Invariant: the arrays give what loops with the Hungarian method give, also where subsets are not enumerated."""
    rows, columns = random_texts(0, 50, most), random_texts(1, 70, most)
    statistics = measure_statistics([[item] for item in columns])
    assert 0 < statistics.chance < 0.3
    found = assignment_similarity(rows, columns, statistics)
    expected = Reference(statistics)(rows, columns)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-4)  # the grid of 2^-16, over up to 9 statements
    assert (expected > 0.1).mean() > 0.02
    longest = max(len([s for s in item.statements if not s.is_denied]) for item in rows)
    assert longest == most


def test_chance_is_the_mean_over_pairs() -> None:
    """Invariant: the chance level is the mean of the uncorrected similarity over pairs of different texts of different
    studies; counts are over studies, not texts."""
    items = random_texts(2, 40)
    statistics = measure_statistics([[item] for item in [*items, items[0]]])
    raw = Reference(replace(statistics, chance=0.0))
    pairs = [raw.raw(a, b) for a, b in itertools.combinations(items, 2)]
    assert statistics.chance == pytest.approx(np.mean(pairs), abs=2e-5)
    assert statistics.num_studies == 41
    bleed = Statement("hemorrhage", "pons")
    twice = measure_statistics([[text(bleed), text(bleed, name="again")], [text(Statement("mass", "pons"))], []])
    assert twice.num_studies == 2
    assert twice.counts == {("hemorrhage", "pons"): 1, ("mass", "pons"): 1}


def test_properties() -> None:
    """Invariant: in [0, 1], symmetric to the last bit, 1 with itself; order of findings changes no bit."""
    items = random_texts(3, 120, most=6)
    statistics = measure_statistics([[item] for item in items])
    similarity = assignment_similarity(items, items, statistics)
    assert similarity.min() == 0.0
    assert similarity.max() == 1.0
    np.testing.assert_array_equal(similarity, similarity.T)
    np.testing.assert_array_equal(similarity.diagonal(), 1.0)
    rng = random.Random(0)
    shuffled = [replace(item, statements=tuple(rng.sample(item.statements, len(item.statements)))) for item in items]
    assert shuffled != items
    np.testing.assert_array_equal(assignment_similarity(shuffled, items, statistics), similarity)
    np.testing.assert_array_equal(assignment_similarity(items, shuffled, statistics), similarity)


def test_blocks_are_the_whole() -> None:
    """Invariant: blocks of any size, the last one short, put together are the whole matrix to the last bit."""
    items = random_texts(4, 100)
    statistics = measure_statistics([[item] for item in items])
    whole = assignment_similarity(items, items, statistics)
    for size in (1, 33, 100, 1000):
        blocks = list(assignment_blocks(items, statistics, size))
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), whole)
        assert [len(range(*rows.indices(100))) for rows, _ in blocks] == [len(block) for _, block in blocks]
    assert list(assignment_blocks([], statistics)) == []
    assert assignment_similarity([], items, statistics).shape == (0, 100)
    assert assignment_similarity(items, [], statistics).shape == (100, 0)


def finding(**changes: object) -> Finding:
    values = {
        "finding": "acute infarct",
        "site": "thalamus",
        "laterality": "left",
        "signals": [{"sequence": "DWI", "signal": "hyper"}],
        "morphology": ["patchy"],
    }
    return Finding.model_validate({**values, **changes})


def dwi(*findings: Finding, language: str = "en") -> TextItem:
    item = series_text(StructuredReport(normal=False, findings=list(findings)), "DWI", language)
    assert item is not None
    return item


def other_words(f: Finding) -> Finding:
    return f.model_copy(
        update={"morphology": ["round"], "certainty": "probable", "severity": "moderate", "size_mm": 5.0}
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_wrong_side_costs_more_than_other_words(language: str) -> None:
    """Invariant: the same lesions in other words are more alike than one on the other side. Released, they are not."""
    infarct = finding(signals=[])
    cases = {"one": [infarct], "two": [infarct, finding(site="pons", laterality="none")]}
    for name, findings in cases.items():
        own = dwi(*findings, language=language)
        wording = dwi(*map(other_words, findings), language=language)
        wrong_side = dwi(finding(laterality="right", signals=[]), *findings[1:], language=language)
        new = assignment_similarity([own], [own, wording, wrong_side], UNKNOWN)[0]
        old = released_similarity([own], language, [own, wording, wrong_side])[0]
        assert new[0] == 1.0, name
        assert new[1] >= 0.9 - 1e-4, name
        assert new[2] <= 0.6 + 1e-4, name  # one finding of two, and a fifth of the other
        assert old[1] < old[2], name


def test_each_difference_costs_what_it_should() -> None:
    """Invariant: agreement of two findings by what differs, written out by hand; ordered as the module says."""
    signal = [{"sequence": "DWI", "signal": "hypo"}]
    cases = {
        "equal": ({}, 1.0),
        "other word": ({"morphology": ["round"]}, 0.9),
        "signal not told": ({"signals": []}, 0.9),
        "side not told": ({"laterality": "none"}, 0.6),
        "both sides": ({"laterality": "bilateral"}, 0.6),
        "larger site": ({"site": "brain"}, 0.5),
        "one family": ({"finding": "infarct"}, 0.5),
        "opposed signal": ({"signals": signal}, 0.5),
        "cause not told": ({"finding": "restricted diffusion"}, 0.25),
        "wrong side": ({"laterality": "right"}, 0.2),
        "other site of the brain": ({"site": "cerebellum"}, 0.0),
        "other family": ({"finding": "hemorrhage"}, 0.0),
    }
    own = finding()
    for name, (changes, expected) in cases.items():
        study = StructuredReport(normal=False, findings=[finding(**changes)])
        other = series_text(study, "DWI", "en", unnamed="copy-all")
        assert other is not None
        found = assignment_similarity([dwi(own)], [other], UNKNOWN)
        assert found.item() == pytest.approx(expected, abs=1e-4), name


def test_signals_are_compared_within_a_sequence() -> None:
    """Invariant: the same lesion on another sequence counts half; bright there and dark here is no contradiction."""
    lesion = finding(signals=[{"sequence": "DWI", "signal": "hyper"}, {"sequence": "ADC", "signal": "hypo"}])
    study = StructuredReport(normal=False, findings=[lesion])
    on_dwi, on_adc, whole = series_text(study, "DWI", "en"), series_text(study, "ADC", "en"), study_text(study, "en")
    assert on_dwi is not None
    assert on_adc is not None
    assert whole is not None
    found = assignment_similarity([on_dwi, whole], [on_adc, whole], UNKNOWN)
    np.testing.assert_allclose(found, [[0.45, 1.0], [1.0, 1.0]], atol=1e-4)


def test_what_a_report_denies_counts_against() -> None:
    """Invariant: a text is less like one whose report denies it than like one whose report is silent, both ways."""
    infarct, mass = Statement("acute infarct", "pons"), Statement("mass", "frontal lobe", "left")
    no_mass = Statement("mass", "brain", is_denied=True)
    no_right_mass = Statement("mass", "frontal lobe", "right", is_denied=True)
    both = text(infarct, mass)
    silent, denying, other_side = text(infarct), text(infarct, no_mass), text(infarct, no_right_mass)
    found = assignment_similarity([both], [silent, denying, other_side], UNKNOWN)[0]
    np.testing.assert_allclose(found, [2 / 3, 1 / 3, 2 / 3], atol=1e-6)
    np.testing.assert_array_equal(assignment_similarity([silent, denying, other_side], [both], UNKNOWN)[:, 0], found)
    assert assignment_similarity([denying], [denying], UNKNOWN).item() == 1.0
    assert assignment_similarity([text(mass)], [denying], UNKNOWN).item() == 0.0


def test_arrays_contradict_as_statements_do() -> None:
    """Invariant: `contradictions` is `Statement.contradicts` for all pairs."""
    rng = random.Random(5)
    denied = [random_statement(rng, None, is_denied=True) for _ in range(80)]
    present = [random_statement(rng, None) for _ in range(90)]
    expected = np.array([[a.contradicts(b) for b in present] for a in denied])
    assert 0 < expected.mean() < 0.2
    np.testing.assert_array_equal(contradictions(denied, present).toarray(), expected)


def test_a_rare_finding_weighs_more() -> None:
    """Invariant: of two texts that share one of two findings each, the one that shares the rarer is more alike."""
    rare, common = Statement("abscess", "thalamus"), Statement("mass", "pons")
    corpus = [[text(common)]] * 50 + [[text(rare)]]
    statistics = replace(measure_statistics(corpus), chance=0.0)
    found = assignment_similarity([text(rare, common)], [text(rare), text(common)], statistics)[0]
    even = assignment_similarity([text(rare, common)], [text(rare), text(common)], UNKNOWN)[0]
    assert even[0] == even[1]
    assert found[0] > even[0] > found[1]


def test_normal_texts_are_alike_and_like_no_abnormal_one() -> None:
    """Invariant: normal with normal is 1 in one sequence, a half across sequences; with abnormal 0."""
    normal = StructuredReport(normal=True)
    items = [series_text(normal, "DWI", "en"), series_text(normal, "T1w", "en"), study_text(normal, "en")]
    found = assignment_similarity([*items, dwi(finding())], [*items, dwi(finding())], UNKNOWN)
    np.testing.assert_allclose(found, [[1, 0.5, 1, 0], [0.5, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]], atol=1e-6)


def test_agreement_of_equal_statements_is_one() -> None:
    """Invariant: every statement agrees with itself fully and with none more; the matrix is symmetric."""
    rng = random.Random(6)
    said = [random_statement(rng, rng.choice(["FLAIR", "DWI", None])) for _ in range(200)]
    matrix = agreement(said, said).toarray()
    np.testing.assert_array_equal(matrix.diagonal(), 1.0)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert matrix.max() == 1.0


@pytest.mark.parametrize("limit", [0, 1, 3, 8])
def test_no_text_shares_its_target_with_more_than_the_limit(limit: int) -> None:
    """Invariant: at most `limit` links a text, symmetric, with their values; texts with room keep theirs."""
    generator = np.random.default_rng(limit)
    similarity = generator.random((40, 40)).astype(np.float32) * (generator.random((40, 40)) < 0.5)
    similarity = np.triu(similarity, 1)
    similarity += similarity.T + np.eye(40, dtype=np.float32)
    limited = limit_links(similarity, limit)
    links = (limited > 0) & ~np.eye(40, dtype=bool)
    counts = links.sum(axis=1)
    assert counts.max() <= limit
    np.testing.assert_array_equal(limited, limited.T)
    np.testing.assert_array_equal(limited[limited > 0], similarity[limited > 0])
    np.testing.assert_array_equal(limited.diagonal(), 1.0)
    # a link is given up only where one of its texts is full of links that are as strong
    for i, j in zip(*np.nonzero((similarity > 0) & (limited == 0)), strict=True):
        assert any(counts[k] == limit and limited[k][links[k]].min(initial=2.0) >= similarity[i, j] for k in (i, j))


def test_the_limit_changes_nothing_below_it() -> None:
    """Invariant: a matrix that keeps the limit comes back as it is, and a clique of equal texts is shared out."""
    few = np.eye(5, dtype=np.float32)
    few[0, 1] = few[1, 0] = 0.5
    np.testing.assert_array_equal(limit_links(few, 1), few)
    assert limit_links(np.zeros((0, 0), dtype=np.float32), 8).shape == (0, 0)
    clique = limit_links(np.ones((18, 18), dtype=np.float32), 8)
    np.testing.assert_array_equal((clique > 0).sum(axis=1), 9)


def test_statistics_survive_a_file(tmp_path: Path) -> None:
    """Invariant: stored and read statistics are equal to the last bit; another file is refused by name."""
    statistics = measure_statistics([[item] for item in random_texts(7, 60)])
    path = tmp_path / "similarity.json"
    statistics.save(path)
    assert CorpusStatistics.load(path) == statistics
    path.write_text('{"chance": 0.1}')
    with pytest.raises(ValueError, match=r"similarity\.json"):
        CorpusStatistics.load(path)
    path.write_text("no JSON")
    with pytest.raises(ValueError, match=r"similarity\.json"):
        CorpusStatistics.load(path)
