"""Baselines: which series there are, what intensities they have, and a network that learnt nothing."""

import numpy as np
import pytest
import torch

from selip.modeling_selip import SelipConfig, SelipModel, SelipVisionConfig
from selip.training.evaluation.bootstrap import PatientBootstrap
from selip.training.evaluation.embedding import CheckpointEmbedder, image_features
from selip.training.evaluation.probe_baselines import (
    kind_of_series,
    sequences_present,
    series_statistics,
    statistics_of_studies,
    with_random_weights,
)
from selip.training.evaluation.probe_metrics import area_replicates, probe_case_metrics
from selip.training.evaluation.series_source import BoxedSeries


def test_sequences_are_counted_by_study():
    """By hand: b-values are kinds of their own, a study without a kind has none of it."""
    kinds = [kind_of_series("DWI", 1000.0), kind_of_series("DWI", 0.0), "FLAIR", "FLAIR"]
    assert kinds[:2] == ["DWI, b=1000", "DWI, b=0"]
    counts = sequences_present(kinds, ["a", "a", "b", "b"], ["b", "a"])
    assert counts.tolist() == [[0, 0, 2], [1, 1, 0]]  # DWI, b=0; DWI, b=1000; FLAIR


def test_statistics_are_means_by_sequence_and_do_not_tell_what_is_missing():
    """By hand; a sequence that a study lacks has the mean of the studies that have it."""
    statistics = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    got = statistics_of_studies(statistics, ["T1w", "T1w", "FLAIR", "T1w"], ["a", "a", "a", "b"], ["a", "b"])
    assert got.tolist() == [[5, 6, 2, 3], [5, 6, 7, 8]]  # FLAIR, then T1w


def test_statistics_of_a_series_are_those_of_its_voxels_inside_the_head():
    """Share of air, mean, spread and percentiles by numpy."""
    volume = np.zeros((4, 4, 2), dtype=np.float32)
    volume[1:3] = np.random.default_rng(0).random((2, 4, 2)) + 0.1
    series = BoxedSeries(volume, 1, np.eye(4), np.ones((1, 1, 1), dtype=bool))
    inside = volume[volume > 0]
    expected = [0.5, inside.mean(), inside.std(), *np.percentile(inside, (1, 5, 10, 25, 50, 75, 90, 95, 99))]
    assert series_statistics([series, series]) == pytest.approx(np.array([expected] * 2), rel=1e-5)


def test_differences_from_baselines_are_paired_in_every_draw_of_patients():
    """Mean areas and their differences from the replicates of each column; chance is one half, always."""
    generator = np.random.default_rng(0)
    rows, labels = 120, np.tile(np.array(["mass", "cyst"], dtype=object), 60)
    positive = generator.random(rows) < 0.4
    cases = {
        "study_id": np.repeat(np.arange(60).astype(str).astype(object), 2),
        "patient_id": np.repeat((np.arange(60) // 2).astype(str).astype(object), 2),
        "label": labels,
        "fold": np.zeros(rows),
        "positive": positive,
        "score": positive + generator.normal(size=rows),
        "baseline_statistics": generator.normal(size=rows),
        "attention": positive * 2 + generator.normal(size=rows),
    }
    resampling = PatientBootstrap(cases["patient_id"], num_samples=50, seed=1)
    found = probe_case_metrics(cases, resampling)
    means = {name: area_replicates(cases, resampling, name).mean(axis=1) for name in list(cases)[5:]}
    drawn = found.replicates
    assert drawn["baseline/statistics/difference"] == pytest.approx(means["score"] - means["baseline_statistics"])
    assert drawn["attention/difference"] == pytest.approx(means["attention"] - means["score"])
    assert drawn["baseline/chance/difference"] == pytest.approx(means["score"] - 0.5)
    assert found.points["baseline/chance/auroc"] == 0.5
    assert found.points["attention/difference"] == found.points["attention/auroc"] - found.points["mean/auroc"]
    plain = {name: values for name, values in cases.items() if name not in ("attention", "baseline_statistics")}
    assert not [name for name in probe_case_metrics(plain, None).points if name.startswith(("baseline", "attention"))]


@pytest.fixture
def trained():
    """A small network that has left its start, with a population that was measured."""
    vision = SelipVisionConfig(
        depth=10,
        hidden_sizes=(8, 8, 16, 16),
        stem_kernel_size=(4, 4, 2),
        stem_stride=(4, 4, 2),
        stem_pool=False,
        stage_strides=((1, 1, 1), (2, 2, 2), (1, 1, 1), (1, 1, 1)),
        norm_groups=4,
        spatial_size=(16, 16, 8),
        patch_size=(4, 4, 2),
        input_norm="population",
        input_pool=(1, 1, 1),
    )
    text = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 16, "vocab_size": 50}
    torch.manual_seed(5)
    model = SelipModel(SelipConfig(vision_config=vision, text_config=text, projection_dim=16)).eval()
    population = next(each for each in model.modules() if type(each).__name__ == "SelipPopulation")
    population.fit(1, torch.rand(4, 16, 16, 8))
    return CheckpointEmbedder(model, None, 2)


def test_random_weights_are_seeded_and_keep_what_is_measured(trained, tmp_path):
    """One seed gives one network, another another, neither the trained one; the population stays; no global seed."""
    before = torch.get_rng_state()
    models = [with_random_weights(trained, seed, tmp_path, studies="x").model for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    volumes = np.random.default_rng(0).random((2, 16, 16, 8)).astype(np.float32)
    series = [BoxedSeries(volume, 1, np.eye(4), np.ones((4, 4, 4), dtype=bool)) for volume in volumes]
    with torch.inference_mode():
        first, again, other, own = (image_features(each, series) for each in (*models, trained.model))
    assert first.tolist() == again.tolist()
    for different in (other, own):
        assert np.abs(first - different).max() > 0.05
    for name, buffer in trained.model.named_buffers():
        if "population" in name:
            assert torch.equal(models[0].get_buffer(name), buffer)


def test_stores_of_random_weights_are_apart_by_seed(trained, tmp_path):
    """What one seed embedded is not taken for another's; the folder a checkpoint was read from does not matter."""
    first, other = (with_random_weights(trained, seed, tmp_path, studies="x").store.folder for seed in (0, 1))
    assert first != other
    trained.model.config._name_or_path = "runs/other"
    assert with_random_weights(trained, 0, tmp_path, studies="x").store.folder == first
    assert with_random_weights(trained, 0, None).store is None
