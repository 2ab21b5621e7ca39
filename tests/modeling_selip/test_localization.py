"""Maps of what speaks for a text sum to the cosine, part by part, and rollout is that of the paper."""

import numpy as np
import pytest
import torch

from selip.modeling_selip.localization_selip import NUM_NODES, on_box


def texts_of(model, studies):
    with torch.no_grad():
        return model.get_text_features(studies["input_ids"], studies["attention_mask"]).pooler_output


def image_side(studies):
    return {name: studies[name] for name in ("pixel_values", "series_mask", "sequence_ids")}


def cosines_of(model, studies, texts):
    """(B, S, P) by the public path: each series a study of its own, all patches read."""
    with torch.no_grad():
        alone = {name: value.flatten(0, 1)[:, None] for name, value in image_side(studies).items()}
        embeds = model.get_image_features(**alone).pooler_output
    return (embeds @ texts.T).unflatten(0, studies["series_mask"].shape)


@pytest.mark.parametrize("pooling", ["average", "position"])
def test_maps_sum_to_the_cosine_of_the_series(build_tiny, studies, pooling):
    """Over all positions: the cosine of the series, less that of a series that says nothing; empty slots are 0."""
    model = build_tiny(pooling)
    texts = texts_of(model, studies)
    found = model.compute_similarity_maps(text_embeds=texts, **image_side(studies))
    there = studies["series_mask"]
    expected = cosines_of(model, studies, texts)
    assert torch.allclose(found.similarities[there], expected[there], atol=1e-5)
    total = found.maps.sum(dim=(3, 4, 5))
    difference = found.similarities - found.empty_similarities
    assert difference[there].abs().max() > 0.02
    assert torch.allclose(total[there], difference[there], atol=1e-4)
    assert (found.maps[~there] == 0).all()


@pytest.mark.parametrize("pooling", ["average", "position"])
def test_maps_are_exact_where_the_rest_is_linear(build_tiny, studies, pooling, monkeypatch):
    """With a linear way from token to embedding, a position is worth what the score loses when it is left out."""
    model = build_tiny(pooling)
    width = model.vision_model.config.hidden_size
    matrix = torch.randn(width, 12, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(model, "_embed_tokens", lambda tokens, ids: tokens @ matrix)
    texts = texts_of(model, studies)
    found = model.compute_similarity_maps(text_embeds=texts, **image_side(studies))
    volume, ids = studies["pixel_values"][0, 1][None], studies["sequence_ids"][0, 1][None]
    vision = model.vision_model
    with torch.no_grad():
        features = vision(volume, ids).feature_maps[-1]
        whole = vision(volume, ids).pooler_output @ matrix @ texts.T  # (1, P)
        for place in ((0, 0, 0), (1, 2, 1)):
            assert torch.allclose(
                found.maps[0, 1, :, *place],
                (whole - without(vision, features, place) @ matrix @ texts.T)[0],
                atol=1e-5,
            )


def without(vision, features, place):
    """The token where one position adds nothing: its part of what is pooled is 0."""
    pooling, grid = vision.pooling, features.shape[2:]
    flat = int(np.ravel_multi_index(place, grid))
    if pooling is None:
        kept = features.flatten(2).clone()
        kept[:, :, flat] = 0
        return kept.mean(2)
    is_vit = vision.config.backbone == "vit"
    if is_vit:
        reduced = pooling.activation(pooling.reduce(features.flatten(2).transpose(1, 2)))
        reduced[:, flat] = 0
    else:
        reduced = torch.relu(pooling.reduce(features)).flatten(2)
        reduced[:, :, flat] = 0
    return pooling.projection(reduced.flatten(1))


def test_maps_are_the_integral_by_another_rule(build_resnet, studies):
    """The midpoint rule with a thousand steps, one position's part at a time, gives the same values."""
    model = build_resnet("average")
    texts = texts_of(model, studies)
    found = model.compute_similarity_maps(text_embeds=texts, **image_side(studies))
    volume, ids = studies["pixel_values"][0, :1], studies["sequence_ids"][0, :1]
    with torch.no_grad():
        features = model.vision_model(volume, ids).feature_maps[-1].flatten(2)[0]  # (H, T)
    parts = (features / features.shape[1]).double()
    model = model.double()
    steps = (torch.arange(1000).double() + 0.5) / 1000
    way = (steps[:, None] * parts.sum(1)).requires_grad_(True)
    cosines = model._embed_tokens(way, ids.repeat(1000)) @ texts.double().T
    for text in range(len(texts)):
        (gradient,) = torch.autograd.grad(cosines[:, text].sum(), way, retain_graph=True)
        expected = gradient.mean(0) @ parts
        assert torch.allclose(found.maps[0, 0, text].flatten().double(), expected, atol=1e-5)
    assert NUM_NODES >= 16


def test_maps_work_in_inference_mode_and_do_not_depend_on_the_batch(tiny_model, studies):
    """A series alone in inference mode has the map that it has within a batch; no parameter gets a gradient."""
    texts = texts_of(tiny_model, studies)
    whole = tiny_model.compute_similarity_maps(text_embeds=texts, **image_side(studies)).maps
    with torch.inference_mode():
        text = tiny_model.get_text_features(studies["input_ids"], studies["attention_mask"]).pooler_output[1:2]
        alone = tiny_model.compute_similarity_maps(
            studies["pixel_values"][1:, 1:2], text, sequence_ids=studies["sequence_ids"][1:, 1:2]
        )
    assert torch.allclose(alone.maps[0, 0, 0], whole[1, 1, 1], atol=1e-5)
    assert all(parameter.grad is None for parameter in tiny_model.parameters())


def test_series_of_a_study_do_not_see_each_other(build_vit, studies):
    """With layers that span a study, the map of a series is that of the series alone."""
    model = build_vit(study_layers=(1,))
    texts = texts_of(model, studies)
    whole = model.compute_similarity_maps(text_embeds=texts, **image_side(studies)).maps
    changed = {**image_side(studies), "pixel_values": studies["pixel_values"].clone()}
    changed["pixel_values"][0, 1] = 0.5
    other = model.compute_similarity_maps(text_embeds=texts, **changed).maps
    assert torch.equal(whole[0, 0], other[0, 0])


def by_hand(model, volume, sequence_id):
    """Rollout in NumPy from queries and keys: layer by layer, head by head."""
    vision = model.vision_model
    backbone = vision.backbone
    seen: list[np.ndarray] = []

    def note(module, inputs, output):
        queries, tokens = inputs[0][0].double(), inputs[1][0].double()
        heads = []
        for head in range(module.num_heads):
            size = len(module.q_proj.bias) // module.num_heads
            rows = slice(head * size, (head + 1) * size)
            query = queries @ module.q_proj.weight[rows].double().T + module.q_proj.bias[rows].double()
            key = tokens @ module.k_proj.weight[rows].double().T + module.k_proj.bias[rows].double()
            scores = (query @ key.T / size**0.5).numpy()
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(weights / weights.sum(axis=1, keepdims=True))
        seen.append(np.mean(heads, axis=0))

    handles = [layer.attention.register_forward_hook(note) for layer in backbone.layers]
    with torch.no_grad():
        vision(volume[None], sequence_id[None])
    for handle in handles:
        handle.remove()
    rolled = np.eye(len(seen[0]))
    for attention in seen:
        rolled = (0.5 * attention + 0.5 * np.eye(len(attention))) @ rolled
    return rolled


@pytest.mark.parametrize("pooling", ["class", "average"])
def test_rollout_is_that_of_the_paper(build_vit, studies, pooling):
    """The product of halved attention and identity, by NumPy; at the class token, or the mean of all."""
    model = build_vit(pooling)
    with pytest.raises(ValueError, match=r"set_attn_implementation\('eager'\)"):
        model.compute_attention_rollout(**image_side(studies))
    model.set_attn_implementation("eager")
    found = model.compute_attention_rollout(**image_side(studies))
    rolled = by_hand(model, studies["pixel_values"][0, 2], studies["sequence_ids"][0, 2])
    expected = rolled[0, 1:] if pooling == "class" else rolled.mean(axis=0)
    assert found[0, 2].flatten().numpy() == pytest.approx(expected, abs=1e-5)
    assert rolled.sum(axis=1) == pytest.approx(1)
    assert (found[1, 2] == 0).all()


def test_what_a_network_cannot_give_is_refused(build_resnet, build_vit, studies):
    """A ResNet has no attention, and a class token is no sum over patches; the error names the other way."""
    with pytest.raises(ValueError, match="got a ResNet, which has no attention; use similarity"):
        build_resnet().compute_attention_rollout(**image_side(studies))
    model = build_vit("class")
    with pytest.raises(ValueError, match="got class; a ViT can be asked for attention rollout"):
        model.compute_similarity_maps(text_embeds=texts_of(model, studies), **image_side(studies))


def test_a_voxel_in_the_middle_of_a_position_has_its_value():
    """Odd steps have a voxel in their middle; between two of them values are those of a straight line."""
    maps = torch.randn(2, 3, 4, 5, 2, generator=torch.Generator().manual_seed(1))
    box = on_box(maps, (12, 15, 10))
    assert box.shape == (2, 3, 12, 15, 10)
    assert torch.allclose(box[..., 1::3, 1::3, 2::5], maps, atol=1e-6)
    assert torch.allclose(box[..., 2, 1, 2], maps[..., 0, 0, 0] * 2 / 3 + maps[..., 1, 0, 0] / 3, atol=1e-6)
