"""Run under `torch.distributed.run`: gradients of several processes against those of one, every case in one launch.

    python -m torch.distributed.run --standalone --nproc_per_node 2 tests/training/exact_gradients.py RESULTS.json

The reference is written out in plain torch, without a process group and without any of our training code: every
process computes it on the whole batch. The parent test reads the differences from RESULTS.json.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from selip.modeling_selip import SelipConfig, SelipModel
from selip.modeling_selip.loss_selip import compared_pairs, scale_of
from selip.training.contrastive import ContrastiveGradient, split_studies
from selip.training.distributed import gather_rows, leave_processes
from selip.training.objectives import PRESETS
from selip.training.text_features import CHUNK, read_texts
from selip.training.tokenizer import train_tokenizer

SEED, STEP = 3, 17
STUDIES, SLOTS, TEXTS = 6, 2, 3  # TEXTS of a study
# name -> objective, studies per forward pass, dropout, is the temperature trained
CASES = {
    "clip": ("clip", None, 0.0, True),
    "selip": ("selip", None, 0.0, True),
    "selip_recommended": ("selip_recommended", None, 0.0, True),
    "GradCache, clip": ("clip", 1, 0.0, True),
    "GradCache, selip": ("selip", 2, 0.0, True),
    "GradCache, fixed temperature": ("selip_recommended", 2, 0.0, False),
    "GradCache, dropout": ("selip_recommended", 1, 0.3, True),
}


def build_model(dropout: float = 0.0, norm: str = "group") -> SelipModel:
    """A model of a few thousand parameters, in training mode, no weight at its start: every one has a gradient."""
    torch.manual_seed(0)
    vision = {"depth": 10, "hidden_sizes": [8, 16], "stem_kernel_size": [4, 4, 2], "stem_stride": [4, 4, 2]}
    # maps of 4 x 5 x 4: torch's bf16 convolution on CPUs has a wrong weight gradient on maps of 2 voxels (results.md)
    vision |= {"stem_pool": False, "stage_strides": [[1, 1, 1], [1, 1, 1]], "norm_groups": 4, "norm": norm}
    text = {"model_type": "bert", "vocab_size": 320, "hidden_size": 16, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32}
    text |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    model = SelipModel(SelipConfig(vision_config=vision, text_config=text, projection_dim=12))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.train()


def build_batch(studies: int = STUDIES) -> dict:
    """A global batch: absent series, padded tokens, texts of one series and of all, padding in place of some texts."""
    generator = torch.Generator().manual_seed(5)
    series_mask = torch.rand(studies, SLOTS, generator=generator) > 0.3
    series_mask[:, 0] = True
    texts = studies * TEXTS
    lengths = torch.randint(3, 10, (texts, 1), generator=generator)
    spoken_of = torch.tensor([[True, False], [False, True], [True, True]]).repeat(studies, 1)
    text_study = torch.arange(studies).repeat_interleave(TEXTS)
    text_mask = (spoken_of & series_mask[text_study]).any(-1)  # nothing is said of a series that is not there
    text_mask[texts - 1] = False
    own = torch.eye(texts)
    similarity = torch.rand(texts, texts, generator=generator)
    return {
        "inputs": {
            "pixel_values": torch.rand(studies, SLOTS, 16, 20, 8, generator=generator),
            "series_mask": series_mask,
            "sequence_ids": torch.randint(0, 7, (studies, SLOTS), generator=generator),
            "input_ids": torch.randint(3, 60, (texts, 9), generator=generator),
            "attention_mask": (torch.arange(9) < lengths).long(),
            "text_study": text_study,
            "text_series_mask": spoken_of,
        },
        "compared": compared_pairs(text_study, text_mask),
        "similarity": torch.maximum((similarity + similarity.T) / 2, own),
    }


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def reference(model: SelipModel, batch: dict, objective: str) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of the global batch in one forward pass."""
    model.zero_grad()
    output = model(**batch["inputs"])
    loss = PRESETS[objective](
        output.view_embeds, output.text_embeds, model.logit_scale, batch["compared"], batch["similarity"]
    )
    loss.backward()
    return loss.item(), gradients(model)


def reference_with_dropout(model: SelipModel, batch: dict, objective: str, size: int, gradient: ContrastiveGradient):
    """The same where dropout is on: every micro-batch of the global batch with its draw, all graphs kept."""
    model.zero_grad()
    embeds = []
    for number, part in enumerate(split_studies(batch["inputs"], size)):
        torch.manual_seed(gradient.dropout_seed(STEP, number))
        output = model(**part)
        embeds.append((output.view_embeds, output.text_embeds))
    views, texts = (torch.cat(kind) for kind in zip(*embeds, strict=True))
    loss = PRESETS[objective](views, texts, model.logit_scale, batch["compared"], batch["similarity"])
    loss.backward()
    return loss.item(), gradients(model)


def largest_difference(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Largest difference over all parameters, each relative to the largest entry of its own expected gradient.

    The bias of attention keys has no gradient but rounding (softmax does not see it), so it is left out.
    """
    if got.keys() != expected.keys():
        raise AssertionError(f"parameters with gradients differ: {got.keys() ^ expected.keys()}")
    names = [name for name in expected if not name.endswith(("k_proj.bias", "key.bias"))]
    return max(((got[name] - expected[name]).abs().max() / expected[name].abs().max()).item() for name in names)


def own_share(batch: dict, rank: int, world: int) -> dict[str, torch.Tensor]:
    return split_studies(batch["inputs"], STUDIES // world)[rank]


def run_case(accelerator: Accelerator, name: str) -> dict[str, float]:
    objective, micro_batch, dropout, learn_scale = CASES[name]
    batch = build_batch()
    plain = build_model(dropout)
    plain.logit_scale.requires_grad_(learn_scale)
    model = build_model(dropout)
    model.logit_scale.requires_grad_(learn_scale)
    gradient = ContrastiveGradient(
        accelerator, accelerator.prepare(model), PRESETS[objective], micro_batch=micro_batch, seed=SEED
    )
    inputs = own_share(batch, accelerator.process_index, accelerator.num_processes)
    differences = []
    for _ in range(2):  # a second step shows that DDP was left in order
        model.zero_grad()
        loss = gradient(inputs, batch["compared"], batch["similarity"], step=STEP).item()
        if dropout:
            expected_loss, expected = reference_with_dropout(plain, batch, objective, micro_batch, gradient)
        else:
            expected_loss, expected = reference(plain, batch, objective)
        differences.append(largest_difference(gradients(model), expected))
    return {"loss": loss, "expected_loss": expected_loss, "gradient": max(differences)}


def run_with_gradient_cut_off(accelerator: Accelerator) -> dict[str, float]:
    """What the cases above must be able to see: embeddings of other processes gathered without their gradient."""

    def gather_own_gradient(local: torch.Tensor) -> torch.Tensor:
        rows = list(gather_rows(local.detach()).split(len(local)))
        rows[accelerator.process_index] = local
        return torch.cat(rows)

    with mock.patch("selip.training.contrastive.gather_rows", gather_own_gradient):
        return run_case(accelerator, "clip")


def run_read_texts(accelerator: Accelerator) -> dict[str, float]:
    """Features of a frozen tower with dropout, read by the processes together, against texts read one at a time."""
    texts = [f"{side} lobe, {number} foci" for side in ("left", "right") for number in range(2 * CHUNK)]
    tokenizer = train_tokenizer(texts, vocabulary_size=320, max_tokens=16)
    model = build_model(dropout=0.3)
    got = read_texts(model, tokenizer, texts, 16, accelerator)
    model.eval()
    with torch.no_grad():
        alone = [model.compute_text_features(tokenizer([text], return_tensors="pt")["input_ids"]) for text in texts]
    expected = torch.cat(alone)
    return {
        "texts": len(got.rows),
        "difference": ((got(texts) - expected).abs().max() / expected.std()).item(),
    }


def run_fully_shard(rank: int, world: int) -> dict[str, float]:
    """FSDP2: every block of `_no_split_modules` and the rest sharded over a mesh of CPU processes."""
    batch, objective = build_batch(), "selip_recommended"
    expected_loss, expected = reference(build_model(), batch, objective)
    model = build_model()
    mesh = init_device_mesh("cpu", (world,))
    for module in model.modules():
        if type(module).__name__ in model._no_split_modules:
            fully_shard(module, mesh=mesh)
    # the root stays whole until the backward pass, so that the loss can read the temperature
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    output = model(**own_share(batch, rank, world))
    loss = PRESETS[objective](
        gather_rows(output.view_embeds),
        gather_rows(output.text_embeds),
        model.logit_scale,
        batch["compared"],
        batch["similarity"],
    )
    loss.backward()
    got = {name: value.full_tensor() for name, value in gradients(model).items()}
    shards = [value.to_local().numel() for value in model.parameters()]
    whole = sum(value.numel() for value in model.parameters())
    return {
        "loss": loss.item(),
        "expected_loss": expected_loss,
        "gradient": largest_difference(got, expected),
        "share_held": sum(shards) / whole,
        "scale": scale_of(model.logit_scale.full_tensor().detach()).item(),
    }


def main(out: Path) -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    results: dict[str, dict] = {name: run_case(accelerator, name) for name in CASES}
    results["gradient cut off"] = run_with_gradient_cut_off(accelerator)
    results["read texts"] = run_read_texts(accelerator)
    results["fully_shard"] = run_fully_shard(accelerator.process_index, accelerator.num_processes)
    gathered: list = [None] * accelerator.num_processes
    dist.all_gather_object(gathered, results)
    if accelerator.is_main_process:
        out.write_text(json.dumps(gathered))
    leave_processes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
