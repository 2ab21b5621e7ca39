"""The report of a benchmark: every cell follows from the tables of cases, and what cannot tell arms apart is named."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selip.model_cards.tables.benchmark import write_benchmark_table
from selip.training.benchmark.downstream import SCRATCH, best_arms
from selip.training.benchmark.report import HEAD_METRICS, METRICS, BenchmarkRuns, compare_runs

SEEDS = 3


def write_results(case_tables, folder, systems, files):
    """Tables of made-up cases of a skill for each system; files by task."""
    for number, (name, skill) in enumerate(systems.items()):
        for task, file in files:
            for seed, cases in enumerate(case_tables(task, skill, number, SEEDS)):
                path = folder / f"{name}-{seed}-{file}.json"
                path.write_text(json.dumps({"n": {"studies": 40, "patients": 40, "pairs": 160}}))
                pq.write_table(pa.table(cases), path.with_suffix(".cases.parquet"))


SKILLS = {"clip": 0.5, "selip": 0.7, "clip_true_text": 0.8, "floor": 0.1, "ceiling": 0.52}


@pytest.fixture
def results(case_tables, tmp_path):
    """Result files of two arms and all references, of heads on one of them and from scratch, and of the structurer."""
    judged = {
        "metrics": {"finding/f1": 0.5, "finding/precision": 0.4, "finding/recall": 0.667},
        "intervals": {"finding/f1": [0.45, 0.55]},
        "structurer": {"name": "rules", "version": "9"},
    }
    (tmp_path / "structuring.json").write_text(json.dumps(judged))
    tasks = dict.fromkeys((metric.task, metric.file) for metric in METRICS)
    write_results(case_tables, tmp_path, SKILLS, [task for task in tasks if task[0] != "zero_shot"])
    arms = {name: SKILLS[name] for name in ("clip", "selip", "clip_true_text")}
    write_results(case_tables, tmp_path, arms, [("zero_shot", "zero_shot"), ("retrieval", "validation")])
    heads = dict.fromkeys((metric.task, metric.file) for metric in HEAD_METRICS)
    write_results(case_tables, tmp_path, {"selip": 0.9, SCRATCH: 0.3}, heads)
    return tmp_path


SETTINGS = {"size": "cpu", "studies": 100, "data_seed": 7, "steps": None}


def compared(results, **runs):
    runs = BenchmarkRuns(results, ["clip", "selip"], range(SEEDS), **runs)
    return compare_runs(results / "out.json", runs, structuring=results / "structuring.json", settings=SETTINGS)


def test_result_files_become_one_comparison_and_a_table(case_tables, results):
    """Every cell is the value of the files; a baseline as good as a reference is said to tell nothing."""
    result = compared(results)
    record = json.loads(result.read_text())
    recall = METRICS[0].name
    found = {name: each[recall]["value"] for name, each in record["values"].items()}
    for number, (name, skill) in enumerate(SKILLS.items()):
        ranks = [
            cases["rank"][(cases["direction"] == "image_to_text") & ~cases["is_normal"]]
            for cases in case_tables("retrieval", skill, number, SEEDS)
        ]
        assert found[name] == pytest.approx(np.mean([np.mean(rank <= 5) for rank in ranks]))
    assert record["differences"]["selip"][recall]["value"] == pytest.approx(found["selip"] - found["clip"])
    assert f"{METRICS[0].title}: clip within 5 points of the ceiling" in record["too_close"]
    assert not any("floor" in line for line in record["too_close"])
    assert record["heads"] is None
    table = write_benchmark_table(result, results / "out.md")
    assert "rules 9 read out of the reports" in (results / "out.md").read_text()
    cell = next(line for line in table.splitlines() if line.startswith("| `selip` |")).split("|")[2]
    assert cell.split()[0] == f"{100 * found['selip']:.1f}"
    assert (results / "out.png").stat().st_size > 10_000


def test_references_have_no_zero_shot_score(results):
    """Their cells are empty; the arms have one."""
    record = json.loads(compared(results).read_text())
    assert {name for name, row in record["values"].items() if "macro/auroc" in row} == {
        "clip",
        "selip",
        "clip_true_text",
    }


def test_heads_are_compared_with_those_from_scratch(results):
    """Each share of the labels has a column of its own, and the difference is from scratch."""
    result = compared(results, chosen=("selip",), head_seeds=range(SEEDS))
    heads = json.loads(result.read_text())["heads"]
    assert list(heads["metrics"]) == [metric.key for metric in HEAD_METRICS]
    for metric in HEAD_METRICS:
        selip, scratch = (heads["values"][name][metric.key]["value"] for name in ("selip", SCRATCH))
        assert selip > scratch
        assert heads["differences"]["selip"][metric.key]["value"] == pytest.approx(selip - scratch)
    write_benchmark_table(result, results / "out.md")
    assert "minus scratch" in (results / "out.md").read_text()


def test_detectable_difference_is_that_of_the_normal_approximation(results):
    """2.8 standard errors of a paired difference, the standard error read off its interval."""
    record = json.loads(compared(results).read_text())
    recall = METRICS[0].name
    errors = [(row[recall]["high"] - row[recall]["low"]) / 3.92 for row in record["differences"].values()]
    assert record["detectable"][recall] == pytest.approx(2.80 * np.median(errors), rel=2e-3)


def test_best_arms_are_those_of_the_validation_studies(results):
    """The arm that finds more on validation comes first, whatever the test says."""
    assert best_arms(results, ["clip", "selip"], range(SEEDS)) == ("selip", "clip")
    assert best_arms(results, ["clip", "selip", "clip_true_text"], range(SEEDS)) == ("clip_true_text", "selip")
