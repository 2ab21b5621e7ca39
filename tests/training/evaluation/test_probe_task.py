"""`selip evaluate --task probe` from a studies table to a result: baselines, curve, map, folds, refusals."""

import json
import shlex
from dataclasses import dataclass, replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from selip.arguments import parse_config
from selip.processing.findings import Finding, StructuredReport
from selip.processing.image_processing_selip import PRESETS, SelipImageProcessor
from selip.processing.sources.studies_writer import write_studies
from selip.training.evaluate import evaluate_embedder, result_path
from selip.training.evaluation.bootstrap import PatientBootstrap
from selip.training.evaluation.config import EvaluateConfig
from selip.training.evaluation.embedding import SeriesEmbeddings
from selip.training.evaluation.recomputation import case_keys, recompute
from selip.training.evaluation.result_file import command_line, read_cases
from selip.training.evaluation.series_source import BoxedSeries
from selip.training.evaluation.task import EvaluationInputs

SPLITS = ["train"] * 60 + ["validation"] * 20 + ["test"] * 40


def sequences_of(number):
    """Every study has FLAIR; contrast is given where there is a mass, a shortcut."""
    return ["FLAIR", "T1c"] if number % 3 == 0 else ["FLAIR"]


def study_rows(folder, splits):
    """A mass on the left in one of three studies, atrophy in two of five, two studies a patient."""
    for number, split in enumerate(splits):
        findings = [Finding(finding="mass", site="insula", laterality="left") for _ in range(number % 3 == 0)]
        findings += [Finding(finding="atrophy", site="brain") for _ in range(number % 5 < 2)]
        series = []
        for sequence in sequences_of(number):
            (folder / f"{number}-{sequence}.nii.gz").write_bytes(f"{number} {sequence}".encode())
            series.append({"series_id": sequence, "sequence": sequence, "volume": f"{number}-{sequence}.nii.gz"})
        yield {
            "study_id": f"study-{number:03d}",
            "patient_id": f"patient-{number // 2:02d}",
            "split": split,
            "language": "en",
            "series": [{**each, "b_value": None} for each in series],
            "report": {"findings": "", "impression": ""},
            "labels": [each.finding for each in findings],
            "masks": [],
            "reference_findings": StructuredReport(normal=not findings, findings=findings).model_dump_json(),
        }


def table(folder, splits):
    write_studies(list(study_rows(folder, splits)), folder / "studies", folder)
    return folder / "studies"


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    return table(tmp_path_factory.mktemp("split"), SPLITS)


@dataclass(frozen=True)
class KnowsAtrophy:
    """Embeddings that hold atrophy and noise, the same whenever they are asked for."""

    scale: float = 1.0

    def embed_series(self, source, names):
        numbers = [int(name.study_id.removeprefix("study-")) for name in names]
        embeds = np.stack(
            [
                np.random.default_rng([n, len(name.sequence)]).normal(size=6)
                for n, name in zip(numbers, names, strict=True)
            ]
        )
        embeds[:, 0] += [4.0 * (number % 5 < 2) for number in numbers]
        return SeriesEmbeddings(embeds.astype(np.float32), np.ones(len(names), dtype=bool), {})

    def embed_texts(self, texts):
        raise AssertionError("a probe reads no text")


class NoiseVolumes:
    """Volumes of noise, where the files would be read."""

    def study(self, study_id, series_ids):
        volume = np.random.default_rng(int(study_id.removeprefix("study-"))).random((4, 4, 4)).astype(np.float32)
        return {name: BoxedSeries(volume, 1, np.eye(4), np.ones((1, 1, 1), dtype=bool)) for name in series_ids}


@dataclass(frozen=True)
class Inputs(EvaluationInputs):
    """Volumes without files."""

    def source(self, split):
        return NoiseVolumes()


def probe(studies, out, **changes):
    """The record of an evaluation."""
    values = {"task": "probe", "bootstrap_samples": 30, "num_figure_cases": 0, "out": out}
    config = EvaluateConfig(studies.parent, studies, **(values | changes))
    inputs = Inputs(config, SelipImageProcessor(**PRESETS["tiny"]), KnowsAtrophy(), out.with_suffix(""))
    return evaluate_embedder(inputs, subject={"name": "x"}, command="x")


def test_result_holds_probe_baselines_curve_and_map(studies, tmp_path):
    """A shortcut is found by the baseline that sees nothing else, a finding by the probe; numbers are recomputed."""
    out = tmp_path / "result.json"
    record = probe(studies, out, num_figure_cases=1)
    metrics = json.loads(out.read_text())["metrics"]
    cases = read_cases(out)
    assert record["settings"]["labels"] == ["at brain", "at left insula", "atrophy", "mass"]
    assert metrics["atrophy/auroc"] > 0.9
    assert metrics["mass/auroc"] < 0.8
    mass = cases["label"] == "mass"
    assert roc_auc_score(cases["positive"][mass], cases["baseline_sequences"][mass]) == 1
    assert 0.2 < metrics["baseline/statistics/auroc"] < 0.8
    difference = metrics["mean/auroc"] - metrics["baseline/sequences/auroc"]
    assert metrics["baseline/sequences/difference"] == pytest.approx(difference)
    assert {"baseline/chance/auroc", "attention/auroc", "few_shot/k=8/auroc"} <= set(metrics)
    assert "few_shot/k=64/auroc" not in metrics, "no label has 64 patients"
    assert record["settings"]["few_shot_left_out"] == dict.fromkeys(record["settings"]["labels"], 64)
    assert metrics["map/side/p_value"] >= 0.001
    assert metrics["map/main finding/purity"] > metrics["map/main finding/expected"]
    assert "map/report language/purity" not in metrics, "all reports are in one language"

    resampling = PatientBootstrap(cases["patient_id"].astype(str), num_samples=30, seed=0)
    again = recompute("probe", cases, resampling)
    not_of_cases = {"penalty_strength"} | {each for each in metrics if each.endswith(("/p_value", "/expected"))}
    assert {name: value for name, value in metrics.items() if name not in not_of_cases} == pytest.approx(again.points)
    for name, ends in again.intervals(0.95).items():
        assert record["intervals"][name] == pytest.approx(list(ends)), name
    assert len(case_keys("probe", cases)) == 40 * 4
    for kind in ("few-shot", "map"):
        assert (tmp_path / record["files"][kind]).stat().st_size > 10_000
    text = str(record)
    assert "baseline: sequences" in text
    assert "few-shot leaves out: at brain from 64" in text


def test_headline_is_the_same_whatever_stands_beside_it(studies, tmp_path):
    """Extents change neither the linear probe nor its intervals; a control has nothing beside it."""
    quick, full = (probe(studies, tmp_path / f"{each}.json", probe_extent=each) for each in ("quick", "full"))
    linear = probe(studies, tmp_path / "linear.json", probe_extent="linear")
    control = probe(studies, tmp_path / "control.json", control="shuffled_images")
    for name, value in linear["metrics"].items():
        assert quick["metrics"][name] == full["metrics"][name] == value
    for name, ends in linear["intervals"].items():
        assert quick["intervals"][name] == full["intervals"][name] == ends
    assert set(linear["metrics"]) == set(control["metrics"])
    assert control["metrics"]["atrophy/auroc"] < 0.8
    assert "few_shot/share=10%/auroc" in full["metrics"]


def test_cross_validation_needs_no_splits(tmp_path):
    """All studies are scored, patients in one fold each; without it the message names the way out."""
    studies = table(tmp_path, ["test"] * 60)
    with pytest.raises(ValueError, match="--probe cv"):
        probe(studies, tmp_path / "split.json", probe_extent="linear")
    record = probe(studies, tmp_path / "cv.json", probe="cv", labels=("atrophy",))
    assert (record["n"]["studies"], record["n"]["patients"]) == (60, 30)
    assert record["data"]["split"] == record["settings"]["split"] == "all"
    assert record["metrics"]["atrophy/auroc"] > 0.8
    assert record["metrics"]["few_shot/k=8/auroc"] > 0.7
    cases = read_cases(tmp_path / "cv.json")
    folds = {patient: set(cases["fold"][cases["patient_id"] == patient]) for patient in cases["patient_id"]}
    assert {len(each) for each in folds.values()} == {1}
    assert set(cases["fold"]) == set(range(5))


def test_bad_requests_say_what_to_do(studies, tmp_path):
    """Unknown label before any work, one label, a split that is not scored, options of another task."""

    class Refuses(KnowsAtrophy):
        def embed_series(self, source, names):
            raise AssertionError("the label is unknown, nothing need be embedded")

    config = EvaluateConfig(tmp_path, studies, task="probe", labels=("masses",), out=tmp_path / "x.json")
    inputs = Inputs(config, SelipImageProcessor(**PRESETS["tiny"]), Refuses())
    with pytest.raises(ValueError, match=r"no study has 'masses'; did you mean 'mass'\?"):
        evaluate_embedder(inputs, subject={"name": "x"}, command="x")
    one = probe(studies, tmp_path / "one.json", labels=("mass",), probe_extent="linear")
    assert one["settings"]["labels"] == ["mass"]
    with pytest.raises(ValueError, match="expected split test"):
        probe(studies, tmp_path / "y.json", split="train")
    for changes in ({"probe": "cv"}, {"probe_extent": "full"}):
        with pytest.raises(ValueError, match="with the task probe only"):
            replace(config, task="retrieval", labels=(), **changes)
    assert not (tmp_path / "x.json").exists()


def test_recorded_command_and_place_of_a_cross_validation(tmp_path):
    """Its words give the same settings; its file is not that of the test split."""
    config = EvaluateConfig(tmp_path / "run" / "best", tmp_path, task="probe", probe="cv", labels=("mass", "at brain"))
    words = shlex.split(command_line(config))
    assert parse_config(EvaluateConfig, words[2:], prog="selip evaluate") == config
    assert result_path(config).name == "best-probe-all.json"
