"""A small benchmark of four tasks, and systems evaluated on its studies: random vectors that know more or less."""

import csv
import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pytest

from selip.model_cards.tables.results import read_result
from selip.processing.findings import StructuredReport
from selip.processing.rendering import series_text
from selip.processing.sources.studies import iter_studies, load_studies
from selip.processing.sources.studies_writer import write_studies
from selip.training.evaluate import evaluate_embedder
from selip.training.evaluation.config import EvaluateConfig
from selip.training.evaluation.embedding import SeriesEmbeddings
from selip.training.evaluation.task import EvaluationInputs
from selip.training.leaderboard.benchmark_writer import init_benchmark
from selip.training.leaderboard.config import LeaderboardInitConfig, LeaderboardSubmitConfig
from selip.training.leaderboard.submitting import make_submission

SITES = ("frontal lobe", "cerebellum", "thalamus", "occipital lobe")
TERMS = ("mass", "edema")
SEQUENCES = ("FLAIR", "T1w")
WIDTH = 24
TASKS = ("retrieval", "pairs", "probe", "zero_shot")
PROTOCOL = """
name: small
version: 1
language: en
source: made up for tests
rule: margin
templates: ["There is {finding}.", "MRI shows {finding}."]
sides:
  left: ["There is {finding} on the left."]
  right: ["There is {finding} on the right."]
labels:
  - {name: mass, positive: [mass], negative: [no mass], findings: [mass]}
  - {name: edema, positive: [edema], negative: [no edema], findings: [edema]}
"""


def study_row(number, split, name, patient, *, side=None):
    """One study; every fourth is normal, the others have one or two findings."""
    generator = np.random.default_rng(number)
    findings = []
    for term in TERMS if number % 3 == 0 else (TERMS[number % 2],):
        signals = [{"sequence": "FLAIR", "signal": "hyper"}, {"sequence": "T1w", "signal": "hypo"}]
        own = ("left", "right")[int(generator.integers(2))]
        site = SITES[int(generator.integers(len(SITES)))]
        findings.append({"finding": term, "site": site, "laterality": side or own, "signals": signals})
    if number % 4 == 1:
        findings = []
    series = [
        {"series_id": sequence, "sequence": sequence, "volume": f"{name}-{sequence}.nii", "b_value": None}
        for sequence in SEQUENCES
    ]
    return {
        "study_id": name,
        "patient_id": patient,
        "split": split,
        "language": "en",
        "series": series,
        "report": {"findings": "", "impression": ""},
        "labels": sorted({finding["finding"] for finding in findings}),
        "masks": [],
        "reference_findings": json.dumps({"normal": not findings, "findings": findings, "impression": []}),
    }


def study_rows():
    """Studies of three splits, two of each patient, and partners of the abnormal test studies on the other side."""
    for split, count in (("train", 40), ("validation", 16), ("test", 60)):
        for number in range(count):
            name, patient = f"{split}-{number:03d}", f"{split}-patient-{number // 2}"
            yield study_row(number, split, name, patient)
            if split == "test" and number % 4 != 1:
                findings = json.loads(study_row(number, split, name, patient)["reference_findings"])["findings"]
                other = "left" if findings[0]["laterality"] == "right" else "right"
                yield study_row(number, split, f"{name}side", patient, side=other)


@dataclass(frozen=True)
class FakeEmbedder:
    """Vectors of texts by their words, of series by the text that is true of them: `skill` of it, the rest noise."""

    texts: dict
    skill: float
    seed: int
    scale: float = 10.0

    def embed_texts(self, texts):
        return np.stack([_vector(text) for text in texts]).astype(np.float32)

    def embed_series(self, source, names):
        rows = []
        for each in names:
            noise = _vector(f"{self.seed} {each.study_id} {each.series_id}")
            own = _vector(self.texts.get((each.study_id, each.sequence), ""))
            rows.append(self.skill * own + (1 - self.skill) * noise)
        return SeriesEmbeddings(np.stack(rows).astype(np.float32), np.ones(len(rows), dtype=bool), {})


def _vector(words):
    seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=WIDTH)


@pytest.fixture(scope="session")
def board_studies(tmp_path_factory):
    """Folder with `studies`, `pairs.tsv` and `small.yaml`; volumes are empty files, since nobody reads them."""
    folder = tmp_path_factory.mktemp("board")
    rows = list(study_rows())
    for row in rows:
        for series in row["series"]:
            # two files of one content would be a leak between splits
            (folder / series["volume"]).write_text(series["volume"])
    write_studies(iter(rows), folder / "studies", folder)
    with (folder / "pairs.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(("original", "partner", "change"))
        partners = [row["study_id"] for row in rows if row["study_id"].endswith("side")]
        writer.writerows((name.removesuffix("side"), name, "side") for name in partners)
    (folder / "small.yaml").write_text(PROTOCOL)
    return folder


@pytest.fixture(scope="session")
def benchmark(board_studies, tmp_path_factory):
    """A benchmark of all four tasks."""
    out = tmp_path_factory.mktemp("benchmark") / "benchmark"
    return init_benchmark(
        LeaderboardInitConfig(
            out,
            board_studies / "studies",
            name="small",
            description="A benchmark of tests.",
            tasks=TASKS,
            pairs=board_studies / "pairs.tsv",
            protocol=str(board_studies / "small.yaml"),
        )
    )


@pytest.fixture(scope="session")
def make_results(board_studies, tmp_path_factory):
    """Evaluates a system of some skill and returns its result files: of (name, skill, runs, tasks)."""
    studies = board_studies / "studies"
    texts = {}
    for split in load_studies(studies).values():
        for row in iter_studies(split):
            report = StructuredReport.model_validate_json(row["reference_findings"])
            for series in row["series"]:
                item = series_text(report, series["sequence"], "en")
                if item is not None:
                    texts[row["study_id"], series["sequence"]] = item.text
    folder = tmp_path_factory.mktemp("results")

    def make(name, skill, runs=1, tasks=TASKS, *, scores=True):
        paths = []
        for task in tasks:
            for run in range(runs):
                out = folder / f"{name}-{run}-{task}{'' if scores else '-ranks'}.json"
                config = EvaluateConfig(
                    checkpoint=folder / name,
                    studies=studies,
                    task=task,
                    pairs=board_studies / "pairs.tsv",
                    protocol=str(board_studies / "small.yaml") if task == "zero_shot" else None,
                    out=out,
                    bootstrap_samples=0,
                    num_figure_cases=0,
                    scores=scores and task == "retrieval",
                    probe_extent="linear" if task == "probe" else "quick",
                )
                if not out.exists():
                    embedder = FakeEmbedder(texts, skill, seed=hash_of(name) + run)
                    evaluate_embedder(EvaluationInputs(config, None, embedder), subject={"name": name}, command="x")
                paths.append(out)
        return tuple(paths)

    return make


def hash_of(name):
    """A number that is the same in every process."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


@pytest.fixture(scope="session")
def make_one(benchmark, make_results):
    """Makes a submission folder: of (folder of submissions, id, skill, runs, tasks)."""

    def make(submissions, name, skill, runs=1, tasks=TASKS, **words):
        scores = words.pop("scores", True)
        results = make_results(name, skill, runs, tasks, scores=scores)
        config = LeaderboardSubmitConfig(
            results, submissions / name, benchmark.folder, system=words.pop("system", name), **words
        )
        return make_submission(config, [read_result(path) for path in results])

    return make


@pytest.fixture(scope="session")
def honest(make_one, tmp_path_factory):
    """A submission that is taken, to be copied and spoilt."""
    folder = tmp_path_factory.mktemp("honest")
    make_one(folder, "honest", 0.5, 2, organisation="A group", licence="MIT", date="2026-11-28")
    return folder / "honest"
