"""`selip missing` of heads, and of tasks that some sets of sequences cannot be asked of."""

import pytest

from selip.training import missing
from selip.training.evaluate import evaluate
from selip.training.evaluation.config import EvaluateConfig, MissingConfig


def test_a_head_is_evaluated_with_sequences_hidden(segmentation_run, phantoms, tmp_path, monkeypatch):
    """Every set is what `selip evaluate --sequences` gives of the same head; Dice and the lesions' F1 are compared."""
    monkeypatch.setattr(missing, "MIN_STUDIES", 2)
    best = segmentation_run[1].best
    config = MissingConfig(
        best, phantoms.studies, tmp_path / "missing", task="segmentation", volumes=phantoms.volumes,
        bootstrap_samples=10,
    )  # fmt: skip
    record = missing.evaluate_missing(config)
    assert record["compared"] == ["dice", "lesion_f1"]
    assert record["left_out"] == {}
    assert len(record["sets"]) >= 3
    for number, each in enumerate(record["sets"]):
        sequences = () if each["sequences"] == "all" else tuple(each["sequences"])
        alone = evaluate(
            EvaluateConfig(
                best, phantoms.studies, "segmentation", volumes=phantoms.volumes, sequences=sequences,
                bootstrap_samples=0, num_figure_cases=0, out=tmp_path / f"{number}.json",
            )
        )  # fmt: skip
        assert each["metrics"]["dice"] == alone["metrics"]["dice"]
    values = {each["title"]: each["metrics"]["dice"] for each in record["sets"]}
    assert len(set(values.values())) > 1, "hiding sequences changes what a head sees"


def test_a_set_that_a_task_cannot_be_asked_of_is_named(tmp_path, monkeypatch):
    """It is left out with its reason, in table and record; where all sequences together fail, so does the command."""
    monkeypatch.setattr(missing, "_sequence_counts", lambda config: {"FLAIR": 30, "SWI": 30})
    monkeypatch.setattr(missing, "leaks_of", lambda config: {})
    config = MissingConfig(tmp_path, tmp_path, tmp_path / "missing", task="pairs")
    outcome = {
        "primary_metric": "all/image_to_text/accuracy",
        "metrics": {"all/image_to_text/accuracy": 0.5, "side/image_to_text/accuracy": 0.6, "n": 3.0},
        "intervals": {},
        "n": {"studies": 30},
        "simulated": True,
        "checkpoint": {},
        "data": {},
    }

    def of_flair_alone(request, leaks):
        if request.sequences == ("SWI",):
            raise ValueError("expected minimal pairs with series that are shown, got none")
        return outcome

    monkeypatch.setattr(missing, "evaluate", of_flair_alone)
    record = missing.evaluate_missing(config)
    assert record["compared"] == ["all/image_to_text/accuracy", "side/image_to_text/accuracy"]
    assert set(record["left_out"]) == {"SWI only", "all but FLAIR"}
    assert "SWI only" in str(record)
    assert "got none" in str(record)
    assert [each["title"] for each in record["sets"]] == ["all", "FLAIR only", "all but SWI"]

    def of_nothing(request, leaks):
        raise ValueError("expected minimal pairs, got none")

    monkeypatch.setattr(missing, "evaluate", of_nothing)
    with pytest.raises(ValueError, match="expected minimal pairs, got none"):
        missing.evaluate_missing(MissingConfig(tmp_path, tmp_path, tmp_path / "other", task="pairs"))
