"""What a model takes from the training data before its first step: what it promises, measured on what it was given."""

import numpy as np
import pytest
import torch

from selip.modeling_selip import SelipConfig, SelipModel
from selip.training.config import PretrainData
from selip.training.data import StudyTexts
from selip.training.initialization import POPULATION_PER_SEQUENCE, initialise_from_data
from selip.training.tokenizer import train_tokenizer

SEQUENCES = (1, 3, 4, 5, 6)


@pytest.fixture(params=["population", "none"])
def fitted(request, memory_studies, memory_table):
    """A small model after its start, its tokenizer, and the texts."""
    texts = list(StudyTexts(PretrainData("-", "-", "-")).corpus(memory_studies))
    tokenizer = train_tokenizer(texts, vocabulary_size=400, max_tokens=80)
    torch.manual_seed(0)
    text = {"model_type": "bert", "vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "intermediate_size": 16, "hidden_dropout_prob": 0.0}
    vision = {"depth": 10, "hidden_sizes": (8, 8, 8, 8), "pooling": "position", "pooled_size": 8}
    vision |= {"spatial_size": memory_table.processor_config["spatial_size"], "input_norm": request.param}
    model = SelipModel(SelipConfig(vision_config=vision, text_config=text, projection_dim=6))
    initialise_from_data(model, tokenizer, memory_table, memory_studies, texts, 80)
    assert model.training
    return model.eval(), tokenizer, texts


def volumes_of(memory_studies, memory_table, sequence_id, most):
    rows = [row.row for study in memory_studies for row in study.series if row.sequence_id == sequence_id][:most]
    return np.stack([memory_table.read(row) for row in rows]).astype(np.float32) / 255


def test_outputs_start_with_mean_zero_and_variance_one(fitted, memory_studies, memory_table):
    """Series tokens of every sequence, after its scale and shift, and texts in the shared space are standardised."""
    model, tokenizer, texts = fitted
    for sequence_id in SEQUENCES:
        volumes = torch.from_numpy(volumes_of(memory_studies, memory_table, sequence_id, 48))
        number = torch.tensor(sequence_id)
        with torch.no_grad():
            tokens = model.vision_model(volumes, number.expand(len(volumes))).pooler_output
            tokens = tokens * model.fusion.sequence_scale(number) + model.fusion.sequence_shift(number)
        torch.testing.assert_close(tokens.mean(0), torch.zeros(8), atol=1e-3, rtol=0)
        # outputs that hardly vary are amplified less, none more
        assert tokens.std(0, correction=0).max() < 1.01
        assert tokens.std(0, correction=0).median() > 0.98
    encoded = tokenizer(sorted(set(texts)), padding=True, return_tensors="pt")
    with torch.no_grad():
        projected = model.project_text(encoded["input_ids"], encoded["attention_mask"])
    torch.testing.assert_close(projected.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(projected.std(0, correction=0), torch.ones(6), atol=1e-2, rtol=0)


def test_population_is_that_of_the_training_volumes(fitted, memory_studies, memory_table):
    """Mean and spread of every sequence, against NumPy over the volumes and their mirror images."""
    population = fitted[0].vision_model.population
    if population is None:
        assert fitted[0].config.vision_config.input_norm == "none"
        return
    assert population.is_known.nonzero().flatten().tolist() == list(SEQUENCES)
    for sequence_id in SEQUENCES:
        volumes = volumes_of(memory_studies, memory_table, sequence_id, POPULATION_PER_SEQUENCE)
        both = np.concatenate([volumes, volumes[:, ::-1]])
        np.testing.assert_allclose(population.mean[sequence_id].numpy(), both.mean(0), atol=1e-5)
        np.testing.assert_allclose(population.spread[sequence_id].numpy(), both.std(0), atol=1e-5)
