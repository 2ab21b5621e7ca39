"""The report of a benchmark: every cell follows from the tables of cases, and what cannot tell arms apart is named."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selip.model_cards.benchmark_table import write_benchmark_table
from selip.training.benchmark.report import METRICS, TASKS, compare_runs

SEEDS = 3


def test_result_files_become_one_comparison_and_a_table(case_tables, tmp_path):
    """Every cell is the value of the files; a baseline as good as a reference is said to tell nothing."""
    skills = {"clip": 0.5, "selip": 0.7, "clip_true_text": 0.8, "floor": 0.1, "ceiling": 0.52}
    for number, (name, skill) in enumerate(skills.items()):
        for task in TASKS:
            for seed, cases in enumerate(case_tables(task, skill, number, SEEDS)):
                path = tmp_path / f"{name}-{seed}-{task}.json"
                path.write_text(json.dumps({"n": {"studies": 40, "patients": 40, "pairs": 160}}))
                pq.write_table(pa.table(cases), path.with_suffix(".cases.parquet"))
    judged = {
        "metrics": {"finding/f1": 0.5, "finding/precision": 0.4, "finding/recall": 0.667},
        "intervals": {"finding/f1": [0.45, 0.55]},
        "structurer": {"name": "rules", "version": "9"},
    }
    structuring = tmp_path / "structuring.json"
    structuring.write_text(json.dumps(judged))
    settings = {"studies": 100, "data_seed": 7, "steps": None}
    result = compare_runs(
        tmp_path, tmp_path / "out.json", ["clip", "selip"], range(SEEDS), structuring=structuring, settings=settings
    )
    record = json.loads(result.read_text())
    recall = METRICS[0].name
    found = {name: each[recall]["value"] for name, each in record["values"].items()}
    for number, (name, skill) in enumerate(skills.items()):
        ranks = [
            cases["rank"][(cases["direction"] == "image_to_text") & ~cases["is_normal"]]
            for cases in case_tables("retrieval", skill, number, SEEDS)
        ]
        assert found[name] == pytest.approx(np.mean([np.mean(rank <= 5) for rank in ranks]))
    assert record["differences"]["selip"][recall]["value"] == pytest.approx(found["selip"] - found["clip"])
    assert f"{METRICS[0].title}: clip within 5 points of the ceiling" in record["too_close"]
    assert not any("floor" in line for line in record["too_close"])
    table = write_benchmark_table(result, tmp_path / "out.md")
    assert "rules 9 read out of the reports" in (tmp_path / "out.md").read_text()
    cell = next(line for line in table.splitlines() if line.startswith("| `selip` |")).split("|")[2]
    assert cell.split()[0] == f"{100 * found['selip']:.1f}"
    assert (tmp_path / "out.png").stat().st_size > 10_000
