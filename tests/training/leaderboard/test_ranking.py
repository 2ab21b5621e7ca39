"""Ranks: equal systems tie, order of submission is nothing, and errors are as rare as they are said to be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selip.training.evaluation.binary_metrics import holm
from selip.training.leaderboard.ranking import draws_needed, order, rank, two_sided_p

PATIENTS = 80


def bootstrapped(scores, draws=400, seed=0):
    """Mean and replicates of the mean of scores (patients,) of each system; the same draws for all."""
    counts = np.random.default_rng(seed).multinomial(PATIENTS, [1 / PATIENTS] * PATIENTS, size=draws)
    return (
        {name: float(each.mean()) for name, each in scores.items()},
        {name: counts @ each / PATIENTS for name, each in scores.items()},
    )


def systems(skills, seed, spread=1.0):
    """Scores of systems on patients who are easy or hard for all."""
    generator = np.random.default_rng(seed)
    hardness = generator.normal(size=PATIENTS)
    return {name: skill + 2 * hardness + spread * generator.normal(size=PATIENTS) for name, skill in skills.items()}


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_identical_systems_share_a_rank(seed, count):
    """Copies are never told apart: every difference is exactly 0, every p value 1."""
    scores = np.random.default_rng(seed).normal(size=PATIENTS)
    found = rank(*bootstrapped({f"s{number}": scores for number in range(count)}, draws=100))
    assert set(found.ranks.values()) == {1}
    assert all(each.p == each.p_holm == 1 and each.value == 0 for each in found.differences)


@given(st.integers(0, 10_000), st.permutations(["a", "b", "c", "d"]))
def test_ranks_do_not_depend_on_the_order_of_submissions(seed, names):
    """Neither ranks nor the order of rows."""
    scores = systems({"a": 0.0, "b": 0.3, "c": 0.6, "d": 3.0}, seed)
    expected = rank(*bootstrapped(scores))
    values, replicates = bootstrapped({name: scores[name] for name in names})
    found = rank(values, replicates)
    assert found.ranks == expected.ranks
    assert found.differences == expected.differences
    assert order(values, found.ranks) == order(bootstrapped(scores)[0], expected.ranks)


@given(st.integers(0, 10_000), st.lists(st.floats(-1, 1), min_size=2, max_size=6))
def test_rank_is_one_more_than_the_better_systems(seed, skills):
    """The rule, from the differences: the best value is first, and nobody is behind a lower value."""
    scores = systems({f"s{number}": skill for number, skill in enumerate(skills)}, seed)
    values, replicates = bootstrapped(scores)
    found = rank(values, replicates)
    assert found.ranks[max(values, key=lambda name: values[name])] == 1
    better = dict.fromkeys(values, 0)
    for each in found.differences:
        if each.p_holm < 0.05:
            better[each.second if each.value > 0 else each.first] += 1
    assert found.ranks == {name: 1 + count for name, count in better.items()}
    for name, others in found.behind.items():
        assert all(values[other] > values[name] for other in others)


def test_known_order_is_found():
    """Systems far apart get the ranks 1, 2, 3; a copy of the middle one shares its rank, and nobody is third."""
    scores = systems({"low": 0.0, "middle": 1.5, "high": 3.0}, 1)
    found = rank(*bootstrapped(scores | {"twin": scores["middle"]}))
    assert found.ranks == {"high": 1, "middle": 2, "twin": 2, "low": 4}
    assert found.behind["low"] == ("high", "middle", "twin")
    smaller = rank(*bootstrapped(scores), greater_is_better=False)
    assert smaller.ranks == {"low": 1, "middle": 2, "high": 3}


def test_intransitive_differences_are_ranked():
    """B is too close to both, A beats C: A and B are first, C is second and behind A alone."""
    generator = np.random.default_rng(3)
    base = generator.normal(size=PATIENTS)
    noise = generator.normal(size=PATIENTS)
    noise -= noise.mean()
    scores = {"A": base + 0.2, "B": base + 0.1 + 3 * noise, "C": base + 0.05 * generator.normal(size=PATIENTS)}
    found = rank(*bootstrapped(scores, draws=1000))
    assert found.ranks == {"A": 1, "B": 1, "C": 2}
    assert found.behind["C"] == ("A",)


def test_equal_systems_are_told_apart_no_more_often_than_said():
    """Five systems of one skill: in at most about one of twenty tables is any pair told apart (family-wise)."""
    tables, wrong = 200, 0
    for seed in range(tables):
        scores = systems(dict.fromkeys("abcde", 0.0), seed)
        wrong += max(rank(*bootstrapped(scores, draws=draws_needed(5, 0.05), seed=seed)).ranks.values()) > 1
    # 5 % with the spread of 200 tables: the 99.9 % quantile of a binomial is 22
    assert wrong <= 22


def test_pairing_tells_apart_what_intervals_of_values_do_not():
    """Systems that differ by a little on every patient: their own intervals overlap, their difference does not."""
    scores = systems({"a": 0.0, "b": 0.3}, 5, spread=0.2)
    values, replicates = bootstrapped(scores)
    ends = {name: np.quantile(each, [0.025, 0.975]) for name, each in replicates.items()}
    assert ends["a"][1] > ends["b"][0]
    assert rank(values, replicates).ranks == {"a": 2, "b": 1}


def test_p_value_counts_draws_on_either_side():
    """By hand: 3 of 9 draws are not above 0."""
    drawn = np.array([-1.0, -0.5, 0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert two_sided_p(drawn) == pytest.approx(2 * 4 / 10)
    assert two_sided_p(np.append(drawn, np.nan)) == two_sided_p(drawn)
    assert two_sided_p(np.full(3, np.nan)) == 1


@pytest.mark.parametrize("count", [2, 9, 30])
def test_draws_are_enough_for_the_correction(count):
    """The smallest p value there is, of one pair, survives the correction over all pairs."""
    smallest = 2 / (draws_needed(count, 0.05) + 1)
    pairs = count * (count - 1) // 2
    assert holm(np.array([smallest, *[1.0] * (pairs - 1)]))[0] < 0.05
