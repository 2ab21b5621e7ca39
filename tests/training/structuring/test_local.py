"""The local structurer: what comes out for each report, whatever is asked beside it and whatever the model writes."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from selip.processing.compact_findings import NOT_THIS_REPORT, compact
from selip.processing.findings import Finding, StructuredReport
from selip.processing.row_files import read_rows, write_rows
from selip.processing.sources.config import StructureConfig
from selip.processing.structurer import ReportText
from selip.structure import structure
from selip.training.evaluation.structuring_config import StructuringEvaluateConfig
from selip.training.evaluation.structuring_predictions import predict
from selip.training.evaluation.structuring_task import evaluate_structuring
from selip.training.structuring import local
from selip.training.structuring.choice import structurer_named
from selip.training.structuring.config import PseudoReportsConfig
from selip.training.structuring.constraint import is_available
from selip.training.structuring.generation import CUT, TOO_LONG, generate_reports
from selip.training.structuring.local import LocalStructurer, load_local_structurer
from selip.training.structuring.prompt import ReportPrompt
from selip.training.structuring.pseudo_reports import iter_pseudo_reports
from selip.training.structuring.report_files import write_pseudo_reports
from selip.training.structuring.scratch import build_architecture, build_random_model, train_chat_tokenizer

from .conftest import ARCHITECTURE

needs_llguidance = pytest.mark.skipif(not is_available(), reason="needs the extra `structure` (llguidance)")
REPORTS = [report.text for report in iter_pseudo_reports(5, seed=4, language="mixed")]
NORMAL = compact([Finding(finding="normal", site="brain")])


@pytest.fixture(scope="module")
def prompt() -> ReportPrompt:
    texts = [text for report in REPORTS for text in (report.findings, report.impression)]
    return ReportPrompt(train_chat_tokenizer([*texts, NORMAL], vocabulary_size=600, max_tokens=1000), "")


class ScriptedModel(torch.nn.Module):
    """Writes given answers: to the n-th longest prompt the n-th answer."""

    def __init__(self, prompt: ReportPrompt, answers: Sequence[str]):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(max_position_embeddings=600)
        self.prompt, self.answers, self.asked = prompt, list(answers), 0

    def generate(self, input_ids: torch.Tensor, max_new_tokens: int, **_: Any) -> torch.Tensor:
        rows = [self.prompt.answer_ids(self.answers.pop(0))[:max_new_tokens] for _ in input_ids]
        self.asked += len(rows)
        width = max(map(len, rows))
        padded = [row + [self.prompt.tokenizer.pad_token_id] * (width - len(row)) for row in rows]
        return torch.cat([input_ids, torch.tensor(padded)], dim=1)


def test_results_are_in_the_order_of_the_reports_with_a_reason_where_there_are_none(prompt: ReportPrompt) -> None:
    """Longest first inside, the order of the caller outside; each bad answer has its reason and stops nobody else."""
    by_length = sorted(range(5), key=lambda n: -len(prompt.prompt_ids(REPORTS[n])))
    answers = ["no JSON at all", '{"findings":[{"finding":"normal"}]}', NORMAL, NORMAL * 60, NORMAL]
    model = ScriptedModel(prompt, answers)
    found = dict(
        generate_reports(model, prompt, REPORTS, batch_size=2, max_new_tokens=40, constraint=None)  # type: ignore[arg-type]
    )
    kinds = [found[n] if isinstance(found[n], str) else "findings" for n in by_length]
    assert kinds == ["invalid JSON", "not the schema", "findings", CUT, "findings"]
    impressions = {n: found[n].impression for n in (by_length[2], by_length[4])}  # type: ignore[union-attr]
    assert all(REPORTS[n].impression.endswith(impressions[n][-1]) for n in impressions)


def test_a_report_that_does_not_fit_is_not_asked(prompt: ReportPrompt) -> None:
    """A prompt that leaves no room for an answer gets its reason, and the model is spared."""
    model = ScriptedModel(prompt, [NORMAL])
    reports = [ReportText("word " * 600, "", "en"), REPORTS[0]]
    found = dict(
        generate_reports(model, prompt, reports, batch_size=2, max_new_tokens=40, constraint=None)  # type: ignore[arg-type]
    )
    assert found[0] == TOO_LONG
    assert isinstance(found[1], StructuredReport)
    assert model.asked == 1


@needs_llguidance
def test_random_weights_write_the_schema_under_the_constraint(prompt: ReportPrompt) -> None:
    """A model that knows nothing is cut, or tells of findings that are not there; unconstrained it is no JSON."""
    torch.manual_seed(1)
    # weights large enough that it does not write one token for ever
    config = build_architecture(ARCHITECTURE, vocab_size=len(prompt.tokenizer) + 9, initializer_range=0.5)
    model = build_random_model(config).eval()
    free = dict(generate_reports(model, prompt, REPORTS, batch_size=5, max_new_tokens=60, constraint=None))
    assert not any(isinstance(result, StructuredReport) for result in free.values())
    structurer = LocalStructurer(model, prompt, version="x", batch_size=5, max_new_tokens=500)
    results = structurer(REPORTS)
    assert all(isinstance(result, StructuredReport) or result in (CUT, NOT_THIS_REPORT) for result in results)
    assert any(result != CUT for result in results)


@needs_llguidance
@pytest.mark.parametrize("answer", [NORMAL, '{"findings":[]}'])
def test_constraint_allows_what_models_are_taught(prompt: ReportPrompt, answer: str) -> None:
    """Every token of an answer in the compact form is allowed in its place, the end only at the end."""
    constraint = local.CompactConstraint(prompt.tokenizer, len(prompt.tokenizer), prompt.stop_id)
    processor = constraint.processor(1, 0)
    ids = prompt.answer_ids(answer)
    for position, token in enumerate(ids):
        scores = processor(torch.tensor([ids[:position]], dtype=torch.long), torch.zeros(1, len(prompt.tokenizer)))
        assert scores[0, token] == 0
        assert (scores[0, prompt.stop_id] == 0) == (position == len(ids) - 1)


@needs_llguidance
def test_every_pseudo_answer_is_in_the_grammar(prompt: ReportPrompt) -> None:
    """What tuning teaches can be said under the constraint: all targets of a hundred reports."""
    constraint = local.CompactConstraint(prompt.tokenizer, len(prompt.tokenizer), prompt.stop_id)
    for report in iter_pseudo_reports(100, seed=8, language="mixed"):
        ids = prompt.answer_ids(compact(report.target.findings))
        matcher = constraint.processor(1, 0)._matchers[0]
        assert matcher.validate_tokens(ids) == len(ids)


def test_results_do_not_depend_on_the_batch(scratch_run: Path) -> None:
    """One at a time or all together: the same findings (padding is masked)."""
    alone = load_local_structurer(scratch_run / "best", batch_size=1, max_new_tokens=40, device="cpu")
    together = load_local_structurer(scratch_run / "best", batch_size=5, max_new_tokens=40, device="cpu")
    assert alone(REPORTS) == together(REPORTS)
    assert alone.version == together.version != ""


def test_adapter_needs_its_base(adapter_run: Path, scratch_run: Path) -> None:
    """An adapter on a given base and the merged folder answer alike; the version is that of what was tuned."""
    adapter = load_local_structurer(adapter_run / "best", base=scratch_run / "best", max_new_tokens=30, device="cpu")
    merged = load_local_structurer(adapter_run / "merged", max_new_tokens=30, device="cpu")
    assert adapter(REPORTS) == merged(REPORTS)
    base = load_local_structurer(scratch_run / "best", max_new_tokens=30, device="cpu")
    assert len({adapter.version, merged.version, base.version}) == 3


def test_an_adapter_is_judged_and_used_on_the_base_that_is_given(
    adapter_run: Path, scratch_run: Path, tmp_path: Path
) -> None:
    """By folder the base is found that the adapter names by a Hub id; findings are those of the merged model."""
    gold, base = tmp_path / "gold.jsonl", str(scratch_run / "best")
    write_pseudo_reports(PseudoReportsConfig(gold, reports=3, seed=8))
    config = StructuringEvaluateConfig(
        str(adapter_run / "best"), gold, "structuring", base=base, out=tmp_path / "result.json", bootstrap_samples=0
    )
    record, judged = evaluate_structuring(config)
    assert record["simulated"]
    merged = load_local_structurer(adapter_run / "merged")
    expected = merged([one.gold.text for one in judged])
    assert [one.prediction or one.reason for one in judged] == expected
    assert record["structurer"]["version"] == load_local_structurer(adapter_run / "best", base=base).version
    table = tmp_path / "findings.jsonl"
    rows = [{"id": one.gold.id, "text": f"FINDINGS: {one.gold.text.findings}"} for one in judged]
    write_rows(rows, tmp_path / "texts.jsonl")
    structure(StructureConfig(tmp_path / "texts.jsonl", table, structurer=str(adapter_run / "best"), base=base))
    assert len(list(read_rows(table))) == 3


def test_wrong_bases_are_told(adapter_run: Path, scratch_run: Path, tmp_path: Path) -> None:
    """No base where none is on this machine, one of other widths, and one for what has none."""
    adapter, base = str(adapter_run / "best"), str(scratch_run / "best")
    with pytest.raises(FileNotFoundError, match="expected example/base, the base of the adapter"):
        structurer_named(adapter)
    other = build_random_model(build_architecture({**ARCHITECTURE, "hidden_size": 48}, vocab_size=600))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="is another one"):
        structurer_named(adapter, base=str(tmp_path / "other"))
    for name in ("rules", "http://localhost:1/v1", base):
        with pytest.raises(ValueError, match="leave --base out"):
            structurer_named(name, base=base)
    with pytest.raises(ValueError, match="is a file; leave --base out"):
        predict("findings.parquet", {}, base=base)


def test_a_folder_that_is_not_there_is_no_hub_id(tmp_path: Path) -> None:
    """A path is looked for on this machine only."""
    with pytest.raises(FileNotFoundError, match="found no folder"):
        load_local_structurer(tmp_path / "nothing")


def test_missing_llguidance_is_a_warning(
    prompt: ReportPrompt, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the extra the structurer works, unconstrained, and says how to constrain it."""
    monkeypatch.setattr(local, "is_available", lambda: False)
    structurer = LocalStructurer(
        ScriptedModel(prompt, [NORMAL]),
        prompt,
        version="x",
        batch_size=1,
        max_new_tokens=40,  # type: ignore[arg-type]
    )
    assert isinstance(structurer(REPORTS[:1])[0], StructuredReport)
    assert "selip[structure]" in caplog.text
