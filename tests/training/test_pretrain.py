"""The loop on simulated studies: it learns, it resumes bit for bit, it is one run on many processes."""

import json
from dataclasses import replace

import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from selip.modeling_selip.loss_selip import compared_pairs
from selip.training.checkpoint import TrainingState, recover_folder, replace_folder
from selip.training.configuration import as_dict
from selip.training.pretrain import PretrainRun, pretrain
from selip.training.run_folder import drop_lines_after, prepare_output

VIT = {
    "width": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "token_budget": 60,
    "pooling": "position",
    "pooled_size": 16,
}


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("network", [{}, {"backbone": "vit", "vision": VIT}], ids=["resnet", "vit"])
def test_training_lowers_the_loss_and_moves_every_parameter(make_config, network):
    """Fitting one batch again and again: the loss falls and no parameter stays."""
    rates = {"learning_rate_vision": 3e-3, "learning_rate_text": 3e-3}
    run = PretrainRun(make_config(steps=30, network=network, **rates))
    before = {name: value.detach().clone() for name, value in run.bare_model.named_parameters()}
    batch = run.source.batch(0)
    most = batch["inputs"]["patch_mask"].flatten(2).sum(2).max()
    assert most == VIT["token_budget"] if network else most > 200
    losses = [run.step(batch)["loss"] for _ in range(25)]
    assert losses[-1] < losses[0] - 0.3
    # of the sequence tables only the rows of sequences in the batch can move, so the table as a whole must
    assert [name for name, value in run.bare_model.named_parameters() if torch.equal(value, before[name])] == []


def test_state_tells_what_was_learnt_from_and_against_what(make_config):
    """Studies are those with text; no text of a batch has more negatives than the state says."""
    run = PretrainRun(make_config(micro_batch=3))
    facts = run.state.environment
    assert facts["data"]["studies"] == len(run.source.studies)
    assert facts["data"]["with_findings"] == facts["data"]["studies"]
    assert facts["negatives_at_most"] == 9  # of three other studies: two series and an impression each
    assert (facts["micro_batch"], facts["micro_batches_per_process"]) == (3, 2)
    negatives = set()
    for step in range(3):
        batch = run.source.batch(step)
        is_other = batch["text_study"][:, None] != batch["text_study"][None]
        is_there = batch["text_mask"][:, None] & batch["text_mask"][None]
        compared = compared_pairs(batch["text_study"], batch["text_mask"])
        assert not (compared & ~is_other & ~torch.eye(len(compared), dtype=torch.bool)).any()
        negatives |= set((compared & is_other & is_there).sum(1).tolist())
    assert 0 < max(negatives) <= facts["negatives_at_most"]


@pytest.mark.parametrize("objective", ["clip", "selip", "selip_recommended"])
def test_a_run_leaves_checkpoints_log_and_configuration(make_config, objective):
    """`best` and `last` load by Auto classes' own files, each logged step is a line, the config reproduces the run."""
    config = make_config(objective=objective)
    summary = pretrain(config)
    assert summary.steps == 6
    assert summary.best == config.output / "best"
    lines = [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "validation/mean_reciprocal_rank" in line] == [3, 6]
    validated = [
        line["validation/mean_reciprocal_rank"] for line in lines if "validation/mean_reciprocal_rank" in line
    ]
    assert summary.best_metric == max(validated)
    stored = yaml.safe_load((config.output / "config.yaml").read_text())
    assert stored["optimization"] == as_dict(config)["optimization"]
    for name in ("best", "last"):
        files = {path.name for path in (config.output / name).iterdir()}
        assert {
            "config.json",
            "model.safetensors",
            "processor_config.json",
            "modeling_selip.py",
            "tokenizer.json",
        } <= files
        assert not any(path.suffix in {".bin", ".pt", ".pkl"} for path in (config.output / name).rglob("*"))
    assert not (config.output / "best" / "optimizer.safetensors").exists()


def test_another_run_is_never_overwritten(make_config):
    """A folder with another configuration is refused unless told; the same configuration continues."""
    config = make_config()
    prepare_output(config)
    prepare_output(config)
    other = replace(config, optimization=replace(config.optimization, seed=1))
    (config.output / "metrics.jsonl").touch()  # the run has begun
    with pytest.raises(FileExistsError, match="another configuration"):
        prepare_output(other)
    prepare_output(replace(config, optimization=replace(config.optimization, micro_batch=2)))  # of the machine
    with pytest.raises(FileExistsError, match="resume is off"):
        prepare_output(replace(config, resume=False))
    prepare_output(replace(other, overwrite=True))
    assert yaml.safe_load((config.output / "config.yaml").read_text())["optimization"]["seed"] == 1


def test_a_run_that_was_refused_at_its_start_does_not_block_its_folder(make_config):
    """Where nothing but the configuration lies, another one takes its place."""
    config = make_config()
    other = replace(config, optimization=replace(config.optimization, seed=1))
    prepare_output(config)
    prepare_output(other)
    assert yaml.safe_load((config.output / "config.yaml").read_text())["optimization"]["seed"] == 1


def test_sharded_launch_is_refused(make_config, monkeypatch):
    """A launcher that shards the weights is refused before the first step: checkpoints would hold shards."""
    monkeypatch.setattr(Accelerator, "distributed_type", property(lambda accelerator: DistributedType.FSDP))
    with pytest.raises(ValueError, match="got FSDP"):
        PretrainRun(make_config())


def test_log_is_cut_to_the_checkpoint(tmp_path):
    """Lines after the resumed step and a half-written last line go, all others stay."""
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n{"step": 3, "loss": 1.0}\n{"step": 4, "lo')
    drop_lines_after(log, 2)
    assert log.read_text() == '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n'


def test_checkpoint_folder_survives_a_cut_between_renames(tmp_path):
    """Whatever moment a crash picks, one whole checkpoint is found again."""
    old, new = tmp_path / "last", tmp_path / "new"
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "weights").write_text(text)
    old.rename(tmp_path / ".last.previous")  # the state between the two renames
    recover_folder(old)
    assert (old / "weights").read_text() == "old"
    replace_folder(new, old)
    assert (old / "weights").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_state_round_trips_through_json():
    """Progress is plain JSON."""
    state = TrainingState(
        step=3, best_metric=0.5, best_step=2, seconds=1.5, metrics={"a": 1.0}, environment={"x": "y"}
    )
    assert TrainingState(**json.loads(json.dumps(state.__dict__))) == state


def test_tokenizer_of_the_corpus_reads_any_language():
    """Byte-level BPE: text in any script comes back whole, also words that were never seen."""
    from selip.training.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["left frontal lobe", "右侧额叶"], vocabulary_size=300, max_tokens=50)
    for text in ("right cerebellum, 12 mm", "左侧基底节区表现为斑片状高信号", "ünïcode"):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    again = train_tokenizer(["右侧额叶", "left frontal lobe", "右侧额叶"], vocabulary_size=300, max_tokens=50)
    assert again.get_vocab() == tokenizer.get_vocab()
