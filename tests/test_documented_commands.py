"""Every command of the documents is run in its tiny form, page after page in one folder, as a reader would.

A page that gains a command fails here until the command runs as it stands in SMALL, or is named in NOT_RUN with the
reason.
"""

import contextlib
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from selip import cli
from selip.processing.sources.studies import iter_studies

REPOSITORY = Path(__file__).resolve().parents[1]

# In the order in which one comes to need them: a page reads what those before it have written.
PAGES = (
    "docs/installing.md",
    "docs/preparing.md",
    "docs/structuring.md",
    "docs/structuring_llm.md",
    "docs/pretraining.md",
    "README.md",
    "docs/evaluating.md",
    "docs/finetuning.md",
    "docs/predicting.md",
    "docs/search.md",
    "docs/looking.md",
    "docs/cards.md",
    "docs/leaderboard.md",
    "docs/publishing.md",
    "docs/zero_shot.md",
    "docs/similarity.md",
    "docs/judging_structurers.md",
    "docs/configuration.md",
    "docs/scaling.md",
    "docs/benchmark.md",
    "docs/report_reading.md",
)

# What makes a command tiny, by its name. Nothing else of a line is changed.
STEPS = "--optimization.steps 2 --optimization.warmup-steps 0 --data.batch-studies 4 --tracking.validate-every 2"
SMALL = {
    "simulate": "--studies 48 --no-preview --num-proc 1",
    "ingest bids": "--fractions 0.45,0.1,0.45",
    "prepare": "--num-proc 1",
    "pretrain": STEPS,
    "finetune": STEPS,
    "pseudo-reports": "--reports 6",
    "evaluate": "--bootstrap-samples 20 --num-figure-cases 0",
    "evaluate --task structuring": "--bootstrap-samples 20",
    "tune-structurer": "--data.pseudo-reports 24 --data.validation-reports 4 --optimization.steps 2 "
    "--optimization.warmup-steps 0 --tracking.validate-every 2 --optimization.max-new-tokens 8 "
    "--optimization.batch-reports 4 --optimization.micro-batch 4",
    "missing": "--bootstrap-samples 5 --task retrieval",  # too few studies have each sequence for a probe
    "compare": "--bootstrap-samples 100",
    "leaderboard build": "--bootstrap-samples 100",
    "card": "--overwrite",
}
# The same by what a line says. True masks are read at full size, so few studies of them are.
SMALL_WHERE = {
    "--probe cv": "--probe-extent linear",
    "--sequences T1w": "--task retrieval",
    "--task segmentation": "--split validation",
    "--task localization": "--split validation",
    "--task detection": "--split validation",
}

# Commands that are not run, and why.
GPU = "needs a GPU, and weights of the Hub"
BASE = "needs an adapter and its base; tests/training/structuring/test_local.py makes both"
SERVER = "needs a server; tests/training/structuring asks one that it starts"
BROWSER = "needs what a reader saved in a browser; tests/processing/annotation makes such files"
HUB = "pushes to the Hub; tests/model_cards/publishing pushes to a server that it starts"
NOT_RUN = {
    "selip structure data/studies data/findings.parquet --structurer http://localhost:8000/v1 "
    "--concurrency 64": SERVER,
    "selip structure data/studies data/findings.parquet --structurer runs/structurer/best --shard-index 0 "
    "--num-shards 16": "needs a tuned structurer of use; tests/processing/test_structuring.py runs shards",
    "selip structure data/studies data/findings.parquet --structurer runs/structurer/best --base models/base": BASE,
    "selip evaluate runs/structurer/best gold.jsonl --task structuring --base models/base": BASE,
    "selip tune-structurer structuring/qwen3_4b_lora --output runs/structurer": GPU,
    "selip tune-structurer structuring/qwen3_4b_lora --dry-run": "builds four billion weights without data, which "
    "takes a quarter of a minute; tests/training/structuring/test_dry_run.py",
    "selip pretrain selip_vit_base --output runs/vit --data.studies data/studies --data.findings "
    "data/findings.parquet --data.volumes data/volumes --model.vision-start facebook/dinov2-base": GPU,
    "selip pretrain selip_vit_base --output runs/masked": GPU,
    "selip pretrain CONFIG.yaml --output runs/vit --model.start-from runs/masked/best --optimization.steps 3000 "
    "--optimization.learning-rate-vision 1e-5 --optimization.learning-rate-text 5e-6 "
    "--optimization.micro-batch 8": GPU,
    "selip annotate import batch-01-R1.json,batch-02-R1.json gold/sample.jsonl gold/R1.jsonl": BROWSER,
    "selip annotate import batch-01-R2.json,batch-02-R2.json gold/sample.jsonl gold/R2.jsonl": BROWSER,
    "selip annotate import batch-01-R3.json gold/agreement.adjudicate.jsonl gold/R3.jsonl": BROWSER,
    "selip annotate agree gold/R1.jsonl gold/R2.jsonl gold/agreement.json": BROWSER,
    "selip annotate export gold/agreement.adjudicate.jsonl gold/adjudication": BROWSER,
    "selip evaluate rules gold/gold.jsonl --task structuring --out gold/gold.json --html gold/gold.html": BROWSER,
    "selip leaderboard serve board/pages --benchmark board/benchmark": "serves until it is stopped; "
    "tests/model_cards/leaderboard_app/test_app.py",
    "selip publish runs/tiny/best my-group/selip-tiny --trained-on selip-simulated": HUB,
    "selip starter starters --owner my-group": "takes hours; tests/test_starter.py runs its smallest",
    "selip benchmark simulated benchmark --seeds 0,1,2": "takes hours; tests/test_benchmark.py reads its stages",
    "selip evaluate benchmark/runs/clip-0/last benchmark/studies --task zero_shot --protocol simulated "
    "--volumes benchmark/volumes --pairs benchmark/bids/pairs.tsv": "needs a benchmark that has been run",
    "selip evaluate benchmark/runs/clip-0/last benchmark/studies --task zero_shot --protocol simulated "
    "--volumes benchmark/volumes --pairs benchmark/bids/pairs.tsv --control shuffled_images": "as above",
    "selip similar data/findings.parquet random.html --encoder encoders/random": "an experiment of its own; "
    "benchmarks/random_text_encoder.py makes its encoder",
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, and what it said on standard error."""

    code: int
    said: str


def documented_commands(page: str) -> list[str]:
    """The `selip ...` lines of the shell blocks of a page, comments and continuations taken away."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.join(shlex.split(line, comments=True)) for line in lines if line.startswith("selip ")]


def run_documented(line: str) -> Outcome:
    """Run one line in this process, made small."""
    words = shlex.split(line)[1:]
    if not words[0].startswith("-"):
        small = [SMALL.get(cli.find_command(words).name, "")]
        small += [more for part, more in SMALL_WHERE.items() if part in line]
        words += shlex.split(" ".join(small))
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = cli.main(words)
    return Outcome(code, said.getvalue())


def write_own_files() -> None:
    """What the documents take a reader to have: a file of a series, reports, gold findings, a protocol."""
    flair = min(Path("data/bids").glob("sub-*/ses-*/anat/*_FLAIR.nii.gz"))
    shutil.copy(flair, "flair.nii.gz")
    Path("reports.csv").write_text("id,report_text\n1,FLAIR: hyperintense mass in the left frontal lobe.\n")
    shutil.copy(REPOSITORY / "training/evaluation/protocols/simulated-simple.yaml", "protocol.yaml")
    write_gold_findings()


def write_gold_findings() -> None:
    """Gold findings of some studies, which are what the rules found."""
    reports = {row["study_id"]: row["report"] for row in iter_studies(Path("data/studies"), "test")}
    rows = [row for row in pq.read_table("data/findings.parquet").to_pylist() if row["study_id"] in reports]
    gold = [
        {"id": row["study_id"], "language": "en", **reports[row["study_id"]], "report": json.loads(row["report"])}
        for row in rows[:6]
    ]
    Path("gold.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in gold), encoding="utf-8")


def write_results_of_seeds() -> None:
    """The results of three seeds of two systems, all of them those of one."""
    for system in ("selip", "clip"):
        for seed in range(3):
            for ending in ("json", "cases.parquet"):
                shutil.copy(f"runs/tiny/evaluation/best-retrieval-test.{ending}", f"{system}-{seed}.{ending}")


def write_run_of_vit() -> None:
    """A run with attention in its series tower."""
    tables = "--data.studies data/studies --data.findings data/findings.parquet --data.volumes data/volumes"
    make(f"pretrain selip_vit_tiny --output runs/vit {tables} {STEPS}")


def write_configuration() -> None:
    """A configuration of the reader's own, and the runs that it starts from."""
    shutil.copy("runs/tiny/config.yaml", "CONFIG.yaml")
    for run in ("first", "masked"):
        shutil.copytree("runs/tiny", f"runs/{run}")


def make(line: str) -> None:
    """Run what no document says."""
    assert cli.main(shlex.split(line)) == 0, line


# What the reader has before a page.
GIVEN: dict[str, Callable[[], None]] = {
    "docs/structuring.md": write_own_files,
    "docs/evaluating.md": write_results_of_seeds,
    "docs/looking.md": write_run_of_vit,
    "docs/scaling.md": write_configuration,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which a reader types the commands."""
    folder = tmp_path_factory.mktemp("reader")
    with contextlib.chdir(folder):
        yield folder


def write_archive(write_series: Callable[..., list[Path]]) -> None:
    """Two studies as an archive gives them, and their reports."""
    voxels = np.random.default_rng(0).integers(1, 900, (16, 16, 10)).astype(np.int16)
    for study in (1, 2):
        attributes = {"SeriesDescription": "AX T2 FLAIR"}
        write_series(Path("data/dicom"), voxels, np.diag([4.0, 4.0, 6.0, 1.0]), study=study, attributes=attributes)
    Path("data/reports.csv").write_text("accession_number,text\nA1,FINDINGS: Normal.\nA2,FINDINGS: A mass.\n")


@pytest.fixture(scope="module")
def outcomes(folder: Path, write_dicom_series: Callable[..., list[Path]]) -> dict[str, Outcome]:
    """The outcome of every documented command, run once and in order."""
    write_archive(write_dicom_series)
    found: dict[str, Outcome] = {}
    for page in PAGES:
        if page in GIVEN:
            GIVEN[page]()
        for line in documented_commands(page):
            if line not in NOT_RUN and line not in found:
                found[line] = run_documented(line)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_run(page: str, outcomes: dict[str, Outcome]) -> None:
    """Each command of the page ends well, on what it and the pages before it have made."""
    failed = {line: outcomes[line] for line in documented_commands(page) if line in outcomes and outcomes[line].code}
    assert not failed, "\n".join(f"{line}\n  {outcome.said.strip()}" for line, outcome in failed.items())


def test_three_lines_that_use_a_checkpoint_run(folder: Path, outcomes: dict[str, Outcome]) -> None:
    """The front page's code gives one row of finite logits with a column for each text."""
    shutil.copytree(folder / "runs/tiny/best", folder / "demo/run/best")
    block = re.search(r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(block.group(1), names)
    assert names["logits"].shape == (1, 2)
    assert names["logits"].isfinite().all()


def test_every_page_with_commands_is_run() -> None:
    """No document has a command that this file does not know of, and none hides one outside a shell block."""
    documents = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    names = {path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8") for path in documents}
    assert {name for name in names if documented_commands(name)} == set(PAGES)
    hidden = re.compile(r"^ {4}selip (?!.*\b[A-Z]{3}\b)", flags=re.MULTILINE)
    assert not [name for name, text in names.items() if hidden.search(text)]


def test_commands_that_are_not_run_are_documented() -> None:
    """The list of exceptions has nothing that no page says any more."""
    assert NOT_RUN.keys() <= {line for page in PAGES for line in documented_commands(page)}
