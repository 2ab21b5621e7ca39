"""Invariants of the dual encoder. Every weight is random, so a path that is ignored by chance would show."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainingArguments

from selip.modeling_selip import SelipConfig, SelipModel, SelipVisionConfig, SelipVisionModel

POOLINGS = ("position", "average")
IMAGES = ("pixel_values", "series_mask", "sequence_ids", "patch_mask")


def forward(model, batch, **more):
    with torch.no_grad():
        return model(**batch, **more)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_series_changes_nothing(build_tiny, studies, pooling):
    """An absent series, whatever its voxels hold, changes no embedding."""
    model = build_tiny(pooling)
    expected = forward(model, studies)
    wider = dict(studies)
    wider["pixel_values"] = torch.cat([studies["pixel_values"], torch.full((2, 2, 16, 20, 8), 0.7)], dim=1)
    wider["pixel_values"][1, 2] = 0.9
    wider["series_mask"] = torch.cat([studies["series_mask"], torch.zeros(2, 2, dtype=torch.bool)], dim=1)
    wider["sequence_ids"] = torch.cat([studies["sequence_ids"], torch.full((2, 2), 5)], dim=1)
    wider["patch_mask"] = torch.cat([studies["patch_mask"], torch.ones(2, 2, 4, 5, 4, dtype=torch.bool)], dim=1)
    got = forward(model, wider)
    torch.testing.assert_close(got.image_embeds, expected.image_embeds)
    torch.testing.assert_close(got.series_embeds[:, :3], expected.series_embeds)
    torch.testing.assert_close(got.logits_per_image, expected.logits_per_image)
    assert (got.series_embeds[:, 3:] == 0).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_study_alone_equals_study_in_a_batch(build_tiny, studies, pooling):
    """What else is in the batch changes no study embedding."""
    model = build_tiny(pooling)
    together = forward(model, studies)
    for study, slots in ((0, 3), (1, 2)):
        alone = {name: studies[name][study : study + 1, :slots] for name in IMAGES}
        got = forward(model, {**studies, **alone})
        torch.testing.assert_close(got.image_embeds[0], together.image_embeds[study])
        torch.testing.assert_close(got.series_embeds[0], together.series_embeds[study, :slots])


def test_order_of_series_does_not_matter(tiny_model, studies):
    """Permuting the series of a study permutes its series embeddings and leaves its study embedding."""
    expected = forward(tiny_model, studies)
    order = torch.tensor([2, 0, 1])
    got = forward(tiny_model, {**studies, **{name: studies[name][:, order] for name in IMAGES}})
    torch.testing.assert_close(got.series_embeds, expected.series_embeds[:, order])
    torch.testing.assert_close(got.image_embeds, expected.image_embeds)


def test_series_embedding_never_sees_other_series(tiny_model, studies):
    """Another series may change at will: a series embedding stays, the study embedding does not."""
    expected = forward(tiny_model, studies)
    changed = {**studies, "pixel_values": studies["pixel_values"].clone()}
    changed["pixel_values"][0, 1] = 1 - changed["pixel_values"][0, 1]
    got = forward(tiny_model, changed)
    assert torch.equal(got.series_embeds[0, [0, 2]], expected.series_embeds[0, [0, 2]])
    assert (got.image_embeds[0] - expected.image_embeds[0]).abs().max() > 1e-3


def test_one_series_is_a_study_of_one(tiny_model, studies):
    """A series embedding is the embedding of the study that has this series only; so is a view of one series."""
    expected = forward(tiny_model, studies).series_embeds
    single = tiny_model.get_image_features(**{name: studies[name][:1, 1:2] for name in IMAGES}).pooler_output
    torch.testing.assert_close(single[0], expected[0, 1])
    view = forward(
        tiny_model,
        studies,
        text_study=torch.tensor([0, 0, 1, 1]),
        text_series_mask=torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]).bool(),
    )
    torch.testing.assert_close(view.view_embeds, expected[[0, 0, 1, 1], [1, 2, 0, 1]])


def test_view_is_the_study_of_exactly_its_series(tiny_model, studies):
    """The view of a text that speaks of two series equals the study that has just these two."""
    text_series_mask = torch.tensor([[1, 0, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1]]).bool()
    got = forward(tiny_model, studies, text_study=torch.tensor([0, 0, 1, 1]), text_series_mask=text_series_mask)
    two = forward(
        tiny_model,
        {**studies, **{name: studies[name][:1, [0, 2]] for name in IMAGES}},
    )
    torch.testing.assert_close(got.view_embeds[0], two.image_embeds[0])
    torch.testing.assert_close(got.view_embeds[1:4], got.image_embeds[[0, 1, 1]])


def test_sequence_identity_reaches_the_embedding(tiny_model, studies):
    """The same voxels called by another sequence have another embedding."""
    expected = forward(tiny_model, studies).series_embeds
    got = forward(tiny_model, {**studies, "sequence_ids": (studies["sequence_ids"] + 1)}).series_embeds
    assert (got - expected)[studies["series_mask"]].abs().amax(-1).min() > 1e-3


def test_features_of_a_text_stand_for_its_tokens(tiny_model, studies):
    """Features that the text tower gave once give the same embeddings as the tokens; exactly one of both is taken."""
    expected = forward(tiny_model, studies)
    features = tiny_model.compute_text_features(studies["input_ids"], studies["attention_mask"])
    images = {name: value for name, value in studies.items() if name not in ("input_ids", "attention_mask")}
    got = forward(tiny_model, images, text_features=features)
    torch.testing.assert_close(got.text_embeds, expected.text_embeds)
    torch.testing.assert_close(got.logits_per_image, expected.logits_per_image)
    with pytest.raises(ValueError, match="got both"):
        forward(tiny_model, studies, text_features=features)
    with pytest.raises(ValueError, match="got neither"):
        forward(tiny_model, images)


def test_text_padding_changes_nothing(tiny_model, studies):
    """Tokens under the attention mask change no text embedding, however long the padding."""
    expected = tiny_model.get_text_features(studies["input_ids"], studies["attention_mask"]).pooler_output
    ids = torch.cat([studies["input_ids"], torch.full((4, 3), 5)], dim=1)
    ids[1, 5:] = 42
    mask = torch.cat([studies["attention_mask"], torch.zeros(4, 3, dtype=torch.long)], dim=1)
    torch.testing.assert_close(tiny_model.get_text_features(ids, mask).pooler_output, expected)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_left_and_right_are_told_apart(build_tiny, pooling):
    """A mirror image has another embedding: sides are not lost in pooling."""
    model = build_tiny(pooling)
    volume = torch.zeros(1, 1, 16, 20, 8)
    volume[..., 2:5, 8:12, 3:5] = 1
    embeds = [model.get_image_features(image).pooler_output for image in (volume, volume.flip(2))]
    assert (embeds[0] - embeds[1]).abs().max() > 1e-3


def test_two_dimensional_image_is_a_volume_one_voxel_deep(build_resnet):
    """A slice gives a finite unit embedding that depends on its pixels, where no part is bound to a study box."""
    tiny_model = build_resnet("average", input_norm="none", spatial_size=None)
    generator = torch.Generator().manual_seed(5)
    embeds = tiny_model.get_image_features(torch.rand(2, 1, 16, 20, 1, generator=generator)).pooler_output
    torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(2))
    assert (embeds[0] - embeds[1]).abs().max() > 1e-3


def test_eager_equals_sdpa(tiny_model, studies):
    """The attention implementation changes no logit."""
    logits = {}
    for name in ("eager", "sdpa"):
        tiny_model.set_attn_implementation(name)
        logits[name] = forward(tiny_model, studies).logits_per_image
        assert tiny_model.config.vision_config._attn_implementation == name
    torch.testing.assert_close(logits["eager"], logits["sdpa"], rtol=1e-5, atol=1e-5)


def test_activation_checkpointing_changes_no_gradient(tiny_model, studies):
    """Recomputing activations gives the same loss and gradients."""
    pairs = {"text_study": torch.tensor([0, 0, 1, 1]), "return_loss": True}
    gradients = []
    for is_checkpointed in (False, True):
        model = copy.deepcopy(tiny_model).train()
        if is_checkpointed:
            model.gradient_checkpointing_enable()
        model(**studies, **pairs).loss.backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, msg=lambda text, name=name: f"{name}: {text}")


def test_every_parameter_gets_a_gradient(tiny_model, studies):
    """No parameter is unused: distributed training refuses such a model."""
    tiny_model.train()(**studies, text_study=torch.tensor([0, 0, 1, 1]), return_loss=True).loss.backward()
    # position_ids, pooler and the like would be listed here
    assert [name for name, value in tiny_model.named_parameters() if value.grad is None] == []
    assert tiny_model.text_model.pooler is None


def test_logit_scale_has_one_dimension(tiny_model):
    """Sharded training refuses 0-d parameters."""
    assert tiny_model.logit_scale.shape == (1,)


@pytest.mark.parametrize("norm", ["group", "batch", "frozen_batch"])
def test_saved_and_loaded_model_is_the_same(build_tiny, studies, tmp_path, norm):
    """Strict round trip through safetensors: equal logits, equal configuration."""
    model = build_tiny(norm=norm, embedding_norm=norm == "batch")
    model.save_pretrained(tmp_path)
    loaded, report = SelipModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(forward(loaded.eval(), studies).logits_per_image, forward(model, studies).logits_per_image)
    assert plain(loaded.config.to_dict()) == plain(model.config.to_dict())


def plain(values):
    """A configuration without what saving itself adds, tuples as the lists that JSON makes of them."""
    if isinstance(values, dict):
        added = {"transformers_version", "dtype", "architectures", "_name_or_path"}
        return {key: plain(value) for key, value in values.items() if key not in added}
    return [plain(value) for value in values] if isinstance(values, list | tuple) else values


def test_missing_weights_are_initialised_never_left_as_memory(tiny_model, tmp_path):
    """Loading happens on the meta device: any key may be absent and every parameter is still a sane number."""
    tiny_model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for part in range(6):
        kept = {name: value for number, (name, value) in enumerate(weights.items()) if number % 6 != part}
        save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
        loaded = SelipModel.from_pretrained(tmp_path)
        for name, value in [*loaded.named_parameters(), *loaded.named_buffers()]:
            assert torch.isfinite(value.float()).all(), name
            assert value.float().abs().max() < 1e3, name
        if "logit_scale" not in kept:
            assert loaded.logit_scale.item() == pytest.approx(loaded.config.logit_scale_init)
    assert loaded.text_model.embeddings.position_ids.flatten().tolist() == list(range(32))


def test_convolutions_start_with_kaiming_weights():
    """The base class would draw every convolution from N(0, 0.02), which a 3D ResNet does not survive."""
    model = SelipVisionModel(SelipVisionConfig(depth=10, hidden_sizes=(8, 8, 8, 8)))
    weight = model.backbone.stem[0].weight
    # fan-out of 8 channels and 7^3 taps
    assert weight.std().item() == pytest.approx((2 / (8 * 7**3)) ** 0.5, rel=0.1)


def test_batch_statistics_only_with_batch_norm(build_resnet, studies):
    """GroupNorm and frozen BatchNorm: a study in training mode does not depend on its batch. BatchNorm: it does."""
    for norm, is_independent in (("group", True), ("frozen_batch", True), ("batch", False)):
        model = build_resnet(norm=norm).train()
        together = forward(model, studies).series_embeds[0, 0]
        other = {**studies, "pixel_values": studies["pixel_values"].clone()}
        other["pixel_values"][1] = 1 - other["pixel_values"][1]
        is_equal = torch.allclose(forward(model, other).series_embeds[0, 0], together, atol=1e-5)
        assert is_equal == is_independent, norm


def test_frozen_batch_norm_keeps_statistics_and_scale(build_resnet, studies):
    """Training changes neither running statistics nor scale of frozen BatchNorm."""
    model = build_resnet(norm="frozen_batch").train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(**studies, text_study=torch.tensor([0, 0, 1, 1]), return_loss=True).loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert model.vision_model.backbone.stem[1].weight.grad is None


def test_return_dict_false_gives_the_same_numbers(tiny_model, studies):
    """A caller's `return_dict=False` reaches neither tower."""
    named = forward(tiny_model, studies)
    assert torch.equal(forward(tiny_model, studies, return_dict=False)[0], named.logits_per_image)


def test_wrong_shapes_are_refused(tiny_model, studies):
    """The message names the expected shape and the one that came."""
    with pytest.raises(ValueError, match=r"\(B, S, X, Y, Z\).*\(2, 16, 20, 8\)"):
        tiny_model(studies["pixel_values"][:, 0], studies["input_ids"])
    with pytest.raises(ValueError, match="series_mask"):
        tiny_model(studies["pixel_values"], studies["input_ids"], series_mask=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="2 studies and 4 texts"):
        tiny_model(**studies, return_loss=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("depth", 11),
        ("norm", "layer"),
        ("norm_groups", 3),
        ("hidden_sizes", (8, 8)),
        ("pooling", "max"),
        ("pooling", "position"),
        ("input_norm", "population"),
        ("input_norm", "batch"),
        ("input_pool", (2, 2)),
        ("backbone", "cnn"),
        ("pooling", "class"),
    ],
)
def test_impossible_configurations_are_refused(field, value):
    """A wrong value is named when the configuration is made, not when the network runs."""
    # what is bound to a study box needs its size
    named = "spatial_size" if value in ("position", "population") else field
    with pytest.raises(Exception, match=named):
        SelipVisionConfig(**{"hidden_sizes": (8, 8, 8, 8), field: value})


def test_sub_configurations_accept_dictionaries_of_any_text_tower():
    """Any encoder of `AutoConfig` is a text tower, by its model type."""
    text = {"model_type": "distilbert", "vocab_size": 50, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    config = SelipConfig(vision_config={"depth": 10, "hidden_sizes": (8, 8, 8, 8)}, text_config=text, projection_dim=8)
    model = SelipModel(config).eval()
    embeds = model.get_text_features(torch.randint(0, 50, (2, 5)), torch.ones(2, 5, dtype=torch.long)).pooler_output
    torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(2))


def test_trainer_trains_it(tiny_model, studies, tmp_path):
    """The stock Trainer lowers the loss of one batch, and every parameter moves."""
    batch = {**studies, "text_study": torch.tensor([0, 0, 1, 1]), "return_loss": True}
    batch["text_series_mask"] = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 0, 0], [0, 1, 0]]).bool()
    before = {name: value.clone() for name, value in tiny_model.named_parameters()}
    start = forward(tiny_model, batch).loss.item()
    trainer = Trainer(
        tiny_model,
        TrainingArguments(
            output_dir=tmp_path,
            max_steps=8,
            learning_rate=3e-3,
            per_device_train_batch_size=1,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            remove_unused_columns=False,
            disable_tqdm=True,
        ),
        train_dataset=[0] * 8,
        data_collator=lambda rows: batch,
    )
    trainer.train()
    assert forward(tiny_model.eval(), batch).loss.item() < start - 0.05
    assert [name for name, value in tiny_model.named_parameters() if torch.equal(value, before[name])] == []
