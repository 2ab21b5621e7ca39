"""The embedding map: neighbours, their purity, and what a deal of categories gives."""

import numpy as np
import pytest

from selip.processing.findings import Finding, StructuredReport
from selip.training.evaluation.embedding_map import (
    main_finding,
    map_of,
    map_studies,
    nearest_of_other_patients,
    neighbour_purity,
    side_of,
    usable_colours,
)


@pytest.fixture(scope="module")
def clouds():
    """60 studies of 40 patients in two clouds."""
    generator = np.random.default_rng(0)
    cloud = np.arange(60) % 2
    embeds = generator.normal(size=(60, 5)) + 4 * np.where(cloud == 1, 1, -1)[:, None] * np.eye(5)[0]
    patients = [f"p{number}" if number < 20 else f"p{20 + (number - 20) // 2}" for number in range(60)]
    return embeds, patients, cloud


def test_neighbours_are_the_largest_cosines_among_other_patients(clouds):
    """Against a sort of all cosines."""
    embeds, patients, _ = clouds
    got = nearest_of_other_patients(embeds, patients, 7)
    unit = embeds / np.linalg.norm(embeds, axis=1, keepdims=True)
    for row in range(60):
        others = [other for other in range(60) if patients[other] != patients[row]]
        expected = sorted(others, key=lambda other: -unit[row] @ unit[other])[:7]
        assert got[row].tolist() == expected
    with pytest.raises(ValueError, match="two patients"):
        nearest_of_other_patients(embeds, ["a"] * 60)


def test_purity_finds_what_the_embeddings_hold_and_nothing_else(clouds):
    """Clouds are pure and p is the least that can come out; a category at random is as pure as one dealt anew."""
    embeds, patients, cloud = clouds
    neighbours = nearest_of_other_patients(embeds, patients, 5)
    found = neighbour_purity(neighbours, cloud.astype(str).tolist(), patients, seed=0, num_deals=199)
    by_hand = [np.mean([cloud[other] == cloud[row] for other in neighbours[row]]) for row in range(60)]
    assert found.shares == pytest.approx(by_hand)
    assert found.shares.mean() > 0.95
    assert found.expected == pytest.approx(0.5, abs=0.03)
    assert found.p_value == pytest.approx(1 / 200)
    p_values = []
    for seed in range(20):
        noise = np.random.default_rng(seed).integers(3, size=60).astype(str).tolist()
        p_values.append(neighbour_purity(neighbours, noise, patients, seed=seed, num_deals=99).p_value)
    assert 0.2 < np.mean(p_values) < 0.8
    assert sum(p <= 0.05 for p in p_values) <= 4


def test_picture_keeps_clouds_apart_and_is_seeded(clouds):
    """Nearest points of the picture are of one cloud; the same twice."""
    embeds, _, cloud = clouds
    places = map_of(embeds, 0)
    distance = np.linalg.norm(places[:, None] - places[None], axis=2) + np.eye(60) * 1e9
    assert np.mean(cloud[distance.argmin(1)] == cloud) > 0.95
    assert places.tolist() == map_of(embeds, 0).tolist()


def test_a_colouring_without_two_categories_is_left_out(clouds):
    """Constant, or one study against the rest; nothing is left of studies of one patient."""
    embeds, patients, cloud = clouds
    colours = {"same": ["x"] * 60, "single": ["x"] * 59 + ["y"], "cloud": cloud.astype(str).tolist()}
    assert list(usable_colours(colours)) == ["cloud"]
    mapped = map_studies(embeds, patients, colours, 0)
    assert set(mapped.metrics) == {"map/cloud/expected", "map/cloud/p_value"}
    assert map_studies(embeds, ["a"] * 60, colours, 0).shares == {}


def test_colours_of_a_study():
    """First abnormal finding and the sides of all; labels where findings are not known."""
    report = StructuredReport(
        normal=False,
        findings=[
            Finding(finding="hemorrhage", site="pons", certainty="absent"),
            Finding(finding="mass", site="insula", laterality="left"),
            Finding(finding="cyst", site="thalamus", laterality="left"),
        ],
    )
    written = report.model_dump_json()
    assert main_finding(frozenset({"cyst"}), written) == "mass"
    assert side_of(written) == "left only"
    report.findings.append(Finding(finding="edema", site="insula", laterality="right"))
    assert side_of(report.model_dump_json()) == "both sides"
    normal = StructuredReport(normal=True).model_dump_json()
    assert (main_finding(frozenset(), normal), side_of(normal)) == ("no finding", "no finding")
    assert [main_finding(frozenset(each), "") for each in ((), ("a",), ("a", "b"))] == ["no finding", "a", "several"]
    assert side_of("") == "not known"
