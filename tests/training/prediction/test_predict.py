"""`selip predict`: the numbers of the model called by hand, the same from file, folder and table, resumed, honest."""

import csv
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import selip
from selip.processing.image_processing_selip import SelipImageProcessor
from selip.training.prediction import predict as predict_module
from selip.training.prediction.calibration import NOT_ASKED
from selip.training.prediction.config import PredictConfig
from selip.training.prediction.predict import predict
from selip.training.prediction.scoring import load_scorer

PROTOCOL = """
name: small
version: 1
language: en
source: made up
rule: margin
templates: ["There is {finding}.", "FLAIR: {place} shows {finding}."]
labels:
  - {name: mass, positive: [mass, tumor], negative: [no mass]}
  - {name: cyst, positive: [cyst], negative: [no cyst]}
"""


@pytest.fixture(autouse=True)
def _quick(one_thread, monkeypatch):
    monkeypatch.setattr(predict_module, "CHUNK_STUDIES", 2)


@pytest.fixture
def request_of(phantom_studies, small_checkpoints, tmp_path):
    """Makes a request on the phantoms."""
    (tmp_path / "small.yaml").write_text(PROTOCOL, encoding="utf-8")

    def make(source=phantom_studies, name="out.parquet", **options):
        options = {"protocol": str(tmp_path / "small.yaml"), **options}
        return PredictConfig(small_checkpoints / "first", source, tmp_path / name, **options)

    return make


def margin_by_hand(checkpoint, files):
    """Cosine of a study with mass prompts less that with "no mass", from the public model and processor alone."""
    selip.register()
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    batch = SelipImageProcessor.from_pretrained(checkpoint)(files)

    def unit(vector):
        return vector / np.linalg.norm(vector)

    def text(words):
        inputs = tokenizer(words, return_tensors="pt")
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        return unit(model.get_text_features(**inputs).pooler_output[0].numpy().astype(np.float64))

    with torch.inference_mode():
        series = [
            unit(
                model.get_image_features(
                    pixel_values=batch["pixel_values"][:, place : place + 1],
                    sequence_ids=batch["sequence_ids"][:, place : place + 1],
                    patch_mask=batch["patch_mask"][:, place : place + 1],
                ).pooler_output[0].numpy().astype(np.float64)
            )
            for place in range(len(files))
        ]  # fmt: skip
        study = unit(np.mean(series, axis=0))
        cosines = []
        for words in (("mass", "tumor"), ("no mass",)):
            templates = [
                unit(np.mean([text(template.format(word)) for word in words], axis=0))
                for template in ("There is {}.", "FLAIR: brain shows {}.")
            ]
            cosines.append(study @ unit(np.mean(templates, axis=0)))
    return cosines[0] - cosines[1]


def test_scores_are_those_of_the_model_called_by_hand(request_of, small_checkpoints, tmp_path):
    """The margin of a folder is that from public parts; its rows are those of the table."""
    folder = tmp_path / "files" / "sub-3"
    predict(request_of(folder, "folder.json"))
    written = json.loads((tmp_path / "folder.json").read_text(encoding="utf-8"))
    mass, cyst = written["predictions"]
    files = {name: folder / f"sub-3_{name}.nii.gz" for name in ("FLAIR", "T1w")}
    # files are rounded to 8 bits on the way, as in the volumes table
    assert mass["score"] == pytest.approx(margin_by_hand(small_checkpoints / "first", files), abs=2e-3)
    assert (mass["label"], cyst["label"], mass["series_used"]) == ("mass", "cyst", 2)
    assert mass["sequences_used"] == ["FLAIR", "T1w"]
    assert "T2w" in mass["sequences_lacking"]
    assert "FLAIR" not in mass["sequences_lacking"]
    assert (mass["probability"], mass["no_probability"]) == (None, NOT_ASKED)
    assert len(mass["protocol_sha256"]) == len(mass["checkpoint_sha256"]) == 64
    assert "not a medical device" in written["info"]["disclaimer"]

    summary = predict(request_of(split="train"))
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert rows == written["predictions"]
    assert "no probabilities" in str(summary)
    assert "not a medical device" in str(summary)

    predict(request_of(folder / "sub-3_FLAIR.nii.gz", "file.csv", labels=("cyst",)))
    with (tmp_path / "file.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["label"], row["sequences_used"], row["probability"]) == ("cyst", "FLAIR", "")
    assert "T1w" in row["sequences_lacking"].split(";")
    info = json.loads((tmp_path / "file.csv.info.json").read_text(encoding="utf-8"))
    assert info["disclaimer"] == written["info"]["disclaimer"]


def test_interrupted_run_ends_with_the_same_bytes(request_of, monkeypatch):
    """A run that dies in its second chunk goes on with it and writes the same file."""
    config = request_of()
    predict(config)
    whole = config.out.read_bytes()
    config.out.unlink()
    calls = []

    def dying(given):
        loaded = load_scorer(given)

        def score(studies):
            calls.append(len(studies))
            if len(calls) == 2:
                raise KeyboardInterrupt
            return loaded.score(studies)

        return replace(loaded, score=score)

    monkeypatch.setattr(predict_module, "load_scorer", dying)
    with pytest.raises(KeyboardInterrupt):
        predict(config)
    assert not config.out.exists()
    with pytest.raises(ValueError, match="differ in settings"):
        predict(replace(config, batch_size=4))
    predict(config)
    assert config.out.read_bytes() == whole
    assert calls == [2, 2, 2], "the first chunk once, the second again"
    assert not list(config.out.parent.glob(".out*"))


def test_unreadable_series_are_quarantined_by_reason(request_of, tmp_path):
    """A damaged file is named as unusable, a study of damaged files has no row; both are listed and counted."""
    for name in ("sub-0/sub-0_T1w", "sub-1/sub-1_T1w", "sub-1/sub-1_FLAIR"):
        path = tmp_path / "files" / f"{name}.nii.gz"
        path.write_bytes(path.read_bytes()[:300])
    summary = predict(request_of(name="out.json"))
    assert (summary.studies, summary.without_series, sum(summary.quarantined.values())) == (3, 1, 3)
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    of_study = {row["study_id"]: row for row in written["predictions"]}
    assert of_study["sub-0"]["sequences_used"] == ["FLAIR"]
    assert of_study["sub-0"]["sequences_unusable"] == ["T1w"]
    assert "T1w" not in of_study["sub-0"]["sequences_lacking"], "it is there, but cannot be read"
    assert written["info"]["studies_without_usable_series"] == ["sub-1"]
    assert {item["study_id"] for item in written["info"]["quarantined"]} == {"sub-0", "sub-1"}


def test_wrong_requests_say_what_to_do(request_of, phantom_studies, small_checkpoints, tmp_path):
    """No protocol, an unknown label, another ending, an output in the way, a result that is none."""
    with pytest.raises(ValueError, match="simulated-simple"):
        predict(request_of(protocol=None))
    with pytest.raises(ValueError, match=r"'mas'.*mass"):
        predict(request_of(labels=("mas",)))
    with pytest.raises(ValueError, match=r"end in \.parquet, \.json, \.csv"):
        request_of(name="out.xlsx")
    with pytest.raises(ValueError, match="labels with a protocol only"):
        PredictConfig(small_checkpoints / "first", phantom_studies, tmp_path / "o.csv", labels=("mass",))
    with pytest.raises(FileNotFoundError, match="result file"):
        predict(request_of(calibrate_on=tmp_path / "gone.json"))
    (tmp_path / "out.parquet").write_bytes(b"")
    with pytest.raises(FileExistsError, match="overwrite"):
        predict(request_of())


def test_texts_that_a_spreadsheet_takes_for_formulas_are_quoted():
    """A cell never starts with a sign that makes a spreadsheet compute it."""
    from selip.training.prediction.predictions_file import _cell

    assert [_cell(value) for value in ("=1+1", "@x", "a=1", 0.5, ["b", "c"], None)] == [
        "'=1+1", "'@x", "a=1", 0.5, "b;c", None,
    ]  # fmt: skip
