"""`selip starter`: checkpoints that are ready to push, made from simulated studies by the commands a user would type.

`tiny` is the demo's model, `small` a larger one on more and richer studies, `structurer` a language model that reads
findings out of reports, with an adapter on it. Each has its own folder and its own record; `published/` holds what
would go.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from selip.demo import STRUCTURING
from selip.stages import Stage, StagedWork

RECORD_NAME = "starter.json"
Part = Literal["tiny", "small", "structurer"]
PARTS: tuple[Part, ...] = ("tiny", "small", "structurer")
_FEWEST_TO_JUDGE = 400  # studies: below, hardly a label or a set of sequences has some in every split
_MISSING = "missing.json"  # not imported from its module, which would load torch to show `--help`
_SIMULATED, _PSEUDO = "selip-simulated", "selip-pseudo-reports"


@dataclass(frozen=True)
class StarterConfig:
    """Options of `selip starter`."""

    out: Path = field(metadata={"help": "folder for everything it makes; what would go is in OUT/published"})
    owner: str = field(
        default="my-group", metadata={"help": "user or organisation on the Hub; it is written into the cards"}
    )
    only: tuple[Part, ...] = field(default=PARTS, metadata={"help": "which ones: tiny, small, structurer"})
    studies: int = field(default=1600, metadata={"help": "studies to simulate for small; tiny has 600, as the demo"})
    seed: int = field(default=0, metadata={"help": "seed of studies, weights and batches"})
    steps: int | None = field(
        default=None, metadata={"help": "steps of every training, to try the path; as configured if not given"}
    )
    tiny_studies: int = field(default=600, metadata={"help": "studies to simulate for tiny"})
    overwrite: bool = field(default=False, metadata={"help": "run stages anew whose settings have changed"})

    def __post_init__(self) -> None:
        if not self.only:
            raise ValueError(f"only: expected some of {', '.join(PARTS)}, got none")
        if min(self.studies, self.tiny_studies) < 60:
            raise ValueError(
                "expected at least 60 studies, so that each split has some, got "
                f"{min(self.studies, self.tiny_studies)}"
            )


@dataclass(frozen=True)
class StarterSummary:
    """What was made, in how long; as text, how it is pushed."""

    minutes: dict[str, float]
    pushes: list[str]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {minutes:.1f}" for name, minutes in self.minutes.items())
        return "\n".join(
            [f"\ndone; minutes of work: {times}", "to push them:", *(f"  {line}" for line in self.pushes)]
        )


def make_starters(config: StarterConfig) -> StarterSummary:
    """Make the starter checkpoints: train, evaluate, write cards, stage and verify what would go.

    A stage that has been finished with the same settings is skipped, an interrupted one goes on.

    Raises:
        FileExistsError: The folder holds starters with other settings, or something else, and `overwrite` is off.
        PublishError: A folder did not pass the checks of publishing.
    """
    makers: dict[Part, Callable[[StarterConfig], list[Stage]]] = {
        "tiny": tiny_stages,
        "small": small_stages,
        "structurer": structurer_stages,
    }
    minutes: dict[str, float] = {}
    pushes: list[str] = []
    for name in dict.fromkeys(config.only):
        print(f"\n{name}", flush=True)
        stages = makers[name](config)
        work = StagedWork(config.out / name, RECORD_NAME, stages, overwrite=config.overwrite)
        work.run()
        minutes[name] = work.seconds / 60
        pushes += [_push_line(stage.words) for stage in stages if stage.words[0] == "publish"]
    return StarterSummary(minutes, pushes)


def tiny_stages(config: StarterConfig) -> list[Stage]:
    """The demo, then its checkpoint under its name."""
    demo = config.out / "tiny" / "demo"
    words = ["demo", demo, "--studies", config.tiny_studies, "--seed", config.seed]
    words += [] if config.steps is None else ["--steps", config.steps]
    missing = _missing(config.tiny_studies, demo / "run" / "best", demo, config.out / "tiny")
    results = [demo / "evaluation" / "retrieval.json", *_outputs(missing), demo / STRUCTURING]
    about = (
        f"{config.tiny_studies} simulated head MRI studies of the simple form (selip simulate, seed {config.seed})."
    )
    return [
        _stage("demo", words, demo / "index.html"),
        *missing,
        *_finish(
            config, demo / "run" / "best", "selip-tiny-simulated", about, results, _SIMULATED, studies=demo / "studies"
        ),
    ]


def small_stages(config: StarterConfig) -> list[Stage]:
    """More studies, in the realistic form, and a larger model."""
    out = config.out / "small"
    bids, studies, findings, volumes = (out / name for name in ("bids", "studies", "findings.parquet", "volumes"))
    run, evaluation = out / "run", out / "evaluation"
    pretrain = ["pretrain", "selip_small", "--output", run, "--data.studies", studies, "--data.findings", findings]
    pretrain += ["--data.volumes", volumes, "--optimization.seed", config.seed]
    if config.studies < 400:
        pretrain += ["--data.batch-studies", config.studies // 8]  # a batch needs that many unique texts
    pretrain += _steps(config, "--optimization.warmup-steps")
    simulate = ["simulate", bids, "--studies", config.studies, "--seed", config.seed, "--form", "realistic"]
    evaluate = ["evaluate", run / "best", studies, "--volumes", volumes]
    structuring = evaluation / "structuring.json"
    tasks: dict[str, list[Any]] = {"retrieval": [], "pairs": ["--task", "pairs", "--pairs", bids / "pairs.tsv"]}
    if config.studies >= _FEWEST_TO_JUDGE:
        tasks["probe"] = ["--task", "probe"]
        tasks["zero_shot"] = ["--task", "zero_shot", "--protocol", "simulated"]
    missing = _missing(config.studies, run / "best", out, evaluation)
    results = {task: evaluation / f"{task}.json" for task in tasks}
    on_card = [*results.values(), *_outputs(missing), structuring]
    about = f"{config.studies} simulated head MRI studies of the realistic form (selip simulate, seed {config.seed})."
    return [
        _stage("simulate studies", [*simulate, "--minimal-pairs"], bids),
        _stage("read them into a table", ["ingest", "bids", bids, studies], studies / "studies.json"),
        _stage("structure the reports", ["structure", studies, findings], findings),
        _stage(
            "judge the findings against the truth",
            ["evaluate", findings, studies, "--task", "structuring", "--out", structuring],
            structuring,
        ),
        _stage("prepare the volumes", ["prepare", studies, volumes, "--size", "tiny"], volumes / "volumes.json"),
        _stage("pretrain", pretrain),
        *(
            _stage(f"evaluate {task}", [*evaluate, *words, "--out", results[task]], results[task])
            for task, words in tasks.items()
        ),
        *missing,
        *_finish(config, run / "best", "selip-small-simulated", about, on_card, _SIMULATED, studies=studies),
    ]


def structurer_stages(config: StarterConfig) -> list[Stage]:
    """A language model from scratch on pseudo reports, judged on the other writer's; then an adapter on it.

    The adapter is tuned on reports in yet other words, as a group would tune on its own, and judged on the held-out
    writer as its base is, so that the two cards can be compared.
    """
    out = config.out / "structurer"
    gold, other = out / "held-out.jsonl", out / "other.jsonl"
    base, adapter, result = out / "base", out / "adapter", out / "structuring.json"
    adapter_result = out / "adapter-structuring.json"
    base_name, adapter_name = "selip-structurer-tiny", "selip-structurer-tiny-lora"
    tuning = ["--optimization.seed", config.seed, *_steps(config, "--optimization.warmup-steps")]
    if config.steps is not None:
        tuning += ["--tracking.validate-every", config.steps, "--data.pseudo-reports", 64]
        tuning += ["--data.validation-reports", 4, "--optimization.max-new-tokens", 32]
    tune = ["tune-structurer", "structuring/tiny", "--output", base, *tuning]
    tune_adapter = ["tune-structurer", "structuring/tiny_lora", "--output", adapter, "--model.base", base / "best"]
    tune_adapter += ["--model.base-model-id", f"{config.owner}/{base_name}", "--data.group-data", other, "--no-merge"]
    reports = ["--reports", 200 if config.steps is None else 12, "--seed", config.seed + 1]
    about = "Reports that a simulator wrote, in English and Chinese, findings known."
    judge_adapter = ["evaluate", adapter / "best", gold, "--task", "structuring", "--base", base / "best"]
    return [
        _stage("write reports to judge on", ["pseudo-reports", gold, *reports, "--writer", "held-out"], gold),
        _stage("tune the structurer", tune),
        _stage("judge it", ["evaluate", base / "best", gold, "--task", "structuring", "--out", result], result),
        *_finish(config, base / "best", base_name, about, [result], _PSEUDO),
        _stage(
            "write reports in other words",
            ["pseudo-reports", other, *reports, "--writer", "simple", "--language", "en"],
            other,
        ),
        _stage("tune an adapter on it", [*tune_adapter, *tuning]),
        _stage("judge the adapter", [*judge_adapter, "--out", adapter_result], adapter_result),
        *_finish(config, adapter / "best", adapter_name, about, [adapter_result], _PSEUDO, base=base / "best"),
    ]


def _finish(
    config: StarterConfig,
    checkpoint: Path,
    name: str,
    about: str,
    results: Sequence[Path],
    dataset: str,
    studies: Path | None = None,
    base: Path | None = None,
) -> list[Stage]:
    """Card, then the staged and verified folder; of studies: their scanners on the card, none of their words in it."""
    repo = f"{config.owner}/{name}"
    card = ["card", checkpoint, "--name", repo, "--training-data", about, "--datasets", dataset, "--overwrite"]
    card += ["--results", ",".join(map(str, results))] if results else []
    publish = ["publish", checkpoint, repo, "--trained-on", dataset, "--dry-run"]
    publish += ["--out", config.out / "published" / name, *([] if base is None else ["--base", base])]
    if studies is not None:
        card += ["--studies", studies]
        publish += ["--studies", studies]
    return [_stage(f"write the card of {name}", card), _stage(f"stage and verify {name}", publish)]


def _missing(studies: int, checkpoint: Path, data: Path, out: Path) -> list[Stage]:
    """How well whole studies find their report where they lack sequences; of few studies nothing can be said."""
    if studies < _FEWEST_TO_JUDGE:
        return []
    words = ["missing", checkpoint, data / "studies", out / "missing", "--task", "retrieval"]
    words += ["--volumes", data / "volumes"]
    return [_stage("evaluate with sequences missing", words, out / "missing" / _MISSING)]


def _outputs(stages: Sequence[Stage]) -> list[Path]:
    return [stage.output for stage in stages if stage.output is not None]


def _steps(config: StarterConfig, warmup: str) -> list[Any]:
    if config.steps is None:
        return []
    return ["--optimization.steps", config.steps, warmup, min(50, config.steps // 10)]


def _stage(name: str, words: Sequence[Any], output: Path | None = None) -> Stage:
    return Stage(name, tuple(map(str, words)), output)


def _push_line(words: Sequence[str]) -> str:
    """The command that pushes what a stage has verified."""
    return shlex.join(["selip", *(word for word in words if word != "--dry-run")])
