"""The ViT tower: only the patches of the head count, wherever they stand among the tokens and whatever pads them."""

import itertools
import math

import pytest
import torch
from torch import nn

from selip.modeling_selip import SelipVisionConfig, SelipVisionModel
from selip.modeling_selip.configuration_selip import VISION_SIZES
from selip.modeling_selip.vit_selip import KeptPatches, box_positions, cut_patches, feature_layers, keep_patches

POOLINGS = ("average", "class", "position")
GRID, PATCH, PATCH_MM = (4, 5, 4), (4, 4, 2), (40.0, 36.0, 28.0)
BOXES = {"tiny": ((72, 88, 24), (2.5, 2.5, 6.0), (8, 8, 4)), "base": ((224, 224, 48), (1.0, 1.0, 3.5), (16, 16, 8))}


@pytest.fixture
def volumes() -> torch.Tensor:
    return torch.rand(3, 16, 20, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def patch_mask() -> torch.Tensor:
    """Three series with 24, 7 and 41 patches of head."""
    mask = torch.zeros(3, 80, dtype=torch.bool)
    generator = torch.Generator().manual_seed(4)
    for series, count in enumerate((24, 7, 41)):
        mask[series, torch.randperm(80, generator=generator)[:count]] = True
    return mask.view(3, *GRID)


@pytest.fixture
def build_tower(build_vit):
    def build(pooling="average", **changes) -> SelipVisionModel:
        return build_vit(pooling, **{"input_norm": "none", **changes}).vision_model

    return build


def embed(tower, volumes, patch_mask=None, **more) -> torch.Tensor:
    with torch.no_grad():
        return tower(volumes, patch_mask=patch_mask, **more).pooler_output


def position_of(place: tuple[int, ...], grid: tuple[int, ...], width: int) -> list[float]:
    """The position of one patch by its definition, number by number."""
    waves, values = width // 6, []
    for axis in range(3):
        middle = (place[axis] + 0.5) * PATCH_MM[axis]
        size = grid[axis] * PATCH_MM[axis]
        place_mm = middle - (size if axis == 2 else size / 2)
        lengths = [40.0 * 25.0 ** (wave / (waves - 1)) for wave in range(waves)]
        values += [math.sin(2 * math.pi * place_mm / length) for length in lengths]
        values += [math.cos(2 * math.pi * place_mm / length) for length in lengths]
    return values


def reference_tokens(tower: SelipVisionModel, volume: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Last tokens of one series alone: patches cut one by one, stock torch layers, no padding, no mask."""
    vit, config = tower.backbone, tower.config
    rows = []
    for x, y, z in itertools.product(*map(range, GRID)):
        if mask[x, y, z]:
            block = volume[4 * x : 4 * x + 4, 4 * y : 4 * y + 4, 2 * z : 2 * z + 2].reshape(-1)
            position = torch.tensor(position_of((x, y, z), GRID, config.width))
            rows.append(vit.embedding.weight @ block + vit.embedding.bias + vit.position_scale * position)
    hidden = torch.stack(rows)[None]
    if vit.class_token is not None:
        hidden = torch.cat([vit.class_token, hidden], dim=1)
    for layer in vit.layers:
        stock = nn.TransformerEncoderLayer(
            config.width, config.num_attention_heads, config.intermediate_size, 0.0, "gelu", 1e-6, True, True
        ).eval()
        own = layer.state_dict()
        packed = {
            f"self_attn.in_proj_{kind}": torch.cat([own[f"attention.{letter}_proj.{kind}"] for letter in "qkv"])
            for kind in ("weight", "bias")
        }
        names = {"norm1": "norm_attention", "norm2": "norm_mlp", "linear1": "mlp.0", "linear2": "mlp.2"}
        names |= {"self_attn.out_proj": "attention.out_proj"}
        stock.load_state_dict(
            {**packed, **{f"{a}.{kind}": own[f"{b}.{kind}"] for a, b in names.items() for kind in ("weight", "bias")}}
        )
        hidden = stock(hidden)
    return nn.functional.layer_norm(hidden, (config.width,), vit.norm.weight, vit.norm.bias, 1e-6)[0]


@pytest.mark.parametrize("pooling", ["average", "class"])
def test_tower_equals_stock_layers_over_the_patches_of_each_series(build_tower, volumes, patch_mask, pooling):
    """Packed, padded and masked in a batch gives what each series gives alone, by torch's own transformer."""
    tower = build_tower(pooling)
    with torch.no_grad():
        got = tower(volumes, patch_mask=patch_mask)
        for series in range(3):
            tokens = reference_tokens(tower, volumes[series], patch_mask[series])
            pooled = tokens[0] if pooling == "class" else tokens.mean(0)
            torch.testing.assert_close(got.pooler_output[series], pooled, rtol=1e-4, atol=1e-5)
            real = got.last_hidden_state[series][got.token_mask[series]]
            torch.testing.assert_close(real, tokens[-len(real) :], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("study_layers", [(), (1,)])
def test_air_never_changes_an_embedding(build_tower, volumes, patch_mask, pooling, study_layers):
    """What stands in the patches without head changes nothing; what stands in one of head does."""
    tower = build_tower(pooling, study_layers=study_layers)
    slots = torch.tensor([[True, True], [True, False]])
    expected = embed(tower, volumes, patch_mask, series_mask=slots)
    is_air = ~patch_mask
    for axis, step in enumerate(PATCH, start=1):
        is_air = is_air.repeat_interleave(step, dim=axis)
    assert torch.equal(embed(tower, volumes.masked_fill(is_air, 0.77), patch_mask, series_mask=slots), expected)
    inside = volumes.clone()
    x, y, z = patch_mask[2].nonzero()[0].tolist()
    inside[2, 4 * x, 4 * y, 2 * z] += 0.5
    assert (embed(tower, inside, patch_mask, series_mask=slots)[2] - expected[2]).abs().max() > 1e-4


@pytest.mark.parametrize("pooling", ["average", "class"])
def test_a_larger_box_of_air_changes_nothing(build_tower, volumes, patch_mask, pooling):
    """Positions are places in the head: a box with more air at the sides and below gives the same embedding."""
    tower = build_tower(pooling)
    larger = nn.functional.pad(volumes, (4, 0, 4, 4, 8, 8), value=0.3)
    wider = nn.functional.pad(patch_mask, (2, 0, 1, 1, 2, 2))
    torch.testing.assert_close(embed(tower, larger, wider), embed(tower, volumes, patch_mask))
    shifted = nn.functional.pad(patch_mask, (2, 0, 1, 1, 3, 1))
    moved = nn.functional.pad(volumes, (4, 0, 4, 4, 12, 4), value=0.3)
    assert (embed(tower, moved, shifted) - embed(tower, volumes, patch_mask)).abs().max() > 1e-3


@pytest.mark.parametrize("pooling", POOLINGS)
def test_token_order_does_not_matter(build_tower, volumes, patch_mask, pooling):
    """Tokens are a set: shuffled, with padding among the real ones, they give the same embedding."""
    tower = build_tower(pooling)
    kept = tower.backbone.keep(volumes, patch_mask)
    order = torch.randperm(kept.index.shape[1], generator=torch.Generator().manual_seed(1))
    shuffled = KeptPatches(kept.index[:, order], kept.mask[:, order])
    with torch.no_grad():
        expected, got = (tower._read_patches(volumes, each, None).pooler_output for each in (kept, shuffled))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_patch_is_the_whole_box(build_tower, volumes, pooling):
    """Without a mask the tower reads the full grid: the same as a mask that leaves out nothing."""
    tower = build_tower(pooling)
    everything = torch.ones(3, *GRID, dtype=torch.bool)
    torch.testing.assert_close(embed(tower, volumes, everything), embed(tower, volumes))


def test_feature_maps_stand_on_the_grid(build_tower, volumes, patch_mask):
    """Dense heads get a map of every wanted layer, in which a place of the map is that place of the box."""
    tower = build_tower("class", num_hidden_layers=6)
    with torch.no_grad():
        whole, masked = tower(volumes), tower(volumes, patch_mask=patch_mask)
        layers = []
        hooks = [layer.register_forward_hook(lambda _, __, out: layers.append(out)) for layer in tower.backbone.layers]
        tower(volumes)
        for hook in hooks:
            hook.remove()
    assert masked.feature_maps is None
    assert feature_layers(6) == [0, 2, 3, 5]
    assert [tuple(each.shape) for each in whole.feature_maps] == 4 * [(3, 24, *GRID)]
    for feature_map, layer in zip(whole.feature_maps, (0, 2, 3, 5), strict=True):
        normed = tower.backbone.norm(layers[layer])
        for place, (x, y, z) in enumerate(itertools.product(*map(range, GRID))):
            torch.testing.assert_close(feature_map[:, :, x, y, z], normed[:, 1 + place])
    torch.testing.assert_close(whole.last_hidden_state.transpose(1, 2), whole.feature_maps[-1].flatten(2))


def test_patches_are_cut_in_the_order_of_the_box(volumes, patch_mask):
    """Each kept patch holds the voxels of its place; all of them in C order of the grid."""
    kept = keep_patches(patch_mask)
    chosen, everything = cut_patches(volumes, PATCH, kept), cut_patches(volumes, PATCH)
    for series in range(3):
        expected = [
            volumes[series, 4 * x : 4 * x + 4, 4 * y : 4 * y + 4, 2 * z : 2 * z + 2].flatten()
            for x, y, z in patch_mask[series].nonzero().tolist()
        ]
        assert torch.equal(chosen[series][kept.mask[series]], torch.stack(expected))
        assert torch.equal(everything[series][patch_mask[series].flatten()], torch.stack(expected))


def test_no_attention_mask_where_every_token_is_real(patch_mask):
    """Series with the same number of patches need no mask; others are padded to the longest."""
    same = patch_mask[:1].repeat(2, 1, 1, 1)
    assert keep_patches(same).mask is None
    kept = keep_patches(patch_mask)
    assert kept.mask.sum(1).tolist() == [24, 7, 41]
    assert kept.index.shape == (3, 41)


def test_training_pads_to_the_token_budget(build_tower, volumes, patch_mask):
    """In training T is the budget, so every step has the same shape; a mask with more patches is taken whole."""
    few = patch_mask[:2]
    tower = build_tower(token_budget=30).train()
    assert tower(volumes[:2], patch_mask=few).last_hidden_state.shape[1] == 30
    assert tower(volumes, patch_mask=patch_mask).last_hidden_state.shape[1] == 41
    expected = embed(tower, volumes[:2], few)
    tower.eval()
    assert tower(volumes[:2], patch_mask=few).last_hidden_state.shape[1] == 24
    torch.testing.assert_close(embed(tower, volumes[:2], few), expected)


def test_positions_are_sines_of_millimetres():
    """Against the definition, number by number; the vertex is the top of the box."""
    got = box_positions(GRID, PATCH_MM, 24)
    for place, where in zip(itertools.product(*map(range, GRID)), got, strict=True):
        torch.testing.assert_close(where, torch.tensor(position_of(place, GRID, 24)), rtol=1e-4, atol=1e-5)
    assert got.unique(dim=0).shape == got.shape


def test_position_pooling_has_weights_for_every_place(build_tower, volumes, patch_mask):
    """Against a loop: a sum over the patches of each place's own matrix times its reduced token, per patch kept."""
    tower = build_tower("position")
    with torch.no_grad():
        output = tower(volumes, patch_mask=patch_mask)
        weight = tower.pooling.projection.weight.view(-1, 80, 4)
        for series in range(3):
            places = patch_mask[series].flatten().nonzero()[:, 0].tolist()
            tokens = output.last_hidden_state[series][output.token_mask[series]]
            reduced = nn.functional.gelu(tower.pooling.reduce(tokens))
            expected = sum(weight[:, place] @ each for place, each in zip(places, reduced, strict=True))
            expected = expected * (80 / len(places)) + tower.pooling.projection.bias
            torch.testing.assert_close(output.pooler_output[series], expected, rtol=1e-4, atol=1e-4)
        with pytest.raises(ValueError, match=r"box of \(4, 5, 4\) patches, got \(4, 5, 3\)"):
            tower(volumes[..., :6])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_series_without_head_is_finite(build_tower, volumes, patch_mask, pooling):
    """An empty mask gives a constant that no voxel changes, not a number that is none."""
    tower = build_tower(pooling)
    patch_mask[1] = False
    embeds = embed(tower, volumes, patch_mask)
    assert torch.isfinite(embeds).all()
    assert torch.equal(embed(tower, 1 - volumes, patch_mask)[1], embeds[1])


def test_mask_of_other_patches_is_refused(build_tower, build_vit, studies, volumes):
    """The message has both shapes and the patch that the tower cuts."""
    with pytest.raises(ValueError, match=r"\(3, 4, 5, 4\), got \(3, 4, 5, 2\).*\(4, 4, 2\) voxels"):
        build_tower()(volumes, patch_mask=torch.ones(3, 4, 5, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"whole patches of \(4, 4, 2\) voxels, got \(16, 18, 8\)"):
        build_tower()(volumes[:, :, :18])
    with pytest.raises(ValueError, match=r"patch_mask of shape \(2, 3, X/px, Y/py, Z/pz\), got \(2, 4, 5, 4\)"):
        build_vit()(**{**studies, "patch_mask": studies["patch_mask"][:, 0]})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"spacing_mm": None}, "spacing_mm"),
        ({"width": 100}, "width 100 must be divisible by 6"),
        ({"num_attention_heads": 5}, "num_attention_heads 5"),
        ({"patch_size": (16, 16, 5)}, "divisible by patch_size"),
        ({"input_pool": (3, 1, 1)}, "divisible by input_pool"),
        ({"study_layers": (12,)}, "study_layers within 0 to 11"),
        ({"token_budget": 0}, "token_budget"),
        ({"pooling": "max"}, "pooling"),
    ],
)
def test_impossible_vits_are_refused(changes, named):
    """A wrong value is named when the configuration is made."""
    box = {"spatial_size": (224, 224, 48), "spacing_mm": (1.0, 1.0, 3.5), "patch_size": (16, 16, 8)}
    with pytest.raises(Exception, match=named):
        SelipVisionConfig.of_size("vit", "base", **{**box, **changes})


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooled_input_gives_patches_of_fewer_voxels(build_tower, volumes, patch_mask, pooling):
    """With `input_pool` a patch covers the same millimetres: blocks of one value are seen as without pooling."""
    blocks = volumes[:, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2)
    plain, pooled = build_tower(pooling), build_tower(pooling, input_pool=(2, 2, 1))
    weights = plain.state_dict()
    # each pooled voxel has the weights of its four voxels
    kernel = weights["backbone.embedding.weight"].view(-1, 2, 2, 2, 2, 2)  # (H, x, in x, y, in y, z)
    weights["backbone.embedding.weight"] = kernel.sum((2, 4)).flatten(1)
    pooled.load_state_dict(weights)
    torch.testing.assert_close(embed(pooled, blocks, patch_mask), embed(plain, blocks, patch_mask))


# Attention across the series of a study


@pytest.fixture
def study_model(build_vit):
    return build_vit(study_layers=(0, 2))


def forward(model, batch, **more):
    with torch.no_grad():
        return model(**batch, **more)


def test_study_attention_sees_the_other_series(build_vit, studies):
    """With `study_layers` a series token depends on its study's other series and on no other study; without, on none.

    The order of the series and absent ones do not matter.
    """
    changed = {**studies, "pixel_values": studies["pixel_values"].clone()}
    changed["pixel_values"][0, 1] = 1 - changed["pixel_values"][0, 1]
    changed["pixel_values"][1, 2] = 0.9  # absent
    for study_layers, sees_others in (((), False), ((1,), True)):
        model = build_vit(study_layers=study_layers)
        expected, got = forward(model, studies).series_features, forward(model, changed).series_features
        assert torch.equal(got[0, [0, 2]], expected[0, [0, 2]]) != sees_others
        torch.testing.assert_close(got[1], expected[1])
    order = torch.tensor([2, 0, 1])
    names = ("pixel_values", "series_mask", "sequence_ids", "patch_mask")
    shuffled = forward(model, {**studies, **{name: studies[name][:, order] for name in names}})
    torch.testing.assert_close(shuffled.image_embeds, forward(model, studies).image_embeds)


def test_study_attention_equals_one_sequence_of_all_tokens(build_tower, volumes, patch_mask):
    """Against stock attention over the concatenated real tokens of the two series of a study."""
    tower = build_tower(study_layers=(0, 1, 2))
    with torch.no_grad():
        got = tower(volumes[:2], patch_mask=patch_mask[:2], series_mask=torch.ones(1, 2, dtype=torch.bool))
        vit, kept = tower.backbone, keep_patches(patch_mask[:2])
        rows = [
            (vit.embedding(cut_patches(volumes[:2], PATCH, kept)[series])
             + vit.position_scale * box_positions(GRID, PATCH_MM, 24)[kept.index[series]])[kept.mask[series]]
            for series in range(2)
        ]  # fmt: skip
        hidden = torch.cat(rows)[None]
        for layer in vit.layers:
            hidden = layer(hidden)
        tokens = vit.norm(hidden)[0]
    torch.testing.assert_close(got.pooler_output[0], tokens[:24].mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.pooler_output[1], tokens[24:].mean(0), rtol=1e-4, atol=1e-5)


def test_view_never_sees_series_outside_it(study_model, studies):
    """With study attention too, a view is the study of exactly its series."""
    text_series_mask = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 1, 0], [1, 1, 0]]).bool()
    got = forward(study_model, studies, text_study=torch.tensor([0, 0, 1, 1]), text_series_mask=text_series_mask)
    names = ("pixel_values", "series_mask", "sequence_ids", "patch_mask")
    for view, (study, slots) in enumerate(((0, [0, 2]), (0, [0, 1, 2]), (1, [1]), (1, [0, 1]))):
        alone = study_model.get_image_features(**{name: studies[name][study][slots][None] for name in names})
        torch.testing.assert_close(got.view_embeds[view], alone.pooler_output[0])
    assert got.series_embeds is None


def test_study_attention_takes_checkpointing_and_gradients(study_model, studies):
    """Every parameter learns, also where activations are recomputed."""
    study_model.train().gradient_checkpointing_enable()
    study_model(**studies, text_study=torch.tensor([0, 0, 1, 1]), return_loss=True).loss.backward()
    assert [name for name, value in study_model.named_parameters() if value.grad is None] == []


# Sizes and precision


@pytest.mark.parametrize("backbone", VISION_SIZES)
@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_named_sizes_are_built(backbone, size):
    """Every size of every backbone is a network, larger than the one before; ViT-B has its 86 million parameters."""
    spatial_size, spacing_mm, patch_size = BOXES["tiny" if size == "tiny" else "base"]
    with torch.device("meta"):
        config = SelipVisionConfig.of_size(
            backbone, size, spatial_size=spatial_size, spacing_mm=spacing_mm, patch_size=patch_size
        )
        tower = SelipVisionModel(config)
    millions = sum(parameter.numel() for parameter in tower.backbone.parameters()) / 1e6
    ranges = {
        "resnet": {"tiny": (0.05, 0.2), "small": (30, 35), "base": (40, 50)},
        "vit": {"tiny": (5, 6), "small": (21, 23), "base": (85, 88)},
    }
    low, high = ranges[backbone][size]
    assert low < millions < high


@pytest.mark.parametrize("is_autocast", [False, True])
def test_bfloat16_stays_near_float32(build_tower, volumes, patch_mask, is_autocast):
    """With weights in bf16, or under autocast, the tower gives its fp32 embeddings to the precision of bf16."""
    tower = build_tower("position")
    expected = embed(tower, volumes, patch_mask)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        got = embed(*((tower, volumes) if is_autocast else (tower.bfloat16(), volumes.bfloat16())), patch_mask)
    assert got.dtype == torch.bfloat16
    assert 0 < (got.float() - expected).norm() < 0.03 * expected.norm()


@pytest.mark.slow
def test_compiled_model_equals_eager(build_tiny, studies):
    """`torch.compile` changes neither loss nor gradients."""
    pairs = {"text_study": torch.tensor([0, 0, 1, 1]), "return_loss": True}
    results = []
    for is_compiled in (False, True):
        model = build_tiny().train()
        run = torch.compile(model) if is_compiled else model
        loss = run(**studies, **pairs).loss
        loss.backward()
        results.append((loss.detach(), {name: value.grad for name, value in model.named_parameters()}))
    torch.testing.assert_close(results[1][0], results[0][0])
    for name, expected in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], expected, rtol=1e-4, atol=1e-5)
