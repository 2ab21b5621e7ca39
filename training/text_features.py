"""What a frozen text tower makes of each text: read once before the first step, never again."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

from selip.modeling_selip.modeling_selip import SelipModel

# texts read at once: always the same ones together, so that a resumed run finds the same bits
CHUNK = 64


class TextFeatures:
    """Rows of `SelipModel.compute_text_features` by text."""

    def __init__(self, texts: Sequence[str], features: torch.Tensor):
        """
        Args:
            texts: unique texts.
            features: float32 (len(texts), W), on the CPU.
        """
        self.rows = {text: row for row, text in enumerate(texts)}
        self.features = features

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Features of these texts, (P, W).

        Raises:
            ValueError: a text that was not read.
        """
        unknown = sum(text not in self.rows for text in texts)
        if unknown:
            raise ValueError(f"expected texts of the training corpus ({len(self.rows)} texts), got {unknown} others")
        return self.features[[self.rows[text] for text in texts]]


@torch.no_grad()
def read_texts(
    model: SelipModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    max_text_tokens: int,
    accelerator: Accelerator,
) -> TextFeatures:
    """Runs the text tower once over every unique text and the empty one, which pads batches; the processes share it.

    Args:
        model: a `SelipModel` on the device of the accelerator; it is in training mode afterwards.
        texts: every text that training can meet.
        max_text_tokens: length that texts are cut to.
    """
    unique = sorted({"", *texts}, key=lambda text: (len(text), text))  # texts of a length together: little padding
    text_config: Any = model.config.text_config  # SelipConfig has made a configuration of it
    features = torch.zeros(len(unique), text_config.hidden_size, device=accelerator.device)
    model.eval()
    for start in range(0, len(unique), CHUNK)[accelerator.process_index :: accelerator.num_processes]:
        encoded = tokenizer(
            unique[start : start + CHUNK],
            padding=True,
            truncation=True,
            max_length=max_text_tokens,
            return_tensors="pt",
        ).to(accelerator.device)
        with accelerator.autocast():
            read = model.compute_text_features(encoded["input_ids"], encoded["attention_mask"])
        features[start : start + CHUNK] = read.float()
    model.train()
    # each row is zero on all processes but the one that read it
    return TextFeatures(unique, accelerator.reduce(features, reduction="sum").cpu())
