"""Similarity of embeddings: means over real tokens, the same bits from the file, a chance level that is the mean."""

import itertools

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModel, AutoTokenizer

from selip.training.config import NetworkConfig
from selip.training.network import build_model, build_processor
from selip.training.structuring import embedding_similarity
from selip.training.structuring.embedding_similarity import (
    EmbeddingSimilarity,
    TextEncoder,
    embed_texts,
    mean_cosine,
)

SITES, TERMS = ("thalamus", "frontal lobe", "pons"), ("acute infarct", "mass", "hyperintense signal")
TEXTS = [
    f"{sequence}: {side} {site} shows {term}."
    for sequence, side, site, term in itertools.product(("FLAIR", "DWI"), ("left", "right"), SITES, TERMS)
]


@pytest.fixture
def encoder(text_tower):
    return TextEncoder(str(text_tower))


def test_an_embedding_is_the_mean_of_the_states_of_real_tokens(encoder, text_tower):
    """One text alone without padding, averaged by hand, equals the same text in a padded batch."""
    tokenizer, model = AutoTokenizer.from_pretrained(text_tower), AutoModel.from_pretrained(text_tower)
    texts = ["mass", TEXTS[0] + " " + TEXTS[1]]
    together = encoder(texts)
    for text, found in zip(texts, together, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = states.mean(0).numpy()
        np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_similarity_is_the_cosine_above_chance(encoder, tmp_path):
    """Against loops: cosine less chance, 0 below it, 1 of a text with itself, symmetric to the last bit."""
    embeddings = embed_texts(TEXTS, encoder, tmp_path)
    chance = mean_cosine(embeddings, TEXTS)
    pairs = [float(embeddings[a] @ embeddings[b]) for a, b in itertools.permutations(TEXTS, 2)]
    assert chance == pytest.approx(np.mean(pairs), abs=1e-6)
    similarity = EmbeddingSimilarity(embeddings, chance)
    found = similarity(TEXTS)
    for i, j in itertools.product(range(len(TEXTS)), repeat=2):
        cosine = 1.0 if i == j else float(embeddings[TEXTS[i]] @ embeddings[TEXTS[j]])
        assert found[i, j] == pytest.approx(max(0.0, (cosine - chance) / (1 - chance)), abs=2e-5)
    np.testing.assert_array_equal(found, found.T)
    assert (found.diagonal() == 1).all()
    assert 0.2 < (found == 0).mean() < 0.8
    np.testing.assert_array_equal(similarity(TEXTS[:5], TEXTS), found[:5])
    with pytest.raises(ValueError, match="1 others"):
        similarity(["another text"])


def test_embeddings_are_computed_once_and_resumed_with_the_same_bits(encoder, tmp_path, monkeypatch):
    """A call that was cut goes on where it stopped; no text is encoded twice; the file changes no bit."""
    monkeypatch.setattr(embedding_similarity, "_CHUNK", 8)
    monkeypatch.setattr(embedding_similarity, "_CHUNKS_BETWEEN_SAVES", 1)
    whole = embed_texts(TEXTS, encoder, tmp_path / "whole")
    calls = []

    class Cut(TextEncoder):
        def __call__(self, texts):
            calls.append(len(texts))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return super().__call__(texts)

    cut = Cut(encoder.name)
    with pytest.raises(KeyboardInterrupt):
        embed_texts(TEXTS, cut, tmp_path / "cut")
    (file,) = (tmp_path / "cut").iterdir()
    assert len(load_file(file)["keys"]) == 16
    resumed = embed_texts(TEXTS, cut, tmp_path / "cut")
    assert sum(calls) == len(TEXTS) + 8  # the batch that was cut is read again
    before = len(calls)
    again = embed_texts(reversed(TEXTS), cut, tmp_path / "cut")
    assert len(calls) == before
    for text in TEXTS:
        np.testing.assert_array_equal(resumed[text], whole[text])
        np.testing.assert_array_equal(again[text], whole[text])
    assert not any(text.encode() in file.read_bytes() for text in TEXTS)


def test_another_encoder_has_another_file(encoder, text_tower, tmp_path):
    """One changed weight or a changed vocabulary is another encoder; a copy in another folder is the same."""
    assert TextEncoder(str(text_tower)).fingerprint == encoder.fingerprint
    model = AutoModel.from_pretrained(text_tower)
    AutoTokenizer.from_pretrained(text_tower).save_pretrained(tmp_path / "copy")
    model.save_pretrained(tmp_path / "copy")
    assert TextEncoder(str(tmp_path / "copy")).fingerprint == encoder.fingerprint
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[7, 3] += 1e-3
    model.save_pretrained(tmp_path / "copy")
    assert TextEncoder(str(tmp_path / "copy")).fingerprint != encoder.fingerprint


def test_nothing_is_written_unless_asked(encoder, tmp_path):
    """A process that does not write computes the same and leaves the folder as it is."""
    silent = embed_texts(TEXTS, encoder, tmp_path / "none", writes=False)
    assert not (tmp_path / "none").exists()
    written = embed_texts(TEXTS, encoder, tmp_path / "some")
    np.testing.assert_array_equal(np.stack(list(silent.values())), np.stack(list(written.values())))


def test_a_selip_checkpoint_is_an_encoder(memory_table, tmp_path):
    """Its embedding is the text embedding of the shared space."""
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vision = {"depth": 10, "hidden_sizes": (8, 8, 16, 16)}
    network = NetworkConfig(vision=vision, text=text, projection_dim=16, vocabulary_size=300)
    processor = build_processor(network, dict(memory_table.processor_config), TEXTS, 64)
    build_model(network, processor, 64).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    encoder = TextEncoder(str(tmp_path))
    ids = encoder.tokenizer(["a mass"], return_tensors="pt")
    with torch.no_grad():
        expected = encoder.model.get_text_features(ids["input_ids"], ids["attention_mask"]).pooler_output.numpy()
    np.testing.assert_allclose(encoder(["a mass"]), expected, atol=1e-6)
    assert encoder.max_tokens == 64
