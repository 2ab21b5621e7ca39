"""A language model from scratch: its tokenizer, trained on the reports and answers it will see, and random weights."""

from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from selip.processing.findings import Finding

PAD, REPORT, ANSWER, END = "[PAD]", "<|report|>", "<|findings|>", "<|end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '" + ANSWER + "' + message['content'] + '" + END + "' }}"
    "{% else %}{{ '" + REPORT + "' + message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + ANSWER + "' }}{% endif %}"
)

LEAST_VOCABULARY = 400  # 256 bytes, the special tokens, and room for what the JSON repeats

_KEYS = "|".join(["findings", "sequence", "signal", *Finding.model_fields])
# How text is cut before pairs are merged, the first alternative that fits.
_PIECES = Regex(
    "|".join(
        [
            # What stands between two values of the JSON is one piece: the model spends its steps on the values.
            rf'(?:[\[\]{{}},"]*(?:{_KEYS})":[\[{{"]*)+',
            r" ?T[12][wc]?",
            # One character, one digit: what a word or a number means follows from them, and they recur in new ones.
            r"\p{Han}",
            r"\p{N}",
            r" ?[\p{L}&&[^\p{Han}]]+",
            r" ?[^\s\p{L}\p{N}]+",
            r"\s+",
        ]
    )
)


def train_chat_tokenizer(texts: Iterable[str], *, vocabulary_size: int, max_tokens: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with a chat template: no text is unknown; digits, Han characters and JSON keys are kept apart.

    Args:
        texts: reports and answers.
        vocabulary_size: upper bound on entries, at least `LEAST_VOCABULARY`.
        max_tokens: the tokenizer's `model_max_length`.
    """
    if vocabulary_size < LEAST_VOCABULARY:
        raise ValueError(f"expected a vocabulary_size of at least {LEAST_VOCABULARY}, got {vocabulary_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_PIECES, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[PAD, REPORT, ANSWER, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[REPORT, ANSWER],
        chat_template=CHAT_TEMPLATE,
        model_max_length=max_tokens,
        padding_side="left",
    )


def build_architecture(fields: dict[str, Any], **overrides: Any) -> PretrainedConfig:
    """The configuration of a causal language model from its fields, `model_type` among them.

    Raises:
        ValueError: Transformers has no such type, or the type has no such field.
    """
    values = {**fields, **overrides}
    model_type = values.pop("model_type")
    try:
        config = AutoConfig.for_model(model_type)
    except ValueError:
        raise ValueError(f"expected a model_type that Transformers knows, got {model_type!r}") from None
    unknown = sorted(name for name in values if name not in config.to_dict())
    if unknown:
        raise ValueError(f"unknown fields of a {model_type} configuration: {', '.join(unknown)}")
    built: PretrainedConfig = AutoConfig.for_model(model_type, **values)
    return built


def build_random_model(config: PretrainedConfig) -> PreTrainedModel:
    """A model of random weights; draws from torch's generator."""
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model
