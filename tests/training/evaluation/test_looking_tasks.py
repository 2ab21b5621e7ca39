"""Tasks localization and detection from files to result, by a checkpoint of random weights and by one that knows."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from transformers.utils import logging as transformers_logging

from selip.modeling_selip import SelipConfig, SelipForVolumeSegmentation
from selip.processing.findings import StructuredReport, is_abnormal
from selip.processing.image_processing_selip import PRESETS, SelipImageProcessor
from selip.processing.sources.studies import iter_studies, load_studies
from selip.training.evaluate import evaluate, evaluate_embedder
from selip.training.evaluation import detection_task
from selip.training.evaluation.config import EvaluateConfig
from selip.training.evaluation.detection import BOX, LESION, STUDY
from selip.training.evaluation.heads import HeadInputs
from selip.training.evaluation.lesions import head_of, lesions_on_box
from selip.training.evaluation.localization import ideal_map
from selip.training.evaluation.recomputation import recompute
from selip.training.evaluation.result_file import read_cases
from selip.training.evaluation.series_source import BoxedSeries
from selip.training.evaluation.task import EvaluationInputs

GRID = (9, 11, 6)


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint):
    return make_checkpoint()


@pytest.fixture(scope="module")
def rows(tables):
    return {row["study_id"]: row for row in iter_studies(load_studies(tables / "studies")["train"])}


class Oracle:
    """Knows the true lesions of a study: a position is worth the share of it that lies in any of them.

    A text is embedded as whether it is the sentence of a normal study, which lesions speak against.
    """

    scale = 1.0

    def __init__(self, rows, processor):
        self.rows, self.processor = rows, processor

    def embed_series(self, source, names):
        raise AssertionError("these tasks ask for maps alone")

    def embed_texts(self, texts):
        return np.array([[-1.0 if "parenchyma shows no abnormal" in text else 1.0] for text in texts], np.float32)

    def map_series(self, source, names, texts):
        for name, embeds in zip(names, texts, strict=True):
            series = source.study(name.study_id, [name.series_id])[name.series_id]
            found = self.lesions(name.study_id, series.affine)
            share = ideal_map(np.logical_or.reduce([*found.values(), np.zeros((72, 88, 24), bool)]), GRID)
            yield np.stack([share * embed[0] for embed in embeds])

    def lesions(self, study_id, affine):
        masks = self.rows[study_id]["masks"]
        return lesions_on_box(masks[0]["volume"], affine, self.processor, study_id) if masks else {}


def config_of(checkpoint, tables, out, task, **changes):
    values = {"bootstrap_samples": 40, "num_figure_cases": 0, "split": "train", "volumes": tables / "volumes"}
    return EvaluateConfig(checkpoint, tables / "studies", task=task, out=out, **{**values, **changes})


def evaluated_oracle(config, rows):
    processor = SelipImageProcessor(**PRESETS["tiny"])
    inputs = EvaluationInputs(config, processor, Oracle(rows, processor))
    return evaluate_embedder(inputs, subject={"name": "oracle"}, command="none")


@pytest.fixture(scope="module")
def all_rows(tables):
    splits = load_studies(tables / "studies")
    return {row["study_id"]: row for split in splits.values() for row in iter_studies(split)}


@pytest.mark.parametrize(("task", "primary"), [("localization", "all/hit"), ("detection", "all/ap@0.1")])
def test_result_can_be_recomputed_and_has_pictures(checkpoint, tables, tmp_path, task, primary, one_thread):
    """By the real path: metrics follow from the table beside the result, and the pictures are there."""
    out = tmp_path / "result.json"
    evaluate(config_of(checkpoint, tables, out, task, num_figure_cases=2))
    written = json.loads(out.read_text())
    assert written["primary_metric"] == primary
    assert 0 <= written["metrics"][primary] <= 1
    points = recompute(task, read_cases(out)).points
    for name, value in written["metrics"].items():
        assert value is None or points[name] == pytest.approx(value), name
    assert primary in written["intervals"]
    for name in written["files"].values():
        assert (out.parent / name).stat().st_size > 1000
    assert len(written["files"]) > 1
    assert str(tables) not in written["settings"].values()


def test_a_map_that_knows_points_at_every_lesion_it_can(checkpoint, tables, all_rows, tmp_path):
    """Cases are the lesions of the masks on the series that can show them; the oracle does as the ideal map or better.

    (Better: it knows the other lesions too, so its mean may differ; where a study has one lesion they are the same.)
    """
    config = config_of(checkpoint, tables, tmp_path / "oracle.json", "localization")
    record = evaluated_oracle(config, all_rows)
    cases = read_cases(tmp_path / "oracle.json")
    counts = Counter(zip(cases["study_id"], cases["series_id"], strict=True))
    alone = np.array([counts[key] == 1 for key in zip(cases["study_id"], cases["series_id"], strict=True)])
    assert alone.sum() > 5
    one = np.array([len(present(all_rows[name])) == 1 for name in cases["study_id"]])
    assert (cases["hit"][one] == cases["ideal_hit"][one]).all()
    assert record["metrics"]["all/auroc"] > 0.9
    assert record["metrics"]["all/hit"] > 0.5 > 5 * record["metrics"]["all/chance"]
    for study_id, label, finding in zip(cases["study_id"], cases["lesion"], cases["finding"], strict=True):
        assert present(all_rows[study_id])[label - 1].finding == finding


def present(row):
    report = StructuredReport.model_validate_json(row["reference_findings"])
    return [finding for finding in report.findings if is_abnormal(finding)]


def test_a_map_of_another_head_does_not_point_at_the_lesion(checkpoint, tables, all_rows, tmp_path):
    """Under the control of images what the oracle knows is of another study, and hits are few."""
    config = config_of(checkpoint, tables, tmp_path / "shuffled.json", "localization", control="shuffled_images")
    metrics = evaluated_oracle(config, all_rows)["metrics"]
    assert metrics["all/hit"] < 0.35
    assert metrics["all/auroc"] < 0.75


def test_boxes_of_a_map_that_knows_lie_on_lesions(checkpoint, tables, all_rows, tmp_path):
    """Every study has a row, also those without a lesion; the oracle finds most, a random checkpoint hardly any."""
    config = config_of(checkpoint, tables, tmp_path / "oracle.json", "detection")
    record = evaluated_oracle(config, all_rows)
    cases = read_cases(tmp_path / "oracle.json")
    studies = set(cases["study_id"][cases["kind"] == STUDY])
    assert studies == {name for name, row in all_rows.items() if row["split"] == "train"}
    assert studies - set(cases["study_id"][cases["kind"] == LESION]), "some are normal"
    random = evaluate(config_of(checkpoint, tables, tmp_path / "random.json", "detection"))
    assert record["metrics"]["all/ap@0.1"] > random["metrics"]["all/ap@0.1"] + 0.1
    assert record["settings"]["cut_chosen_on"] == "validation"


def test_boxes_of_a_true_probability_are_true(tables, all_rows, tmp_path, monkeypatch):
    """A head that gives the true mask finds every lesion with boxes of overlap 1, and nothing else."""
    processor = SelipImageProcessor(**PRESETS["tiny"])
    oracle = Oracle(all_rows, processor)
    by_affine = {}
    config = config_of(tmp_path, tables, tmp_path / "head.json", "detection")
    inputs = HeadInputs(config, processor, SimpleNamespace())

    def study_of(inputs, split, reasons):
        source = inputs.source(split)
        for row in inputs.rows(split):
            found = source.study(row["study_id"], [each["series_id"] for each in row["series"]])
            series = [each for each in found.values() if isinstance(each, BoxedSeries)]
            by_affine[id(series[0])] = row["study_id"]
            yield row, series

    def probability(model, series):
        found = oracle.lesions(by_affine[id(series[0])], series[0].affine)
        return np.logical_or.reduce([*found.values(), np.zeros((72, 88, 24), bool)]).astype(np.float32)

    monkeypatch.setattr(detection_task, "boxed_studies", study_of)
    monkeypatch.setattr(detection_task, "lesion_probability", probability)
    outcome = detection_task.evaluate_head_detection(inputs)
    boxes, lesions = ((outcome.cases["kind"] == kind).sum() for kind in (BOX, LESION))
    assert boxes <= lesions, "lesions that touch are one box"
    assert outcome.metrics["all/ap@0.5"] > 0.8
    assert (outcome.cases["score"][outcome.cases["kind"] == BOX] == 1).all()


def test_detection_goes_by_the_kind_of_checkpoint(checkpoint, tables, tmp_path, one_thread):
    """A segmentation head gives boxes of its probability, and takes no control; another head is refused."""
    transformers_logging.set_verbosity_error()
    config = SelipConfig.from_pretrained(checkpoint, decoder_width=4, num_labels=2)
    folder = tmp_path / "masks"
    SelipForVolumeSegmentation(config).save_pretrained(folder)
    SelipImageProcessor(**PRESETS["tiny"]).save_pretrained(folder)
    settings = config_of(folder, tables, tmp_path / "head.json", "detection", split="test")
    record = evaluate(settings)
    assert record["settings"]["level"] == "probability"
    with pytest.raises(ValueError, match="expected no control for a head, which reads no text"):
        evaluate(replace(settings, control="shuffled_text", out=tmp_path / "other.json"))
    with pytest.raises(ValueError, match="expected studies of split test with a lesion in a mask named 'none'"):
        evaluate(replace(settings, mask="none", out=tmp_path / "none.json"))


def test_head_on_the_box_is_that_of_the_processor(rows, tables):
    """Found again from the boxed volumes, the head is the one that preparation found in the files, but for its rim."""
    processor = SelipImageProcessor(**PRESETS["tiny"])
    row = next(iter(rows.values()))
    cells = [{"volume": each["volume"], "sequence": each["sequence"]} for each in row["series"]]
    boxed = processor.process_study([SimpleNamespace(**each, series_id="") for each in cells])
    series = [
        BoxedSeries(volume, int(number), boxed.affine, boxed.patch_counts > 0)
        for volume, number in zip(boxed.volumes, boxed.sequence_ids, strict=True)
    ]
    found = head_of(series, processor)
    shared = (found & boxed.head_mask).sum()
    assert 2 * shared / (found.sum() + boxed.head_mask.sum()) > 0.95
