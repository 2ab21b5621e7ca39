"""`selip benchmark simulated`: objectives compared on simulated studies, between a floor and a ceiling.

Data are made once. Every arm is trained once a seed by `selip pretrain` and evaluated by `selip evaluate`; what
differs between arms stands in training/benchmark/arms.py. Heads are then trained on the two arms that are best on
validation studies, and from scratch (training/benchmark/downstream.py). A JSON file, a table and a picture come out.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from selip.benchmark_stages import (
    RESULTS,
    STRUCTURING,
    BenchmarkPlan,
    arm_names,
    head_stages,
    pretraining_stages,
)
from selip.stages import StagedWork

RECORD_NAME = "benchmark-stages.json"
RESULT_NAME = "benchmark.json"
# A GPU sees enough test studies to tell differences of two points apart.
STUDIES = {"cpu": 1600, "gpu": 14000}
SEEDS: dict[str, tuple[int, ...]] = {"cpu": (0, 1, 2), "gpu": (0, 1, 2, 3, 4)}
HEAD_SEEDS = {"cpu": 1, "gpu": 5}


@dataclass(frozen=True)
class BenchmarkConfig:
    """Options of `selip benchmark simulated`."""

    out: Path = field(
        default=Path("benchmark"), metadata={"help": "folder for everything it makes", "positional": True}
    )
    size: Literal["cpu", "gpu"] = field(
        default="cpu",
        metadata={
            "help": "cpu: 1,600 studies, three seeds, the tiny network; gpu: 14,000 studies, over 2,000 of them for "
            "the test, five seeds, the small network"
        },
    )
    studies: int | None = field(
        default=None, metadata={"help": "studies to simulate, if not those of the size; about 15 in 100 for the test"}
    )
    data_seed: int = field(default=2026, metadata={"help": "seed of the studies"})
    seeds: tuple[int, ...] = field(
        default=(), metadata={"help": "seeds of weights and batches; those of the size if not given"}
    )
    arms: tuple[str, ...] = field(default=(), metadata={"help": "arms to run; all of them if not given"})
    heads: bool = field(
        default=True,
        metadata={"help": "also train heads for labels and masks on the two best arms and from scratch"},
    )
    head_seeds: int | None = field(
        default=None, metadata={"help": "how many of the seeds heads are trained for; cpu 1, gpu 5 if not given"}
    )
    steps: int | None = field(
        default=None, metadata={"help": "training steps of every run; as the recipes say if not given"}
    )
    overwrite: bool = field(default=False, metadata={"help": "run stages anew whose settings have changed"})

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"expected different seeds, got {self.seeds}")
        if self.studies is not None and self.studies < 100:
            raise ValueError(f"expected at least 100 studies, so that each split has some, got {self.studies}")
        if self.head_seeds is not None and self.head_seeds < 1:
            raise ValueError(
                f"expected head_seeds of at least 1, got {self.head_seeds}; leave heads out by --no-heads"
            )

    @property
    def plan(self) -> BenchmarkPlan:
        """The request with the numbers of its size filled in."""
        seeds = self.seeds or SEEDS[self.size]
        return BenchmarkPlan(
            out=self.out,
            size=self.size,
            studies=self.studies or STUDIES[self.size],
            data_seed=self.data_seed,
            seeds=seeds,
            head_seeds=seeds[: self.head_seeds or HEAD_SEEDS[self.size]],
            arms=self.arms,
            steps=self.steps,
        )


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
    """Make the data, train and evaluate arms, references and heads, compare, and write table and picture.

    A stage that has been finished with the same settings is skipped, an interrupted one goes on.

    Raises:
        FileExistsError: The folder holds a benchmark with other settings, or something else, and `overwrite` is off.
    """
    from selip.model_cards.tables.benchmark import write_benchmark_table
    from selip.training.benchmark.downstream import best_arms
    from selip.training.benchmark.report import BenchmarkRuns, compare_runs

    plan = config.plan
    stages = pretraining_stages(plan)
    work = StagedWork(config.out, RECORD_NAME, stages, overwrite=config.overwrite)
    work.run()
    chosen: tuple[str, ...] = ()
    if config.heads:
        chosen = best_arms(config.out / RESULTS, arm_names(plan), plan.head_seeds)
        work = StagedWork(config.out, RECORD_NAME, [*stages, *head_stages(plan, chosen)], overwrite=config.overwrite)
        work.run()
    result = compare_runs(
        config.out / RESULT_NAME,
        BenchmarkRuns(config.out / RESULTS, arm_names(plan), plan.seeds, chosen, plan.head_seeds),
        structuring=config.out / STRUCTURING,
        settings={"size": plan.size, "studies": plan.studies, "data_seed": plan.data_seed, "steps": plan.steps},
    )
    page = config.out / "benchmark.md"
    table = write_benchmark_table(result, page)
    return BenchmarkSummary(table, result, page, work.seconds)
