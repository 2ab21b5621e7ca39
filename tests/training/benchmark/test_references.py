"""Floor and ceiling: the loss written out, what statistics know, and that both go through the evaluation of arms."""

import json

import numpy as np
import pytest
import torch

from selip.training.benchmark.reference_runs import evaluate_reference
from selip.training.benchmark.references import volume_statistics
from selip.training.benchmark.supervised import supervised_loss


def test_supervised_loss_is_labels_and_ranking_written_out():
    """Against loops over labels, texts and series."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, generator=generator)
    targets = (torch.rand(5, 7, generator=generator) < 0.4).float()
    probability = torch.sigmoid(logits).double()

    def likelihood(series, text):
        return sum(
            (torch.log(p) if y else torch.log(1 - p)).item()
            for p, y in zip(probability[series], targets[text], strict=True)
        )

    table = np.array([[likelihood(series, text) for text in range(5)] for series in range(5)])
    labels = -np.trace(table) / 5
    forward = np.mean([np.log(np.exp(table[i]).sum()) - table[i, i] for i in range(5)])
    backward = np.mean([np.log(np.exp(table[:, i]).sum()) - table[i, i] for i in range(5)])
    assert supervised_loss(logits, targets).item() == pytest.approx(labels + forward + backward, rel=1e-5)


def test_volume_statistics_know_nothing_of_place():
    """Shuffling voxels changes nothing; brightness does; air alone gives zeros."""
    generator = np.random.default_rng(0)
    volume = np.clip(generator.random((6, 7, 8)) - 0.3, 0, 1).astype(np.float32)
    shuffled = generator.permutation(volume.ravel()).reshape(volume.shape)
    assert volume_statistics(shuffled) == pytest.approx(volume_statistics(volume), rel=1e-5)
    assert not np.allclose(volume_statistics(0.5 * volume), volume_statistics(volume))
    assert not volume_statistics(np.zeros((3, 3, 3), dtype=np.float32)).any()


@pytest.mark.parametrize("kind", ["floor", "ceiling"])
def test_references_go_through_the_evaluation_of_the_arms(tables, tmp_path, kind):
    """A result file as of a checkpoint, with retrieval over all series, from a few steps on a few studies."""
    overrides = {
        "data.studies": tables / "studies",
        "data.findings": tables / "findings.parquet",
        "data.volumes": tables / "volumes",
        "data.batch_studies": 4,
        "optimization.steps": 4,
        "optimization.warmup_steps": 1,
    }
    out = tmp_path / "result.json"
    data = {"studies": tables / "studies", "volumes": tables / "volumes", "task": "retrieval"}
    evaluate_reference(kind, tmp_path / "run", overrides, [{**data, "out": out, "bootstrap_samples": 10}])
    record = json.loads(out.read_text())
    assert record["checkpoint"] == {"name": kind}
    assert record["n"]["series"] > 10
    low, high = record["intervals"]["within_sequence/image_to_text/recall@5"]
    assert 0 <= low <= record["metrics"]["within_sequence/image_to_text/recall@5"] <= high <= 1
