"""The stages of `selip benchmark simulated`: data, arms and references seed by seed, heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from selip.stages import Stage

RESULTS = "results"
STRUCTURING = f"{RESULTS}/structuring.json"
FINDINGS, TRUE_FINDINGS = "findings.parquet", "true_findings.parquet"
_DATA = (
    "simulate studies",
    "read them into a table",
    "structure the reports",
    "prepare the volumes",
    "write the true findings",
)
REFERENCES: tuple[Literal["floor", "ceiling"], ...] = ("floor", "ceiling")
REFERENCE_TASKS = ("retrieval", "pairs", "probe")
ARM_TASKS = (*REFERENCE_TASKS, "zero_shot")
# What a task is asked for beside the data. The probe without its baselines and curves: arms stand beside each other.
TASK_OPTIONS = {"zero_shot": {"protocol": "simulated"}, "probe": {"probe_extent": "linear"}}


@dataclass(frozen=True)
class BenchmarkPlan:
    """A benchmark with all its numbers.

    Attributes:
        out: Folder for everything.
        size: Which recipe.
        studies: Number of studies.
        data_seed: Seed of the studies.
        seeds: Seeds of weights and batches.
        head_seeds: Those of them that heads are trained for.
        arms: Arms to run; all if empty.
        steps: Steps of every run; None: of its recipe.
    """

    out: Path
    size: Literal["cpu", "gpu"]
    studies: int
    data_seed: int
    seeds: tuple[int, ...]
    head_seeds: tuple[int, ...]
    arms: tuple[str, ...]
    steps: int | None


def arm_names(plan: BenchmarkPlan) -> list[str]:
    """The arms that are run, in the order of the table."""
    return [arm.name for arm in _arms(plan)]


def pretraining_stages(plan: BenchmarkPlan) -> list[Stage]:
    """The stages in their order: data, then seed by seed every arm and the references."""
    from selip.training.benchmark.arms import TRUE_TEXT

    stages = _data_stages(plan)
    for seed in plan.seeds:
        for arm in _arms(plan):
            stages += _arm_stages(plan, arm, seed, plan.out / FINDINGS)
            stages.append(_validation_stage(plan, arm.name, seed))
        stages += _arm_stages(plan, TRUE_TEXT, seed, plan.out / TRUE_FINDINGS)
        stages += [_reference_stage(plan, kind, seed) for kind in REFERENCES]
    return stages


def head_stages(plan: BenchmarkPlan, chosen: Sequence[str]) -> list[Stage]:
    """Heads on the chosen arms and from scratch, seed by seed, and their evaluations."""
    from selip.training.benchmark.downstream import HEAD_TASKS, SCRATCH

    return [
        stage
        for seed in plan.head_seeds
        for system in (*chosen, SCRATCH)
        for head in HEAD_TASKS
        for stage in _head_stages(plan, system, seed, head)
    ]


def _arms(plan: BenchmarkPlan) -> Sequence[Any]:
    from selip.training.benchmark.arms import find_arms

    return find_arms(plan.arms)


def _data_stages(plan: BenchmarkPlan) -> list[Stage]:
    out = plan.out
    simulate = ["simulate", out / "bids", "--form", "realistic", "--minimal-pairs", "--preview"]
    simulate += ["--studies", plan.studies, "--seed", plan.data_seed]
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


def _arm_stages(plan: BenchmarkPlan, arm: Any, seed: int, findings: Path) -> list[Stage]:
    name = f"{arm.name}, seed {seed}"
    overrides = {**_shared_overrides(plan, seed), "data.findings": findings, **arm.overrides}
    options = [word for key, value in overrides.items() for word in (_flag(key), *([] if value is True else [value]))]
    words = ["pretrain", _recipe(plan), "--output", _run(plan, arm.name, seed), *options]
    training = _command(f"pretrain {name}", words, needs=_DATA)
    checkpoint = _run(plan, arm.name, seed) / "last"
    return [
        training,
        *(
            _evaluation_stage(plan, f"evaluate {task} of {name}", checkpoint, task, (arm.name, seed, task))
            for task in ARM_TASKS
        ),
    ]


def _validation_stage(plan: BenchmarkPlan, arm: str, seed: int) -> Stage:
    """Retrieval on the validation studies, by which arms are chosen for the heads."""
    name, checkpoint = f"evaluate {arm}, seed {seed}, on validation studies", _run(plan, arm, seed) / "last"
    return _evaluation_stage(plan, name, checkpoint, "retrieval", (arm, seed, "validation"), split="validation")


def _evaluation_stage(
    plan: BenchmarkPlan,
    name: str,
    checkpoint: Path,
    task: str,
    result: tuple[str, int, str],
    split: str = "test",
    needs: str | None = None,
) -> Stage:
    settings = {**_evaluation(plan), **TASK_OPTIONS.get(task, {})}
    words = ["evaluate", checkpoint, settings.pop("studies"), "--task", task, "--split", split]
    words += ["--num-figure-cases", 0, *(word for key, value in settings.items() for word in (_flag(key), value))]
    out = _result(plan, *result)
    training = needs or f"pretrain {result[0]}, seed {result[1]}"
    return _command(name, [*words, "--out", out], out, (*_DATA, training))


def _reference_stage(plan: BenchmarkPlan, kind: Literal["floor", "ceiling"], seed: int) -> Stage:
    """Floor or ceiling: no command of its own, because neither is a checkpoint."""
    from selip.training.benchmark.reference_runs import evaluate_reference

    evaluations = [
        {**_evaluation(plan), **TASK_OPTIONS.get(task, {}), "task": task, "out": _result(plan, kind, seed, task)}
        for task in REFERENCE_TASKS
    ]
    action = partial(
        evaluate_reference,
        kind,
        _run(plan, kind, seed),
        _recipe(plan),
        _shared_overrides(plan, seed),
        evaluations,
    )
    return Stage(f"{kind}, seed {seed}", action=action, needs=_DATA)


def _head_stages(plan: BenchmarkPlan, system: str, seed: int, head: Any) -> list[Stage]:
    """A head on the checkpoint of an arm, or on random weights of the same network, and what it is evaluated in."""
    from selip.training.benchmark.arms import BASELINE
    from selip.training.benchmark.downstream import SCRATCH

    is_scratch = system == SCRATCH
    source = BASELINE if is_scratch else system
    run = plan.out / "runs" / f"{system}-{seed}-{head.name}"
    words = ["finetune", head.recipe, "--output", run, "--model.checkpoint", _run(plan, source, seed) / "last"]
    words += ["--model.weights", "random" if is_scratch else "checkpoint", "--optimization.seed", seed]
    words += ["--data.studies", plan.out / "studies", "--data.volumes", plan.out / "volumes", *head.overrides]
    if plan.steps is not None:
        words += ["--optimization.steps", plan.steps, "--optimization.warmup-steps", _warmup(plan)]
    name = f"train {head.name} on {system}, seed {seed}"
    training = _command(name, words, needs=(*_DATA, f"pretrain {source}, seed {seed}"))
    return [
        training,
        *(
            _evaluation_stage(
                plan,
                f"evaluate {task} of {head.name} on {system}, seed {seed}",
                run / "best",
                task,
                (system, seed, f"{head.name}-{task}"),
                needs=name,
            )
            for task in head.tasks
        ),
    ]


def _warmup(plan: BenchmarkPlan) -> int:
    """Warm-up of a run whose steps are given: a twentieth of them, as in the recipes."""
    assert plan.steps is not None, "the recipe has its own"
    return plan.steps // 20


def _recipe(plan: BenchmarkPlan) -> str:
    from selip.training.benchmark.arms import RECIPES

    return RECIPES[plan.size]


def _shared_overrides(plan: BenchmarkPlan, seed: int) -> dict[str, Any]:
    """Options of the recipe that all arms and references of a seed share."""
    out = plan.out
    steps = (
        {} if plan.steps is None else {"optimization.steps": plan.steps, "optimization.warmup_steps": _warmup(plan)}
    )
    data = {"studies": out / "studies", "findings": out / FINDINGS, "volumes": out / "volumes"}
    return {**{f"data.{name}": path for name, path in data.items()}, "optimization.seed": seed, **steps}


def _evaluation(plan: BenchmarkPlan) -> dict[str, Any]:
    """Data of every evaluation; the partners of minimal pairs take part in that task alone."""
    out = plan.out
    return {"studies": out / "studies", "volumes": out / "volumes", "pairs": out / "bids" / "pairs.tsv"}


def _run(plan: BenchmarkPlan, name: str, seed: int) -> Path:
    return plan.out / "runs" / f"{name}-{seed}"


def _result(plan: BenchmarkPlan, name: str, seed: int, task: str) -> Path:
    return plan.out / RESULTS / f"{name}-{seed}-{task}.json"


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _command(name: str, words: list[Any], output: Path | None = None, needs: tuple[str, ...] | None = None) -> Stage:
    return Stage(name, tuple(map(str, words)), output, needs=needs)
