"""Starting the 3D ViT from a 2D one: any ViT checkpoint with the tensor names of timm, DINO (v1, v2) or CLIP.

A patch kernel is averaged over its colours, spread evenly over the depth of a patch and turned to how an axial slice
is looked at (front up). A volume that is the same grey slice at every depth then gives what the slice gives the 2D
model. Learned positions are left behind: ours are fixed, in mm of the study box, and only take their magnitude.

Nothing is skipped in silence: each tensor of the checkpoint and of the tower is used or named in the report.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

from selip.modeling_selip.modeling_selip import SelipVisionModel

# the one tensor that every ViT has; what stands before its name stands before all names of the vision tower
_PATCH_KERNEL = re.compile(
    r"(.*?)(?:embeddings\.patch_embeddings\.projection|embeddings\.patch_embedding|patch_embed\.proj|conv1)\.weight"
)
_NAMES = (
    (r"(?:embeddings\.)?(?:cls_token|class_embedding)$", "class_token"),
    (
        r"(?:embeddings\.)?(?:position_embeddings|position_embedding\.weight|positional_embedding|pos_embed)$",
        "positions",
    ),
    (
        r"(?:embeddings\.patch_embeddings\.projection|embeddings\.patch_embedding|patch_embed\.proj|conv1)\.",
        "embedding.",
    ),
    (r"(?:pre_layrnorm|norm_pre|ln_pre)\.", "embedding_norm."),
    (r"(?:layernorm|post_layernorm|norm|ln_post)\.", "norm."),
    (r"(?:encoder\.layers?|blocks|transformer\.resblocks)\.(\d+)\.", r"layers.\1."),
)
_NAMES_IN_LAYER = (
    (r"(?:norm1|layer_norm1|layernorm_before|ln_1)\.", "norm_attention."),
    (r"(?:norm2|layer_norm2|layernorm_after|ln_2)\.", "norm_mlp."),
    (r"(?:attention\.attention\.query|self_attn\.q_proj)\.", "attention.q_proj."),
    (r"(?:attention\.attention\.key|self_attn\.k_proj)\.", "attention.k_proj."),
    (r"(?:attention\.attention\.value|self_attn\.v_proj)\.", "attention.v_proj."),
    (r"attn\.(?:qkv\.|in_proj_)", "attention.qkv."),
    (r"(?:attention\.output\.dense|self_attn\.out_proj|attn\.proj|attn\.out_proj)\.", "attention.out_proj."),
    (r"(?:mlp\.fc1|intermediate\.dense|mlp\.c_fc)\.", "mlp.0."),
    (r"(?:mlp\.fc2|output\.dense|mlp\.c_proj)\.", "mlp.2."),
    (r"(?:ls1\.gamma|layer_scale1\.lambda1)$", "attention.out_proj.scale"),
    (r"(?:ls2\.gamma|layer_scale2\.lambda1)$", "mlp.2.scale"),
)
# fields of the configuration that tensors do not tell
DESCRIBED = ("num_attention_heads", "hidden_act", "layer_norm_eps")
_UNUSED = (
    (r"(?:embeddings\.)?mask_token$", "for masked pretraining only"),
    (r"(?:embeddings\.)?(?:register_tokens|reg_token|distillation_token|dist_token)$", "a token that the tower lacks"),
    (r"(?:pooler|head|head_dist|fc_norm|attn_pool|classifier)\.|proj$", "head of the 2D model"),
    (r"embeddings\.position_ids$", "row numbers"),
)


@dataclass(frozen=True)
class VisionStart:
    """A 2D ViT by the tensor names of `SelipViT`.

    Attributes:
        source: folder or Hub id.
        fields: what it says of `SelipVisionConfig`: width, layers, heads, ...
        tensors: its tensors; `embedding.weight` is still (H, colours, rows, columns).
        positions: its position table (rows, H), patches only; None if it has none.
        names: the names of its tensors in the checkpoint and what they are here, before parts are split and joined.
        unused: its other tensors by their names in the checkpoint, with the reason.
        assumed: fields that neither its files nor its shapes tell, taken as is usual.
        mean: colours it was normalised by; None: unknown.
        std: the same.
    """

    source: str
    fields: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    positions: torch.Tensor | None
    names: dict[str, str]
    unused: dict[str, str]
    assumed: tuple[str, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


@dataclass(frozen=True)
class StartReport:
    """What came of a start; printing it gives the lines for the log.

    Attributes:
        source: folder or Hub id of the 2D ViT.
        used: tensors of the checkpoint that the tower took.
        unused: all its others, with the reason.
        started: tensors of the tower that came from it.
        fresh: all its others, of which the checkpoint says nothing.
        notes: what was changed or assumed on the way.
    """

    source: str
    used: tuple[str, ...]
    unused: dict[str, str]
    started: tuple[str, ...]
    fresh: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        unused = "; ".join(f"{name} ({reason})" for name, reason in shortened(self.unused).items()) or "none"
        return (
            f"vision tower started from {self.source}: {len(self.used)} tensors used; "
            + "; ".join(self.notes)
            + f"\nof the checkpoint not used: {unused}"
            + f"\nof the tower not started: {', '.join(self.fresh) or 'none'}"
        )


def read_vision_start(source: str | Path) -> VisionStart:
    """Reads a 2D ViT checkpoint.

    Args:
        source: folder with safetensors (and, where there is one, config.json), or the id of such a Hub repository.

    Raises:
        FileNotFoundError: the folder holds no safetensors.
        ValueError: it is no ViT with the names of timm, DINO or CLIP; the message names tensors that are not known.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = Path(snapshot_download(str(source), allow_patterns=["*.json", "*.safetensors"]))
    described = _described(folder)
    stored = _load_tensors(folder)
    kernels = {
        name: match[1] for name in stored if (match := _PATCH_KERNEL.fullmatch(name)) and stored[name].ndim == 4
    }
    if len(kernels) != 1:
        raise ValueError(
            f"expected one patch embedding with a name of timm, DINO or CLIP in {source}, got {sorted(kernels)} among "
            f"{len(stored)} tensors ({', '.join(sorted(stored)[:5])}, ...)"
        )
    names, unused = _sort_out(stored, next(iter(kernels.values())), str(source))
    tensors = {ours: stored[name].float() for name, ours in names.items()}
    positions = tensors.pop("positions", None)
    if positions is not None:
        positions = positions.reshape(-1, positions.shape[-1])
        if math.isqrt(len(positions)) ** 2 != len(positions):  # a square of patches, and the class token before it
            if "class_token" in tensors:
                tensors["class_token"] = tensors["class_token"].flatten() + positions[0]
            positions = positions[1:]
    _split_packed(tensors)
    _fold_layer_scale(tensors)
    mean, std = described.pop("mean"), described.pop("std")
    fields = {**_fields_of(tensors), **described}
    assumed = tuple(f"{name} {fields[name]}" for name in DESCRIBED if name not in described)
    return VisionStart(str(source), fields, tensors, positions, names, unused, assumed, mean, std)


@torch.no_grad()
def start_vision(model: SelipVisionModel, start: VisionStart) -> StartReport:
    """Puts a 2D ViT into the tower of a model whose configuration has the fields of the start. In place.

    Raises:
        ValueError: a tensor is missing or of another shape.
    """
    backbone = model.backbone
    wanted = backbone.state_dict()
    given, names, unused = dict(start.tensors), dict(start.names), dict(start.unused)
    kernel, bias, notes = _inflated(start, backbone.patch, is_standardised=model.population is not None)
    given |= {"embedding.weight": kernel, "embedding.bias": bias}
    if "class_token" in given and backbone.class_token is None:
        del given["class_token"]
        unused |= {name: f"pooling is {model.config.pooling}" for name, ours in names.items() if ours == "class_token"}
    elif "class_token" in given:
        given["class_token"] = given["class_token"].view(1, 1, -1)
    if start.assumed:
        notes.append(f"assumed, as its files do not say: {', '.join(start.assumed)}")
    if start.positions is not None:
        # sines and cosines have a mean square of one half
        given["position_scale"] = start.positions.square().mean().sqrt()[None] * math.sqrt(2)
        notes.append("of the position table its magnitude only, as ours are fixed in mm of the study box")
    for name in wanted:  # a linear layer without a bias is one whose bias is zero
        if name.endswith(".bias") and name not in given and name.removesuffix("bias") + "weight" in given:
            given[name] = torch.zeros_like(wanted[name])
            notes.append(f"{name} zero, the checkpoint has none")
    fresh = [name for name in wanted if name not in given]
    allowed = {"class_token", "position_scale", "norm.weight", "norm.bias"}
    wrong = [name for name in fresh if name not in allowed]
    wrong += [name for name, value in given.items() if name not in wanted or value.shape != wanted[name].shape]
    if wrong:
        raise ValueError(
            f"expected the tensors of {start.source} to fit the tower, these do not or are missing: "
            f"{', '.join(sorted(wrong)[:8])} ({len(wrong)} in all); leave width, layers and heads to it"
        )
    backbone.load_state_dict({**wanted, **given})
    return StartReport(
        source=start.source,
        used=tuple(name for name in names if name not in unused),
        unused=unused,
        started=tuple(f"backbone.{name}" for name in given),
        fresh=tuple(name for name in model.state_dict() if name.removeprefix("backbone.") not in given),
        notes=tuple(notes),
    )


def shortened(reasons: dict[str, str]) -> dict[str, str]:
    """Names that share a reason as one entry, those after the third as a number."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    return {
        ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""): reason
        for reason, names in by_reason.items()
    }


def _inflated(
    start: VisionStart, patch: Sequence[int], *, is_standardised: bool
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """The 2D patch kernel for patches of `patch` grey voxels (H, px * py * pz), its bias (H,), and what was done."""
    kernel = start.tensors["embedding.weight"]  # (H, colours, rows, columns)
    bias = start.tensors.get("embedding.bias", kernel.new_zeros(len(kernel)))
    (px, py, pz), (colours, rows, columns) = patch, kernel.shape[1:]
    notes = [f"patch kernel averaged over {colours} colours and spread over {pz} voxels of depth"]
    if (rows, columns) != (py, px):
        kernel = F.interpolate(kernel, (py, px), mode="bilinear", antialias=True) * (rows * columns / (px * py))
        notes.append(f"kernel of {rows} x {columns} pixels resized to {py} x {px}")
    if start.mean is not None and start.std is not None and not is_standardised:
        # what the 2D model's own preprocessing did to a grey value in [0, 1], taken into the layer
        kernel = kernel / kernel.new_tensor(start.std)[:, None, None]
        bias = bias - (kernel * kernel.new_tensor(start.mean)[:, None, None]).sum((1, 2, 3))
        notes.append("its normalisation of intensities taken into the kernel")
    grey = kernel.mean(1) * colours  # a grey value stands for that many equal colours
    turned = grey.flip(1).transpose(1, 2)  # rows run front to back, y back to front: (H, rows, columns) -> (H, px, py)
    return (turned[..., None].expand(-1, -1, -1, pz) / pz).flatten(1), bias, notes


def _renamed(name: str) -> str | None:
    """A tensor's name in `SelipViT`; None if it has none."""
    for pattern, ours in _NAMES:
        match = re.match(pattern, name)
        if match is None:
            continue
        start, rest = match.expand(ours), name[match.end() :]
        if not start.startswith("layers."):
            return start + rest
        inner = next(((found, own) for each, own in _NAMES_IN_LAYER if (found := re.match(each, rest))), None)
        return None if inner is None else start + inner[1] + rest[inner[0].end() :]
    return None


def _sort_out(stored: dict[str, torch.Tensor], prefix: str, source: str) -> tuple[dict[str, str], dict[str, str]]:
    """The tensors of the tower with our names, and those without a place in it with the reason."""
    names, unused, unknown = {}, {}, []
    for name in stored:
        own = name.removeprefix(prefix)
        renamed = _renamed(own)
        reason = next((reason for pattern, reason in _UNUSED if re.match(pattern, own)), None)
        if not name.startswith(prefix):
            unused[name] = "not of the vision tower"
        elif renamed is not None:
            names[name] = renamed
        elif reason is not None:
            unused[name] = reason
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"expected the tensors of a plain ViT in {source}, got also {', '.join(unknown[:8])} "
            f"({len(unknown)} in all), which the tower has no place for"
        )
    return names, unused


def _split_packed(tensors: dict[str, torch.Tensor]) -> None:
    """Queries, keys and values that are packed into one tensor, apart. In place."""
    for name in [name for name in tensors if ".attention.qkv." in name]:
        parts = tensors.pop(name).chunk(3)
        tensors |= {name.replace("qkv", f"{letter}_proj"): part for letter, part in zip("qkv", parts, strict=True)}


def _fold_layer_scale(tensors: dict[str, torch.Tensor]) -> None:
    """A factor per channel after a linear layer is a factor of its rows. In place."""
    for name in [name for name in tensors if name.endswith(".scale")]:
        scale, layer = tensors.pop(name), name.removesuffix(".scale")
        tensors[f"{layer}.weight"] = tensors[f"{layer}.weight"] * scale[:, None]
        if f"{layer}.bias" in tensors:
            tensors[f"{layer}.bias"] = tensors[f"{layer}.bias"] * scale


def _fields_of(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Fields of the configuration that shapes and names tell; the rest as is usual for such tensors."""
    width, has_norm = len(tensors["embedding.weight"]), "embedding_norm.weight" in tensors
    return {
        "width": width,
        "num_hidden_layers": 1
        + max((int(name.split(".")[1]) for name in tensors if name.startswith("layers.")), default=-1),
        "num_attention_heads": max(1, width // 64),
        "intermediate_size": len(tensors["layers.0.mlp.0.weight"]) if "layers.0.mlp.0.weight" in tensors else 0,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5 if has_norm else 1e-6,
        "embedding_norm": has_norm,
    }


def _described(folder: Path) -> dict[str, Any]:
    """What the JSON files of a checkpoint say: fields of the configuration, `mean` and `std` of its intensities."""
    config = _read_json(folder / "config.json") or _read_json(folder / "open_clip_config.json")
    vision = config.get("vision_config") or config
    found = {name: vision[name] for name in DESCRIBED if name in vision}
    if "quickgelu" in str(config.get("architecture")) or config.get("model_cfg", {}).get("quick_gelu"):
        found["hidden_act"] = "quick_gelu"
    preprocessing = _read_json(folder / "preprocessor_config.json")
    others = config.get("pretrained_cfg") or config.get("preprocess_cfg") or {}
    for name in ("mean", "std"):
        values = preprocessing.get(f"image_{name}") or others.get(name)
        found[name] = None if values is None else tuple(float(value) for value in values)
    return found


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _load_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of `model.safetensors`, of its shards, or of the only other safetensors file."""
    files: Iterable[Path] = [folder / "model.safetensors"]
    index = _read_json(folder / "model.safetensors.index.json")
    if index:
        files = sorted({folder / name for name in index["weight_map"].values()})
    elif not (folder / "model.safetensors").exists():
        files = sorted(folder.glob("*.safetensors"))
        if len(list(files)) != 1:
            raise FileNotFoundError(
                f"expected model.safetensors or one other safetensors file in {folder}, got "
                f"{[path.name for path in files]}; checkpoints of other formats have to be saved as safetensors first"
            )
    return {name: value for file in files for name, value in load_file(file).items()}
