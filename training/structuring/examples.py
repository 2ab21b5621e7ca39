"""Examples and batches of tuning: prompt and answer as tokens, loss on answers only, batches drawn from the step."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from selip.processing.compact_findings import compact

from .prompt import ReportPrompt
from .pseudo_reports import LabelledReport

IGNORED = -100
"""Label of a position without loss, as in Transformers."""

BUCKET_BATCHES = 32
"""Batches whose reports are sorted by length together, so that little is padded and the order stays random."""


class Example(NamedTuple):
    """Tokens of a prompt and of its answer with the token that ends it."""

    prompt: list[int]
    answer: list[int]

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.answer)


def build_examples(
    reports: Sequence[LabelledReport], prompt: ReportPrompt, max_tokens: int
) -> tuple[list[Example], int]:
    """Examples of reports, and how many are longer than `max_tokens` and left out: none is cut."""
    examples = [
        Example(prompt.prompt_ids(report.text), prompt.answer_ids(compact(report.target.findings)))
        for report in reports
    ]
    kept = [example for example in examples if example.length <= max_tokens]
    return kept, len(examples) - len(kept)


def collate(examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """A micro-batch, padded on the right.

    Returns:
        input_ids, attention_mask, labels, each (B, L) int64; labels are `IGNORED` on prompt and padding.
    """
    length = max(example.length for example in examples)
    rows = [(example.prompt + example.answer, len(example.prompt)) for example in examples]
    return {
        "input_ids": torch.tensor([ids + [pad_id] * (length - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor(
            [[IGNORED] * asked + ids[asked:] + [IGNORED] * (length - len(ids)) for ids, asked in rows]
        ),
    }


class BatchOrder:
    """Which examples each step has: drawn from (seed, step), so that a resumed run goes on as if it had not stopped.

    An epoch is a random order of all examples, cut into groups of `BUCKET_BATCHES` batches; a group is sorted by
    length, cut into batches, and these are shuffled. The rest of an epoch that fills no batch is left out of it.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int):
        if len(lengths) < batch_size:
            raise ValueError(f"expected at least {batch_size} examples for a batch, got {len(lengths)}")
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.batches_per_epoch = len(lengths) // batch_size
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    def batch(self, step: int) -> list[int]:
        """Positions of the examples of a step, counted from 0; the longest first."""
        epoch, number = divmod(step, self.batches_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._draw(epoch)
        return self._epoch[1][number]

    def _draw(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.lengths))
        batches: list[np.ndarray] = []
        for start in range(0, len(order), BUCKET_BATCHES * self.batch_size):
            bucket = order[start : start + BUCKET_BATCHES * self.batch_size]
            bucket = bucket[np.argsort(-self.lengths[bucket], kind="stable")]
            batches += [
                bucket[at : at + self.batch_size]
                for at in range(0, len(bucket) - self.batch_size + 1, self.batch_size)
            ]
        return [batches[i].tolist() for i in rng.permutation(len(batches))]
