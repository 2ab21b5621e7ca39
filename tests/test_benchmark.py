"""The benchmark's commands are understood, and its arms differ in nothing but what they say."""

from dataclasses import replace

import pytest

from selip import benchmark, cli
from selip.arguments import parse_config
from selip.benchmark_stages import ARM_TASKS, head_stages, pretraining_stages
from selip.training.benchmark.arms import ARMS, find_arms
from selip.training.objectives import load_objective


def pretrain_configs(config):
    """The configuration of every training run, by stage name."""
    command = cli.find_command(["pretrain"])
    return {
        stage.name: parse_config(cli.load(command.config), stage.words[1:], prog="selip pretrain", config_first=True)
        for stage in pretraining_stages(config.plan)
        if stage.words[:1] == ("pretrain",)
    }


def test_each_stage_is_a_command_that_is_understood() -> None:
    """Stages are commands that take the words shown, or the two references; their names are unique."""
    config = benchmark.BenchmarkConfig(seeds=(0, 1))
    pretraining = pretraining_stages(config.plan)
    trainings = 1 + len(ARM_TASKS)
    assert len(pretraining) == 6 + 2 * ((len(ARMS) + 1) * trainings + len(ARMS) + 2)
    heads = head_stages(config.plan, ("selip", "clip"))
    assert len(heads) == 3 * (3 * 2 + 3)  # one seed, three systems: three shares of the labels, masks in two tasks
    stages = [*pretraining, *heads]
    assert len({stage.name for stage in stages}) == len(stages)
    for stage in stages:
        if stage.action is None:
            command = cli.find_command(stage.words)
            words = stage.words[len(command.words) :]
            parsed = parse_config(cli.load(command.config), words, prog="selip", config_first=command.config_first)
            assert hasattr(parsed, "overwrite")


def test_arms_share_everything_but_what_they_are_about() -> None:
    """Seed by seed the configurations are equal but for output, objective, similarity, texts, and normal studies."""
    configs = pretrain_configs(benchmark.BenchmarkConfig(seeds=(3,), steps=70))
    true_text = configs.pop("pretrain clip_true_text, seed 3")
    assert len(configs) == len(ARMS)
    first = configs["pretrain clip, seed 3"]
    for config in configs.values():
        assert config.model == first.model
        assert config.augmentation == first.augmentation
        assert config.optimization.steps == 70
        for name in ("learning_rate_vision", "learning_rate_text", "learn_logit_scale", "seed", "weight_decay"):
            assert getattr(config.optimization, name) == getattr(first.optimization, name)
        for name in ("batch_studies", "batch_sequences", "studies"):
            assert getattr(config.data, name) == getattr(first.data, name)
        is_fvlm = config.optimization.objective == "fvlm"
        assert (config.data.normal_rate, config.data.repeat_normal) == ((0.25, True) if is_fvlm else (0.05, False))
        assert callable(load_objective(config.optimization.objective))
    assert {config.data.findings.name for config in configs.values()} == {"findings.parquet"}
    assert true_text.data == replace(first.data, findings=first.data.findings.with_name("true_findings.parquet"))
    assert true_text.optimization == first.optimization
    assert len({(config.optimization.objective, config.data.text_items) for config in configs.values()}) == len(ARMS)


def test_heads_start_from_the_chosen_arms_and_from_scratch() -> None:
    """Three systems with the same options but for where the weights come from; a size for GPUs has more of all."""
    plan = benchmark.BenchmarkConfig(seeds=(4, 5), head_seeds=2).plan
    command = cli.find_command(["finetune"])
    words = [stage.words for stage in head_stages(plan, ("selip", "clip")) if stage.words[:1] == ("finetune",)]
    configs = [parse_config(cli.load(command.config), each[1:], prog="selip", config_first=True) for each in words]
    assert len(configs) == 2 * 3 * 4
    starts = {(str(config.model.checkpoint.parent.name), config.model.weights) for config in configs}
    assert starts == {
        (f"{arm}-{seed}", weights)
        for seed in (4, 5)
        for arm, weights in (("selip", "checkpoint"), ("clip", "checkpoint"), ("clip", "random"))
    }
    assert {config.data.label_share for config in configs if config.task == "classification"} == {0.01, 0.1, 1.0}
    large = benchmark.BenchmarkConfig(size="gpu").plan
    assert large.studies * 0.15 >= 2000
    assert len(large.seeds) == len(large.head_seeds) == 5


def test_wrong_requests_are_refused() -> None:
    """Unknown arms, a missing baseline, seeds that repeat."""
    with pytest.raises(ValueError, match="arms among"):
        find_arms(("nonsense",))
    with pytest.raises(ValueError, match="baseline"):
        find_arms(("selip",))
    with pytest.raises(ValueError, match="no-heads"):
        benchmark.BenchmarkConfig(head_seeds=0)
    with pytest.raises(ValueError, match="different seeds"):
        benchmark.BenchmarkConfig(seeds=(1, 1))
