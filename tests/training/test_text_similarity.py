"""From texts of a batch to soft targets: padding, studies, limit, and statistics that stay with a run."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModel

from selip.modeling_selip.loss_selip import compared_pairs
from selip.processing.assignment_similarity import assignment_similarity, measure_statistics
from selip.processing.corpus_statistics import CorpusStatistics
from selip.processing.laterality import swap_laterality
from selip.processing.similarity import released_similarity
from selip.training.config import OptimizationConfig, PretrainData
from selip.training.data import StudyTexts
from selip.training.objectives import target_statistics
from selip.training.structuring.embedding_similarity import TextEncoder
from selip.training.text_similarity import (
    EMBEDDING_FILE,
    STATISTICS_FILE,
    AssignmentTextSimilarity,
    ReleasedTextSimilarity,
    build_similarity,
)

KINDS = ("series", "finding")
ASSIGNMENT = OptimizationConfig(similarity="assignment")


@pytest.fixture
def corpus(memory_studies):
    """Texts of each study."""
    texts = StudyTexts(PretrainData(studies="-", findings="-", volumes="-"))
    return [texts.of_study(study, KINDS) for study in memory_studies]


@pytest.fixture
def batch(corpus):
    """Two texts of each of 40 studies, every seventh missing; texts and the numbers of their studies."""
    speaking = [study for study in corpus if len(study) >= 2][:40]
    texts = [text for study in speaking for text in study[:2]]
    studies = [number for number in range(len(speaking)) for _ in range(2)]
    assert len(speaking) == 40
    return [None if place % 7 == 0 else text for place, text in enumerate(texts)], studies


def test_equal_texts_are_the_same_or_normal(memory_studies, tmp_path):
    """Normal texts of any two sequences are equal, abnormal ones where they are word for word the same."""
    texts = StudyTexts(PretrainData(studies="-", findings="-", volumes="-"))
    items = [item for study in memory_studies[:30] for item in texts.of_study(study, ["series"])][:60]
    items[3] = None
    assert sum(item.normal for item in items if item) > 3
    similarity = build_similarity(OptimizationConfig(similarity="equal"), "en", tmp_path, [], [], is_main=True)
    found = similarity(items, list(range(len(items))))
    for i, a in enumerate(items):
        for j, b in enumerate(items):
            is_equal = a is not None and b is not None and ((a.normal and b.normal) or a.text == b.text)
            assert found[i, j] == is_equal


def test_released_is_released_where_there_are_texts(batch):
    """Between real texts the matrix is `released_similarity`; rows and columns of padding are 0."""
    texts, studies = batch
    found = ReleasedTextSimilarity("en")(texts, studies)
    real = [place for place, text in enumerate(texts) if text is not None]
    np.testing.assert_array_equal(found[np.ix_(real, real)], released_similarity([texts[i] for i in real], "en"))
    padding = [place for place, text in enumerate(texts) if text is None]
    assert padding
    assert not found[padding].any()
    assert not found[:, padding].any()


def test_assignment_links_other_studies_within_the_limit(corpus, batch):
    """Without a limit that binds: the similarity of texts of two studies, 0 within one, 1 on the diagonal."""
    texts, studies = batch
    statistics = measure_statistics(corpus)
    free = AssignmentTextSimilarity(statistics, limit=len(texts))(texts, studies)
    for i, text in enumerate(texts):
        for j, other in enumerate(texts):
            if text is None or other is None:
                expected = 0.0
            elif i == j:
                expected = 1.0
            elif studies[i] == studies[j]:
                expected = 0.0
            else:
                expected = assignment_similarity([text], [other], statistics).item()
            assert free[i, j] == pytest.approx(expected, abs=1e-6)
    limited = AssignmentTextSimilarity(statistics, limit=3)(texts, studies)
    links = (limited > 0).sum(axis=1) - (limited.diagonal() > 0)
    assert links.max() == 3
    assert ((free > 0).sum(axis=1) - 1).max() > 3
    assert set(limited[limited > 0]) <= set(free[free > 0])


def test_the_limit_bounds_the_effective_number_of_targets(corpus, batch):
    """What training logs: between 1 and limit + 1 targets, and the true pair never below what it shares evenly."""
    texts, studies = batch
    statistics = measure_statistics(corpus)
    compared = compared_pairs(torch.tensor(studies), torch.tensor([text is not None for text in texts]))
    effective = []
    for limit in (0, 2, 8):
        similarity = torch.from_numpy(AssignmentTextSimilarity(statistics, limit)(texts, studies))
        logged = target_statistics(similarity, compared)
        assert 1.0 <= logged["effective_targets"] <= limit + 1
        assert logged["own_mass"] >= 0.5 + 0.5 / (limit + 1) - 1e-6
        effective.append(logged["effective_targets"])
    assert effective[0] == 1.0
    assert effective[0] < effective[1] < effective[2]


def test_mirrored_batches_have_the_same_targets(corpus, batch):
    """All texts of a batch mirrored: not a bit of the similarity changes; one study mirrored: it does."""
    texts, studies = batch
    similarity = AssignmentTextSimilarity(measure_statistics(corpus), limit=8)
    mirrored = [None if text is None else swap_laterality(text) for text in texts]
    own = similarity(texts, studies)
    np.testing.assert_array_equal(similarity(mirrored, studies), own)
    assert (similarity([*mirrored[:20], *texts[20:]], studies) != own).any()


def test_statistics_are_measured_once_and_stay_with_the_run(corpus, tmp_path):
    """The first call writes what it measured; later calls read it, whatever the studies say by then."""
    first = build_similarity(ASSIGNMENT, "en", tmp_path, corpus, [], is_main=True)
    assert CorpusStatistics.load(tmp_path / STATISTICS_FILE) == first.statistics == measure_statistics(corpus)
    changed = [[replace(text, statements=text.statements[:1]) for text in study] for study in corpus[:20]]
    assert measure_statistics(changed) != first.statistics
    again = build_similarity(ASSIGNMENT, "en", tmp_path, changed, [], is_main=False)
    assert again.statistics == first.statistics
    assert again.limit == ASSIGNMENT.similarity_limit


def test_only_the_main_process_writes_and_only_where_there_is_something(corpus, tmp_path):
    """Another process measures the same and writes nothing; the released similarity reads no study at all."""
    other = build_similarity(ASSIGNMENT, "en", tmp_path, corpus, [], is_main=False)
    assert other.statistics == measure_statistics(corpus)
    unread = iter([None])
    released = build_similarity(OptimizationConfig(), "zh", tmp_path, unread, [], is_main=True)
    assert isinstance(released, ReleasedTextSimilarity)
    assert next(unread) is None
    assert not list(tmp_path.iterdir())


def test_a_negative_limit_is_refused():
    """The message names the option."""
    with pytest.raises(ValueError, match="similarity_limit"):
        OptimizationConfig(similarity_limit=-1)


@pytest.fixture
def embedding(text_tower):
    """A configuration of the similarity `embedding`."""
    return OptimizationConfig(similarity="embedding", similarity_encoder=str(text_tower))


def strings(corpus):
    return [text.text for study in corpus for text in study]


def test_embedding_links_other_studies_within_the_limit(corpus, batch, embedding, text_tower, tmp_path):
    """Against the encoder itself: cosine less the stored chance, 0 in a study, never more links than the limit."""
    texts, studies = batch
    free = build_similarity(
        replace(embedding, similarity_limit=len(texts)), "en", tmp_path, corpus, strings(corpus), is_main=True
    )(texts, studies)
    chance = json.loads((tmp_path / EMBEDDING_FILE).read_text())["chance"]
    vectors = TextEncoder(str(text_tower))([text.text for text in texts if text is not None])
    real = [place for place, text in enumerate(texts) if text is not None]
    expected = np.maximum(0, (vectors @ vectors.T - chance) / (1 - chance))
    numbers = np.array(studies)[real]
    expected[numbers[:, None] == numbers[None, :]] = 0
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(free[np.ix_(real, real)], expected, atol=1e-3)
    assert free.sum() == pytest.approx(free[np.ix_(real, real)].sum())
    limited = build_similarity(
        replace(embedding, similarity_limit=3), "en", tmp_path, corpus, strings(corpus), is_main=True
    )(texts, studies)
    assert ((limited > 0).sum(axis=1) - (limited.diagonal() > 0)).max() == 3


def test_mixed_is_the_weighted_mean_of_its_parts(corpus, batch, embedding, tmp_path):
    """Without a limit that binds: the mean of the similarities it names, in their weights, between studies."""
    texts, studies = batch
    weights = {"released": 0.2, "assignment": 0.5, "embedding": 0.3}
    mixed = replace(embedding, similarity="mixed", similarity_weights=weights, similarity_limit=len(texts))
    alone = {
        "assignment": replace(ASSIGNMENT, similarity_limit=len(texts)),
        "embedding": replace(embedding, similarity_limit=len(texts)),
        "released": OptimizationConfig(),
        "mixed": mixed,
    }
    matrices = {
        name: build_similarity(config, "en", tmp_path, corpus, strings(corpus), is_main=True)(texts, studies)
        for name, config in alone.items()
    }
    other = np.array(studies)[:, None] != np.array(studies)[None, :]
    expected = sum(weight * matrices[name] for name, weight in weights.items())
    np.testing.assert_allclose(matrices["mixed"][other], expected[other], atol=1e-6)
    assert (matrices["mixed"][other] > 0).mean() > (matrices["assignment"][other] > 0).mean()
    np.testing.assert_array_equal(matrices["mixed"], matrices["mixed"].T)


def test_a_resumed_run_keeps_its_chance_and_its_encoder(corpus, batch, embedding, text_tower, tmp_path):
    """With another findings table the chance stays; with other weights of the encoder the run is refused."""
    first = build_similarity(embedding, "en", tmp_path, corpus, strings(corpus), is_main=True)
    again = build_similarity(embedding, "en", tmp_path, corpus[:10], strings(corpus), is_main=False)
    np.testing.assert_array_equal(again(*batch), first(*batch))
    model = AutoModel.from_pretrained(text_tower)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight += 0.01
    model.save_pretrained(text_tower)
    with pytest.raises(ValueError, match="encoder that the run"):
        build_similarity(embedding, "en", tmp_path, corpus, strings(corpus), is_main=True)


def test_similarities_pickle_for_worker_processes(corpus, batch, embedding, tmp_path):
    """Batches may be made in other processes: a similarity that was sent there gives the same bits."""
    mixed = replace(embedding, similarity="mixed", similarity_weights={"assignment": 0.5, "embedding": 0.5})
    similarity = build_similarity(mixed, "en", tmp_path, corpus, strings(corpus), is_main=True)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(similarity))(*batch), similarity(*batch))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"similarity": "mixed"}, "weights"),
        ({"similarity_weights": {"assignment": 1.0}}, "weights"),
        ({"similarity": "mixed", "similarity_weights": {"assignment": 0.5, "cosine": 0.5}}, "cosine"),
        ({"similarity": "mixed", "similarity_weights": {"assignment": 0.5, "released": 0.4}}, "sum to 1"),
        ({"similarity": "mixed", "similarity_weights": {"assignment": 1.5, "released": -0.5}}, "above 0"),
        ({"similarity": "mixed", "similarity_weights": {}}, "nothing"),
        ({"similarity": "mixed", "similarity_weights": {"assignment": 0.5, "embedding": 0.5}}, "encoder"),
        ({"similarity": "embedding"}, "encoder"),
        ({"similarity": "assignment", "similarity_encoder": "x"}, "encoder"),
    ],
)
def test_a_similarity_needs_what_it_is_made_of_and_nothing_else(fields, message):
    """Weights belong to mixed, an encoder to embedding; weights are of known similarities and sum to 1."""
    with pytest.raises(ValueError, match=message):
        OptimizationConfig(**fields)
