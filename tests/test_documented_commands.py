"""Every command of the documents is run in its tiny form, page after page in one folder, as a reader would.

A page that gains a command fails here until the command runs as it stands in SMALL, or is named in NOT_RUN with the
reason.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from selip import cli

REPOSITORY = Path(__file__).resolve().parents[1]

# In the order in which one comes to need them: a page reads what those before it have written.
PAGES = (
    "docs/preparing.md",
    "docs/structuring.md",
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
    "docs/structuring_llm.md",
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
    "missing": "--bootstrap-samples 20 --task retrieval",  # too few studies have each sequence for a probe
    "leaderboard build": "--bootstrap-samples 50",
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

# Commands that are not run, and why. A whole page: the key is its name.
NOT_RUN: dict[str, str] = {}


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
    assert cli.main(["pseudo-reports", "gold.jsonl", "--reports", "6"]) == 0
    shutil.copy(REPOSITORY / "training/evaluation/protocols/simulated-simple.yaml", "protocol.yaml")


def give(page):
    if page=="docs/structuring.md" and not Path("gold.jsonl").exists():
        write_own_files()
    if page=="docs/looking.md" and not Path("runs/vit").exists():
        assert cli.main(shlex.split("pretrain selip_vit_tiny --output runs/vit --data.studies data/studies --data.findings data/findings.parquet --data.volumes data/volumes "+STEPS)) == 0
    if page=="docs/scaling.md":
        shutil.copy("runs/tiny/config.yaml","CONFIG.yaml")
        shutil.copytree("runs/tiny","runs/first", dirs_exist_ok=True)
