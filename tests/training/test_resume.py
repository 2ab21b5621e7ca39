"""A run that is killed goes on as if nothing had happened: bit for bit in one process, up to float error in others."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from selip.training import checkpoint, optimization
from selip.training.configuration import as_dict
from selip.training.pretrain import PretrainRun, pretrain
from selip.training.run_folder import drop_lines_after

# a run that draws in all its parts: samples, augmentation, dropout of every micro-batch
DROPOUT = {"text": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}}
DROPOUT["text"] |= {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}
TIMES = ("studies_per_second", "data_wait_share")


class Killed(BaseException):
    """What stands for the kill; nothing in the loop catches it."""


@pytest.fixture
def kill(monkeypatch):
    """Runs a configuration until a call number of a function, which then dies in the place of doing its work."""

    def run(config, owner, name, at):
        calls, work = iter(range(1000)), getattr(owner, name)

        def work_or_die(*args):
            if next(calls) == at:
                raise Killed
            return work(*args)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, work_or_die)
            with pytest.raises(Killed):
                pretrain(config)

    return run


def outcome(folder) -> dict:
    """All that a run leaves but its times and its machine."""
    state = json.loads((folder / "last" / "training_state.json").read_text())
    tensors = {
        f"{path.relative_to(folder)}/{name}": value
        for path in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(path).items()
    }
    return {
        "tensors": {name: value.numpy().tobytes() for name, value in tensors.items()},
        "log": [{key: value for key, value in line.items() if key not in TIMES} for line in log_of(folder)],
        "state": {key: value for key, value in state.items() if key not in ("seconds", "environment")},
        "statistics of similarity": [path.read_text() for path in folder.glob("similarity.json")],
    }


def log_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder) -> list[float]:
    return [line["loss"] for line in log_of(folder) if "loss" in line]


def test_killed_at_any_step_a_run_ends_the_same(make_config, kill):
    """Whatever step the kill hits: weights, optimiser, log and state of the resumed run are those of the whole one."""
    options = {"steps": 5, "validate_every": 2, "network": DROPOUT, "micro_batch": 2}
    options |= {"similarity": "assignment", "similarity_limit": 1}
    whole = make_config("whole", **options)
    pretrain(whole)
    expected = outcome(whole.output)
    assert len(expected["log"]) == 5 + 3
    assert len(expected["statistics of similarity"]) == 1
    assert max(line.get("effective_targets", 1) for line in expected["log"]) <= 2, "the limit of one link holds"
    for step in range(5):
        cut = make_config(f"cut at {step}", **options)
        kill(cut, PretrainRun, "step", step)
        pretrain(cut)
        assert outcome(cut.output) == expected, step


def test_killed_while_a_checkpoint_is_written_a_run_ends_the_same(make_config, kill):
    """The same for a kill at any of the renames that put a checkpoint in its place."""
    options = {"steps": 4, "validate_every": 2, "network": DROPOUT}
    whole = make_config("whole", **options)
    renames = []
    with pytest.MonkeyPatch.context() as patch:
        replace = os.replace
        patch.setattr(checkpoint.os, "replace", lambda *paths: (renames.append(paths), replace(*paths)))
        pretrain(whole)
    renames = [paths for paths in renames if "last" in str(paths) or "best" in str(paths)]
    assert len(renames) >= 4
    for number in range(len(renames)):
        cut = make_config(f"cut at rename {number}", **options)
        kill(cut, checkpoint.os, "replace", number)
        pretrain(cut)
        assert outcome(cut.output) == outcome(whole.output), renames[number]


def test_adapters_are_resumed_bit_for_bit(make_config, kill, text_tower):
    """Checkpoints hold merged weights, which are rounded; a resumed run takes adapters and weights as they were."""
    options = {"steps": 4, "validate_every": 2, "learning_rate_text": 0.05}
    options["network"] = {"text_tower": str(text_tower), "text_tuning": "lora", "lora_rank": 2}
    whole, cut = make_config("whole", **options), make_config("cut", **options)
    pretrain(whole)
    kill(cut, PretrainRun, "step", 3)
    pretrain(cut)
    assert outcome(cut.output) == outcome(whole.output)
    assert any("lora_B" in name for name in outcome(cut.output)["tensors"])


def test_similarity_of_embeddings_is_resumed_bit_for_bit(make_config, kill, text_tower):
    """Embeddings and chance levels stay with the run: targets after the kill are those before, mirrored texts too."""
    options = {"steps": 6, "validate_every": 2, "similarity": "mixed", "similarity_encoder": str(text_tower)}
    options["similarity_weights"] = {"assignment": 0.25, "embedding": 0.75}
    whole, cut = make_config("whole", **options), make_config("cut", **options)
    pretrain(whole)
    kill(cut, PretrainRun, "step", 3)
    pretrain(cut)
    assert outcome(cut.output) == outcome(whole.output)
    for file in ("similarity.json", "embedding_similarity.json"):
        assert (cut.output / file).read_bytes() == (whole.output / file).read_bytes()
    assert max(line["effective_targets"] for line in log_of(whole.output) if "loss" in line) > 1.0


def test_precision_chosen_by_measurement_is_kept(make_config, kill, monkeypatch):
    """`auto` on a CPU goes by a timing; a resumed run does not time again, for its weights would take another way."""
    config = make_config(precision="auto", validate_every=2)
    monkeypatch.setattr(optimization, "_time_convolution", lambda dtype: 1.0)
    kill(config, PretrainRun, "step", 3)
    monkeypatch.setattr(optimization, "_time_convolution", lambda dtype: 1.0 if dtype == torch.float32 else 0.1)
    assert optimization.choose_precision("auto", torch.device("cpu"))[0] == "bf16"
    assert PretrainRun(config).precision == "fp32"


def test_a_run_of_two_processes_is_continued_by_one(make_config):
    """Two gloo processes, killed by SIGKILL at some step, then one: the losses of one process from start to end."""
    options = {"steps": 40, "validate_every": 4, "network": DROPOUT, "micro_batch": 2}
    whole, cut = make_config("whole", **options), make_config("cut", **options)
    pretrain(whole)
    process = start(cut, processes=2)
    wait_for(cut.output / "last" / "training_state.json", process)
    for worker in [*psutil.Process(process.pid).children(recursive=True), process]:
        worker.kill()
    process.communicate()
    drop_lines_after(cut.output / "metrics.jsonl", 40)  # the kill may have cut a line
    killed_at = len(losses(cut.output))
    assert 4 <= killed_at < 40
    assert losses(cut.output) == pytest.approx(losses(whole.output)[:killed_at], rel=1e-3)
    pretrain(cut)
    assert losses(cut.output) == pytest.approx(losses(whole.output), rel=1e-3)


def test_a_run_of_one_process_is_continued_by_two(make_config, kill):
    """The same the other way round, to the last weight."""
    options = {"steps": 6, "validate_every": 2, "network": DROPOUT, "micro_batch": 2}
    whole, cut = make_config("whole", **options), make_config("cut", **options)
    pretrain(whole)
    kill(cut, PretrainRun, "step", 3)
    process = start(cut, processes=2)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]
    assert losses(cut.output) == pytest.approx(losses(whole.output), rel=1e-4)
    state = json.loads((cut.output / "last" / "training_state.json").read_text())
    assert state["environment"]["processes"] == 2
    expected, got = (load_file(config.output / "last" / "model.safetensors") for config in (whole, cut))
    for name, value in expected.items():
        # keys have no gradient but rounding through their bias, which Adam makes steps of
        if not name.endswith(("key.bias", "k_proj.bias")):
            torch.testing.assert_close(
                got[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
            )


def start(config, *, processes) -> subprocess.Popen:
    """`accelerate launch` of a run."""
    written = config.output.parent / f"{config.output.name}.yaml"
    written.write_text(yaml.safe_dump(as_dict(config)))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return subprocess.Popen(
        [*command, "-m", "selip.training.pretrain", str(written)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(file, process, timeout_s=240) -> None:
    """Until a file is there; the process must not end before."""
    end = time.monotonic() + timeout_s
    while not file.exists():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < end, f"{file} did not appear in {timeout_s} s"
        time.sleep(0.005)
