"""A tokenizer trained on the corpus itself: offline, any language."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"


def train_tokenizer(texts: Iterable[str], *, vocabulary_size: int, max_tokens: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: no text is ever unknown, in whatever script.

    Args:
        texts: the training texts.
        vocabulary_size: upper bound on entries; at least 300 (256 bytes and the special tokens).
        max_tokens: length the tokenizer truncates to by default.

    Raises:
        ValueError: The vocabulary is smaller than that.
    """
    if vocabulary_size < 300:
        raise ValueError(f"expected a vocabulary_size of at least 300, got {vocabulary_size}")
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[PAD, UNKNOWN, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, tokenizer.token_to_id(START))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=START,
        model_max_length=max_tokens,
    )
