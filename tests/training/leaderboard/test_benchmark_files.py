"""A frozen benchmark: what it holds, that it hides patients, and that a changed file is found."""

import json
import shutil

import pytest
import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard

from selip.processing.sources.studies import load_studies
from selip.training.leaderboard.benchmark import load_benchmark, read_table
from selip.training.leaderboard.benchmark_writer import init_benchmark
from selip.training.leaderboard.config import LeaderboardInitConfig


def test_layout_is_that_of_a_dataset_repository(benchmark):
    """`eval.yaml` names the tasks, the card's configurations are readable by `load_dataset`, protocols are there."""
    content = yaml.safe_load((benchmark.folder / "eval.yaml").read_text())
    assert content["evaluation_framework"] == "selip"
    assert [task["id"] for task in content["tasks"]] == ["retrieval", "pairs", "probe", "zero_shot"]
    assert all(set(task) == {"id", "config", "split"} for task in content["tasks"])
    configs = DatasetCard.load(benchmark.folder / "README.md").data.to_dict()["configs"]
    assert {task["config"] for task in content["tasks"]} <= {each["config_name"] for each in configs}
    for each in configs:
        files = {part["split"]: str(benchmark.folder / part["path"]) for part in each["data_files"]}
        rows = load_dataset("parquet", data_files=files, split="test")
        assert len(rows) > 0
    assert (benchmark.folder / "protocols" / "small.yaml").is_file()


def test_patients_have_other_names_and_stay_together(benchmark, board_studies):
    """No patient id of the studies is in any file, and two studies share a patient exactly where they did."""
    splits = json.loads((benchmark.folder / "splits.json").read_text())
    rows = {
        name: each.select_columns(["study_id", "patient_id"])
        for name, each in load_studies(board_studies / "studies").items()
    }
    for name, each in rows.items():
        ids = {row["study_id"]: row["patient_id"] for row in each}
        assert set(splits[name]) == set(ids)
        pairs = {(ids[study], splits[name][study]) for study in ids}
        assert len(pairs) == len(set(ids.values())) == len(set(splits[name].values()))
    for path in benchmark.folder.rglob("*"):
        if path.suffix == ".parquet":
            assert not {"test-patient-0"} & set(read_table(path).get("patient", []))
        elif path.is_file():
            assert "-patient-" not in path.read_text()


def test_truth_is_in_the_benchmark(benchmark):
    """Labels, sides, relevance and choices come from its tables, not from a submission's columns."""
    for task, reference in benchmark.references.items():
        asked = {each.name for each in reference.score_columns}
        assert not asked & {"positive", "rank", "ndcg", "kind", "side", "weight", "patient_id"}, task
        assert len(set(reference.keys)) == len(reference.keys)


@pytest.mark.parametrize("name", ["reference/probe.parquet", "splits.json", "protocols/small.yaml"])
def test_changed_files_are_found(benchmark, tmp_path, name):
    """One byte more, or a file less, and the benchmark is not that benchmark."""
    copy = tmp_path / "benchmark"
    shutil.copytree(benchmark.folder, copy)
    assert load_benchmark(copy).fingerprint == benchmark.fingerprint
    (copy / name).write_bytes((copy / name).read_bytes() + b" ")
    with pytest.raises(ValueError, match="not the file that was frozen"):
        load_benchmark(copy)
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_benchmark(copy)


def test_a_fingerprint_cannot_be_edited_alone(benchmark, tmp_path):
    """The fingerprint over all must be that of the files listed."""
    copy = tmp_path / "benchmark"
    shutil.copytree(benchmark.folder, copy)
    info = json.loads((copy / "benchmark.json").read_text())
    info["fingerprint"] = "0" * 64
    (copy / "benchmark.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match="fingerprint"):
        load_benchmark(copy)


def test_nothing_else_is_overwritten(board_studies, tmp_path):
    """A folder that is no benchmark is never replaced, and after an error nothing is left."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    config = LeaderboardInitConfig(tmp_path / "mine", board_studies / "studies", overwrite=True)
    with pytest.raises(FileExistsError, match="something else"):
        init_benchmark(config)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
    with pytest.raises(ValueError, match="split test"):
        init_benchmark(
            LeaderboardInitConfig(tmp_path / "new", board_studies / "studies", tasks=("probe",), split="validation")
        )
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_bad_requests_say_what_is_needed(tmp_path):
    """Names, versions, and files that tasks need."""
    for changes, words in (
        ({"name": "<b>"}, "name of letters"),
        ({"version": "one"}, "version"),
        ({"tasks": ("pairs",)}, "--pairs"),
        ({"tasks": ("zero_shot",)}, "--protocol"),
        ({"tasks": ("probe", "probe")}, "once"),
    ):
        with pytest.raises(ValueError, match=words):
            LeaderboardInitConfig(tmp_path, tmp_path, **changes)
