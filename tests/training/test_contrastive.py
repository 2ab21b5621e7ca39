"""Gradients of a global batch: several processes and micro-batches against one process and one piece."""

import importlib.util
import json
import os
import subprocess
import sys
import weakref
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from selip.training.contrastive import ContrastiveGradient, split_studies
from selip.training.objectives import PRESETS

PROGRAM = Path(__file__).with_name("exact_gradients.py")
_spec = importlib.util.spec_from_file_location("exact_gradients", PROGRAM)
exact = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(exact)

# float32, relative to the largest entry of each parameter's gradient
CLOSE = 2e-5


@pytest.fixture
def accelerator(one_thread):
    """One process in fp32, whatever precision another test has left behind."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=True)


@pytest.fixture(scope="module", params=[2, 3], ids="{} processes".format)
def launched(request, tmp_path_factory) -> list[dict]:
    """Results of every process, of one launch in which all cases run."""
    out = tmp_path_factory.mktemp("exact") / "results.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(request.param)]
    done = subprocess.run(
        [*command, str(PROGRAM), str(out)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-8000:]
    results = json.loads(out.read_text())
    assert len(results) == request.param
    return results


@pytest.mark.parametrize("case", exact.CASES)
def test_several_processes_equal_one(launched, case):
    """Loss and gradient of a batch shared by gloo processes are those of one process, on every process."""
    for result in launched:
        assert result[case]["loss"] == pytest.approx(result[case]["expected_loss"], rel=1e-6)
        assert result[case]["gradient"] < CLOSE


def test_a_gather_without_gradient_would_be_seen(launched):
    """The comparison above fails by far where only the own embeddings carry a gradient, though the loss is right."""
    for result in (each["gradient cut off"] for each in launched):
        assert result["loss"] == pytest.approx(result["expected_loss"], rel=1e-6)
        assert result["gradient"] > 0.1


def test_processes_read_texts_together(launched):
    """Each text of a frozen tower is read by one process and known to all, as if it were read alone."""
    for result in (each["read texts"] for each in launched):
        assert result["texts"] == 4 * exact.CHUNK + 1
        assert result["difference"] < 1e-5


def test_fully_sharded_model_has_the_same_gradient(launched):
    """FSDP2 on a mesh of CPU processes: each holds its share of the weights; loss and gradient are those of one."""
    for result in (each["fully_shard"] for each in launched):
        assert result["share_held"] < 1 / len(launched) + 0.05
        assert result["loss"] == pytest.approx(result["expected_loss"], rel=1e-6)
        assert result["gradient"] < CLOSE


@pytest.mark.parametrize("case", [case for case in exact.CASES if case.startswith("GradCache")])
def test_micro_batches_equal_one_piece(accelerator, case):
    """GradCache in one process: loss and gradient of the whole batch, dropout and a fixed temperature included."""
    result = exact.run_case(accelerator, case)
    assert result["loss"] == pytest.approx(result["expected_loss"], rel=1e-6)
    assert result["gradient"] < CLOSE


@pytest.mark.parametrize("size", [4, 5, 100])
def test_any_size_of_micro_batch_gives_the_same_gradient(accelerator, size):
    """Also where the last micro-batch is smaller than the others, and where one holds the batch."""
    batch, model = exact.build_batch(), exact.build_model()
    loss = backward(accelerator, model, batch, micro_batch=size)
    expected_loss, expected = exact.reference(exact.build_model(), batch, "selip_recommended")
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert exact.largest_difference(exact.gradients(model), expected) < CLOSE


def test_micro_batches_in_bf16_equal_one_piece_in_bf16():
    """Under autocast no weight that was cast without a graph is used again: every weight gets its gradient."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    try:
        grads = []
        for micro_batch in (None, 2):
            model = exact.build_model()
            backward(accelerator, model, exact.build_batch(), micro_batch=micro_batch)
            grads.append(exact.gradients(model))
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    # sums over the batch are rounded to bf16 (8 bits) in another order
    assert exact.largest_difference(grads[1], grads[0]) < 0.05


def test_memory_of_activations_is_that_of_one_micro_batch(accelerator):
    """What autograd keeps at its peak does not grow with the batch in micro-batches, and does in one piece."""
    peaks = {}
    for studies in (6, 24):
        batch = exact.build_batch(studies)
        # every micro-batch holds as many series, and volumes weigh more than the P x P matrices of the loss
        batch["inputs"]["series_mask"][:] = True
        batch["inputs"]["pixel_values"] = torch.rand(studies, exact.SLOTS, 32, 40, 16)
        for micro_batch in (None, 2):
            with saved_tensors() as kept:
                backward(accelerator, exact.build_model(), batch, micro_batch=micro_batch)
            peaks[studies, micro_batch] = kept.peak
    assert peaks[24, 2] < 1.05 * peaks[6, 2]
    assert peaks[24, None] > 3 * peaks[6, None] > 6 * peaks[6, 2]


def test_batch_norm_is_refused_in_micro_batches_only(accelerator):
    """Statistics of a micro-batch are not those of the batch; frozen ones do not care."""
    batch = exact.build_batch()
    backward(accelerator, exact.build_model(norm="batch"), batch, micro_batch=None)
    backward(accelerator, exact.build_model(norm="frozen_batch"), batch, micro_batch=2)
    with pytest.raises(ValueError, match="BatchNorm"):
        backward(accelerator, exact.build_model(norm="batch"), batch, micro_batch=2)


def test_micro_batches_hold_studies_with_their_own_texts():
    """Embedded part by part, studies and texts give what they give in one piece, and none is lost."""
    inputs = exact.build_batch()["inputs"]
    model = exact.build_model().eval()
    whole = model(**inputs)
    parts = [model(**part) for part in split_studies(inputs, 4)]
    assert [len(part.image_embeds) for part in parts] == [4, 2]
    for name in ("view_embeds", "text_embeds", "image_embeds"):
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name])


def test_texts_out_of_order_are_refused():
    """Texts of a study that do not stand side by side cannot be cut with their study."""
    inputs = exact.build_batch()["inputs"]
    with pytest.raises(ValueError, match="ascending"):
        split_studies({**inputs, "text_study": inputs["text_study"].flip(0)}, 2)


def backward(accelerator, model, batch, *, micro_batch):
    """Loss of a batch; its gradient is in the parameters of the model."""
    gradient = ContrastiveGradient(
        accelerator, accelerator.prepare(model), PRESETS["selip_recommended"], micro_batch=micro_batch, seed=0
    )
    return gradient(batch["inputs"], batch["compared"], batch["similarity"], step=0).item()


class KeptBytes:
    """Bytes of the tensors that autograd keeps for the backward pass: now, and at the most."""

    def __init__(self):
        self.holders, self.now, self.peak = Counter(), 0, 0

    def hold(self, storage):
        """One more operation keeps this storage; what several keep is in memory once."""
        key = storage.data_ptr(), storage.nbytes()
        self.now += 0 if self.holders[key] else key[1]
        self.holders[key] += 1
        self.peak = max(self.peak, self.now)
        return key

    def release(self, key):
        self.holders[key] -= 1
        self.now -= 0 if self.holders[key] else key[1]


@contextmanager
def saved_tensors():
    """Counts what autograd keeps within the context."""
    kept = KeptBytes()

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor.detach()  # with its graph it would keep itself alive
            weakref.finalize(self, kept.release, kept.hold(tensor.untyped_storage()))

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        yield kept
