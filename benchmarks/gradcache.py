"""What micro-batches (GradCache) cost in time and save in memory, up to a batch of 4,096 studies.

    python benchmarks/gradcache.py [--threads 2] [--json out.json]

Needs no data: random volumes at the size of `selip_tiny`, in fp32 on the CPU. Time is that of loss and gradient, in
one piece and in micro-batches by turns. Memory is what the process grows by while it computes them, beyond model and
batch; each figure comes from a process of its own.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch
from accelerate import Accelerator

from selip.modeling_selip.loss_selip import compared_pairs
from selip.training.config import PretrainConfig
from selip.training.configuration import find_config, load_config
from selip.training.contrastive import ContrastiveGradient
from selip.training.network import build_model, build_processor
from selip.training.objectives import load_objective

BOX = (72, 88, 24)
TEXT_TOKENS = 40
# (studies, studies of a micro-batch)
TIMED = ((32, 8), (64, 16), (128, 32))
WEIGHED = ((32, None), (64, None), (128, None), (32, 32), (128, 32), (512, 32), (4096, 32))


def build(studies: int) -> tuple[torch.nn.Module, dict]:
    """The model of `selip_tiny`, and a batch of single series with as many texts as the recipe draws."""
    recipe = load_config(PretrainConfig, find_config("selip_tiny"))
    torch.manual_seed(0)
    corpus = [f"{side} {site}" for side in ("left", "right") for site in ("frontal lobe", "cerebellum", "thalamus")]
    processor = build_processor(recipe.model, {"spatial_size": BOX, "spacing_mm": (2.5, 2.5, 6.0)}, corpus, 160)
    text_study = torch.arange(studies).repeat_interleave(len(recipe.data.text_items))
    texts = len(text_study)
    inputs = {
        "pixel_values": torch.rand(studies, 1, *BOX),
        "series_mask": torch.ones(studies, 1, dtype=torch.bool),
        "sequence_ids": torch.randint(1, 7, (studies, 1)),
        "input_ids": torch.randint(3, len(processor.tokenizer), (texts, TEXT_TOKENS)),
        "attention_mask": torch.ones(texts, TEXT_TOKENS, dtype=torch.long),
        "text_study": text_study,
        "text_series_mask": torch.ones(texts, 1, dtype=torch.bool),
    }
    return build_model(recipe.model, processor, 160).train(), {
        "inputs": inputs,
        "compared": compared_pairs(text_study),
        "similarity": torch.eye(texts),
    }


def seconds_of(model: torch.nn.Module, batch: dict, micro_batch: int | None) -> float:
    """Time of one loss with its gradient."""
    accelerator = Accelerator(cpu=True)
    objective = load_objective("selip_recommended")
    gradient = ContrastiveGradient(accelerator, model, objective, micro_batch=micro_batch, seed=0)
    start = time.perf_counter()
    gradient(**batch, step=0)
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def measure_time(studies: int, micro_batch: int, repeats: int) -> dict:
    """Medians of both ways, taken by turns so that a busy machine slows both, and the median of their ratios."""
    model, batch = build(studies)
    pairs = [[seconds_of(model, batch, size) for size in (None, micro_batch)] for _ in range(repeats + 1)][1:]
    return {
        "studies": studies,
        "micro_batch": micro_batch,
        "one_piece_s": statistics.median(whole for whole, _ in pairs),
        "micro_batches_s": statistics.median(cached for _, cached in pairs),
        "ratio": statistics.median(cached / whole for whole, cached in pairs),
    }


def measure_memory(studies: int, micro_batch: int | None) -> dict:
    """Growth of this process over one loss with its gradient, libraries warmed up before."""
    seconds_of(*build(2), None)
    model, batch = build(studies)
    before = peak_mib()
    seconds = seconds_of(model, batch, micro_batch)
    pixels = batch["inputs"]["pixel_values"]
    return {
        "studies": studies,
        "micro_batch": micro_batch,
        "batch_mib": pixels.numel() * pixels.element_size() / 2**20,
        "peak_mib": peak_mib() - before,
        "seconds": seconds,
    }


def peak_mib() -> float:
    """Most memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def in_process_of_its_own(studies: int, micro_batch: int | None, threads: int) -> dict:
    """`measure_memory` where nothing has been computed before."""
    command = [sys.executable, __file__, "--threads", str(threads), "--weigh", str(studies), str(micro_batch or 0)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    parser.add_argument("--weigh", type=int, nargs=2, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    if options.weigh:
        studies, micro_batch = options.weigh
        print(json.dumps(measure_memory(studies, micro_batch or None)))
        return
    print(f"{options.threads} threads, fp32, loss and gradient of selip_tiny\n")
    # before this process grows itself: on Linux a child's peak starts from its parent's size
    print("| studies | micro-batch | its volumes (MiB) | peak beyond model and batch (MiB) | s |")
    print("|---|---|---|---|---|")
    memory = []
    for studies, micro_batch in WEIGHED:
        row = in_process_of_its_own(studies, micro_batch, options.threads)
        memory.append(row)
        print(
            f"| {studies:,} | {micro_batch or 'none'} | {row['batch_mib']:,.0f} | {row['peak_mib']:,.0f} "
            f"| {row['seconds']:.1f} |",
            flush=True,
        )
    print("\n| studies | micro-batch | in one piece (s) | in micro-batches (s) | ratio |\n|---|---|---|---|---|")
    times = []
    for studies, micro_batch in TIMED:
        row = measure_time(studies, micro_batch, options.repeats)
        times.append(row)
        print(
            f"| {studies} | {micro_batch} | {row['one_piece_s']:.2f} | {row['micro_batches_s']:.2f} "
            f"| {row['ratio']:.2f} |",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps({"time": times, "memory": memory}, indent=2) + "\n")


if __name__ == "__main__":
    main()
