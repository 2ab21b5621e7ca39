"""Schedule, parameter groups, objectives, prefetching: each against its definition."""

import math
import time

import pytest
import torch

from selip.training.config import OptimizationConfig
from selip.training.objectives import PRESETS, load_objective, target_statistics
from selip.training.optimization import build_optimizer, choose_precision, learning_rate_factor, set_learning_rate
from selip.training.prefetch import WaitClock, prefetch


class TwoTowers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.vision_model = torch.nn.Linear(3, 2)
        self.text_model = torch.nn.Linear(3, 2)
        self.text_projection = torch.nn.Linear(2, 2, bias=False)
        self.logit_scale = torch.nn.Parameter(torch.zeros(1))


def test_towers_have_their_own_rate_and_only_matrices_decay():
    """Every trainable parameter is in exactly one group, with the rate of its tower; biases and scale never decay."""
    config = OptimizationConfig(learning_rate_vision=2e-3, learning_rate_text=1e-4, weight_decay=0.1)
    model = TwoTowers()
    optimizer = build_optimizer(model, config)
    set_learning_rate(optimizer, config.warmup_steps - 1, config)
    got = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = next(name for name, value in model.named_parameters() if value is parameter)
            got[name] = (group["lr"], group["weight_decay"])
    assert got == {
        "vision_model.weight": (2e-3, 0.1),
        "vision_model.bias": (2e-3, 0.0),
        "text_model.weight": (1e-4, 0.1),
        "text_model.bias": (1e-4, 0.0),
        "text_projection.weight": (1e-4, 0.1),
        "logit_scale": (2e-3, 0.0),
    }


def test_frozen_temperature_is_not_optimised():
    """As released, the temperature stays: it is in no group and takes no gradient."""
    model = TwoTowers()
    optimizer = build_optimizer(model, OptimizationConfig(learn_logit_scale=False))
    assert all(value is not model.logit_scale for group in optimizer.param_groups for value in group["params"])
    assert not model.logit_scale.requires_grad


@pytest.mark.parametrize(("decay", "half_way"), [("cosine", 0.5), ("poly", 0.5**0.9), ("none", 1.0)])
def test_schedule_warms_up_and_decays(decay, half_way):
    """Linear from 1/warmup to 1, then the named decay, down to its end at the last step."""
    config = OptimizationConfig(steps=110, warmup_steps=10, decay=decay)
    assert [learning_rate_factor(step, config) for step in range(10)] == pytest.approx(
        [(s + 1) / 10 for s in range(10)]
    )
    assert learning_rate_factor(10, config) == 1.0
    assert learning_rate_factor(60, config) == pytest.approx(half_way)


def test_precision_is_measured_on_a_cpu_and_obeyed_when_told():
    """`auto` times both and says so, and leaves the number of threads; a configured precision is taken as it is."""
    threads = torch.get_num_threads()
    chosen, reason = choose_precision("auto", torch.device("cpu"))
    ratio = float(reason.split("took ")[1].split(" of")[0])
    assert (chosen == "bf16") == (1 / ratio > 1.3)
    assert torch.get_num_threads() == threads
    assert choose_precision("bf16", torch.device("cpu")) == ("bf16", "as configured")


def own_objective(image_embeds, text_embeds, logit_scale, compared, similarity):
    return (image_embeds * text_embeds).sum()


def test_objective_by_name_or_by_path():
    """A preset by name, anyone's function by module:function, and a clear refusal of anything else."""
    assert load_objective("selip") is PRESETS["selip"]
    assert load_objective("torch.nn.functional:cosine_similarity") is torch.nn.functional.cosine_similarity
    for wrong in ("sellip", "no_such_module:loss", "torch:no_such_function", "torch:__version__"):
        with pytest.raises(ValueError, match=wrong.partition(":")[0]):
            load_objective(wrong)


def test_target_statistics_of_known_targets():
    """Identity: one target with all mass. n equal texts: Y = (I + 1/n) / 2."""
    compared = torch.ones(4, 4, dtype=torch.bool)
    assert target_statistics(torch.eye(4), compared) == pytest.approx({"effective_targets": 1.0, "own_mass": 1.0})
    own, other = 0.5 + 0.125, 0.125
    entropy = -(own * math.log(own) + 3 * other * math.log(other))
    expected = {"effective_targets": math.exp(entropy), "own_mass": own}
    assert target_statistics(torch.ones(4, 4), compared) == pytest.approx(expected)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_prefetched_batches_come_in_order_and_once(num_workers):
    """Whatever makes them ahead, batches are those of the steps, in order."""
    assert list(prefetch(_square, 3, 9, num_workers=num_workers)) == [step**2 for step in range(3, 9)]


def _square(step: int) -> int:
    return step**2


def test_error_in_a_batch_reaches_the_loop():
    """A batch that cannot be made raises where it is used."""

    def make(step):
        if step == 2:
            raise ValueError("bad batch")
        return step

    taken = []
    with pytest.raises(ValueError, match="bad batch"):
        taken.extend(prefetch(make, 0, 5, num_workers=0))  # keeps what came before the error
    assert taken == [0, 1]


def test_wait_clock_counts_the_wait_and_nothing_else():
    """Slow batches count as waiting, slow work does not."""

    def slow():
        for _ in range(3):
            time.sleep(0.02)
            yield 0

    clock = WaitClock()
    for _ in clock.watch(slow()):
        time.sleep(0.06)
    seconds, share = clock.read()
    assert 0.05 < seconds * share < 0.16 < seconds
