"""Comparison of systems: paired, over patients and seeds, and recomputed by hand."""

import json

import numpy as np
import pytest

from selip.compare import compare_results
from selip.training.evaluation.bootstrap import PatientBootstrap
from selip.training.evaluation.comparison import compare
from selip.training.evaluation.comparison_config import CompareConfig
from selip.training.evaluation.result_file import read_cases, write_cases

RECALL = "within_sequence_abnormal/image_to_text/recall@5"
SKILLED = {
    "retrieval": RECALL,
    "pairs": "side/image_to_text/accuracy",
    "probe": "mean/auroc",
    "zero_shot": "macro/auroc",
}


@pytest.mark.parametrize("task", SKILLED)
def test_difference_of_a_system_from_itself_is_nothing(case_tables, task):
    """Paired draws: equal runs differ by exactly 0, whatever their own intervals are."""
    found = compare(
        task, {"clip": case_tables(task, 0.6, 0), "same": case_tables(task, 0.6, 0)}, "clip", num_samples=50
    )
    assert set(found.differences) == {"same"}
    for name, estimate in found.differences["same"].items():
        assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0), name
    own = found.values["clip"][SKILLED[task]]
    assert own.low < own.value < own.high
    assert own.value == pytest.approx(np.mean(own.by_seed))


@pytest.mark.parametrize("task", SKILLED)
def test_a_better_system_is_found_better(case_tables, task):
    """Far more skill gives a difference whose interval is above 0."""
    found = compare(
        task, {"clip": case_tables(task, 0.2, 0), "better": case_tables(task, 0.95, 1)}, "clip", num_samples=200
    )
    estimate = found.differences["better"][SKILLED[task]]
    assert 0 < estimate.low < estimate.value < estimate.high


def test_replicates_are_means_over_drawn_seeds_of_drawn_patients(case_tables):
    """The interval of a recall against loops over the drawn seeds, patients and queries."""
    tables, count = case_tables("retrieval", 0.5, 3), 40
    found = compare("retrieval", {"clip": tables}, "clip", num_samples=count, seed=4).values["clip"][RECALL]
    seeds = np.random.default_rng([4, 1]).integers(len(tables), size=(len(tables), count))
    replicates = []
    for number in range(count):
        by_seed = []
        for chosen in seeds[:, number]:
            cases = tables[chosen]
            drawn = PatientBootstrap(cases["patient_id"].astype(str), num_samples=count, seed=4)
            hits = total = 0
            for row in range(len(cases["rank"])):
                if cases["direction"][row] == "image_to_text" and not cases["is_normal"][row]:
                    times = drawn.counts[number][drawn.patient_of_row[row]]
                    hits, total = hits + times * (cases["rank"][row] <= 5), total + times
            by_seed.append(hits / total)
        replicates.append(np.mean(by_seed))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(replicates, [0.025, 0.975])))


def test_other_cases_are_refused(case_tables):
    """A paired difference needs the same test studies, and as many seeds."""
    tables = case_tables("pairs", 0.5, 1)
    patients = {**tables[0], "patient_id": np.array([f"q{name}" for name in tables[0]["patient_id"]], dtype=object)}
    fewer = {name: values[:-3] for name, values in tables[0].items()}
    for changed in (patients, fewer):
        with pytest.raises(ValueError, match="same pairs cases"):
            compare("pairs", {"clip": tables, "other": [changed, *tables[1:]]}, "clip", num_samples=10)
    with pytest.raises(ValueError, match="3 of clip, 2 of other"):
        compare("pairs", {"clip": tables, "other": tables[1:]}, "clip", num_samples=10)
    lacking = {name: values for name, values in tables[0].items() if name != "partner_id"}
    with pytest.raises(ValueError, match="partner_id"):
        compare("pairs", {"clip": [lacking]}, "clip", num_samples=10)
    with pytest.raises(ValueError, match="expected a task among"):
        compare("colours", {"clip": tables}, "clip", num_samples=10)


@pytest.fixture
def results(case_tables, tmp_path):
    """Result files of two systems, two seeds each, in two tasks."""
    for system, skill in (("clip", 0.4), ("selip", 0.8)):
        for task in ("pairs", "retrieval"):
            for seed, cases in enumerate(case_tables(task, skill, len(system), 2)):
                path = tmp_path / f"{system}-{seed}-{task}.json"
                content = {"task": task, "primary_metric": SKILLED[task], "metrics": {}, "intervals": {}}
                content |= {"n": {"patients": 40}, "command": "selip evaluate ...", "simulated": True}
                path.write_text(json.dumps(content))
                write_cases(
                    {name: values.tolist() for name, values in cases.items()}, path.with_suffix(".cases.parquet")
                )
    return tmp_path


def test_result_files_are_compared_by_their_tables(results):
    """Differences are those of the tables; the file holds all metrics, the lines those asked for."""
    paths = {name: tuple(results / f"{name}-{seed}-pairs.json" for seed in (0, 1)) for name in ("clip", "selip")}
    out = results / "comparison.json"
    record = compare_results(CompareConfig(paths["selip"], paths["clip"], out=out, bootstrap_samples=100))
    tables = {name: [read_cases(path) for path in each] for name, each in paths.items()}
    found = compare("pairs", tables, "clip", num_samples=100)
    name = SKILLED["pairs"]
    assert record["differences"][name]["value"] == pytest.approx(found.differences["selip"][name].value)
    accuracies = [
        np.mean([(cases["margin"] > 0)[cases["kind"] == "side"].mean() for cases in tables[system]])
        for system in ("selip", "clip")
    ]
    assert record["differences"][name]["value"] == pytest.approx(accuracies[0] - accuracies[1])
    lines = str(record).splitlines()
    assert "simulated studies" in lines[0]
    assert lines[2].split()[:3] == [name, f"{100 * accuracies[0]:.1f}", f"{100 * accuracies[1]:.1f}"]
    assert lines[2].endswith("*")
    assert json.loads(out.read_text())["differences"].keys() == found.differences["selip"].keys()
    with pytest.raises(FileExistsError, match="--overwrite"):
        compare_results(CompareConfig(paths["selip"], paths["clip"], out=out))
    signal = str(compare_results(CompareConfig(paths["selip"], paths["clip"], metric="signal", bootstrap_samples=100)))
    assert len(signal.splitlines()) == 3


def test_results_that_cannot_be_compared_are_refused(results):
    """Other tasks, words of no metric, a file without its table."""
    pairs, retrieval = ((results / f"selip-0-{task}.json",) for task in ("pairs", "retrieval"))
    with pytest.raises(ValueError, match="results of one task, got pairs, retrieval"):
        compare_results(CompareConfig(pairs, retrieval))
    with pytest.raises(ValueError, match="words of a metric of pairs results, such as side"):
        compare_results(CompareConfig(pairs, pairs, metric="colour", bootstrap_samples=100))
    pairs[0].with_suffix(".cases.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="table of cases"):
        compare_results(CompareConfig(pairs, pairs))
    with pytest.raises(FileNotFoundError, match="result file"):
        compare_results(CompareConfig((results / "none.json",), pairs))
