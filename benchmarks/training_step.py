"""Where the time of one training step goes, and how near it comes to what the machine can do.

    python benchmarks/training_step.py --batch 32 [--precision fp32] [--threads 2] [--json out.json]

Needs no data: random volumes at the size of `selip_tiny`, real texts' lengths. All figures come from one run: the
matmul peak of the machine in the precision of the step, each part of the step forward and backward, and the step as a
whole. FLOPs are counted by torch.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from selip.modeling_selip import SelipConfig, SelipModel, SelipVisionConfig
from selip.modeling_selip.loss_selip import compared_pairs, selip_recommended_loss
from selip.modeling_selip.population_selip import pool_input
from selip.training.config import OptimizationConfig, PretrainConfig
from selip.training.configuration import find_config, load_config
from selip.training.optimization import build_optimizer, choose_precision, set_learning_rate

BOX = (72, 88, 24)
TEXT_TOKENS = 40


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of `work`, after one run that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def matmul_peak(repeats: int, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product: the machine's practical ceiling."""
    left, right = torch.randn(2048, 2048, dtype=dtype), torch.randn(2048, 2048, dtype=dtype)
    return 2 * 2048**3 / median_seconds(lambda: left @ right, repeats)


def build(batch: int) -> tuple[SelipModel, dict[str, torch.Tensor]]:
    """The model of `selip_tiny` and a batch of single series, each with as many texts as the recipe draws."""
    recipe = load_config(PretrainConfig, find_config("selip_tiny"))
    text = {"model_type": "bert", "vocab_size": 2000, "hidden_size": 128, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 4, "intermediate_size": 512, "max_position_embeddings": 160}
    text |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    torch.manual_seed(0)
    network = recipe.model
    model = SelipModel(
        SelipConfig(
            vision_config=SelipVisionConfig.of_size("resnet", "tiny", spatial_size=BOX),
            text_config=text,
            projection_dim=network.projection_dim,
        )
    )
    texts = batch * len(recipe.data.text_items)
    inputs = {
        "pixel_values": torch.rand(batch, 1, *BOX),
        "sequence_ids": torch.randint(1, 7, (batch, 1)),
        "input_ids": torch.randint(3, 2000, (texts, TEXT_TOKENS)),
        "attention_mask": torch.ones(texts, TEXT_TOKENS, dtype=torch.long),
        "text_study": torch.arange(texts) % batch,
    }
    return model.train(), inputs


def deviations_of(model: SelipModel, volumes: torch.Tensor, sequence_ids: torch.Tensor) -> torch.Tensor:
    """(N, X, Y, Z) to what the stem reads, (N, 1, X', Y', Z')."""
    vision = model.vision_model
    return vision.population(pool_input(volumes, vision.config), sequence_ids)[:, None]


def forward_backward(work: Callable[[], torch.Tensor], precision: str) -> Callable[[], None]:
    """`work` and its gradient."""

    def both() -> None:
        with autocast(precision):
            result = work()
        result.float().square().mean().backward()

    return both


def autocast(precision: str) -> torch.autocast:
    """What the training loop runs the network under."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def measure(batch: int, repeats: int, precision: str) -> dict:
    """All figures of one run."""
    precision, reason = choose_precision(precision, torch.device("cpu"))
    peak = matmul_peak(repeats, torch.bfloat16 if precision == "bf16" else torch.float32)
    model, inputs = build(batch)
    volumes = inputs["pixel_values"][:, 0]
    vision, sequence_ids = model.vision_model, inputs["sequence_ids"][:, 0]
    deviations = deviations_of(model, volumes, sequence_ids).detach()
    last = vision.backbone(deviations)[-1].detach()
    parts = {
        "series tower: stem and stages": lambda: vision.backbone(deviations)[-1],
        "series tower: pooling": lambda: vision.pooling(last),
        "text tower": lambda: model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output,
    }
    # no parameter stands before the deviations, so they have no backward pass
    seconds = median_seconds(lambda: deviations_of(model, volumes, sequence_ids), repeats)
    table = {"series tower: deviations (forward only)": {"seconds": seconds, "gflop": 0.0}}
    for name, work in parts.items():
        with FlopCounterMode(display=False) as counter:
            forward_backward(work, precision)()
        seconds = median_seconds(forward_backward(work, precision), repeats)
        table[name] = {"seconds": seconds, "gflop": counter.get_total_flops() / 1e9}

    config = OptimizationConfig()
    optimizer = build_optimizer(model, config)
    compared, similarity = compared_pairs(inputs["text_study"]), torch.eye(len(inputs["text_study"]))

    def step() -> None:
        with autocast(precision):
            output = model(**inputs)
        loss = selip_recommended_loss(output.view_embeds, output.text_embeds, model.logit_scale, compared, similarity)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        set_learning_rate(optimizer, 100, config)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with FlopCounterMode(display=False) as counter:
        step()
    seconds = median_seconds(step, repeats)
    table["whole step"] = {"seconds": seconds, "gflop": counter.get_total_flops() / 1e9}
    for entry in table.values():
        entry["share_of_step"] = entry["seconds"] / seconds
        entry["share_of_peak"] = entry["gflop"] * 1e9 / entry["seconds"] / peak
    return {
        "threads": torch.get_num_threads(),
        "batch": batch,
        "matmul_peak_gflops": peak / 1e9,
        "precision": precision,
        "reason": reason,
        "volumes_per_second": batch / seconds,
        "parts": table,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32, help="volumes in a step")
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="as in training")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch; its own choice if not given")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    figures = measure(options.batch, options.repeats, options.precision)
    print(f"{figures['threads']} threads, precision {figures['precision']} ({figures['reason']})")
    print(f"matmul peak in this precision {figures['matmul_peak_gflops']:.0f} GFLOP/s")
    print(f"\n| part (forward + backward, {figures['batch']} volumes) | s | of the step | GFLOP | of the peak |")
    print("|---|---|---|---|---|")
    for name, entry in figures["parts"].items():
        print(
            f"| {name} | {entry['seconds']:.3f} | {entry['share_of_step']:.0%} | {entry['gflop']:.1f} | "
            f"{entry['share_of_peak']:.0%} |"
        )
    print(f"\n{figures['volumes_per_second']:.1f} volumes/s")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
