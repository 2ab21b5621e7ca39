"""Answers of a causal language model about reports: in batches, each answer read, or refused with a reason."""

from collections.abc import Iterator, Sequence

import torch
from transformers import LogitsProcessorList, PreTrainedModel

from selip.processing.compact_findings import read_compact
from selip.processing.findings import StructuredReport
from selip.processing.structurer import ReportText

from .constraint import CompactConstraint
from .prompt import ReportPrompt

CUT = "cut at max_new_tokens"
TOO_LONG = "longer than the model's context"


def generate_reports(
    model: PreTrainedModel,
    prompt: ReportPrompt,
    reports: Sequence[ReportText],
    *,
    batch_size: int,
    max_new_tokens: int,
    constraint: CompactConstraint | None,
) -> Iterator[tuple[int, StructuredReport | str]]:
    """Findings of reports by greedy decoding, in batches of like length, longest first.

    Args:
        model: in evaluation mode, on its device; adapters may be around it.
        prompt: how it is asked.
        reports: the reports.
        batch_size: reports at once.
        max_new_tokens: tokens of an answer at most.
        constraint: keeps answers to the schema; None leaves them free.

    Yields:
        Position in `reports` and the findings or the reason why there are none, as each batch is done.
    """
    asked = [prompt.prompt_ids(report) for report in reports]
    room = int(model.config.max_position_embeddings) - max_new_tokens
    for number, ids in enumerate(asked):
        if len(ids) > room:
            yield number, TOO_LONG
    order = sorted((n for n, ids in enumerate(asked) if len(ids) <= room), key=lambda n: (-len(asked[n]), n))
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        answers = _generate(model, prompt, [asked[n] for n in numbers], max_new_tokens, constraint)
        for number, answer in zip(numbers, answers, strict=True):
            yield number, CUT if answer is None else read_compact(answer, reports[number])


@torch.inference_mode()
def _generate(
    model: PreTrainedModel,
    prompt: ReportPrompt,
    asked: list[list[int]],
    max_new_tokens: int,
    constraint: CompactConstraint | None,
) -> list[str | None]:
    """The answer to each prompt, None where it had not ended."""
    tokenizer = prompt.tokenizer
    length = max(map(len, asked))
    rows = [[tokenizer.pad_token_id] * (length - len(ids)) + ids for ids in asked]
    mask = [[0] * (length - len(ids)) + [1] * len(ids) for ids in asked]
    processors = LogitsProcessorList([] if constraint is None else [constraint.processor(len(asked), length)])
    device = next(model.parameters()).device
    generated = model.generate(
        input_ids=torch.tensor(rows, device=device),
        attention_mask=torch.tensor(mask, device=device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        # sampling options that instruct models ship with say nothing to greedy decoding and would be warned about
        temperature=None,
        top_p=None,
        top_k=None,
        eos_token_id=prompt.stop_id,
        pad_token_id=tokenizer.pad_token_id,
        logits_processor=processors,
    )
    answers: list[str | None] = []
    for ids in generated[:, length:].tolist():
        end = ids.index(prompt.stop_id) if prompt.stop_id in ids else None
        answers.append(None if end is None else str(tokenizer.decode(ids[:end], skip_special_tokens=True)))
    return answers
