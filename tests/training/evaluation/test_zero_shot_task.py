"""`selip evaluate --task zero_shot` from a studies table to a result, with answers that are known."""

import json
import shlex
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from selip.arguments import parse_config
from selip.processing.findings import Finding, StructuredReport
from selip.processing.sources.studies_writer import write_studies
from selip.training.evaluate import evaluate_embedder, result_path
from selip.training.evaluation import zero_shot
from selip.training.evaluation.config import EvaluateConfig
from selip.training.evaluation.embedding import SeriesEmbeddings
from selip.training.evaluation.result_file import command_line
from selip.training.evaluation.task import EvaluationInputs
from selip.training.evaluation.zero_shot_protocol import ZeroShotLabel
from selip.training.evaluation.zero_shot_task import sides_of

NAMES = ("mass", "abscess", "cyst")
PROTOCOL = """
name: small
version: 1
language: en
source: made up
rule: margin
templates: ["There is {finding}.", "FLAIR: {place} shows {finding}."]
sides: {left: ["{finding} on the left"], right: ["{finding} on the right"]}
labels:
  - {name: mass, positive: [mass], negative: [no mass], findings: [mass]}
  - {name: abscess, positive: [abscess], negative: [no abscess], findings: [abscess]}
  - {name: cyst, positive: [cyst], negative: [no cyst]}
"""


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    """p values are at least 1 / 100."""
    monkeypatch.setattr(zero_shot, "NUM_PERMUTATIONS", 99)


def has(number):
    """Labels of a study, by its number."""
    return [name for place, name in enumerate(NAMES) if (number >> place) % 2]


def report(number):
    """True findings: masses on the left and abscesses on the right, some on both sides."""
    findings = [
        Finding(finding="mass", site="frontal lobe", laterality="left" if number % 3 else "bilateral")
        for _ in range("mass" in has(number))
    ]
    findings += [
        Finding(finding="abscess", site="insula", laterality="right") for _ in range("abscess" in has(number))
    ]
    return StructuredReport(normal=not findings, findings=findings).model_dump_json()


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A table of 32 studies of 16 patients with two series each; the files are never read."""
    folder = tmp_path_factory.mktemp("zero_shot")
    rows = []
    for number in range(32):
        names = [f"{number}-{sequence}.nii.gz" for sequence in ("FLAIR", "T1w")]
        for name in names:
            (folder / name).write_bytes(name.encode())
        series = [
            {"series_id": name.split("-")[1], "sequence": name.split("-")[1].removesuffix(".nii.gz"), "volume": name}
            for name in names
        ]
        rows.append(
            {
                "study_id": f"study-{number}",
                "patient_id": f"patient-{number % 16}",
                "split": "test",
                "language": "en",
                "series": [{**each, "b_value": None} for each in series],
                "report": {"findings": "", "impression": ""},
                "labels": has(number),
                "masks": [],
                "reference_findings": report(number),
            }
        )
    write_studies(rows, folder / "studies", folder)
    return folder / "studies"


@dataclass(frozen=True)
class Oracle:
    """Embeds what is true: an axis a label (- where it is denied or absent), and one for the side."""

    sign: float = 1.0
    scale: float = 10.0

    def embed_series(self, source, names):
        rows = []
        for name in names:
            number = int(name.study_id.split("-")[1])
            row = [1.0 if label in has(number) else -1.0 for label in NAMES]
            sided = ("mass" in has(number)) - ("abscess" in has(number))  # left less right
            rows.append([*row, sided, 0.1 * (name.sequence == "T1w"), 0.0])
        return SeriesEmbeddings(self.sign * np.array(rows, dtype=np.float32), np.ones(len(names), dtype=bool), {})

    def embed_texts(self, texts):
        rows = []
        for text in texts:
            row = [(-1.0 if "no " in text else 1.0) * (label in text) for label in NAMES]
            rows.append([*row, 3.0 * ("left" in text) - 3.0 * ("right" in text), 0.0, 0.1])
        return np.array(rows, dtype=np.float32)


@pytest.fixture
def run(studies, tmp_path):
    """Evaluates an oracle by a protocol; options as in `EvaluateConfig`."""
    (tmp_path / "small.yaml").write_text(PROTOCOL)

    def evaluate(embedder=None, **changes):
        values = {"protocol": str(tmp_path / "small.yaml"), "bootstrap_samples": 30, "num_figure_cases": 0}
        config = EvaluateConfig(
            tmp_path / "run", studies, task="zero_shot", out=tmp_path / "result.json", **(values | changes)
        )
        inputs = EvaluationInputs(config, image_processor=None, embedder=embedder or Oracle())
        return evaluate_embedder(inputs, subject={"name": "oracle"}, command=command_line(config))

    return evaluate


def test_result_says_what_was_asked_and_found(run, tmp_path):
    """Perfect answers, counts, protocol with fingerprint, pictures, and a table that holds every case."""
    record = run(num_figure_cases=1)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["metrics"]["macro/auroc"] == 1
    assert written["metrics"]["macro/polarity"] == 1
    assert written["primary_metric"] == "macro/auroc"
    assert written["n"] == {"patients": 16, "studies": 32, "series": 64, "texts": 16, "labels": 3}
    assert written["settings"]["protocol"] == "small"
    assert len(written["settings"]["protocol_sha256"]) == 64
    assert written["settings"]["scale"] == 10
    assert set(written["files"]) == {"cases", "roc", "reliability"}
    for name in written["files"].values():
        assert (tmp_path / name).stat().st_size > 3_000
    cases = pq.read_table(tmp_path / "result.cases.parquet").to_pandas()
    assert len(cases) == 32 * 3
    assert (cases["positive"] == [name in has(number) for number in range(32) for name in NAMES]).all()
    assert "100.0 [100.0, 100.0]" in str(record)
    assert "REVERSED" not in str(record)


def test_reversed_polarity_is_named(run):
    """A checkpoint whose "no X" is nearer where X is gets area 0 and a line that says so."""
    record = run(Oracle(sign=-1.0))
    assert record["metrics"]["macro/auroc"] == record["metrics"]["macro/polarity"] == 0
    assert 'REVERSED, "no X" is nearer where X is: mass, abscess, cyst' in str(record)


def test_sides_come_from_the_true_findings(run):
    """One-sided findings only; the oracle knows the side where a study has only one of both labels."""
    metrics = run()["metrics"]
    masses = [n for n in range(32) if "mass" in has(n) and n % 3]
    assert metrics["mass/n_sided"] == len(masses)
    assert metrics["mass/laterality"] == np.mean(["abscess" not in has(n) for n in masses])
    assert "cyst/laterality" not in metrics, "its label names no finding"


def test_a_finding_on_both_sides_has_no_side():
    """Left and left is left; left and right, bilateral, midline or denied is none."""
    label = ZeroShotLabel("tumor", ("tumor",), ("no tumor",), findings=("mass", "glioma"))

    def sides(*findings):
        made = [Finding(finding=term, site="insula", laterality=side, certainty=how) for term, side, how in findings]
        return sides_of(StructuredReport(normal=False, findings=made).model_dump_json(), [label])

    assert sides(("mass", "left", "present"), ("glioma", "left", "probable")) == {"tumor": "left"}
    assert sides(("mass", "left", "present"), ("glioma", "right", "present")) == {}
    assert sides(("mass", "left", "present"), ("mass", "bilateral", "present")) == {}
    assert sides(("mass", "right", "present"), ("glioma", "left", "absent")) == {"tumor": "right"}
    assert sides(("cyst", "left", "present")) == {}
    assert sides_of("", [label]) == {}


@pytest.mark.parametrize(("control", "within"), [("empty_text", 0.0), ("shuffled_images", 0.25)])
def test_controls_leave_nothing(run, control, within):
    """With the link of image and text cut, the mean area is one half, or near it by chance."""
    record = run(control=control)
    assert abs(record["metrics"]["macro/auroc"] - 0.5) <= within
    assert record["settings"]["control"] == control


def test_labels_that_no_study_has_are_refused(run, studies, tmp_path):
    """A misspelt label names the nearest, and how to go on without it; so does a table without labels."""
    (tmp_path / "wrong.yaml").write_text(PROTOCOL.replace("name: abscess,", "name: abcess,"))
    with pytest.raises(ValueError, match=r"no study of any split has 'abcess'; did you mean 'abscess'") as caught:
        run(protocol=str(tmp_path / "wrong.yaml"))
    assert '--labels "mass,cyst"' in str(caught.value)
    record = run(protocol=str(tmp_path / "wrong.yaml"), labels=("mass", "cyst"))
    assert record["settings"]["labels"] == ["mass", "cyst"]
    with pytest.raises(ValueError, match="no study has one"):
        zero_shot_without_labels(run, studies, tmp_path)


def zero_shot_without_labels(run, studies, tmp_path):
    """The task on a table with an empty column of labels."""
    from selip.processing.sources.studies import iter_studies, load_studies

    rows = [{**row, "labels": [], "split": "test"} for row in iter_studies(load_studies(studies)["test"])]
    for row in rows:
        for series in row["series"]:
            series["volume"] = studies.parent / f"{row['study_id'].split('-')[1]}-{series['sequence']}.nii.gz"
    write_studies(rows, tmp_path / "bare", studies.parent)
    config = EvaluateConfig(
        tmp_path, tmp_path / "bare", task="zero_shot", protocol=str(tmp_path / "small.yaml"), out=tmp_path / "b.json"
    )
    evaluate_embedder(EvaluationInputs(config, image_processor=None, embedder=Oracle()), subject={}, command="")


def test_requests_need_a_protocol(tmp_path):
    """A protocol with the task and with no other; the result is named after it; the command can be given again."""
    config = EvaluateConfig(tmp_path / "run" / "best", tmp_path, task="zero_shot", protocol="my/small.yaml")
    assert result_path(config).name == "best-zero_shot-small-test.json"
    with pytest.raises(ValueError, match="a protocol"):
        replace(config, protocol=None)
    with pytest.raises(ValueError, match="a protocol"):
        replace(config, task="probe")
    with pytest.raises(ValueError, match="labels with the tasks zero_shot and probe only"):
        EvaluateConfig(tmp_path, tmp_path, labels=("mass",))
    asked = replace(config, split="validation", labels=("mass", "Rathke's pouch cyst"), sequences=("T1w", "FLAIR"))
    words = shlex.split(command_line(asked))
    assert parse_config(EvaluateConfig, words[2:], prog="selip evaluate") == asked
