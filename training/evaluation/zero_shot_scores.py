"""Scores of studies for the labels of a zero-shot protocol, from the cosines with its prompts; no truth needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from .metrics import unit_rows
from .zero_shot_protocol import SIDES, ZeroShotLabel, ZeroShotProtocol

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ZeroShotScores:
    """Scores of N studies for K labels, by all T templates together (first) and by each alone.

    Attributes:
        margins: (N, K, 1 + T); for the rule `margin` the cosine with "X" less that with "no X", for `softmax` what its
            sigmoid, times the scale, makes the softmax over the labels.
        polarity_margins: (N, K) cosine with "X" less that with "no X", whatever the rule.
        left_margins: (N, K) cosine with the words for the left less that with those for the right; NaN where the
            protocol does not tell sides.
    """

    margins: FloatArray
    polarity_margins: FloatArray
    left_margins: FloatArray


class ZeroShotScorer:
    """Scores studies by the cosines of their embeddings with those of prompts.

    The embedding of a template is the mean of those of its prompts, that of a label's polarity the mean over its
    templates; all of unit length before and after.

    Args:
        protocol: What is asked.
        labels: Those of its labels that are asked for.
    """

    def __init__(self, protocol: ZeroShotProtocol, labels: Sequence[ZeroShotLabel]) -> None:
        self.protocol, self.labels = protocol, tuple(labels)
        self._prompts = {
            (label.name, what): prompts
            for label in self.labels
            for what, prompts in (
                ("positive", protocol.prompts(label, "positive")),
                ("negative", protocol.prompts(label, "negative")),
                *((side, protocol.side_prompts(label, side)) for side in SIDES if label.findings),
            )
            if prompts
        }
        every = (prompt for templates in self._prompts.values() for prompts in templates for prompt in prompts)
        self.texts = tuple(dict.fromkeys(every))

    def score(self, studies: FloatArray, texts: FloatArray, scale: float) -> ZeroShotScores:
        """
        Args:
            studies: (N, E) unit length.
            texts: (M, E) of `texts`, unit length.
            scale: What a cosine is multiplied by, above 0.
        """
        vector_of = dict(zip(self.texts, texts, strict=True))
        cosines = {
            key: studies @ _ensembles([[vector_of[prompt] for prompt in prompts] for prompts in templates]).T
            for key, templates in self._prompts.items()
        }  # (N, 1 + T): the ensemble, then every template

        def of(what: str) -> FloatArray:
            return np.stack([cosines[label.name, what] for label in self.labels], axis=1)  # (N, K, 1 + T)

        positive, negative = of("positive"), of("negative")
        margins = positive - negative
        polarity = margins[..., 0]
        if self.protocol.rule == "softmax":
            margins = _against_others(positive, scale)
        return ZeroShotScores(margins, polarity, self._left_margins(cosines, len(studies)))

    def _left_margins(self, cosines: Mapping[tuple[str, str], FloatArray], count: int) -> FloatArray:
        margins = np.full((count, len(self.labels)), np.nan)
        for column, label in enumerate(self.labels):
            if (label.name, "left") in cosines:
                margins[:, column] = cosines[label.name, "left"][:, 0] - cosines[label.name, "right"][:, 0]
        return margins


def _ensembles(templates: Sequence[Sequence[FloatArray]]) -> FloatArray:
    """(1 + T, E) of unit length: the mean over templates, then the mean of the prompts of each."""
    of_templates = unit_rows([np.mean(prompts, axis=0) for prompts in templates])
    return np.concatenate([unit_rows(of_templates.mean(axis=0)[None]), of_templates]).astype(np.float64)


def _against_others(cosines: FloatArray, scale: float) -> FloatArray:
    """Margin (N, K, ...) whose sigmoid, times the scale, is the softmax over the K labels."""
    scaled = scale * cosines
    others = np.stack(
        [logsumexp(np.delete(scaled, column, axis=1), axis=1) for column in range(cosines.shape[1])], axis=1
    )
    return (scaled - others) / scale
