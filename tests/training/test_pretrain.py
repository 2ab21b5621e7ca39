"""The loop on simulated studies: it learns, it resumes bit for bit, it is one run on many processes."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file

from selip.training.checkpoint import TrainingState, recover_folder, replace_folder
from selip.training.config import (
    AugmentationConfig,
    NetworkConfig,
    OptimizationConfig,
    PretrainConfig,
    PretrainData,
    TrackingConfig,
)
from selip.training.configuration import as_dict
from selip.training.pretrain import PretrainRun, pretrain
from selip.training.run_folder import drop_lines_after, prepare_output

VISION = {
    "depth": 10,
    "hidden_sizes": [8, 8, 16, 16],
    "stem_kernel_size": [8, 8, 2],
    "stem_stride": [8, 8, 2],
    "stem_pool": False,
    "stage_strides": [[1, 1, 1], [2, 2, 2], [1, 1, 1], [1, 1, 1]],
    "norm_groups": 4,
    "input_norm": "population",
    "input_pool": [1, 1, 2],
    "pooling": "position",
    "pooled_size": 16,
}
VIT = {
    "width": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "token_budget": 60,
    "pooling": "position",
    "pooled_size": 16,
}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def make_config(tables, tmp_path):
    def make(name="run", *, steps=6, backbone="resnet", vision=VISION, **optimization):
        return PretrainConfig(
            output=tmp_path / name,
            data=PretrainData(
                studies=tables / "studies",
                findings=tables / "findings.parquet",
                volumes=tables / "volumes",
                batch_studies=4,
                series_per_study=2,
                text_items=("series", "impression"),
            ),
            model=NetworkConfig(backbone=backbone, vision=vision, text=TEXT, projection_dim=16, vocabulary_size=400),
            augmentation=AugmentationConfig(),
            optimization=OptimizationConfig(
                **{"steps": steps, "warmup_steps": 2, "precision": "fp32", **optimization}
            ),
            tracking=TrackingConfig(validate_every=3, log_every=1),
        )

    return make


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(("backbone", "vision"), [("resnet", VISION), ("vit", VIT)])
def test_training_lowers_the_loss_and_moves_every_parameter(make_config, backbone, vision):
    """Fitting one batch again and again: the loss falls and no parameter stays."""
    rates = {"learning_rate_vision": 3e-3, "learning_rate_text": 3e-3}
    run = PretrainRun(make_config(steps=30, backbone=backbone, vision=vision, **rates))
    before = {name: value.detach().clone() for name, value in run.bare_model.named_parameters()}
    batch = run.source.batch(0)
    most = batch["inputs"]["patch_mask"].flatten(2).sum(2).max()
    assert most == VIT["token_budget"] if backbone == "vit" else most > 200
    losses = [run.step(batch)["loss"] for _ in range(25)]
    assert losses[-1] < losses[0] - 0.3
    # of the sequence tables only the rows of sequences in the batch can move, so the table as a whole must
    assert [name for name, value in run.bare_model.named_parameters() if torch.equal(value, before[name])] == []


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


def test_resumed_run_equals_uninterrupted_run(make_config):
    """Cut after the checkpoint of step 3 and continued: weights and log are those of the run that was not cut."""
    whole = make_config("whole", similarity="assignment", similarity_limit=1)
    pretrain(whole)
    cut = make_config("cut", similarity="assignment", similarity_limit=1)
    run = PretrainRun(cut)
    for step in range(5):  # two steps more than the checkpoint holds, as a kill would leave it
        line = run.step(run.source.batch(step))
        with (cut.output / "metrics.jsonl").open("a") as log:
            log.write(json.dumps({**line, "step": step + 1}) + "\n")
        if step == 2:
            run.validate()
    pretrain(cut)
    expected, got = weights(whole.output / "last"), weights(cut.output / "last")
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    state = [load_file(config.output / "last" / "optimizer.safetensors") for config in (whole, cut)]
    assert state[0].keys() == state[1].keys()
    assert all(torch.equal(state[1][name], value) for name, value in state[0].items())
    logs = [
        [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines() if "loss" in line]
        for config in (whole, cut)
    ]
    for name in ("loss", "effective_targets", "own_mass"):
        assert [line[name] for line in logs[0]] == [line[name] for line in logs[1]]
    assert max(line["effective_targets"] for line in logs[0]) <= 2  # the limit of one link holds
    statistics = [(config.output / "similarity.json").read_bytes() for config in (whole, cut)]
    assert statistics[0] == statistics[1]


def test_another_run_is_never_overwritten(make_config):
    """A folder with another configuration is refused unless told; the same configuration continues."""
    config = make_config()
    prepare_output(config)
    prepare_output(config)
    other = replace(config, optimization=replace(config.optimization, seed=1))
    with pytest.raises(FileExistsError, match="another configuration"):
        prepare_output(other)
    with pytest.raises(FileExistsError, match="resume is off"):
        prepare_output(replace(config, resume=False))
    prepare_output(replace(other, overwrite=True))
    assert yaml.safe_load((config.output / "config.yaml").read_text())["optimization"]["seed"] == 1


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


def test_two_processes_equal_one(make_config):
    """`accelerate launch` with two gloo processes takes the steps of one process: same losses, same weights."""
    one = make_config("one", steps=3)
    pretrain(one)
    two = make_config("two", steps=3)
    written = one.output.parent / "two.yaml"
    written.write_text(yaml.safe_dump(as_dict(two)))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run(
        [*command, "-m", "selip.training.pretrain", str(written)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected, got = weights(one.output / "last"), weights(two.output / "last")
    for name, value in expected.items():
        torch.testing.assert_close(
            got[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    losses = [
        [
            json.loads(line)["loss"]
            for line in (config.output / "metrics.jsonl").read_text().splitlines()
            if "loss" in line
        ]
        for config in (one, two)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_text_tower_from_a_folder_keeps_its_weights(make_config, tmp_path):
    """A pretrained encoder named by its folder brings its tokenizer and every weight but the unused pooler."""
    from transformers import BertConfig, BertModel

    from selip.training.network import build_model, build_processor
    from selip.training.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["left frontal lobe", "右侧额叶"], vocabulary_size=300, max_tokens=20)
    tower = BertModel(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
        )
    )
    tower.save_pretrained(tmp_path / "tower")
    tokenizer.save_pretrained(tmp_path / "tower")
    config = NetworkConfig(vision=VISION, text_tower=str(tmp_path / "tower"), projection_dim=8)
    processor = build_processor(config, {"spacing_mm": (8.0, 8.0, 12.0)}, [], 20)
    model = build_model(config, processor, 20)
    kept = model.text_model.state_dict()
    assert not any(name.startswith("pooler") for name in kept)
    for name, value in tower.state_dict().items():
        if not name.startswith("pooler"):
            assert torch.equal(kept[name], value), name


def test_tokenizer_of_the_corpus_reads_any_language():
    """Byte-level BPE: text in any script comes back whole, also words that were never seen."""
    from selip.training.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["left frontal lobe", "右侧额叶"], vocabulary_size=300, max_tokens=50)
    for text in ("right cerebellum, 12 mm", "左侧基底节区表现为斑片状高信号", "ünïcode"):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    again = train_tokenizer(["右侧额叶", "left frontal lobe", "右侧额叶"], vocabulary_size=300, max_tokens=50)
    assert again.get_vocab() == tokenizer.get_vocab()
