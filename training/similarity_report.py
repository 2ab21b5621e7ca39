"""What a similarity calls similar: examples, distribution and soft targets of the texts of a findings table.

Only texts rendered from findings are shown, never words of a report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from selip.modeling_selip.loss_selip import compared_pairs
from selip.processing.assignment_similarity import assignment_similarity, draw_texts, measure_statistics
from selip.processing.corpus_statistics import CorpusStatistics
from selip.processing.findings import StructuredReport
from selip.processing.laterality import swap_laterality
from selip.processing.rendering import TextItem, series_text, study_text
from selip.processing.similarity import released_similarity

from .objectives import target_statistics
from .similarity_config import SimilarConfig
from .structuring.embedding_similarity import EmbeddingSimilarity, TextEncoder, embed_texts, mean_cosine
from .text_similarity import (
    LimitedTextSimilarity,
    PairSimilarity,
    ReleasedTextSimilarity,
    TextSimilarity,
    assignment_pairs,
    embedding_pairs,
    mixed_pairs,
)

Matrix = npt.NDArray[np.float32]
MOST_TEXTS = 4096  # texts of which all pairs are looked at; of a larger corpus so many are drawn
NUM_BATCHES = 40
BATCH_SIZES = (16, 32, 64, 128, 256, 512)
NUM_BINS = 20
MOST_SIMILAR = 3
MOST_MIRRORED = 256  # texts that are compared with their mirror images


def similarity_report(findings: Mapping[str, StructuredReport], config: SimilarConfig) -> dict[str, Any]:
    """Everything that the page of `selip similar` shows, as JSON.

    Args:
        findings: report of each study.
        config: what is shown. Of its paths only the encoder is read; embeddings are kept beside `out`.

    Raises:
        ValueError: fewer than two different texts.
    """
    spoken = [text for report in findings.values() if (text := _text(report, config)) is not None]
    statistics = measure_statistics([[text] for text in spoken])
    texts = list({text.text: text for text in spoken}.values())
    if len(texts) < 2:
        raise ValueError(
            f"expected at least two different texts of {config.sequence}, got {len(texts)} of {len(findings)} studies"
        )
    generator = np.random.default_rng(config.seed)
    shown = [texts[place] for place in sorted(generator.permutation(len(texts))[:MOST_TEXTS])]
    measured = _measure(spoken, statistics, config)
    matrices = {name: pairs(shown) for name, pairs in measured.pairs.items()}
    batch_similarity: dict[str, TextSimilarity] = {
        name: ReleasedTextSimilarity(config.language)
        if name == "released"
        else LimitedTextSimilarity(pairs, config.limit)
        for name, pairs in measured.pairs.items()
    }
    return {
        "similarity": config.similarity,
        "sequence": config.sequence,
        "language": config.language,
        "limit": config.limit,
        "encoder": config.encoder,
        "weights": config.weights,
        "chance": measured.chance,
        "num_studies": len(findings),
        "num_with_text": len(spoken),
        "num_texts": len(texts),
        "num_compared": len(shown),
        "distributions": {name: _distribution(matrices[name]) for name in matrices},
        "targets": {name: _targets(texts, batch_similarity[name], config.seed) for name in matrices},
        "mirrored": _mirrored(shown, measured.pairs, config.seed),
        "in_common": {name: _in_common(shown, matrix) for name, matrix in matrices.items()},
        "examples": _examples(shown, matrices, measured, config, generator),
    }


@dataclass(frozen=True)
class _Measured:
    """The similarities that are shown, by name, and what they subtract as chance."""

    pairs: dict[str, PairSimilarity]
    chance: dict[str, float]
    statistics: CorpusStatistics
    embedded: EmbeddingSimilarity | None

    def before_chance(self, name: str, drawn: list[TextItem], texts: list[TextItem]) -> Matrix | None:
        """Similarity of some texts with all before the chance level is taken away, to rank what is below it."""
        if name == "assignment":
            return assignment_similarity(drawn, texts, replace(self.statistics, chance=0.0))
        if name == "embedding" and self.embedded is not None:
            return self.embedded.cosines([item.text for item in drawn], [item.text for item in texts])
        return None


def _measure(spoken: Sequence[TextItem], statistics: CorpusStatistics, config: SimilarConfig) -> _Measured:
    pairs: dict[str, PairSimilarity] = {
        "assignment": partial(assignment_pairs, statistics=statistics),
        "released": partial(released_similarity, language=config.language),
    }
    chance = {"assignment": statistics.chance}
    embedded = None
    if config.encoder is not None:
        encoder = TextEncoder(config.encoder)
        strings = [each.text for item in spoken for each in (item, swap_laterality(item))]
        embeddings = embed_texts(strings, encoder, config.out.parent)
        chance["embedding"] = mean_cosine(embeddings, (item.text for item in draw_texts([[item] for item in spoken])))
        embedded = EmbeddingSimilarity(embeddings, chance["embedding"])
        pairs["embedding"] = partial(embedding_pairs, embedded=embedded)
    if config.weights is not None:
        parts = [(weight, pairs[name]) for name, weight in config.weights.items()]
        pairs["mixed"] = partial(mixed_pairs, parts=parts)
    return _Measured(pairs, chance, statistics, embedded)


def _text(report: StructuredReport, config: SimilarConfig) -> TextItem | None:
    if config.sequence == "study":
        return study_text(report, config.language)
    return series_text(report, config.sequence, config.language)


def _distribution(matrix: Matrix) -> dict[str, Any]:
    """Over pairs of different texts: share above 0, and shares by size of similarity among those."""
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    counts, edges = np.histogram(pairs[pairs > 0], bins=NUM_BINS, range=(0.0, 1.0))
    return {
        "share_above_zero": float((pairs > 0).mean()),
        "mean": float(pairs.mean()),
        "edges": edges.round(6).tolist(),
        "share_of_pairs": (counts / len(pairs)).tolist(),
    }


def _targets(texts: Sequence[TextItem], similarity: TextSimilarity, seed: int) -> list[dict[str, float]]:
    """What training would log, mean over some batches, by size of a batch of different texts of different studies."""
    rows = []
    for size in BATCH_SIZES:
        if size > len(texts):
            break
        generator = np.random.default_rng([seed, size])
        compared = compared_pairs(torch.arange(size))
        logged = []
        for _ in range(NUM_BATCHES):
            batch = [texts[place] for place in generator.permutation(len(texts))[:size]]
            matrix = similarity(batch, range(size))
            links = (matrix > 0).sum(axis=1) - 1
            found = target_statistics(torch.from_numpy(matrix), compared)
            logged.append({**found, "links": float(links.mean()), "most_links": float(links.max())})
        mean = {name: float(np.mean([line[name] for line in logged])) for name in logged[0]}
        rows.append({"batch": size, **mean, "most_links": max(line["most_links"] for line in logged)})
    return rows


def _in_common(texts: Sequence[TextItem], matrix: Matrix) -> float:
    """Share of findings (term, site and side) that a text and the most similar other one have in common, mean.

    Over the texts of abnormal studies: findings of both by findings of either. Assignment compares the same findings,
    so this says more of the other similarities.
    """
    told = [frozenset((s.term, s.site, s.laterality) for s in item.statements if not s.is_denied) for item in texts]
    others = matrix.copy()
    np.fill_diagonal(others, -1.0)
    nearest = others.argmax(axis=1)
    shares = [
        len(told[place] & told[near]) / len(told[place] | told[near])
        for place, near in enumerate(nearest.tolist())
        if not texts[place].normal
    ]
    return float(np.mean(shares)) if shares else 0.0


def _mirrored(texts: Sequence[TextItem], pairs: Mapping[str, PairSimilarity], seed: int) -> dict[str, Any]:
    """Mean similarity of texts with a side to themselves with the sides exchanged: every side in them is wrong."""
    order = np.random.default_rng([seed, MOST_MIRRORED]).permutation(len(texts))
    told = [texts[place] for place in order if swap_laterality(texts[place]).text != texts[place].text]
    told = told[:MOST_MIRRORED]
    if not told:
        return {"num_texts": 0, "mean": {}}
    both = [*told, *map(swap_laterality, told)]
    means = {name: float(measure(both)[: len(told), len(told) :].diagonal().mean()) for name, measure in pairs.items()}
    return {"num_texts": len(told), "mean": means}


def _examples(
    texts: Sequence[TextItem],
    matrices: Mapping[str, Matrix],
    measured: _Measured,
    config: SimilarConfig,
    generator: np.random.Generator,
) -> list[dict[str, Any]]:
    """Texts drawn at random, the normal one last, each with the texts at the places of `_places`.

    Texts below the chance level are ranked by what they had before it was taken away.
    """
    order = generator.permutation(len(texts)).tolist()
    drawn = [place for place in order if not texts[place].normal][: config.samples]
    drawn += [place for place in order if texts[place].normal][:1]
    ranking = measured.before_chance(config.similarity, [texts[place] for place in drawn], list(texts))
    if ranking is None:
        ranking = matrices[config.similarity][drawn]
    examples = []
    for place, keys in zip(drawn, ranking, strict=True):
        ranked = np.argsort(-keys, kind="stable")
        ranked = ranked[ranked != place]
        scores = matrices[config.similarity][place, ranked]
        rows = [
            {
                "rank": rank + 1,
                "where": where,
                "text": texts[ranked[rank]].text,
                **{name: float(matrices[name][place, ranked[rank]]) for name in matrices},
            }
            for rank, where in _places(scores, config.limit)
        ]
        examples.append({"text": texts[place].text, "num_similar": int((scores > 0).sum()), "rows": rows})
    return examples


def _places(scores: Matrix, limit: int) -> list[tuple[int, str]]:
    """The ranks worth a look, from 0, and why: the first, those at the limit, those where similarity ends."""
    num_similar = int((scores > 0).sum())
    places = {rank: "most similar" for rank in range(min(MOST_SIMILAR, num_similar))}
    if num_similar > limit > 0:
        places |= {limit - 1: "last within the limit", limit: "first beyond the limit"}
    if num_similar:
        places.setdefault(num_similar - 1, "last similar")
    if num_similar < len(scores):
        places.setdefault(num_similar, "not similar")
    return sorted(places.items())
