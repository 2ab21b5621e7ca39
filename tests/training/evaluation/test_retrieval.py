"""The evaluator against loops, on small galleries with shared texts and several sequences."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from selip.training.evaluation.gallery import STUDY, GalleryImage, GalleryText, RetrievalGallery
from selip.training.evaluation.metrics import chance_recall_at_k, ndcg_at_k
from selip.training.evaluation.retrieval import RetrievalEvaluator
from selip.training.evaluation.retrieval_task import _lesions

TERMS = ("infarct", "mass", "lacune", "edema")
SIDES = ("left", "right")


def make_gallery(seed=0, patients=40):
    """Two studies of some patients, two sequences, one study in four normal, one or two findings."""
    generator = np.random.default_rng(seed)
    images, texts = [], {}
    for number in range(patients):
        for visit in range(1 + number % 2):
            count = 0 if generator.random() < 0.25 else generator.integers(1, 3)
            found = {(str(generator.choice(TERMS)), "lobe", str(generator.choice(SIDES))) for _ in range(count)}
            findings = tuple(sorted(found))
            wording = generator.integers(0, 2) if findings else 0
            for sequence in ("FLAIR", "T1w")[: 1 + int(generator.random() < 0.7)]:
                key = (sequence, f"{sequence}: {findings} {wording}", findings)
                index = texts.setdefault(key, len(texts))
                study_id = f"p{number}-v{visit}"
                series_id = f"{study_id}-{sequence}"
                images.append(GalleryImage(study_id, f"p{number}", series_id, sequence, index, findings))
    return RetrievalGallery(tuple(images), tuple(GalleryText(s, t, (f,)) for s, t, f in texts))


@pytest.fixture(scope="module")
def gallery():
    """Shared gallery."""
    return make_gallery()


@pytest.fixture(scope="module")
def embeds(gallery):
    """Embeddings that know something: the own text plus noise."""
    generator = np.random.default_rng(1)
    texts = generator.normal(size=(len(gallery.texts), 16))
    images = texts[[image.text for image in gallery.images]] + 1.2 * generator.normal(size=(len(gallery.images), 16))
    return images.astype(np.float32), texts.astype(np.float32)


def unit(rows):
    """Rows of unit length."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def is_hit(image, text, index):
    """The definition of a hit, written out."""
    return image.sequence == text.sequence and (image.text == index or image.findings in text.findings)


def naive_ranks(gallery, embeds, direction, *, overall, keep=lambda query: True):
    """Rank of the best hit of every query, by sorting lists."""
    images, texts = (unit(rows.astype(np.float32)) for rows in embeds)
    cosine = images @ texts.T
    both = product(enumerate(gallery.images), enumerate(gallery.texts))
    pairs = {(i, t): is_hit(image, text, t) for (i, image), (t, text) in both}
    queries, candidates = gallery.images, gallery.texts
    if direction == "text_to_image":
        queries, candidates = candidates, queries
    ranks = []
    for q, query in enumerate(queries):
        own = [c for c, other in enumerate(candidates) if overall or other.sequence == query.sequence]
        key = (lambda c, q=q: (q, c)) if direction == "image_to_text" else (lambda c, q=q: (c, q))
        order = sorted(own, key=lambda c: (-cosine[key(c)], pairs[key(c)]))
        places = [place for place, c in enumerate(order, start=1) if pairs[key(c)]]
        if places and keep(query):
            ranks.append((query.sequence, places[0], len(own), len(places)))
    return ranks


@pytest.mark.parametrize("direction", ["image_to_text", "text_to_image"])
def test_metrics_equal_loops(gallery, embeds, direction):
    """Recall, median rank, chance and counts of every scope are those of sorted lists."""
    metrics = RetrievalEvaluator(gallery)(*embeds)
    within = naive_ranks(gallery, embeds, direction, overall=False)
    scopes = {
        "within_sequence": within,
        "FLAIR": [each for each in within if each[0] == "FLAIR"],
        "T1w": [each for each in within if each[0] == "T1w"],
        "within_sequence_abnormal": naive_ranks(
            gallery,
            embeds,
            direction,
            overall=False,
            keep=lambda q: q.findings not in ((), ((),)),
        ),
    }
    for scope, ranks in scopes.items():
        name = f"{scope}/{direction}"
        assert metrics[f"{name}/n_queries"] == len(ranks)
        assert metrics[f"{name}/n_candidates"] == pytest.approx(np.mean([n for _, _, n, _ in ranks]))
        assert metrics[f"{name}/median_rank"] == pytest.approx(np.median([rank for _, rank, _, _ in ranks]))
        for k in (1, 5, 10):
            recall = np.mean([rank <= k for _, rank, _, _ in ranks])
            chance = np.mean([chance_recall_at_k(n, hits, k) for _, _, n, hits in ranks])
            assert metrics[f"{name}/recall@{k}"] == pytest.approx(recall)
            assert metrics[f"{name}/chance_recall@{k}"] == pytest.approx(chance)
            assert metrics[f"{name}/above_chance_recall@{k}"] == pytest.approx(recall - chance)
    overall = naive_ranks(gallery, embeds, direction, overall=True)
    assert metrics[f"overall/{direction}/recall@5"] == pytest.approx(np.mean([r <= 5 for _, r, _, _ in overall]))
    assert metrics[f"overall/{direction}/n_candidates"] == len(
        gallery.texts if direction == "image_to_text" else gallery.images
    )


def test_overall_counts_another_sequence_as_wrong(gallery, embeds):
    """Overall can only be harder than within the sequence, and its chance is that of knowing the sequence."""
    metrics = RetrievalEvaluator(gallery)(*embeds)
    for direction in ("image_to_text", "text_to_image"):
        for k in (1, 5, 10):
            inside, outside = (metrics[f"{scope}/{direction}/recall@{k}"] for scope in ("within_sequence", "overall"))
            assert outside <= inside
            chances = [metrics[f"{scope}/{direction}/chance_recall@{k}"] for scope in ("within_sequence", "overall")]
            assert chances[0] == chances[1]


def test_ndcg_uses_the_grades(gallery, embeds):
    """The mean nDCG within a sequence equals the metric on that sequence's scores and grades."""
    metrics = RetrievalEvaluator(gallery)(*embeds)
    rows, columns = gallery.members("FLAIR")
    scores = unit(embeds[0])[rows] @ unit(embeds[1])[columns].T
    expected = ndcg_at_k(scores, gallery.grades("FLAIR"), 10).mean()
    assert metrics["FLAIR/image_to_text/ndcg@10"] == pytest.approx(expected, abs=1e-6)


def test_perfect_and_collapsed_models(gallery):
    """Own text = own embedding gives recall 1 and rank 1 everywhere; one point for all gives recall 0."""
    texts = np.eye(len(gallery.texts))
    perfect = RetrievalEvaluator(gallery)(texts[[image.text for image in gallery.images]], texts)
    assert perfect["within_sequence/image_to_text/recall@1"] == 1
    assert perfect["overall/image_to_text/recall@1"] == 1
    assert perfect["overall/text_to_image/median_rank"] == 1
    collapsed = RetrievalEvaluator(gallery)(np.ones((len(gallery.images), 4)), np.ones((len(gallery.texts), 4)))
    assert collapsed["within_sequence/image_to_text/recall@1"] == 0
    assert collapsed["overall/text_to_image/ndcg@10"] == 0


def test_a_model_that_looks_at_nothing_reaches_the_blind_yardstick_and_not_more():
    """Always naming the most frequent text first beats chance by far; the blind yardstick shows it."""
    gallery = make_gallery(seed=3, patients=80)
    counts = np.bincount([image.text for image in gallery.images], minlength=len(gallery.texts))
    # Along one direction, so that all images rank the texts by their frequency.
    texts = np.stack([np.cos(1 / (1 + counts + 0.01 * np.arange(len(counts)))), np.sin(1 / (1 + counts))], axis=1)
    metrics = RetrievalEvaluator(gallery)(np.tile([1.0, 0.0], (len(gallery.images), 1)), texts)
    name = "within_sequence/image_to_text"
    assert metrics[f"{name}/recall@1"] <= metrics[f"{name}/blind_recall@1"] + 1e-12
    assert metrics[f"{name}/recall@1"] > 2 * metrics[f"{name}/chance_recall@1"]


def test_order_of_the_gallery_does_not_matter(gallery, embeds):
    """Permuting the series, with their embeddings, leaves every metric as it is."""
    order = np.random.default_rng(5).permutation(len(gallery.images))
    permuted = RetrievalGallery(tuple(gallery.images[i] for i in order), gallery.texts)
    first, second = RetrievalEvaluator(gallery)(*embeds), RetrievalEvaluator(permuted)(embeds[0][order], embeds[1])
    assert first.keys() == second.keys()
    assert first == pytest.approx(second)


def test_points_can_be_recomputed_from_the_case_table(gallery, embeds):
    """The weighted mean over the rows of a group is the metric; the shares of a query sum to one."""
    result = RetrievalEvaluator(gallery).evaluate(*embeds)
    cases = result.cases
    for direction in ("image_to_text", "text_to_image"):
        rows = cases["direction"] == direction
        recall = np.average(cases["rank"][rows] <= 5, weights=cases["weight"][rows])
        assert recall == pytest.approx(result.metrics[f"within_sequence/{direction}/recall@5"])
        for query in np.unique(cases["query"][rows]):
            assert cases["weight"][rows & (cases["query"] == query)].sum() == pytest.approx(1)
    series = {image.series_id: image for image in gallery.images}
    for ids in zip(cases["study_id"], cases["patient_id"], cases["series_id"], strict=True):
        assert (series[ids[2]].study_id, series[ids[2]].patient_id) == ids[:2]


def test_cases_follow_from_the_scores_alone(gallery, embeds):
    """The matrix of cosines gives the table of cases that embeddings give; other shapes and NaN are refused."""
    evaluator = RetrievalEvaluator(gallery)
    scores = evaluator.cosines(*embeds)
    expected, found = evaluator.score(*embeds), evaluator.score_matrix(scores)
    for name, values in expected.items():
        if values.dtype == np.float64:
            np.testing.assert_allclose(found[name], values, atol=1e-12, err_msg=name)
        else:
            assert found[name].tolist() == values.tolist(), name
    with pytest.raises(ValueError, match="every image against every text"):
        evaluator.score_matrix(scores.T)
    scores[0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        evaluator.score_matrix(scores)


def test_intervals_hold_their_points_and_are_deterministic(gallery, embeds):
    """Every mean lies in its interval, a seed fixes it, and a difference is narrower than its two parts."""
    evaluator = RetrievalEvaluator(gallery, bootstrap_samples=400, seed=2)
    first, second = evaluator.evaluate(*embeds), evaluator.evaluate(*embeds)
    assert first.intervals == second.intervals
    assert set(first.metrics) - set(first.intervals) == {
        name for name in first.metrics if name.endswith(("/n_queries", "/n_candidates"))
    }
    for name, (low, high) in first.intervals.items():
        assert low - 1e-9 <= first.metrics[name] <= high + 1e-9, name
    assert RetrievalEvaluator(gallery).evaluate(*embeds).intervals == {}


def test_interval_of_a_gain_over_nothing_holds_zero(gallery):
    """Embeddings without information do not beat chance: the interval of the difference contains zero."""
    generator = np.random.default_rng(11)
    images, texts = generator.normal(size=(len(gallery.images), 64)), generator.normal(size=(len(gallery.texts), 64))
    result = RetrievalEvaluator(gallery, bootstrap_samples=500).evaluate(images, texts)
    low, high = result.intervals["within_sequence/image_to_text/above_chance_recall@5"]
    assert low < 0 < high


def test_texts_without_an_embedded_series_are_no_queries(gallery, embeds):
    """A dropped series takes its text out of the queries but not out of the candidates."""
    alone = next(
        i for i, image in enumerate(gallery.images)
        if sum(is_hit(other, gallery.texts[image.text], image.text) for other in gallery.images) == 1
    )  # fmt: skip
    kept = np.arange(len(gallery.images)) != alone
    full = RetrievalEvaluator(gallery)(*embeds)
    fewer = RetrievalEvaluator(gallery.keep_images(kept.tolist(), {}))(embeds[0][kept], embeds[1])
    for direction in ("image_to_text", "text_to_image"):
        name = f"overall/{direction}/n_queries"
        assert fewer[name] == full[name] - 1
    assert fewer["overall/image_to_text/n_candidates"] == len(gallery.texts)


def test_ranked_texts_agree_with_the_rank(gallery, embeds):
    """The place of the first hit in the list that is shown equals the rank in the case table."""
    evaluator = RetrievalEvaluator(gallery)
    cases = evaluator.evaluate(*embeds).cases
    for row in np.flatnonzero(cases["direction"] == "image_to_text")[:20]:
        ranked = evaluator.ranked_texts(*embeds, int(cases["query"][row]), len(gallery.texts))
        assert len(ranked) == cases["n_candidates"][row]
        assert [grade for _, _, grade in ranked].index(3) + 1 == cases["rank"][row]
        assert [score for _, score, _ in ranked] == sorted((score for _, score, _ in ranked), reverse=True)


def test_contract_of_evaluators(gallery, embeds):
    """A flat dict of floats that holds the primary metric; settings can be written as JSON."""
    evaluator = RetrievalEvaluator(gallery, bootstrap_samples=10)
    metrics = evaluator(*embeds)
    assert evaluator.primary_metric in metrics
    assert evaluator.greater_is_better
    assert all(type(value) is float for value in metrics.values())
    settings = json.loads(json.dumps(evaluator.get_config_dict()))
    assert settings["gallery_fingerprint"] == gallery.fingerprint()
    with pytest.raises(ValueError, match="image and"):
        evaluator(embeds[0][:-1], embeds[1])


def test_studies_have_scopes_of_their_own(gallery, embeds):
    """With cases of a study gallery the other scopes are as they were, and `study` is that gallery's own result."""
    images = [replace(image, sequence=STUDY) for image in gallery.images if image.sequence == "FLAIR"]
    texts = [replace(text, sequence=STUDY) if text.sequence == "FLAIR" else text for text in gallery.texts]
    studies = RetrievalGallery(tuple(images), tuple(texts))
    rows = [number for number, image in enumerate(gallery.images) if image.sequence == "FLAIR"]
    evaluator = RetrievalEvaluator(gallery)
    alone = evaluator.evaluate(*embeds)
    cases = RetrievalEvaluator(studies).score(embeds[0][rows], embeds[1])
    joined = evaluator.summarise({name: np.concatenate([alone.cases[name], cases[name]]) for name in cases})
    assert alone.metrics.items() <= joined.metrics.items()
    added = joined.metrics.keys() - alone.metrics.keys()
    assert {name.split("/")[0] for name in added} == {"study", "study_abnormal"}
    for name in added:
        scope, rest = name.split("/", 1)
        if scope == "study":
            assert joined.metrics[name] == alone.metrics[f"FLAIR/{rest}"]


def test_recall_among_few_is_left_out_where_there_are_not_as_many(gallery, embeds):
    """Galleries of 10 are possible, of 1000 are not; a smaller gallery is easier."""
    metrics = RetrievalEvaluator(gallery)(*embeds)
    name = "within_sequence/image_to_text/recall@5"
    assert metrics[name] <= metrics[f"{name}_among_10"] <= 1
    assert not any(key.endswith("_among_1000") for key in metrics)


def test_a_mask_that_cannot_be_read_costs_the_outline_alone(caplog):
    """No result of a retrieval depends on masks: the picture goes without, and the study is named."""

    class Broken:
        def mask_to_box(self, *_, **__):
            raise ValueError("expected a largest side of 30 to 1000 mm")

    assert _lesions("s1", ["mask"], Broken(), np.eye(4)) is None
    assert "study s1: expected a largest side" in caplog.text
