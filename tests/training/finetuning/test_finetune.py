"""Fine-tuning from tables to checkpoint: it learns, resumes bit for bit, freezes what it should, refuses the rest."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file

from selip.modeling_selip import SelipForVolumeClassification, SelipForVolumeSegmentation
from selip.training.checkpoint import read_state
from selip.training.config import AugmentationConfig
from selip.training.configuration import as_dict
from selip.training.evaluate import evaluate, load_checkpoint
from selip.training.evaluation.bootstrap import PatientBootstrap
from selip.training.evaluation.config import EvaluateConfig
from selip.training.evaluation.recomputation import recompute
from selip.training.evaluation.result_file import read_cases
from selip.training.finetuning.network import load_head_checkpoint
from selip.training.finetuning.run import FinetuneRun, finetune

TIMES = ("studies_per_second", "data_wait_share")


class Killed(BaseException):
    """What stands for the kill; nothing in the loop catches it."""


def finetune_until(config, step, monkeypatch) -> None:
    """A run that dies in the place of this step."""
    work = FinetuneRun.step

    def work_or_die(run, batch):
        if run.state.step == step:
            raise Killed
        return work(run, batch)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuneRun, "step", work_or_die)
        with pytest.raises(Killed):
            finetune(config)


def outcome(folder: Path) -> dict:
    """All that a run leaves but its times and its machine."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    state = json.loads((folder / "last" / "training_state.json").read_text())
    return {
        "files": {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))
        },
        "log": [{key: value for key, value in line.items() if key not in TIMES} for line in lines],
        "state": {key: value for key, value in state.items() if key not in ("seconds", "environment")},
    }


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_killed_run_ends_like_one_that_was_not(make_run, monkeypatch, task):
    """Weights, optimiser, log and state, bit for bit, whether a checkpoint was there at the kill or not."""
    whole = make_run("whole", task, steps=5, validate_every=2)
    finetune(whole)
    expected = outcome(whole.output)
    assert len(expected["log"]) == 5 + 3
    for step in (1, 3):
        cut = make_run(f"cut at {step}", task, steps=5, validate_every=2)
        finetune_until(cut, step, monkeypatch)
        finetune(cut)
        assert outcome(cut.output) == expected, step


def test_segmentation_learns_what_is_plain_to_see(segmentation_run):
    """Bright balls in dark noise: after 45 steps the loss has halved and Dice on the box is far above nothing."""
    config, summary = segmentation_run
    lines = [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert summary.metric == "dice"
    assert summary.best_metric > 0.5
    model = SelipForVolumeSegmentation.from_pretrained(summary.best)
    assert model.config.id2label == {0: "background", 1: "lesion"}
    assert summary.training_studies == 14


def test_segmentation_is_scored_on_the_grid_of_the_mask(segmentation_run, phantoms, tmp_path):
    """The result follows from its case table; a mask goes through the box and back nearly whole; series can hide."""
    _, summary = segmentation_run
    out = tmp_path / "result.json"
    config = EvaluateConfig(
        summary.best, phantoms.studies, "segmentation", volumes=phantoms.volumes, out=out, bootstrap_samples=50,
        num_figure_cases=0,
    )  # fmt: skip
    record = evaluate(config)
    cases = read_cases(out)
    found = recompute("segmentation", cases, PatientBootstrap(cases["patient_id"], num_samples=50, seed=0))
    assert found.points == pytest.approx(record["metrics"])
    assert record["primary_metric"] == "dice"
    assert record["n"] == {"patients": 6, "studies": 6, "with a lesion": 4}
    assert record["metrics"]["dice"] > 0.5
    assert 0.8 < record["metrics"]["box_dice"] < 1
    assert cases["voxel_ml"].tolist() == pytest.approx([0.512] * 6)
    assert "Dice" in str(record)
    from_files = evaluate(replace(config, volumes=None, out=tmp_path / "files.json"))
    assert from_files["metrics"] == pytest.approx(record["metrics"])
    blind = evaluate(replace(config, sequences=("T1w",), out=tmp_path / "T1w.json"))
    assert blind["metrics"]["dice"] != record["metrics"]["dice"]
    with pytest.raises(ValueError, match="with a lesion in a mask named 'tumour', got none among 0"):
        evaluate(replace(config, mask="tumour", out=tmp_path / "none.json"))
    with pytest.raises(ValueError, match=r"for classification in .*got one of SelipForVolumeSegmentation"):
        evaluate(replace(config, task="classification", out=tmp_path / "other.json"))


def test_classification_from_checkpoint_to_result(make_run, phantoms, tmp_path):
    """Labels of the table by name; the result has an area for each, from its case table; unknown cells count not."""
    config = make_run("labels", "classification", steps=8, validate_every=4)
    summary = finetune(config)
    model, _ = load_head_checkpoint(summary.best, "classification")
    assert type(model) is SelipForVolumeClassification
    assert model.config.id2label == {0: "mass"}
    assert model.config.problem_type == "multi_label_classification"
    facts = read_state(summary.best).environment
    assert facts["data"]["studies"] == facts["training_studies"] == summary.training_studies
    out = tmp_path / "result.json"
    settings = {"volumes": phantoms.volumes, "out": out, "bootstrap_samples": 20, "num_figure_cases": 0}
    record = evaluate(EvaluateConfig(summary.best, phantoms.studies, "classification", **settings))
    cases = read_cases(out)
    assert recompute("classification", cases).points == pytest.approx(record["metrics"])
    assert len(cases["study_id"]) == 6
    assert record["metrics"]["mass/n_positive"] == 4
    table = tmp_path / "labels.csv"
    rows = [f"{study},{'' if number == 0 else number % 2}" for number, study in enumerate(cases["study_id"])]
    table.write_text("study_id,mass\n" + "\n".join(rows) + "\n")
    settings["out"] = tmp_path / "other.json"
    evaluate(EvaluateConfig(summary.best, phantoms.studies, "classification", label_table=table, **settings))
    other = pq.read_table(tmp_path / "other.cases.parquet").to_pylist()
    assert [row["positive"] for row in other] == [True, False, True, False, True]


def test_frozen_run_keeps_the_weights_of_the_checkpoint(make_run, phantoms):
    """With tuning frozen all weights before the head are those of pretraining; with full, and from scratch, others."""
    given = load_file(phantoms.checkpoint / "model.safetensors")
    of_kind = {}
    for kind in ({"tuning": "frozen"}, {"tuning": "full"}, {"weights": "random"}):
        config = make_run(str(kind), "classification", steps=2, validate_every=2, **kind)
        weights = load_file(finetune(config).best / "model.safetensors")
        shared = weights.keys() & given.keys()
        assert len(shared) == len(weights) - 2
        of_kind[str(kind)] = {name for name in shared if not torch.equal(weights[name], given[name])}
    frozen, full, random = of_kind.values()
    assert frozen == set()
    assert {name for name in full if "population" in name} == set()
    assert "vision_model.population.mean" in random  # measured on these studies, not taken over
    assert "vision_model.backbone.stem.0.weight" in full & random


def test_share_of_labels_is_nested_and_the_labels_stay(make_run):
    """A tenth is among a half; which labels are learned, and what is validated on, do not depend on the share."""
    runs = [
        FinetuneRun(make_run(f"share {share}", "classification", data={"label_share": share}))
        for share in (0.2, 0.5, 1.0)
    ]
    ids = [{study.study_id for study in run.data.studies["train"]} for run in runs]
    assert [len(each) for each in ids] == [3, 7, 14]
    assert ids[0] < ids[1] < ids[2]
    assert {run.data.names for run in runs} == {("mass",)}
    assert {len(run.data.studies["validation"]) for run in runs} == {5}


def test_run_stops_when_validation_does_not_rise(make_run):
    """With a rate of zero nothing changes, so the run ends after `patience` validations, and stays ended."""
    rates = {"learning_rate": 0.0, "learning_rate_head": 0.0}
    config = make_run("stopped", "classification", steps=40, validate_every=2, patience=2, **rates)
    summary = finetune(config)
    assert summary.is_stopped_early
    assert (summary.best_step, summary.steps) == (2, 6)
    assert finetune(config).steps == 6


def test_exclusive_labels_are_classes(make_run, tmp_path, phantoms):
    """One of the labels holds; studies with none are left out, and the model is one of a single label."""
    table = tmp_path / "classes.csv"
    rows = [f"study-{n:02d},{int(n % 3 != 0)},{int(n % 3 == 0 and n != 3)}" for n in range(19)]
    table.write_text("study_id,mass,normal\n" + "\n".join(rows) + "\n")
    data = {"labels": table, "label_names": ("mass", "normal"), "is_exclusive": True}
    run = FinetuneRun(make_run("classes", "classification", data=data))
    assert len(run.data.studies["train"]) == 13
    assert run.data.left_out["train"] == 1
    assert run.bare_model.config.problem_type == "single_label_classification"
    assert run.step(run.source.batch(0))["loss"] > 0
    assert 0 <= run.measure()["auroc"] <= 1


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        (
            "segmentation",
            {"mask": "tumour"},
            "mask named 'tumour', got none among 19; their masks are named lesions",
        ),
        ("segmentation", {"volumes": "elsewhere"}, "expected a volumes table in"),
        ("classification", {"label_names": ("moss",)}, "expected labels of late, mass, got 'moss'"),
        ("classification", {"batch_studies": 0}, "at least 1"),
        ("classification", {"label_share": 0.0}, r"label_share in \(0, 1\]"),
    ],
)
def test_data_that_does_not_fit_is_told(make_run, task, data, message):
    """Mask, table, label or share that is not there: what was expected, what came."""
    if data.get("volumes"):
        data = {"volumes": Path("/nowhere")}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        FinetuneRun(make_run("wrong", task, data=data))


def test_checkpoint_that_does_not_fit_is_told(make_run, phantoms, segmentation_run, tmp_path):
    """One with a head already, none at all, one without processor, labels of a side with mirror images."""
    with pytest.raises(ValueError, match="got one of SelipForVolumeSegmentation; name the checkpoint"):
        FinetuneRun(make_run("again", "segmentation", checkpoint=segmentation_run[1].best))
    with pytest.raises(FileNotFoundError, match="expected a folder with weights"):
        FinetuneRun(make_run("nothing", "segmentation", checkpoint=tmp_path))
    weights = tmp_path / "weights"
    weights.mkdir()
    content = (phantoms.checkpoint / "model.safetensors").read_bytes()
    (weights / "model.safetensors").write_bytes(content)
    with pytest.raises(FileNotFoundError, match="has no processor"):
        FinetuneRun(make_run("no processor", "segmentation", checkpoint=weights))
    (weights / "model.safetensors").write_bytes(content[:1000])
    with pytest.raises(ValueError, match="cut or broken file"):
        FinetuneRun(make_run("cut", "segmentation", checkpoint=weights))
    with pytest.raises(ValueError, match=r"with volume and text encoder, .* got one of SelipForVolumeSegmentation"):
        load_checkpoint(segmentation_run[1].best)
    assert not any((tmp_path / name).exists() for name in ("nothing", "cut"))
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in phantoms.checkpoint.iterdir():
        if file.name in ("processor_config.json", "preprocessor_config.json"):
            (bare / file.name).write_bytes(file.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"as model\.checkpoint, e\.g\. RUN/best, found no"):
        FinetuneRun(make_run("weightless", "segmentation", checkpoint=bare))
    table = tmp_path / "sides.csv"
    table.write_text("study_id,left\n" + "\n".join(f"study-{n:02d},{n % 2}" for n in range(25)) + "\n")
    with pytest.raises(ValueError, match=r"flip_probability 0 with labels that say a side, got 0\.5 with left"):
        FinetuneRun(make_run("sides", "classification", data={"labels": table}))
    still = AugmentationConfig(flip_probability=0.0)
    assert FinetuneRun(make_run("no mirror", "classification", data={"labels": table}, augmentation=still)).data.names
    with pytest.raises(ValueError, match="nothing would ever train them"):
        make_run("never", "classification", weights="random", tuning="frozen")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_two_processes_train_what_one_trains(make_run, tmp_path, task):
    """Launched by accelerate with two CPU processes: the losses, norms and weights of one, up to float error."""
    one, two = make_run("one", task, steps=4, validate_every=2), make_run("two", task, steps=4, validate_every=2)
    finetune(one)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(as_dict(two)))
    launch = "-m accelerate.commands.launch --multi_gpu --num_machines 1 --num_processes 2 --main_process_port 0"
    words = [*launch.split(), "--mixed_precision", "no", "--dynamo_backend", "no"]
    words += ["-m", "selip.training.finetuning.run", str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
    alone, together = outcome(one.output), outcome(two.output)
    assert len(alone["log"]) == 4 + 2
    for first, second in zip(alone["log"], together["log"], strict=True):
        assert second == pytest.approx(first, rel=1e-4, abs=1e-6)
    first, second = (load_file(run.output / "last" / "model.safetensors") for run in (one, two))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-5)
