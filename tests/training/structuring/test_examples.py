"""Examples, batches and the loss: on answers only, whatever the padding and the micro-batch."""

import math

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from selip.processing.compact_findings import compact
from selip.processing.structurer import ReportText
from selip.training.structuring.examples import BatchOrder, Example, build_examples, collate
from selip.training.structuring.loss import answer_loss
from selip.training.structuring.prompt import INSTRUCTION, ReportPrompt, report_message
from selip.training.structuring.pseudo_reports import iter_pseudo_reports
from selip.training.structuring.scratch import build_architecture, build_random_model, train_chat_tokenizer

from .conftest import ARCHITECTURE

EXAMPLES = [
    Example([5, 6, 7, 8], [9, 10, 3]),
    Example([5, 6], [11, 12, 13, 14, 3]),
    Example([5, 6, 7, 8, 9, 10, 11], [12, 3]),
]


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_random_model(build_architecture(ARCHITECTURE, vocab_size=20)).eval()


def reference_loss(model: torch.nn.Module, examples: list[Example]) -> float:
    """Each example alone, unpadded; minus the log-probability of each token of its answer, summed in a loop."""
    total = 0.0
    for example in examples:
        ids = example.prompt + example.answer
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0]
        for position in range(len(example.prompt), len(ids)):
            row = logits[position - 1].tolist()
            highest = max(row)
            total -= row[ids[position]] - highest - math.log(sum(math.exp(value - highest) for value in row))
    return total


def test_loss_is_that_of_the_answers_alone(model: torch.nn.Module) -> None:
    """The loss of a padded batch is the sum over examples, each computed alone, of their answer tokens."""
    loss = answer_loss(model, collate(EXAMPLES, pad_id=0)).item()
    assert loss == pytest.approx(reference_loss(model, EXAMPLES), rel=1e-5)


def test_prompts_carry_no_loss(model: torch.nn.Module) -> None:
    """Labels are the answer's tokens and nothing else."""
    labels = collate(EXAMPLES, pad_id=0)["labels"]
    assert [[value for value in row if value != -100] for row in labels.tolist()] == [e.answer for e in EXAMPLES]


def test_gradient_of_parts_is_the_gradient_of_the_batch(model: torch.nn.Module) -> None:
    """Accumulation over micro-batches of any size gives the gradient of the whole batch."""
    parameter = next(model.parameters())

    def gradient(size: int) -> torch.Tensor:
        model.zero_grad()
        for at in range(0, len(EXAMPLES), size):
            answer_loss(model, collate(EXAMPLES[at : at + size], pad_id=0)).backward()
        return parameter.grad.clone()

    whole = gradient(3)
    assert whole.abs().max() > 0
    for size in (1, 2):
        torch.testing.assert_close(gradient(size), whole, rtol=1e-4, atol=1e-6)


def test_an_epoch_has_every_example_once_and_epochs_differ() -> None:
    """An epoch is a permutation in batches of like length, less what fills no batch; the next one is another."""
    lengths = [10 + (7 * n) % 50 for n in range(203)]
    order = BatchOrder(lengths, batch_size=4, seed=1)
    first = [order.batch(step) for step in range(order.batches_per_epoch)]
    second = [order.batch(step) for step in range(order.batches_per_epoch, 2 * order.batches_per_epoch)]
    flat = [n for batch in first for n in batch]
    assert len(flat) == 200 == len(set(flat))
    assert first != second
    assert BatchOrder(lengths, batch_size=4, seed=1).batch(17) == first[17]
    spread = sum(max(lengths[n] for n in batch) - min(lengths[n] for n in batch) for batch in first) / len(first)
    assert spread < 5  # of batches drawn at random it would be about 30
    with pytest.raises(ValueError, match="at least 8 examples"):
        BatchOrder([1] * 7, batch_size=8, seed=0)


def test_long_examples_are_left_out_and_counted() -> None:
    """What does not fit is counted, never cut."""
    reports = list(iter_pseudo_reports(12, seed=0, language="mixed"))
    texts = [text for report in reports for text in (report_message(report.text), compact(report.target.findings))]
    prompt = ReportPrompt(train_chat_tokenizer(texts, vocabulary_size=600, max_tokens=1000), "")
    every, none = build_examples(reports, prompt, 10_000)
    assert (len(every), none) == (12, 0)
    limit = sorted(example.length for example in every)[5]
    kept, left_out = build_examples(reports, prompt, limit)
    assert len(kept) + left_out == 12
    assert kept == [example for example in every if example.length <= limit]


def test_tokenizer_from_scratch_loses_no_text() -> None:
    """Any text comes back from its tokens, in scripts that were not trained on too; JSON keys are one token each."""
    tokenizer = train_chat_tokenizer(["abc", '{"findings":[{"finding":"normal","site":"brain"}]}'] * 3,
                                     vocabulary_size=400, max_tokens=64)  # fmt: skip
    for text in ("左侧 1.2 cm\n\tµm ½ é", '{"findings":[{"finding":"x","site":"y"}]}', "T2WI呈长T2"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    skeleton = tokenizer('{"findings":[{"finding":"', add_special_tokens=False)["input_ids"]
    assert len(skeleton) == 1


def test_prompt_goes_through_the_chat_template_of_the_tokenizer() -> None:
    """The tokenizer's own template is used; where an answer ends is read off it; one without gets the fallback."""
    bare = Tokenizer(models.WordLevel({"[UNK]": 0, "</s>": 1, "<end>": 2, "a": 3}, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    report = ReportText("a", "a", "en")
    own = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="</s>", additional_special_tokens=["<end>"])
    own.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}<end>\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    prompt = ReportPrompt(own, INSTRUCTION)
    assert prompt.stop_id == 2
    assert prompt.text(report) == f"[user]{INSTRUCTION}\n\n{report_message(report)}<end>\n[assistant]"
    without = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="</s>")
    fallback = ReportPrompt(without, "")
    assert fallback.stop_id == 1
    assert without.chat_template is not None  # so it is saved with the tokenizer
    assert fallback.text(report).startswith(report_message(report))
    with pytest.raises(ValueError, match="chat template or an eos token"):
        ReportPrompt(PreTrainedTokenizerFast(tokenizer_object=bare), "")
