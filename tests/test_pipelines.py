"""The pipelines say what the model says, travel with the checkpoint, and work where no selip is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from transformers import pipeline

import selip
from selip.modeling_selip import SelipModel
from selip.processing.processing_selip import SelipProcessor
from selip.training.config import NetworkConfig
from selip.training.network import build_model, build_processor

FEATURES, ZERO_SHOT = "volume-feature-extraction", "zero-shot-volume-classification"
LABELS = ["left frontal edema", "normal head MRI", "右侧额叶水肿"]
NETWORK = NetworkConfig(
    vision={
        "depth": 10,
        "hidden_sizes": (8, 8, 16, 16),
        "stem_kernel_size": (4, 4, 2),
        "stem_stride": (4, 4, 2),
        "stem_pool": False,
        "norm_groups": 4,
    },
    text={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    projection_dim=12,
    vocabulary_size=320,
)

# What a user of a published checkpoint does, in a process where `import selip` fails.
USER_PROGRAM = """
import json, sys
sys.modules["selip"] = None
from transformers import pipeline

folder, again, answer, flair, t1w, *labels = sys.argv[1:]
study = {"FLAIR": flair, "T1w": t1w}
classify = pipeline("zero-shot-volume-classification", model=folder, trust_remote_code=True)
scores = classify(study, candidate_labels=labels, negative_template="no {}")
classify.save_pretrained(again)
embed = pipeline("volume-feature-extraction", model=again, trust_remote_code=True)
for pipe in (embed, classify):
    assert type(pipe).__module__.startswith("transformers_modules."), type(pipe)
json.dump({"features": embed(study), "scores": scores}, open(answer, "w"))
assert not [name for name in sys.modules if name.startswith("selip.")]
"""


@pytest.fixture(scope="module")
def parts() -> tuple[SelipModel, SelipProcessor]:
    torch.manual_seed(3)
    box = {"spatial_size": (40, 48, 12), "spacing_mm": (5.0, 5.0, 12.0)}
    processor = build_processor(NETWORK, box, LABELS, 48)
    return build_model(NETWORK, processor, 48).eval(), processor


@pytest.fixture(scope="module")
def checkpoint(parts: tuple[SelipModel, SelipProcessor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "checkpoint"
    for part in parts:
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two sequences of a textured ellipsoid."""
    folder, found = tmp_path_factory.mktemp("study"), {}
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (26, 30, 20)), indexing="ij"))
    affine = np.diag([6.0, 6.0, 9.0, 1.0])
    affine[:3, 3] = (-78, -90, -90)
    for seed, name in enumerate(("FLAIR", "T1w")):
        texture = 400 + 90 * np.random.default_rng(seed).normal(size=grid.shape[1:]) + 200 * grid[seed]
        found[name] = str(folder / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image((texture * ((grid**2).sum(axis=0) < 0.7)).astype(np.float32), affine), found[name])
    return found


def own_pipeline(task: str, parts: tuple[SelipModel, SelipProcessor]) -> Any:
    selip.register()
    model, processor = parts
    return pipeline(task, model=model, processor=processor)


def test_features_are_those_of_the_model(parts, study) -> None:
    """The study embedding is `image_embeds`, each series its `series_embeds`; one study or a list of studies."""
    model, processor = parts
    with torch.inference_mode():
        expected = model(**processor(images=study, text="x"))
    pipe = own_pipeline(FEATURES, parts)
    found = pipe(study, return_tensors=True)
    torch.testing.assert_close(found["study"], expected.image_embeds[0])
    assert [each["sequence"] for each in found["series"]] == ["FLAIR", "T1w"]
    for place, each in enumerate(found["series"]):
        torch.testing.assert_close(each["embedding"], expected.series_embeds[0, place])
    many = pipe([study, study["T1w"], [{"volume": path, "sequence": name} for name, path in study.items()]])
    assert many[0]["study"] == pytest.approx(found["study"].tolist(), abs=1e-6)
    assert [each["sequence"] for each in many[1]["series"]] == ["unknown"]
    assert many[2]["study"] == many[0]["study"]


@pytest.mark.parametrize("negative", [None, "no {}"])
def test_scores_are_a_softmax_of_the_logits(parts, study, negative) -> None:
    """Over the labels; with denials over a label and its own denial. The highest first, the cosines beside."""
    model, processor = parts
    texts = [f"FLAIR: {label}" for label in LABELS] + ([] if negative is None else [f"no {label}" for label in LABELS])
    with torch.inference_mode():
        output = model(**processor(images=study, text=texts))
    logits = output.logits_per_image[0].numpy()
    cosines = (output.image_embeds @ output.text_embeds.T)[0].numpy()
    expected = {}
    for place, label in enumerate(LABELS):
        others = logits if negative is None else logits[[place, place + len(LABELS)]]
        expected[label] = (1 / np.exp(others - logits[place]).sum(), cosines[place])
    options = {} if negative is None else {"negative_template": negative}
    pipe = own_pipeline(ZERO_SHOT, parts)
    found = pipe(study, candidate_labels=LABELS, hypothesis_template="FLAIR: {}", **options)
    assert [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)
    assert {row["label"] for row in found} == set(LABELS)
    for row in found:
        assert (row["score"], row["cosine"]) == pytest.approx(expected[row["label"]], abs=1e-5)
    listed = pipe([study], candidate_labels=LABELS, hypothesis_template="FLAIR: {}", **options)[0]
    assert [row["label"] for row in listed] == [row["label"] for row in found]


def test_a_fresh_process_without_selip_finds_the_same(parts, checkpoint, study, tmp_path) -> None:
    """By task name and folder alone; one pipeline from the checkpoint, the other from what the first one saved."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    arguments = [checkpoint, tmp_path / "again", tmp_path / "answer.json", study["FLAIR"], study["T1w"], *LABELS]
    command = [sys.executable, "-I", "-c", USER_PROGRAM, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    features = own_pipeline(FEATURES, parts)(study)
    scores = own_pipeline(ZERO_SHOT, parts)(study, candidate_labels=LABELS, negative_template="no {}")
    found = json.loads((tmp_path / "answer.json").read_text())
    assert found["features"]["study"] == pytest.approx(features["study"], abs=1e-5)
    assert [row["label"] for row in found["scores"]] == [row["label"] for row in scores]
    assert [row["score"] for row in found["scores"]] == pytest.approx([row["score"] for row in scores], abs=1e-5)
    for folder in (checkpoint, tmp_path / "again"):
        config = json.loads((folder / "config.json").read_text())
        assert set(config["custom_pipelines"]) == {FEATURES, ZERO_SHOT}
        assert (folder / "pipelines_selip.py").is_file()
        assert (folder / "processor_config.json").is_file()


def test_wrong_calls_say_what_to_do(parts, study) -> None:
    """No labels, labels twice, a template without place, unknown options, batches, no processor, a missing file."""
    classify, embed = own_pipeline(ZERO_SHOT, parts), own_pipeline(FEATURES, parts)
    for labels in (None, [], "edema"):
        with pytest.raises(ValueError, match="candidate_labels"):
            classify(study, candidate_labels=labels)
    with pytest.raises(ValueError, match="different"):
        classify(study, candidate_labels=["a", "a"])
    with pytest.raises(ValueError, match="template"):
        classify(study, candidate_labels=["a"], negative_template="no")
    with pytest.raises(TypeError, match="got labels"):
        classify(study, labels=["a"])
    with pytest.raises(TypeError, match="return_tensors"):
        embed(study, return_tensor=True)
    with pytest.raises(ValueError, match="batch_size 1"):
        embed([study], batch_size=2)
    with pytest.raises(ValueError, match="processor"):
        type(embed)(model=parts[0])
    with pytest.raises(ValueError, match=r"gone\.nii"):
        embed({"FLAIR": "gone.nii.gz"})
