"""`selip predict` with a fine-tuned head: the scores of its evaluation, and probabilities fitted on validation."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from scipy.special import expit

from selip.training.evaluate import evaluate
from selip.training.evaluation.config import EvaluateConfig
from selip.training.evaluation.result_file import read_cases
from selip.training.finetuning.run import finetune
from selip.training.prediction import calibration
from selip.training.prediction.calibration import FITTED_ON_IT, TOO_FEW, fit_sigmoid
from selip.training.prediction.config import PredictConfig
from selip.training.prediction.predict import predict


@pytest.fixture
def labels_run(make_run):
    """Checkpoint of a classification of a few steps."""
    return finetune(make_run("labels", "classification", steps=20, validate_every=10)).best


def test_scores_of_a_head_are_those_of_its_evaluation(labels_run, phantoms, tmp_path, monkeypatch):
    """Same scores as `selip evaluate`; probabilities follow the validation cases; studies of these have none."""
    for split in ("validation", "test"):
        evaluate(
            EvaluateConfig(
                labels_run, phantoms.studies, "classification", volumes=phantoms.volumes, split=split,
                bootstrap_samples=0, num_figure_cases=0, out=tmp_path / f"{split}.json",
            )
        )  # fmt: skip
    config = PredictConfig(
        labels_run, phantoms.studies, tmp_path / "out.parquet", volumes=phantoms.volumes,
        calibrate_on=tmp_path / "validation.json",
    )  # fmt: skip
    summary = predict(config)
    assert (summary.studies, summary.calibrated) == (25, 0)
    assert summary.without == {TOO_FEW: 25}, "five patients say nothing of probabilities"

    monkeypatch.setattr(calibration, "MIN_PATIENTS_OF_A_KIND", 1)
    summary = predict(replace(config, overwrite=True))
    assert (summary.calibrated, summary.without) == (1, {FITTED_ON_IT: 5})
    rows = {row["study_id"]: row for row in pq.read_table(config.out).to_pylist()}
    test = read_cases(tmp_path / "test.json")
    validation = read_cases(tmp_path / "validation.json")
    sigmoid = fit_sigmoid(validation["score"], validation["positive"])
    for study, score in zip(test["study_id"], test["score"], strict=True):
        assert rows[study]["score"] == pytest.approx(score, abs=1e-5)
        assert rows[study]["probability"] == pytest.approx(expit(sigmoid.slope * score + sigmoid.intercept), abs=1e-5)
    assert {study for study, row in rows.items() if row["probability"] is None} == set(validation["study_id"])
    assert rows["study-01"]["sequences_lacking"] == ["T1w"], "of the two that the checkpoint knows"


def test_checkpoints_of_another_kind_are_refused(labels_run, segmentation_run, phantoms, tmp_path):
    """A head has labels of its own, so a protocol is too much; masks have none."""
    with pytest.raises(ValueError, match="no --protocol"):
        predict(PredictConfig(labels_run, phantoms.studies, tmp_path / "o.csv", protocol="simulated"))
    with pytest.raises(ValueError, match="selip segment"):
        predict(PredictConfig(segmentation_run[1].best, phantoms.studies, tmp_path / "o.csv"))
