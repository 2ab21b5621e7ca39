"""What is measured on the training volumes before the first step."""

import numpy as np
import pytest
import torch

from selip.modeling_selip import SelipConfig, SelipModel
from selip.training.initialization import VOLUMES_PER_SEQUENCE, fit_population

TEXT = {"model_type": "bert", "vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def build(table, **vision) -> SelipModel:
    size = table.processor_config["spatial_size"]
    vision = {"depth": 10, "hidden_sizes": (8, 8, 8, 8), "spatial_size": size, **vision}
    return SelipModel(SelipConfig(vision_config=vision, text_config=TEXT, projection_dim=6))


def test_population_is_that_of_the_training_volumes(memory_studies, memory_table):
    """Mean and spread of every sequence, against NumPy over the volumes and their mirror images."""
    model = build(memory_table, input_norm="population")
    fit_population(model, memory_table, memory_studies)
    population = model.vision_model.population
    present = {row.sequence_id for study in memory_studies for row in study.series}
    assert set(population.is_known.nonzero().flatten().tolist()) == present - {0}
    for sequence_id in present:
        rows = [row.row for study in memory_studies for row in study.series if row.sequence_id == sequence_id]
        volumes = np.stack([memory_table.read(row) for row in rows[:VOLUMES_PER_SEQUENCE]]).astype(np.float32) / 255
        both = np.concatenate([volumes, volumes[:, ::-1]])
        np.testing.assert_allclose(population.mean[sequence_id].numpy(), both.mean(0), atol=1e-5)
        np.testing.assert_allclose(population.spread[sequence_id].numpy(), both.std(0), atol=1e-5)


@pytest.mark.parametrize("pooling", ["average", "position"])
def test_a_model_without_a_population_is_left_as_it_is(memory_studies, memory_table, pooling):
    """Nothing else is touched."""
    model = build(memory_table, pooling=pooling)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit_population(model, memory_table, memory_studies)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
