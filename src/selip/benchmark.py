"""`selip benchmark simulated`: objectives compared on simulated studies, between a floor and a ceiling.

Data are made once. Every arm is trained once a seed by `selip pretrain` and evaluated by `selip evaluate` in three
tasks; what differs between arms stands in training/benchmark/arms.py. A JSON file, a table and a picture come out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from selip.stages import Stage, StagedWork

RECORD_NAME = "benchmark-stages.json"
RESULT_NAME = "benchmark.json"
STRUCTURING = "results/structuring.json"
FINDINGS, TRUE_FINDINGS = "findings.parquet", "true_findings.parquet"
_DATA = (
    "simulate studies",
    "read them into a table",
    "structure the reports",
    "prepare the volumes",
    "write the true findings",
)
TASKS = ("retrieval", "pairs", "probe")
REFERENCES: tuple[Literal["floor", "ceiling"], ...] = ("floor", "ceiling")


@dataclass(frozen=True)
class BenchmarkConfig:
    """Options of `selip benchmark simulated`."""

    out: Path = field(
        default=Path("benchmark"), metadata={"help": "folder for everything it makes", "positional": True}
    )
    studies: int = field(default=1600, metadata={"help": "studies to simulate; about 15 in 100 are for the test"})
    data_seed: int = field(default=2026, metadata={"help": "seed of the studies"})
    seeds: tuple[int, ...] = field(default=(0, 1, 2), metadata={"help": "seeds of weights and batches"})
    arms: tuple[str, ...] = field(default=(), metadata={"help": "arms to run; all of them if not given"})
    steps: int | None = field(
        default=None, metadata={"help": "training steps of every run; as the recipe says if not given"}
    )
    overwrite: bool = field(default=False, metadata={"help": "run stages anew whose settings have changed"})

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"expected different seeds, at least one, got {self.seeds}")
        if self.studies < 100:
            raise ValueError(f"expected at least 100 studies, so that each split has some, got {self.studies}")


@dataclass(frozen=True)
class BenchmarkSummary:
    """What a benchmark made; as text, the table."""

    table: str
    result: Path
    page: Path
    seconds: float

    def __str__(self) -> str:
        return f"\n{self.table}\n{self.seconds / 60:.0f} minutes of work; table {self.page}, numbers {self.result}"


def run_benchmark(config: BenchmarkConfig) -> BenchmarkSummary:
    """Make the data, train and evaluate every arm and both references, compare, and write table and picture.

    A stage that has been finished with the same settings is skipped, an interrupted one goes on.

    Raises:
        FileExistsError: The folder holds a benchmark with other settings, or something else, and `overwrite` is off.
    """
    from selip.model_cards.benchmark_table import write_benchmark_table
    from selip.training.benchmark.report import compare_runs

    work = StagedWork(config.out, RECORD_NAME, benchmark_stages(config), overwrite=config.overwrite)
    work.run()
    result = compare_runs(
        config.out / "results",
        config.out / RESULT_NAME,
        [arm.name for arm in _arms(config)],
        config.seeds,
        structuring=config.out / STRUCTURING,
        settings={"studies": config.studies, "data_seed": config.data_seed, "steps": config.steps},
    )
    page = config.out / "benchmark.md"
    table = write_benchmark_table(result, page)
    return BenchmarkSummary(table, result, page, work.seconds)


def benchmark_stages(config: BenchmarkConfig) -> list[Stage]:
    """The stages in their order: data, then seed by seed every arm and the references."""
    from selip.training.benchmark.arms import TRUE_TEXT

    stages = _data_stages(config)
    for seed in config.seeds:
        for arm in _arms(config):
            stages += _arm_stages(config, arm, seed, config.out / FINDINGS)
        stages += _arm_stages(config, TRUE_TEXT, seed, config.out / TRUE_FINDINGS)
        stages += [_reference_stage(config, kind, seed) for kind in REFERENCES]
    return stages


def _arms(config: BenchmarkConfig) -> Sequence[Any]:
    from selip.training.benchmark.arms import find_arms

    return find_arms(config.arms)


def _data_stages(config: BenchmarkConfig) -> list[Stage]:
    out = config.out
    simulate = ["simulate", out / "bids", "--form", "realistic", "--minimal-pairs", "--preview"]
    simulate += ["--studies", config.studies, "--seed", config.data_seed]
    judge = ["evaluate", out / FINDINGS, out / "studies", "--task", "structuring", "--out", out / STRUCTURING]
    prepare = ["prepare", out / "studies", out / "volumes", "--size", "tiny"]
    return [
        _command("simulate studies", simulate, out / "bids"),
        _command("read them into a table", ["ingest", "bids", out / "bids", out / "studies"]),
        _command("structure the reports", ["structure", out / "studies", out / FINDINGS]),
        _command("judge the findings against the truth", judge, out / STRUCTURING, _DATA[:3]),
        _command("prepare the volumes", prepare, needs=_DATA[:2]),
        Stage(
            "write the true findings",
            output=out / TRUE_FINDINGS,
            action=partial(_write_true_findings, out),
            needs=_DATA[:2],
        ),
    ]


def _write_true_findings(out: Path) -> None:
    from selip.training.benchmark.true_findings import write_true_findings

    write_true_findings(out / "studies", out / TRUE_FINDINGS)


def _arm_stages(config: BenchmarkConfig, arm: Any, seed: int, findings: Path) -> list[Stage]:
    from selip.training.benchmark.arms import RECIPE

    name, run = f"{arm.name}, seed {seed}", config.out / "runs" / f"{arm.name}-{seed}"
    overrides = {**_shared_overrides(config, seed), "data.findings": findings, **arm.overrides}
    options = [word for key, value in overrides.items() for word in (f"--{key.replace('_', '-')}", value)]
    training = _command(f"pretrain {name}", ["pretrain", RECIPE, "--output", run, *options], needs=_DATA)
    stages = [training]
    for task in TASKS:
        settings = _evaluation(config)
        words = ["evaluate", run / "last", settings.pop("studies"), "--task", task, "--num-figure-cases", 0]
        words += [word for key, value in settings.items() for word in (f"--{key}", value)]
        out = _result(config, arm.name, seed, task)
        needs = (*_DATA, training.name)
        stages.append(_command(f"evaluate {task} of {name}", [*words, "--out", out], out, needs))
    return stages


def _reference_stage(config: BenchmarkConfig, kind: Literal["floor", "ceiling"], seed: int) -> Stage:
    """Floor or ceiling: no command of its own, because neither is a checkpoint."""
    from selip.training.benchmark.reference_runs import evaluate_reference

    evaluations = [{**_evaluation(config), "task": task, "out": _result(config, kind, seed, task)} for task in TASKS]
    action = partial(
        evaluate_reference, kind, config.out / "runs" / f"{kind}-{seed}", _shared_overrides(config, seed), evaluations
    )
    return Stage(f"{kind}, seed {seed}", action=action, needs=_DATA)


def _shared_overrides(config: BenchmarkConfig, seed: int) -> dict[str, Any]:
    """Options of the recipe that all arms and references of a seed share."""
    out = config.out
    steps = {} if config.steps is None else {"optimization.steps": config.steps}
    data = {"studies": out / "studies", "findings": out / FINDINGS, "volumes": out / "volumes"}
    return {**{f"data.{name}": path for name, path in data.items()}, "optimization.seed": seed, **steps}


def _evaluation(config: BenchmarkConfig) -> dict[str, Any]:
    """Data of every evaluation; the partners of minimal pairs take part in that task alone."""
    out = config.out
    return {"studies": out / "studies", "volumes": out / "volumes", "pairs": out / "bids" / "pairs.tsv"}


def _result(config: BenchmarkConfig, name: str, seed: int, task: str) -> Path:
    return config.out / "results" / f"{name}-{seed}-{task}.json"


def _command(name: str, words: list[Any], output: Path | None = None, needs: tuple[str, ...] | None = None) -> Stage:
    return Stage(name, tuple(map(str, words)), output, needs=needs)
