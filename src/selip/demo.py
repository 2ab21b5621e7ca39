"""`selip demo`: every stage from simulated studies to a page with results, each by the command a user would type."""

import json
import os
import platform
import random
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selip import __version__
from selip.stages import Stage, StagedWork

STRUCTURING = "evaluation/structuring.json"
RECORD_NAME = "demo.json"
PAGE_NAME = "index.html"


@dataclass(frozen=True)
class DemoConfig:
    """Options of `selip demo`."""

    out: Path = field(default=Path("demo"), metadata={"help": "folder for everything it makes", "positional": True})
    studies: int = field(default=600, metadata={"help": "studies to simulate"})
    seed: int = field(default=0, metadata={"help": "seed of the studies, the weights and the batches"})
    recipe: str = field(
        default="selip_tiny", metadata={"help": "shipped configuration, or a YAML file, to pretrain by"}
    )
    steps: int | None = field(
        default=None, metadata={"help": "training steps; as the configuration says if not given"}
    )
    overwrite: bool = field(default=False, metadata={"help": "run stages anew whose settings have changed"})

    def __post_init__(self) -> None:
        if self.studies < 60:
            raise ValueError(f"expected at least 60 studies, so that each split has some, got {self.studies}")


@dataclass(frozen=True)
class DemoSummary:
    """What a demo made; as text, where to look."""

    page: Path
    checkpoint: Path
    seconds: float
    skipped: int

    def __str__(self) -> str:
        again = f" ({self.skipped} stages had been done before)" if self.skipped else ""
        return (
            f"\ndone: {self.seconds / 60:.1f} minutes of work{again}\n"
            f"  results and pictures  {self.page}\n"
            f"  checkpoint            {self.checkpoint}"
        )


def run_demo(config: DemoConfig) -> DemoSummary:
    """Simulate, ingest, structure, prepare, pretrain, evaluate, use the checkpoint without selip, write the page.

    A stage that has been finished with the same settings is skipped, an interrupted one goes on.

    Raises:
        FileExistsError: The folder holds a demo with other settings, or something else, and `overwrite` is off.
    """
    stages = demo_stages(config)
    work = StagedWork(config.out, RECORD_NAME, stages, overwrite=config.overwrite)
    work.run()
    page = _write_page(config, stages, work)
    return DemoSummary(page, config.out / "run" / "best", work.seconds, work.skipped)


def demo_stages(config: DemoConfig) -> list[Stage]:
    """The stages in their order."""
    out = config.out
    bids, studies, findings, volumes = (out / name for name in ("bids", "studies", "findings.parquet", "volumes"))
    run, result = out / "run", out / "evaluation" / "retrieval.json"
    pretrain = ["pretrain", config.recipe, "--output", run, "--data.studies", studies, "--data.findings", findings]
    pretrain += ["--data.volumes", volumes, "--optimization.seed", config.seed]
    if config.studies < 200:
        pretrain += ["--data.batch-studies", config.studies // 8]  # a batch needs that many unique texts
    if config.steps is not None:
        pretrain += ["--optimization.steps", config.steps, "--optimization.warmup-steps", min(50, config.steps // 10)]
    simulated = f"{config.studies} simulated head MRI studies (selip simulate, seed {config.seed})."
    card = ["card", run / "best", "--training-data", simulated, "--results", f"{result},{out / STRUCTURING}"]
    card += ["--name", "selip-tiny-simulated"]
    commands: list[tuple[str, list[Any], Path | None]] = [
        (
            "simulate studies",
            ["simulate", bids, "--studies", config.studies, "--seed", config.seed, "--preview"],
            bids,
        ),
        ("read them into a table", ["ingest", "bids", bids, studies], studies / "studies.json"),
        ("structure the reports", ["structure", studies, findings], findings),
        (
            "judge the findings against the truth",
            ["evaluate", findings, studies, "--task", "structuring", "--out", out / STRUCTURING],
            out / STRUCTURING,
        ),
        ("prepare the volumes", ["prepare", studies, volumes, "--size", "tiny"], volumes / "volumes.json"),
        ("pretrain", pretrain, None),
        ("evaluate retrieval", ["evaluate", run / "best", studies, "--volumes", volumes, "--out", result], result),
        ("write the model card", card, run / "best" / "README.md"),
    ]
    stages = [Stage(name, tuple(map(str, words)), output) for name, words, output in commands]
    stages.append(
        Stage(
            "use the checkpoint without selip",
            output=out / "ranking.json",
            action=lambda: rank_held_out(run / "best", studies, out / "ranking.json", config.seed),
        )
    )
    return stages


def rank_held_out(checkpoint: Path, studies: Path, answer: Path, seed: int) -> None:
    """Rank the test split's texts for one of its NIfTI files in a process that cannot import selip.

    The file is drawn at random among those of abnormal test series. Candidates are the unique texts of its sequence.

    Raises:
        RuntimeError: The process failed.
    """
    from selip.model_cards.publishing.isolation import ask_fresh_process
    from selip.processing.sources.studies import iter_studies
    from selip.training.evaluation.gallery import build_gallery

    rows = list(iter_studies(studies, "test"))
    gallery = build_gallery(rows)
    image = random.Random(seed).choice([image for image in gallery.images if image.findings])
    study = next(row for row in rows if row["study_id"] == image.study_id)
    series = next(entry for entry in study["series"] if entry["series_id"] == image.series_id)
    request = {
        "task": "rank",
        "folder": str(checkpoint.resolve()),
        "volume": series["volume"]["path"],
        "sequence": image.sequence,
        "own_text": gallery.texts[image.text].text,
        "texts": [text.text for text in gallery.texts if text.sequence == image.sequence],
    }
    print(f"  file      {request['volume']}")
    print(f"  own text  {request['own_text']}", flush=True)
    partial = answer.with_name(f".{answer.name}.partial")
    ask_fresh_process(request, partial)
    ranking = json.loads(partial.read_text(encoding="utf-8"))
    order = sorted(range(len(ranking["texts"])), key=lambda index: -ranking["cosines"][index])
    for rank, index in enumerate(order[:5], start=1):
        mark = "*" if ranking["texts"][index] == ranking["own_text"] else " "
        print(f"  {rank}. {mark} {ranking['cosines'][index]:.3f}  {ranking['texts'][index]}")
    rank = [ranking["texts"][index] for index in order].index(ranking["own_text"]) + 1
    print(f"  its own text: rank {rank} of {len(order)}", flush=True)
    # Shown to the user and stored in the page, so paths as short as they were typed.
    ranking["volume"] = os.path.relpath(ranking["volume"])
    ranking["checkpoint"] = str(checkpoint)
    del ranking["folder"]
    partial.write_text(json.dumps(ranking, indent=1), encoding="utf-8")
    os.replace(partial, answer)


def _write_page(config: DemoConfig, stages: list[Stage], work: StagedWork) -> Path:
    from selip.model_cards.pages.demo_page import DemoRecord, StageRecord, write_demo_page

    out = config.out
    shown = [
        StageRecord(
            stage.name,
            shlex.join(("selip", *stage.words)) if stage.words else "python -I fresh_process.py",
            work.record[stage.name]["seconds"],
        )
        for stage in stages
    ]
    page = DemoRecord(
        result=out / "evaluation" / "retrieval.json",
        structuring=out / STRUCTURING,
        ranking=out / "ranking.json",
        curves=out / "run" / "metrics.jsonl",
        preview=out / "bids" / "preview.png",
        stages=shown,
        settings=[f"{config.studies} simulated studies", f"seed {config.seed}", f"configuration {config.recipe}"],
        machine=machine(),
        checkpoint=out / "run" / "best",
    )
    return write_demo_page(page, out / PAGE_NAME)


def machine() -> str:
    """Machine and versions in one line."""
    import torch
    import transformers

    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{gpu}; Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}, selip {__version__}"
    )
