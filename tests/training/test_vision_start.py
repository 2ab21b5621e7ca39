"""A 3D tower that starts from a 2D ViT does to a slice what the 2D ViT does to the picture; nothing is skipped."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from selip.modeling_selip import SelipVisionConfig, SelipVisionModel
from selip.modeling_selip.vit_selip import box_positions
from selip.training.config import NetworkConfig
from selip.training.network import build_model, build_processor
from selip.training.vision_start import read_vision_start, start_vision

SHAPE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
IMAGE = {"image_size": 40, "patch_size": 8}
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
# one patch of 4 slices deep; 5 x 5 patches as the picture has
BOX = {"spatial_size": (40, 40, 4), "spacing_mm": (2.0, 3.0, 6.0), "patch_size": (8, 8, 4)}
POSITION_SCALE = 0.3


def build_2d(kind: str) -> torch.nn.Module:
    """A 2D ViT with no weight at its start, and with our positions at a third in place of its own."""
    torch.manual_seed(5)
    if kind == "clip":
        model = CLIPVisionModel(CLIPVisionConfig(**SHAPE, **IMAGE, intermediate_size=40))
        embeddings = model.embeddings if hasattr(model, "embeddings") else model.vision_model.embeddings
        table, class_token = embeddings.position_embedding.weight, embeddings.class_embedding
    else:
        if kind == "vit":
            model = ViTModel(ViTConfig(**SHAPE, **IMAGE, intermediate_size=40))
        else:
            model = Dinov2Model(Dinov2Config(**SHAPE, **IMAGE, mlp_ratio=2))
        table, class_token = model.embeddings.position_embeddings[0], model.embeddings.cls_token
    ours = box_positions((5, 5, 1), (16.0, 24.0, 24.0), 24).view(5, 5, 24)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        class_token.add_(0.5 * torch.randn_like(class_token))
        # rows of a picture run front to back, columns left to right
        table[1:] = POSITION_SCALE * ours.transpose(0, 1).flip(0).flatten(0, 1)
    return model.eval()


def write_2d(model: torch.nn.Module, folder) -> dict[str, torch.Tensor]:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return load_file(folder / "model.safetensors")


def build_3d(start, **changes) -> SelipVisionModel:
    torch.manual_seed(0)
    return SelipVisionModel(
        SelipVisionConfig(**{"backbone": "vit", "pooling": "class", **start.fields, **BOX, **changes})
    )


def picture_of(volume: torch.Tensor) -> torch.Tensor:
    """An axial slice as it is looked at, front up, in three equal colours normalised as the 2D model wants it."""
    grey = volume.flip(2).transpose(1, 2)  # (N, X, Y) -> (N, rows, columns)
    colours = grey[:, None].expand(-1, 3, -1, -1)
    return (colours - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.mark.parametrize("kind", ["vit", "dinov2", "clip"])
def test_a_slice_gives_what_the_picture_gave(tmp_path, kind):
    """Class token and patch tokens of an inflated slice equal those of the 2D model, normalisation and all."""
    flat = build_2d(kind)
    stored = write_2d(flat, tmp_path)
    start = read_vision_start(tmp_path)
    tower = build_3d(start).eval()
    report = start_vision(tower, start)
    grey = torch.rand(2, 40, 40)
    with torch.no_grad():
        expected = flat(pixel_values=picture_of(grey))
        got = tower(grey[..., None].expand(-1, -1, -1, 4))
    tokens = expected.last_hidden_state
    pooled = expected.pooler_output if kind == "clip" else tokens[:, 0]
    torch.testing.assert_close(got.pooler_output, pooled, rtol=1e-4, atol=1e-4)
    if kind != "clip":  # CLIP normalises its class token alone
        on_grid = tokens[:, 1:].view(2, 5, 5, 24).flip(1).transpose(1, 2).flatten(1, 2)
        torch.testing.assert_close(got.last_hidden_state, on_grid, rtol=1e-4, atol=1e-4)
    assert tower.backbone.position_scale.item() == pytest.approx(POSITION_SCALE, rel=1e-4)
    assert {*report.used, *report.unused} == set(stored)
    assert not set(report.used) & set(report.unused)
    assert {*report.started, *report.fresh} == set(tower.state_dict())
    assert report.fresh == ()


def as_timm(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """DINOv2 of Transformers by the names of timm and of the DINO repositories, queries, keys and values packed."""
    renamed = {}
    for name, value in stored.items():
        for theirs, ours in (
            ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("embeddings.cls_token", "cls_token"),
            ("embeddings.mask_token", "mask_token"),
            ("embeddings.position_embeddings", "pos_embed"),
            ("encoder.layer.", "blocks."),
            ("layer_scale1.lambda1", "ls1.gamma"),
            ("layer_scale2.lambda1", "ls2.gamma"),
            ("attention.output.dense", "attn.proj"),
            ("layernorm.", "norm."),
        ):
            name = name.replace(theirs, ours)
        renamed[name] = value
    for layer in range(2):
        for kind in ("weight", "bias"):
            parts = [
                renamed.pop(f"blocks.{layer}.attention.attention.{each}.{kind}") for each in ("query", "key", "value")
            ]
            renamed[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(parts)
    return {**renamed, "head.weight": torch.rand(5, 24), "head.bias": torch.rand(5)}


def as_openai(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A CLIP vision tower of Transformers by the names of the first CLIP, beside a text tower."""
    renamed = {"positional_embedding": torch.rand(7, 8), "transformer.resblocks.0.ln_1.weight": torch.rand(8)}
    for name, value in stored.items():
        for theirs, ours in (
            ("embeddings.patch_embedding", "conv1"),
            ("embeddings.class_embedding", "class_embedding"),
            ("embeddings.position_embedding.weight", "positional_embedding"),
            ("encoder.layers.", "transformer.resblocks."),
            ("layer_norm1", "ln_1"),
            ("layer_norm2", "ln_2"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("self_attn.out_proj", "attn.out_proj"),
            ("pre_layrnorm", "ln_pre"),
            ("post_layernorm", "ln_post"),
        ):
            name = name.replace(theirs, ours)
        renamed[f"visual.{name.removeprefix('vision_model.')}"] = value
    for layer in range(2):
        for kind in ("weight", "bias"):
            names = [f"visual.transformer.resblocks.{layer}.self_attn.{letter}_proj.{kind}" for letter in "qkv"]
            packed = torch.cat([renamed.pop(name) for name in names])
            renamed[f"visual.transformer.resblocks.{layer}.attn.in_proj_{kind}"] = packed
    return {**renamed, "visual.proj": torch.rand(24, 8)}


@pytest.mark.parametrize(
    ("kind", "rename", "described"),
    [
        ("dinov2", as_timm, {"architecture": "vit_tiny", "pretrained_cfg": {"mean": MEAN, "std": STD}}),
        ("clip", as_openai, {"model_cfg": {"quick_gelu": True}, "preprocess_cfg": {"mean": MEAN, "std": STD}}),
    ],
)
def test_other_names_give_the_same_tower(tmp_path, kind, rename, described):
    """The names of timm, DINO and the first CLIP give bit by bit what those of Transformers give."""
    flat, theirs, ours = build_2d(kind), tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    renamed = rename(write_2d(flat, ours))
    save_file({name: value.contiguous() for name, value in renamed.items()}, theirs / "other_name.safetensors")
    (theirs / ("config.json" if kind == "dinov2" else "open_clip_config.json")).write_text(json.dumps(described))
    towers, reports = [], []
    for folder in (ours, theirs):
        start = read_vision_start(folder)
        # heads cannot be read off tensors: 64 wide each is what is usual, and 24 is no multiple of that
        towers.append(build_3d(start, num_attention_heads=3))
        reports.append(start_vision(towers[-1], start))
    assert towers[0].config.hidden_act == towers[1].config.hidden_act
    assert towers[0].config.layer_norm_eps == towers[1].config.layer_norm_eps
    for name, value in towers[0].state_dict().items():
        assert torch.equal(towers[1].state_dict()[name], value), name
    assert {*reports[1].used, *reports[1].unused} == set(renamed)
    assert "num_attention_heads 1" in str(reports[1])
    assert "assumed" not in str(reports[0])
    reasons = set(reports[1].unused.values())
    assert "head of the 2D model" in reasons
    assert ("not of the vision tower" in reasons) == (kind == "clip")


def test_vision_tower_of_a_whole_clip_is_found(tmp_path):
    """A CLIP of both towers gives its vision tower; every other tensor is named as not of it."""
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    text |= {"vocab_size": 20, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
    vision = {**SHAPE, **IMAGE, "intermediate_size": 40}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision)).save_pretrained(tmp_path)
    start = read_vision_start(tmp_path)
    assert start.fields["num_attention_heads"] == 3
    assert start.fields["hidden_act"] == "quick_gelu"
    report = start_vision(build_3d(start), start)
    others = {name for name in load_file(tmp_path / "model.safetensors") if not name.startswith("vision_model.")}
    assert {name for name, reason in report.unused.items() if reason == "not of the vision tower"} == others


def test_kernel_of_other_patches_is_resized(tmp_path):
    """Patches of more voxels answer an even slice as the 2D patches did."""
    flat = build_2d("vit")
    with torch.no_grad():
        weight = flat.embeddings.patch_embeddings.projection.weight
        weight.copy_(weight.mean((2, 3), keepdim=True).expand_as(weight))
    write_2d(flat, tmp_path)
    start = read_vision_start(tmp_path)
    even = torch.full((1, 48, 48, 4), 0.6)
    answers = []
    for patch_size in ((8, 8, 4), (16, 12, 2)):
        tower = build_3d(start, patch_size=patch_size, spatial_size=(48, 48, 4))
        assert ("resized" in str(start_vision(tower, start))) == (patch_size != (8, 8, 4))
        voxels = even[:, : patch_size[0], : patch_size[1], : patch_size[2]].flatten()
        answers.append(tower.backbone.embedding(voxels))
    torch.testing.assert_close(answers[1], answers[0], rtol=1e-4, atol=1e-4)


def test_what_is_left_out_on_either_side_is_named(tmp_path):
    """Without a class token in the tower that of the checkpoint is reported, and so is what starts from scratch."""
    write_2d(build_2d("dinov2"), tmp_path)
    start = read_vision_start(tmp_path)
    tower = build_3d(start, pooling="position", input_norm="population", pooled_size=6)
    report = start_vision(tower, start)
    assert report.unused["embeddings.cls_token"] == "pooling is position"
    assert report.unused["embeddings.mask_token"] == "for masked pretraining only"
    scratch = {name for name in tower.state_dict() if name.startswith(("pooling.", "population."))}
    assert set(report.fresh) == scratch
    text = str(report)
    assert all(name in text for name in ("embeddings.cls_token", "pooling.projection.weight", "position table"))
    # deviations are standardised already, so that the normalisation of a picture is not repeated
    plain = build_3d(start, pooling="position", pooled_size=6)
    assert "normalisation" in str(start_vision(plain, start))
    assert "normalisation" not in text


def test_unfit_checkpoints_are_refused(tmp_path):
    """The message says what was expected and names the tensors."""
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors or one other"):
        read_vision_start(tmp_path)
    stored = write_2d(build_2d("vit"), tmp_path)
    start = read_vision_start(tmp_path)
    with pytest.raises(ValueError, match="leave width, layers and heads to it"):
        start_vision(build_3d(start, width=48), start)
    with pytest.raises(ValueError, match=r"layers\.2\.attention\.k_proj\.bias"):
        start_vision(build_3d(start, num_hidden_layers=3), start)
    save_file({**stored, "encoder.layer.0.gate.weight": torch.rand(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"got also encoder\.layer\.0\.gate\.weight"):
        read_vision_start(tmp_path)
    lost = {name: value for name, value in stored.items() if name != "encoder.layer.1.output.dense.weight"}
    save_file(lost, tmp_path / "model.safetensors")
    start = read_vision_start(tmp_path)
    with pytest.raises(ValueError, match=r"missing: layers\.1\.mlp\.2\.(bias|weight)"):
        start_vision(build_3d(start), start)
    save_file({"layer1.0.conv1.weight": torch.rand(3, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"patch embedding.*among 1 tensors \(layer1"):
        read_vision_start(tmp_path)


def test_pretraining_starts_from_the_folder_that_its_configuration_names(tmp_path, caplog):
    """`model.vision_start` decides width, layers and heads, the size decides the rest, and the log has the report."""
    stored = write_2d(build_2d("vit"), tmp_path)
    network = NetworkConfig(
        backbone="vit",
        size="tiny",
        vision_start=str(tmp_path),
        vision={"pooled_size": 8, "input_norm": "none"},
        text={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        vocabulary_size=300,
    )
    processor = build_processor(network, BOX, ["left frontal lobe"], 20)
    with caplog.at_level(logging.INFO):
        model = build_model(network, processor, 20)
    config = model.config.vision_config
    assert (config.width, config.num_hidden_layers, config.num_attention_heads) == (24, 2, 3)
    assert (config.token_budget, config.pooling, config.pooled_size) == (198, "position", 8)
    query = stored["encoder.layer.0.attention.attention.query.weight"]
    assert torch.equal(model.vision_model.backbone.layers[0].attention.q_proj.weight, query)
    assert "vision tower started from" in caplog.text
    with pytest.raises(ValueError, match="backbone vit with vision_start"):
        NetworkConfig(vision_start=str(tmp_path))
    with pytest.raises(ValueError, match="backbone beside vision"):
        NetworkConfig(vision={"backbone": "vit"})
