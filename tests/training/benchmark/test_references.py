"""Floor and ceiling: the loss written out, what texts are to them, and that both go through the evaluation of arms."""

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch

from selip.processing.rendering import TextItem
from selip.processing.sources.studies import iter_studies, load_studies
from selip.processing.statements import Statement, normal_statement
from selip.training.benchmark.reference_runs import evaluate_reference
from selip.training.benchmark.references import true_texts
from selip.training.benchmark.supervised import StatementTower, stack_statements, supervised_loss, true_text
from selip.training.benchmark.text_labels import TextLabels
from selip.training.benchmark.true_findings import write_true_findings
from selip.training.config import PretrainConfig
from selip.training.configuration import find_config, load_config
from selip.training.evaluation.volume_statistics import volume_statistics
from selip.training.pretrain import PretrainRun


def test_supervised_loss_is_the_likelihood_of_labels_written_out():
    """Against loops over texts and labels."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, generator=generator)
    targets = (torch.rand(5, 7, generator=generator) < 0.4).float()
    probability = torch.sigmoid(logits).double()
    told = [p if y else 1 - p for p, y in zip(probability.flatten(), targets.flatten(), strict=True)]
    assert supervised_loss(logits, targets).item() == pytest.approx(-sum(map(math.log, told)) / 5, rel=1e-5)


def test_texts_of_the_ceiling_are_sets_of_statements():
    """The order of statements changes nothing, what is said of which place does, padding is not read."""
    infarct, edema = Statement("acute infarct", "pons", "left"), Statement("edema", "insula", "right")
    crossed = (Statement("edema", "pons", "left"), Statement("acute infarct", "insula", "right"))
    items = [
        TextItem("a", (), normal=False, statements=(infarct, edema)),
        TextItem("b", (), normal=False, statements=(edema, infarct)),
        TextItem("c", (), normal=False, statements=crossed),
        TextItem("d", (), normal=False, statements=(infarct,)),
        TextItem("e", (), normal=True, statements=(normal_statement("FLAIR"),)),
    ]
    labels = TextLabels(items * 5)
    tower = StatementTower(len(labels.names), 6)
    together = tower(*stack_statements(labels, items))
    torch.testing.assert_close(together[0], together[1])
    assert (together[0] - together[2]).abs().max() > 1e-3
    for number, item in enumerate(items):
        torch.testing.assert_close(tower(*stack_statements(labels, [item]))[0], together[number])
    _, is_statement = stack_statements(labels, [None, items[0]])
    assert is_statement.tolist() == [[False, False], [True, True]]


def test_true_texts_are_mirrored_with_their_volumes(tables):
    """With texts of the truth as the run's own, what a batch says is what the ceiling is told, mirrored or not."""
    overrides = {
        "data.studies": tables / "studies",
        "data.findings": tables / "true_findings.parquet",
        "data.volumes": tables / "volumes",
        "data.batch_studies": 4,
        "output": tables / "unused",
    }
    write_true_findings(tables / "studies", tables / "true_findings.parquet")
    recipe = find_config("benchmark_tiny")
    run = PretrainRun(load_config(PretrainConfig, recipe, {key: str(value) for key, value in overrides.items()}))
    truth = true_texts(row for split in load_studies(tables / "studies").values() for row in iter_studies(split))
    seen = Counter()
    for step in range(8):
        for study in run.source.drawn(step):
            assert true_text(study, truth) == study.texts[0].item
            seen[study.changes[0].is_flipped] += 1
    assert min(seen[True], seen[False]) > 5


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
    evaluate_reference(
        kind, tmp_path / "run", "benchmark_tiny", overrides, [{**data, "out": out, "bootstrap_samples": 10}]
    )
    record = json.loads(out.read_text())
    assert record["checkpoint"] == {"name": kind}
    assert record["n"]["series"] > 10
    low, high = record["intervals"]["within_sequence/image_to_text/recall@5"]
    assert 0 <= low <= record["metrics"]["within_sequence/image_to_text/recall@5"] <= high <= 1
