"""Answers that follow the schema by construction: at each step only tokens that continue valid JSON are left.

Needs the extra `structure` (llguidance). What it guarantees is the form, not that an answer ends: the number of tokens
is limited elsewhere.
"""

import importlib.util
import json
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from selip.processing.compact_findings import compact_schema


def is_available() -> bool:
    """Whether llguidance is installed."""
    return importlib.util.find_spec("llguidance") is not None


class CompactConstraint:
    """The grammar of compact findings for one tokenizer; slow to build, so build it once.

    Args:
        tokenizer: a fast tokenizer.
        vocabulary_size: width of the model's logits, which may be more than the tokenizer has.
        stop_id: the token that ends an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary_size: int, stop_id: int):
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer

        self._stop_id = stop_id
        self._tokenizer = from_tokenizer(tokenizer, n_vocab=vocabulary_size, eos_token=stop_id)  # type: ignore[arg-type]
        self._grammar = LLMatcher.grammar_from_json_schema(
            json.dumps(compact_schema()), overrides={"whitespace_flexible": False}
        )
        self._matcher = LLMatcher(self._tokenizer, self._grammar)
        if self._matcher.is_error():
            raise ValueError(f"llguidance refused the schema of findings: {self._matcher.get_error()}")

    def processor(self, batch_size: int, prompt_length: int) -> "_ConstraintProcessor":
        """A logits processor for one call of `generate`."""
        matchers = [self._matcher.deep_copy() for _ in range(batch_size)]
        return _ConstraintProcessor(matchers, prompt_length, self._stop_id)


class _ConstraintProcessor(LogitsProcessor):
    """One matcher a row; it follows the tokens that were generated since its last call."""

    def __init__(self, matchers: list[Any], prompt_length: int, stop_id: int):
        self._matchers = matchers
        self._stop_id = stop_id
        self._seen = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, V), minus infinity for tokens that the schema forbids."""
        for row, matcher in enumerate(self._matchers):
            for token in input_ids[row, self._seen :].tolist():
                if not matcher.is_stopped():
                    matcher.consume_token(token)
        self._seen = input_ids.shape[1]
        allowed = np.stack([self._allowed(matcher, scores.shape[1]) for matcher in self._matchers])
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), -torch.inf)

    def _allowed(self, matcher: Any, vocabulary_size: int) -> np.ndarray:
        if matcher.is_stopped():  # nothing can follow, and it does not ask for the token that says so
            return np.arange(vocabulary_size) == self._stop_id
        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[:vocabulary_size].astype(bool)
        return np.pad(allowed, (0, vocabulary_size - len(allowed)))
