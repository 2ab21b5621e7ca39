"""ViT-B over the patches that touch the head, against a plain dense ViT of the same size.

    python benchmarks/vit_step.py [--repeats 5] [--threads 2] [--json out.json]

Needs no data: a study of two series of 224 x 224 x 48 random voxels, and an ellipsoid of a usual head as head mask.
Forward and backward under bf16 autocast over fp32 weights, as in training. The dense ViT is made of stock torch
layers. All of it is one run: variants take turns, and each figure is the median of its turns. FLOPs are those of the
products that the method needs (what attention computes twice counts once); the share of the peak is that of the matmul
peak which the machine reaches in the same run.
"""

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.autograd.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from selip.modeling_selip import SelipVisionConfig, SelipVisionModel
from selip.processing.head_selip import count_in_patches
from selip.processing.image_processing_selip import PRESETS

BOX = PRESETS["base"]
SERIES = 2
# semi-axes in mm, and the middle's distance below the top of the box, of an ellipsoid that touches 564 of the 1,176
# patches; the median of 13 real studies is 547 (docs/results.md)
HEAD_MM = (74.0, 92.0, 110.0)
HEAD_MIDDLE_MM = 98.0
# operators by what they do, for the table of where the time goes
OPERATORS = {
    "matrix products": ("aten::mm", "aten::addmm"),
    "attention": (
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "GELU": ("aten::gelu", "aten::gelu_backward"),
    "normalisation": ("aten::native_layer_norm", "aten::native_layer_norm_backward"),
    "casts and copies": ("aten::copy_",),
}


def attention_flops(query: torch.Size, key: torch.Size, *_: object, out_shape: object = None, **__: object) -> int:
    """Two products of queries (N, heads, Q, d) and keys (N, heads, T, d)."""
    series, heads, queries, width = query
    return 4 * series * heads * queries * key[2] * width


def attention_backward_flops(_: torch.Size, query: torch.Size, key: torch.Size, *__: object, **___: object) -> int:
    """Four products: the gradients of weights, values, queries and keys."""
    return 2 * attention_flops(query, key)


# torch knows them for the GPU only
ATTENTION_FLOPS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_flops,
}


class DenseViT(nn.Module):
    """ViT-B over every patch of the box, of stock layers, with learned positions and mean pooling."""

    def __init__(self) -> None:
        super().__init__()
        size, patch = BOX["spatial_size"], BOX["patch_size"]
        tokens = int(np.prod([n // p for n, p in zip(size, patch, strict=True)]))
        self.embedding = nn.Conv3d(1, 768, patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, 768))
        layer = nn.TransformerEncoderLayer(
            768, 12, 3072, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 12, norm=nn.LayerNorm(768), enable_nested_tensor=False)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """(N, X, Y, Z) to (N, 768)."""
        tokens = self.embedding(volumes[:, None]).flatten(2).transpose(1, 2)  # (N, 768, gx, gy, gz) -> (N, G, 768)
        return self.layers(tokens + self.positions).mean(1)


def head_patches() -> torch.Tensor:
    """The patches that the ellipsoid touches, bool (gx, gy, gz)."""
    size, spacing_mm = np.array(BOX["spatial_size"]), np.array(BOX["spacing_mm"])
    places_mm = (np.indices(size).transpose(1, 2, 3, 0) + 0.5) * spacing_mm
    middle_mm = size * spacing_mm / 2
    middle_mm[2] = size[2] * spacing_mm[2] - HEAD_MIDDLE_MM
    is_head = (((places_mm - middle_mm) / np.array(HEAD_MM)) ** 2).sum(-1) <= 1
    return torch.from_numpy(count_in_patches(is_head, BOX["patch_size"]) > 0)


def random_subset(patches: torch.Tensor, budget: int) -> torch.Tensor:
    """`budget` of the patches."""
    kept = torch.zeros_like(patches).flatten()
    places = patches.flatten().nonzero()[:, 0]
    kept[places[torch.randperm(len(places))[:budget]]] = True
    return kept.view_as(patches)


@dataclass(frozen=True)
class Variant:
    """A network, how many tokens a series is to it, and its forward pass."""

    model: nn.Module
    tokens: int
    forward: Callable[[], torch.Tensor]


def build_variants() -> dict[str, Variant]:
    """What is compared, by name."""
    torch.manual_seed(0)
    volumes = torch.rand(SERIES, *BOX["spatial_size"])
    dense = DenseViT().train()
    config = SelipVisionConfig.of_size("vit", "base", pooling="average", **BOX)
    ours = SelipVisionModel(config).train()
    head = head_patches()
    budget = min(config.token_budget or head.numel(), int(head.sum()))
    masks = {
        "ours, whole box": None,
        "ours, patches of the head": head.expand(SERIES, *head.shape),
        f"ours, {budget} random patches of the head": torch.stack(
            [random_subset(head, budget) for _ in range(SERIES)]
        ),
    }
    variants = {"dense ViT of stock layers": Variant(dense, head.numel(), lambda: dense(volumes))}
    for name, mask in masks.items():
        tokens = head.numel() if mask is None else int(mask[0].sum())
        variants[name] = Variant(ours, tokens, lambda mask=mask: ours(volumes, patch_mask=mask).pooler_output)
    return variants


def train_step(variant: Variant) -> None:
    """Forward and backward, as the training loop does them."""
    variant.model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        embeds = variant.forward()
    embeds.float().square().mean().backward()


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def time_shares(variant: Variant) -> dict[str, float]:
    """Share of the time of one step by kind of operator."""
    with profile(use_kineto=False) as profiled:
        train_step(variant)
    spent: Counter[str] = Counter()
    for event in profiled.key_averages():
        kind = next((kind for kind, names in OPERATORS.items() if event.key in names), "all else")
        spent[kind] += event.self_cpu_time_total
    total = sum(spent.values())
    return {kind: spent[kind] / total for kind in (*OPERATORS, "all else")}


def measure(repeats: int) -> dict:
    """All figures of one run."""
    left, right = torch.randn(2, 2048, 2048, dtype=torch.bfloat16)
    variants = build_variants()
    flops = {}
    for name, variant in variants.items():  # the first step of each is its warm-up
        with FlopCounterMode(display=False, custom_mapping=ATTENTION_FLOPS) as counter:
            train_step(variant)
        flops[name] = counter.get_total_flops()
    times: dict[str, list[float]] = {name: [] for name in variants}
    matmul: list[float] = []
    for _ in range(repeats):
        matmul += [seconds_of(lambda: left @ right) for _ in range(5)]
        for name, variant in variants.items():
            times[name].append(seconds_of(lambda variant=variant: train_step(variant)))
    peak = 2 * 2048**3 / statistics.median(matmul)
    dense_seconds = statistics.median(times["dense ViT of stock layers"])
    table = {}
    for name, variant in variants.items():
        seconds = statistics.median(times[name])
        table[name] = {
            "tokens_of_a_series": variant.tokens,
            "gflop": flops[name] / 1e9,
            "seconds": seconds,
            "studies_per_second": 1 / seconds,
            "gflop_per_second": flops[name] / seconds / 1e9,
            "share_of_peak": flops[name] / seconds / peak,
            "times_dense": dense_seconds / seconds,
        }
    return {
        "threads": torch.get_num_threads(),
        "series": SERIES,
        "repeats": repeats,
        "matmul_peak_gflops": peak / 1e9,
        "variants": table,
        "time_shares": {name: time_shares(variant) for name, variant in variants.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns of which the median is taken")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch; its own choice if not given")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    figures = measure(options.repeats)
    print(f"{figures['threads']} threads, bf16; matmul peak {figures['matmul_peak_gflops']:.0f} GFLOP/s")
    print(
        "\n| one study of two series, forward + backward | tokens a series | GFLOP | s | studies/s | GFLOP/s | ",
        end="",
    )
    print("of the peak | times dense |\n|---|---|---|---|---|---|---|---|")
    for name, entry in figures["variants"].items():
        print(
            f"| {name} | {entry['tokens_of_a_series']:,} | {entry['gflop']:.0f} | {entry['seconds']:.2f} | "
            f"{entry['studies_per_second']:.2f} | {entry['gflop_per_second']:.0f} | {entry['share_of_peak']:.0%} | "
            f"{entry['times_dense']:.1f} |"
        )
    kinds = (*OPERATORS, "all else")
    print(f"\n| share of the time | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name, shares in figures["time_shares"].items():
        print(f"| {name} | {' | '.join(f'{shares[kind]:.0%}' for kind in kinds)} |")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
