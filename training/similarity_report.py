"""What a similarity calls similar: examples, distribution and soft targets of the texts of a findings table.

Only texts rendered from findings are shown, never words of a report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from selip.modeling_selip.loss_selip import compared_pairs
from selip.processing.assignment_similarity import assignment_similarity, measure_statistics
from selip.processing.corpus_statistics import CorpusStatistics
from selip.processing.findings import StructuredReport
from selip.processing.rendering import TextItem, series_text, study_text
from selip.processing.similarity import released_similarity

from .config import SimilarConfig
from .objectives import target_statistics
from .text_similarity import AssignmentTextSimilarity, ReleasedTextSimilarity, TextSimilarity

Matrix = npt.NDArray[np.float32]
METRICS = ("assignment", "released")
MOST_TEXTS = 4096  # texts of which all pairs are looked at; of a larger corpus so many are drawn
NUM_BATCHES = 40
BATCH_SIZES = (16, 32, 64, 128, 256, 512)
NUM_BINS = 20
MOST_SIMILAR = 3


def similarity_report(findings: Mapping[str, StructuredReport], config: SimilarConfig) -> dict[str, Any]:
    """Everything that the page of `selip similar` shows, as JSON.

    Args:
        findings: report of each study.
        config: what is shown; paths in it are not read.

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
    matrices = {
        "assignment": assignment_similarity(shown, shown, statistics),
        "released": released_similarity(shown, config.language),
    }
    batch_similarity: dict[str, TextSimilarity] = {
        "assignment": AssignmentTextSimilarity(statistics, config.limit),
        "released": ReleasedTextSimilarity(config.language),
    }
    return {
        "similarity": config.similarity,
        "sequence": config.sequence,
        "language": config.language,
        "limit": config.limit,
        "chance": statistics.chance,
        "num_studies": len(findings),
        "num_with_text": len(spoken),
        "num_texts": len(texts),
        "num_compared": len(shown),
        "distributions": {name: _distribution(matrices[name]) for name in METRICS},
        "targets": {name: _targets(texts, batch_similarity[name], config.seed) for name in METRICS},
        "examples": _examples(shown, matrices, statistics, config, generator),
    }


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


def _examples(
    texts: Sequence[TextItem],
    matrices: Mapping[str, Matrix],
    statistics: CorpusStatistics,
    config: SimilarConfig,
    generator: np.random.Generator,
) -> list[dict[str, Any]]:
    """Texts drawn at random, the normal one last, each with the texts at the places of `_places`.

    Texts below the chance level are ranked by what they had before it was taken away.
    """
    order = generator.permutation(len(texts)).tolist()
    drawn = [place for place in order if not texts[place].normal][: config.samples]
    drawn += [place for place in order if texts[place].normal][:1]
    before_chance = assignment_similarity([texts[place] for place in drawn], texts, replace(statistics, chance=0.0))
    ranking = before_chance if config.similarity == "assignment" else matrices["released"][drawn]
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
                **{name: float(matrices[name][place, ranked[rank]]) for name in METRICS},
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
