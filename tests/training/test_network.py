"""What a run starts from and which of its weights are trained: text towers, adapters, checkpoints of other runs."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer, BertModel

from selip.modeling_selip import SelipModel
from selip.training.config import NetworkConfig
from selip.training.data import StudyTexts
from selip.training.network import build_model, build_processor
from selip.training.pretrain import PretrainRun, pretrain


def weights(folder):
    return load_file(folder / "model.safetensors")


def trained_names(run) -> set[str]:
    """Parameters that a few steps move."""
    before = {name: value.detach().clone() for name, value in run.bare_model.named_parameters()}
    for step in range(4):
        run.step(run.source.batch(step))
    return {name for name, value in run.bare_model.named_parameters() if not torch.equal(value, before[name])}


def test_text_tower_from_a_folder_keeps_its_weights(make_config, text_tower):
    """A pretrained encoder named by its folder brings its tokenizer and every weight but the unused pooler."""
    config = replace(make_config().model, text_tower=str(text_tower))
    processor = build_processor(config, {"spacing_mm": (8.0, 8.0, 12.0), "spatial_size": (72, 88, 24)}, [], 20)
    assert processor.tokenizer.get_vocab() == AutoTokenizer.from_pretrained(text_tower).get_vocab()
    kept = build_model(config, processor, 20).text_model.state_dict()
    assert not any(name.startswith("pooler") for name in kept)
    for name, value in BertModel.from_pretrained(text_tower).state_dict().items():
        if not name.startswith("pooler"):
            assert torch.equal(kept[name], value), name


def test_frozen_tower_reads_each_text_once(make_config, text_tower, monkeypatch):
    """As many rows pass the tower as there are unique texts and the empty one, all before the first step."""
    read = []
    compute = SelipModel.compute_text_features

    def count(model, input_ids, attention_mask=None):
        read.extend(tuple(ids[mask.bool()].tolist()) for ids, mask in zip(input_ids, attention_mask, strict=True))
        return compute(model, input_ids, attention_mask)

    config = make_config(network={"text_tower": str(text_tower), "text_tuning": "frozen"})
    monkeypatch.setattr(SelipModel, "compute_text_features", count)
    run = PretrainRun(config)
    corpus = set(StudyTexts(config.data).corpus(run.train_studies))
    # the sample that standardises the projection is read before, through the same function
    assert len(read) == len(corpus) + 1 + sum(1 for _ in sorted(corpus)[:: max(1, len(corpus) // 512)])
    number = len(read)
    moved = trained_names(run)
    assert len(read) == number
    assert {"text_projection.weight", "text_projection.bias"} <= moved
    assert not any(name.startswith("text_model.") for name in moved)


def test_features_of_a_frozen_tower_are_those_of_its_texts(make_config, text_tower):
    """Batches of features and batches of tokens give the same embeddings; the tower's own dropout is off."""
    run = PretrainRun(make_config(network={"text_tower": str(text_tower), "text_tuning": "frozen"}))
    features = run.source.batch(1)
    run.source.text_features = None
    tokens = run.source.batch(1)
    assert "input_ids" not in features["inputs"]
    assert "text_features" not in tokens["inputs"]
    model = run.bare_model.eval()
    with torch.no_grad():
        expected, got = model(**tokens["inputs"]), model(**features["inputs"])
    for name in ("text_embeds", "view_embeds", "logits_per_image"):
        torch.testing.assert_close(got[name], expected[name], rtol=1e-4, atol=1e-5)
    # and they tell texts apart
    assert (features["inputs"]["text_features"].std(0) > 1e-3).all()


def test_a_text_that_was_not_read_is_refused_without_quoting_it(make_config, text_tower):
    """Reports never stand in an error."""
    run = PretrainRun(make_config(network={"text_tower": str(text_tower), "text_tuning": "frozen"}))
    with pytest.raises(ValueError, match="got 1 others") as error:
        run.source.text_features(["", "private words"])
    assert "private" not in str(error.value)


def test_adapters_are_trained_and_nothing_else_of_the_text_tower(make_config, text_tower):
    """LoRA: the first step sees the tower as it is; then A and B of every linear layer move, its weight does not."""
    network = {"text_tower": str(text_tower), "text_tuning": "lora", "lora_rank": 2}
    run = PretrainRun(make_config(network=network, learning_rate_text=0.05))
    plain = BertModel.from_pretrained(text_tower, add_pooling_layer=False).eval()
    ids = torch.tensor([[2, 40, 50, 60]])
    torch.testing.assert_close(run.bare_model.eval().text_model(ids)[0], plain(ids)[0])
    run.bare_model.train()
    text = {name for name in trained_names(run) if name.startswith("text_model.")}
    linear = [name for name, module in plain.named_modules() if isinstance(module, torch.nn.Linear)]
    assert text == {f"text_model.{name}.lora_{kind}.default.weight" for name in linear for kind in "AB"}


def test_checkpoint_with_adapters_loads_without_peft(make_config, text_tower, monkeypatch):
    """`best` holds plain weights with the adapters merged: AutoModel needs no peft and gives the run's outputs."""
    network = {"text_tower": str(text_tower), "text_tuning": "lora", "lora_rank": 2}
    config = make_config(network=network, learning_rate_text=0.05, steps=3)
    run = PretrainRun(config)
    trained_names(run)
    run.validate()
    inputs = run.source.batch(5)["inputs"]
    with torch.no_grad():
        expected = run.bare_model.eval()(**inputs)
    monkeypatch.setitem(sys.modules, "peft", None)  # `import peft` fails from here on
    loaded = AutoModel.from_pretrained(config.output / "best", trust_remote_code=True)
    with torch.no_grad():
        got = loaded(**inputs)
    torch.testing.assert_close(got.logits_per_image, expected.logits_per_image, rtol=1e-4, atol=1e-4)
    # the adapters are part of it
    tower = BertModel.from_pretrained(text_tower).state_dict()
    changed = "encoder.layer.0.attention.self.query.weight"
    assert not torch.allclose(weights(config.output / "best")[f"text_model.{changed}"], tower[changed], atol=1e-3)
    assert not any("lora" in name or "base_layer" in name for name in weights(config.output / "best"))
    assert not list((config.output / "best").glob("adapter*"))


def test_a_run_starts_from_the_checkpoint_of_another(make_config):
    """Weights, population and tokenizer are those of the checkpoint; the configuration is the new one's."""
    first = make_config("first", steps=3, vision_changes={"norm": "batch"})
    pretrain(first)
    best = first.output / "best"
    second = make_config("second", vision_changes={"norm": "frozen_batch"}, network={"start_from": best})
    run = PretrainRun(second)
    expected, got = weights(best), run.bare_model.state_dict()
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    assert run.processor.tokenizer.get_vocab() == AutoTokenizer.from_pretrained(best).get_vocab()
    pretrain(second)
    written = json.loads((second.output / "best" / "config.json").read_text())
    assert written["vision_config"]["norm"] == "frozen_batch"


def test_a_run_on_all_patches_follows_one_on_part_of_them(make_config):
    """`token_budget` is no weight: the second run takes every weight of the first and sees every patch of the head."""
    vision = {"width": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    masked = make_config("masked", steps=3, network={"backbone": "vit", "vision": vision | {"token_budget": 40}})
    pretrain(masked)
    best = masked.output / "best"
    network = {"backbone": "vit", "vision": vision | {"token_budget": None}, "start_from": best}
    run = PretrainRun(make_config("all", network=network))
    assert all(torch.equal(run.bare_model.state_dict()[name], value) for name, value in weights(best).items())
    kept, seen = (each.source.batch(0)["inputs"]["patch_mask"].sum((2, 3, 4)) for each in (PretrainRun(masked), run))
    assert kept.max() == 40 < seen.min()


def test_a_checkpoint_that_does_not_fit_is_refused(make_config):
    """Strictly: no weight may be missing, left over or of another shape, and the folder must be a checkpoint."""
    first = make_config("first", steps=2, validate_every=2)
    pretrain(first)
    best = first.output / "best"
    with pytest.raises(ValueError, match="do not fit"):
        PretrainRun(make_config("narrow", vision_changes={"pooled_size": 8}, network={"start_from": best}))
    with pytest.raises(ValueError, match="do not fit"):
        PretrainRun(make_config("deeper", network={"start_from": best, "fusion_layers": 2}))
    with pytest.raises(FileNotFoundError, match="expected a folder with weights"):
        PretrainRun(make_config("nothing", network={"start_from": best / "elsewhere"}))


@pytest.mark.parametrize("tuning", ["frozen", "lora"])
def test_an_untrained_tower_is_not_frozen(tuning):
    """Freezing a tower that starts from scratch would train against noise."""
    with pytest.raises(ValueError, match="trained text tower"):
        NetworkConfig(text_tuning=tuning)
    NetworkConfig(text_tuning=tuning, text_tower="folder")
