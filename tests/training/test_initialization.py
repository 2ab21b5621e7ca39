"""The data-dependent start: what it promises, measured on what it was given."""

import numpy as np
import torch

from selip.modeling_selip import SelipConfig, SelipModel
from selip.training.config import PretrainData
from selip.training.data import StudyTexts
from selip.training.initialization import standardise_outputs
from selip.training.tokenizer import train_tokenizer


def test_outputs_start_with_mean_zero_and_variance_one(memory_studies, memory_table):
    """Series tokens of every sequence, after its scale and shift, and texts in the shared space are standardised."""
    texts = list(StudyTexts(PretrainData("-", "-", "-")).corpus(memory_studies))
    tokenizer = train_tokenizer(texts, vocabulary_size=400, max_tokens=80)
    torch.manual_seed(0)
    text = {"model_type": "bert", "vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "intermediate_size": 16, "hidden_dropout_prob": 0.0}
    vision = {"depth": 10, "hidden_sizes": (8, 8, 8, 8), "pooling": "moments"}
    model = SelipModel(SelipConfig(vision_config=vision, text_config=text, projection_dim=6))
    standardise_outputs(model, tokenizer, memory_table, memory_studies, texts, 80)
    assert model.training
    model.eval()
    for sequence_id in (1, 3, 4, 5, 6):
        rows = [row.row for study in memory_studies for row in study.series if row.sequence_id == sequence_id][:48]
        volumes = torch.from_numpy(np.stack([memory_table.read(row) for row in rows]).astype(np.float32) / 255)
        with torch.no_grad():
            tokens = model.vision_model(volumes).pooler_output
        number = torch.tensor(sequence_id)
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
