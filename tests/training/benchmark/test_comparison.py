"""Comparison of arms: paired, over patients and seeds, and recomputed by hand."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selip.training.benchmark.comparison import METRICS, ArmRuns, compare

PATIENTS = 40
SEEDS = 3


def retrieval_cases(generator, skill):
    """Ranks of two series a patient and direction; `skill` is the chance of being found."""
    rows = [(direction, patient) for direction in ("image_to_text", "text_to_image") for patient in range(PATIENTS)]
    found = generator.random(len(rows)) < skill
    return {
        "direction": np.array([row[0] for row in rows], dtype=object),
        "patient_id": np.array([f"p{row[1]}" for row in rows], dtype=object),
        "is_normal": np.array([row[1] % 5 == 0 for row in rows]),
        "weight": np.ones(len(rows)),
        "rank": np.where(found, 1, 30),
    }


def pair_cases(generator, skill):
    """One choice a patient, kind and direction."""
    kinds = ("side", "signal", "size", "removed")
    rows = [(kind, patient) for kind in kinds for patient in range(PATIENTS)]
    return {
        "direction": np.array(["image_to_text"] * len(rows), dtype=object),
        "kind": np.array([row[0] for row in rows], dtype=object),
        "patient_id": np.array([f"p{row[1]}" for row in rows], dtype=object),
        "margin": np.where(generator.random(len(rows)) < skill, 1.0, -1.0),
    }


def probe_cases(generator, skill):
    """Two labels for each patient."""
    labels = np.tile(np.array(["mass", "cyst"], dtype=object), PATIENTS)
    positive = np.arange(2 * PATIENTS) % 3 == 0
    return {
        "label": labels,
        "patient_id": np.repeat([f"p{number}" for number in range(PATIENTS)], 2).astype(object),
        "positive": positive,
        "score": positive * skill + generator.normal(size=2 * PATIENTS),
    }


MAKERS = {"retrieval": retrieval_cases, "pairs": pair_cases, "probe": probe_cases}


def runs(skill, seed):
    """Runs of an arm; points are taken as the mean metric needs no more than a number a seed."""
    generator = np.random.default_rng(seed)
    cases = {task: tuple(make(generator, skill) for _ in range(SEEDS)) for task, make in MAKERS.items()}
    points = {task: tuple({metric.name: skill for metric in METRICS} for _ in range(SEEDS)) for task in MAKERS}
    return ArmRuns(points, cases)


def test_difference_of_an_arm_from_itself_is_nothing():
    """Paired draws: equal runs differ by exactly 0, whatever their own intervals are."""
    values, differences = compare({"clip": runs(0.6, 0), "same": runs(0.6, 0)}, "clip", num_samples=50)
    for estimate in differences["same"].values():
        assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)
    recall = values["clip"][METRICS[0].name]
    assert recall.low < recall.high
    assert recall.by_seed == (0.6,) * SEEDS


def test_a_better_arm_is_found_better():
    """An arm with far more skill has a difference whose interval is above 0 in every metric."""
    _, differences = compare({"clip": runs(0.3, 0), "better": runs(0.95, 1)}, "clip", num_samples=200)
    assert set(differences) == {"better"}
    for name, estimate in differences["better"].items():
        if name != "mean/auroc":  # skill is no chance there
            assert estimate.low > 0, name


def test_replicates_are_means_over_drawn_seeds_of_drawn_patients():
    """Recall in every replicate against loops over the drawn seeds, patients and queries."""
    from selip.training.benchmark.comparison import _hierarchical
    from selip.training.evaluation.bootstrap import PatientBootstrap

    arm, metric, count = runs(0.5, 3), METRICS[0], 6
    got = _hierarchical(metric, arm, count, seed=4)
    seeds = np.random.default_rng([4, 1]).integers(SEEDS, size=(SEEDS, count))
    for number in range(count):
        by_seed = []
        for chosen in seeds[:, number]:
            cases = arm.cases["retrieval"][chosen]
            drawn = PatientBootstrap(cases["patient_id"].astype(str), num_samples=count, seed=4)
            hits = total = 0
            for row in range(len(cases["rank"])):
                if cases["direction"][row] == "image_to_text" and not cases["is_normal"][row]:
                    times = drawn.counts[number][drawn.patient_of_row[row]]
                    hits, total = hits + times * (cases["rank"][row] <= 5), total + times
            by_seed.append(hits / total)
        assert got[number] == pytest.approx(np.mean(by_seed))


def test_arms_on_other_patients_are_refused():
    """A paired difference needs the same test studies."""
    other = runs(0.5, 1)
    cases = other.cases["pairs"][0]
    changed = {**cases, "patient_id": np.array([f"q{name}" for name in cases["patient_id"]], dtype=object)}
    other = ArmRuns(other.points, {**other.cases, "pairs": (changed, *other.cases["pairs"][1:])})
    with pytest.raises(ValueError, match="same pairs cases"):
        compare({"clip": runs(0.5, 0), "other": other}, "clip", num_samples=10)


def test_result_files_become_one_comparison_and_a_table(tmp_path):
    """Every cell is the value of the files; a baseline as good as a reference is said to tell nothing."""
    from selip.model_cards.benchmark_table import write_benchmark_table
    from selip.training.benchmark.report import compare_runs

    skills = {"clip": 0.5, "selip": 0.7, "clip_true_text": 0.8, "floor": 0.1, "ceiling": 0.52}
    for number, (name, skill) in enumerate(skills.items()):
        arm = runs(skill, number)
        for task in MAKERS:
            for seed in range(SEEDS):
                path = tmp_path / f"{name}-{seed}-{task}.json"
                counts = {"studies": 40, "patients": 40, "pairs": 160}
                path.write_text(json.dumps({"metrics": arm.points[task][seed], "n": counts}))
                pq.write_table(pa.table(dict(arm.cases[task][seed])), path.with_suffix(".cases.parquet"))
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
    assert {name: round(each[recall]["value"], 6) for name, each in record["values"].items()} == skills
    assert record["differences"]["selip"][recall]["value"] == pytest.approx(0.2)
    assert f"{METRICS[0].title}: clip within 5 points of the ceiling" in record["too_close"]
    assert not any("floor" in line for line in record["too_close"])
    table = write_benchmark_table(result, tmp_path / "out.md")
    assert "rules 9 read out of the reports" in (tmp_path / "out.md").read_text()
    cell = next(line for line in table.splitlines() if line.startswith("| `selip` |")).split("|")[2]
    assert cell.split()[0] == "70.0"
    assert (tmp_path / "out.png").stat().st_size > 10_000
