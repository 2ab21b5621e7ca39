"""Tuning: resume, early stopping, what is trained, what is written."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selip.model_cards.cards.card import write_card
from selip.model_cards.cards.config import CardConfig
from selip.training.configuration import as_dict
from selip.training.evaluation.structuring_config import StructuringEvaluateConfig
from selip.training.evaluation.structuring_task import evaluate_structuring
from selip.training.structuring import tuning
from selip.training.structuring.config import PseudoReportsConfig, TuneConfig, TunedModel, TuningData
from selip.training.structuring.examples import Example
from selip.training.structuring.models import published_id
from selip.training.structuring.report_files import read_report_files, write_pseudo_reports
from selip.training.structuring.tuning import TuningRun, tune_structurer
from selip.training.structuring.tuning_data import read_tuning_data
from selip.tune import tune

from .conftest import adapter_config, small_config


def logged(output: Path) -> list[dict[str, float]]:
    """The lines of the log without what depends on the machine."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    timed = ("reports_per_second", "data_wait_share")
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


def assert_same_progress(one: Path, two: Path) -> None:
    for name in ("trained.safetensors", "optimizer.safetensors"):
        first, second = load_file(one / "last" / name), load_file(two / "last" / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run dies in a step, after `last` was saved and some steps later."""
    original = TuningRun.step

    def dying(run: TuningRun, batch: list[Example]) -> dict[str, float]:
        if run.state.step == step:
            raise KeyboardInterrupt
        return original(run, batch)

    monkeypatch.setattr(TuningRun, "step", dying)


def test_a_run_that_was_cut_goes_on_bit_for_bit(
    scratch_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at step 3 of 4, past the checkpoint of step 2, and resumed: weights, optimiser and log are the same."""
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            tune_structurer(small_config(output))
    assert logged(output)[-1]["step"] == 3
    summary = tune_structurer(small_config(output))
    assert summary.steps == 4
    assert_same_progress(scratch_run, output)
    assert logged(output) == logged(scratch_run)


def test_adapters_go_on_bit_for_bit(
    adapter_run: Path, scratch_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for adapters on a frozen base, with gradient checkpointing."""
    config = adapter_config(scratch_run / "best", tmp_path / "run")
    with monkeypatch.context() as patch:
        interrupt_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            tune_structurer(config)
    tune_structurer(config)
    assert_same_progress(adapter_run, tmp_path / "run")


@pytest.mark.slow
def test_two_processes_train_what_one_trains(scratch_run: Path, tmp_path: Path) -> None:
    """Launched by accelerate with two CPU processes: the same losses and weights as in one, up to float error."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(as_dict(small_config(tmp_path / "run"))))
    launch = "-m accelerate.commands.launch --multi_gpu --num_machines 1 --num_processes 2 --main_process_port 0"
    words = [*launch.split(), "--mixed_precision", "no", "--dynamo_backend", "no"]
    words += ["-m", "selip.training.structuring.tuning", str(file)]
    subprocess.run(
        [sys.executable, *words], check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    for one, two in zip(logged(scratch_run), logged(tmp_path / "run"), strict=True):
        assert one == pytest.approx(two, rel=1e-4)
    first, second = (load_file(run / "last" / "trained.safetensors") for run in (scratch_run, tmp_path / "run"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-5)


def test_another_configuration_does_not_go_on(scratch_run: Path) -> None:
    """A run folder is not continued with other settings; the micro-batch may change, it decides no result."""
    with pytest.raises(FileExistsError, match="another configuration"):
        tune_structurer(small_config(scratch_run, learning_rate=1e-3))
    assert tune_structurer(small_config(scratch_run, micro_batch=4)).steps == 4


def test_training_stops_when_f1_has_stopped_rising(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1 by validation 0.2, 0.5, 0.4, 0.5: two that are no better, so it ends at step 4 and step 2 is the best."""
    scores = iter([0.2, 0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr(
        tuning,
        "validation_metrics",
        lambda *_: {"f1": next(scores), "precision": 0.5, "recall": 0.5, "valid": 1.0, "reports": 2},
    )
    kept: dict[int, dict[str, torch.Tensor]] = {}
    original = TuningRun.validate

    def watching(run: TuningRun) -> dict[str, float]:
        kept[run.state.step] = {n: p.detach().clone() for n, p in run.bare_model.named_parameters()}
        return original(run)

    monkeypatch.setattr(TuningRun, "validate", watching)
    summary = tune_structurer(small_config(tmp_path / "run", steps=8, validate_every=1, patience=2))
    assert (summary.steps, summary.best_step, summary.best_f1, summary.is_stopped_early) == (4, 2, 0.5, True)
    saved = AutoModelForCausalLM.from_pretrained(summary.best)
    assert all(torch.equal(value, kept[2][name]) for name, value in saved.named_parameters())
    # told to go on, it knows that it was over
    assert tune_structurer(small_config(tmp_path / "run", steps=8, validate_every=1, patience=2)).steps == 4


def test_loss_falls_and_only_what_is_tuned_moves(scratch_run: Path, tmp_path: Path) -> None:
    """Adapters: each moves, the base does not, the loss falls."""
    run = TuningRun(adapter_config(scratch_run / "best", tmp_path / "run", steps=8, learning_rate=1e-2))
    before = {name: value.detach().clone() for name, value in run.bare_model.named_parameters()}
    losses = [run.step(run.batch(step))["loss"] for step in range(6)]
    assert losses[-1] < losses[0]
    for name, value in run.bare_model.named_parameters():
        assert torch.equal(value, before[name]) != ("lora_" in name), name


def test_a_saved_adapter_names_the_hub_id_and_no_path(adapter_run: Path, scratch_run: Path) -> None:
    """The id of the base stands in adapter and card; no file of `best` or `merged` holds a path of this machine."""
    config = json.loads((adapter_run / "best" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "example/base"
    cards = {
        folder: write_card(CardConfig(folder, overwrite=True))
        for folder in (adapter_run / "best", adapter_run / "merged", scratch_run / "best")
    }
    data = {folder: ModelCard.load(card).data for folder, card in cards.items()}
    assert data[adapter_run / "best"].base_model == "example/base"
    assert data[adapter_run / "best"].library_name == "peft"
    assert "AutoPeftModelForCausalLM" in cards[adapter_run / "best"].read_text()
    assert data[adapter_run / "merged"].library_name == "transformers"
    assert data[scratch_run / "best"].base_model is None
    assert {each.license for each in data.values()} == {"apache-2.0"}
    for folder in (adapter_run / "best", adapter_run / "merged", scratch_run / "best"):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert any(path.suffix == ".safetensors" for path in files)
        for path in files:
            assert path.suffix in {".safetensors", ".json", ".md", ".jinja"}, path.name
            content = path.read_bytes()
            assert str(scratch_run.parent).encode() not in content, path.name
            assert str(adapter_run.parent).encode() not in content, path.name


def test_card_of_a_structurer_shows_results_and_asks_for_licences(adapter_run: Path, tmp_path: Path) -> None:
    """Scores on gold findings with n; those of another version are refused, and reports of a group without a name."""
    folder = tmp_path / "structurer"
    shutil.copytree(adapter_run / "best", folder)
    about = json.loads((folder / "structurer.json").read_text())
    gold = group_file(tmp_path / "gold.jsonl", 6)
    result = tmp_path / "result.json"
    evaluate_structuring(StructuringEvaluateConfig("rules", gold, "structuring", out=result, bootstrap_samples=20))
    with pytest.raises(ValueError, match="result of another structurer"):
        write_card(CardConfig(folder, results=(result,), overwrite=True))
    record = json.loads(result.read_text())
    record["structurer"] = {"name": "/home/erika/structurer", "version": about["version"]}
    result.write_text(json.dumps(record))
    text = write_card(CardConfig(folder, results=(result,), overwrite=True)).read_text()
    assert f"### Findings read out of reports by structurer {about['version']}: findings" in text
    assert f"| all findings | {100 * record['metrics']['finding/f1']:.1f} (" in text
    assert "erika" not in text
    entry = ModelCard.load(folder / "README.md").data.eval_results[0]
    assert (entry.metric_type, entry.metric_value) == ("f1", record["metrics"]["finding/f1"])
    state = json.loads((folder / "training_state.json").read_text())
    state["environment"]["group_reports"] = 7
    (folder / "training_state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="7 reports of a group's own"):
        write_card(CardConfig(folder, overwrite=True))
    card = write_card(CardConfig(folder, datasets=("ward=cc-by-nc-4.0",), overwrite=True))
    assert ModelCard.load(card).data.license == "cc-by-nc-4.0"


def test_what_the_card_of_an_adapter_tells_to_type_works(adapter_run: Path, scratch_run: Path, tmp_path: Path) -> None:
    """Its code gives the logits of base and adapter; the base, which is on no Hub, is put where its id stood."""
    folder = tmp_path / "adapter"
    shutil.copytree(adapter_run / "best", folder)
    text = write_card(CardConfig(folder, name=str(folder), overwrite=True)).read_text()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(scratch_run / "best")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    found: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], found)
    base = AutoModelForCausalLM.from_pretrained(scratch_run / "best")
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected = PeftModel.from_pretrained(base, str(folder))(ids).logits
        torch.testing.assert_close(found["model"](ids).logits, expected)
    assert found["tokenizer"].vocab_size


def test_command_writes_the_card_of_what_it_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`selip tune-structurer` leaves a card in `best`; none of reports of unknown licence."""
    written: list[CardConfig] = []
    monkeypatch.setattr("selip.tune.write_card", written.append)
    own = tune(small_config(tmp_path / "own", steps=1, validate_every=1))
    assert [config.folder for config in written] == [own.best]  # type: ignore[union-attr]
    config = data_config(tmp_path / "group", group_file(tmp_path / "group.jsonl"))
    tune(replace(config, optimization=replace(config.optimization, steps=1)))
    assert len(written) == 1


def test_base_in_a_folder_needs_an_id() -> None:
    """A folder is never taken for a name; `unpublished` says that there is none; a Hub id is its own name."""
    here = str(Path(__file__).parent)
    with pytest.raises(ValueError, match="expected the Hub id of the base"):
        published_id(TunedModel(base=here))
    with pytest.raises(ValueError, match="expected the Hub id of the base"):
        published_id(TunedModel(base="example/base", base_model_id="./elsewhere"))
    assert published_id(TunedModel(base=here, base_model_id="unpublished")) == "unpublished"
    assert published_id(TunedModel(base=here, base_model_id="example/base")) == "example/base"
    assert published_id(TunedModel(base="example/base")) == "example/base"


def test_merged_model_says_what_base_and_adapter_say(adapter_run: Path, scratch_run: Path) -> None:
    """The merged folder is one model with the same logits, and needs no peft."""
    ids = torch.arange(20)[None]
    base = AutoModelForCausalLM.from_pretrained(scratch_run / "best")
    with torch.no_grad():
        plain = base(ids).logits
        adapted = PeftModel.from_pretrained(base, adapter_run / "best")(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(adapter_run / "merged")(ids).logits
    assert (adapted - plain).abs().max() > 1e-3
    torch.testing.assert_close(merged, adapted, rtol=1e-4, atol=1e-4)
    assert AutoTokenizer.from_pretrained(adapter_run / "merged").chat_template


def test_qlora_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CUDA, and without bitsandbytes, one line that says so, before anything is fetched or written."""
    model = TunedModel(base="example/base", tuning="qlora")
    config = replace(small_config(tmp_path / "run"), model=model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="expected a CUDA device"):
        tune_structurer(config)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="bitsandbytes"):
        tune_structurer(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"tuning": "lora"},
        {"architecture": {"model_type": "qwen3"}, "tuning": "lora"},
        {"base": "example/base", "lora_rank": 0},
    ],
)
def test_a_model_that_cannot_be_is_refused(values: dict[str, Any]) -> None:
    """No base and no architecture, adapters on random weights, rank 0."""
    with pytest.raises(ValueError, match="expected"):
        TunedModel(**values)


def group_file(path: Path, reports: int = 40) -> Path:
    write_pseudo_reports(PseudoReportsConfig(out=path, reports=reports, writer="simple", language="en"))
    return path


def data_config(tmp_path: Path, *files: Path, **values: Any) -> TuneConfig:
    settings = {"pseudo_reports": 5, "validation_reports": 3, "group_data": files, **values}
    return replace(small_config(tmp_path / "run"), data=TuningData(**settings))


def test_a_groups_reports_mix_in(tmp_path: Path) -> None:
    """Each group report is trained on as often as asked or watched, never both; the share is about that asked for."""
    file = group_file(tmp_path / "group.jsonl")
    data = read_tuning_data(data_config(tmp_path, file, group_repeats=3, group_validation=0.25), show_progress=False)
    trained = [report.id for report in data.training if "simple" in report.id]
    watched = [report.id for report in data.validation if "simple" in report.id]
    assert len(set(trained)) + len(watched) == 40
    assert not set(trained) & set(watched)
    assert 4 <= len(watched) <= 18
    assert all(trained.count(one) == 3 for one in set(trained))
    assert data.group_reports == len(set(trained))
    assert len(data.training) == 5 + len(trained)
    assert len(data.validation) == 3 + len(watched)


def test_report_files_come_back_as_they_were_written(tmp_path: Path) -> None:
    """JSONL and Parquet hold the same reports, text and findings."""
    jsonl = read_report_files([group_file(tmp_path / "group.jsonl", 6)])
    parquet = read_report_files([group_file(tmp_path / "group.parquet", 6)])
    assert jsonl == parquet
    assert len(jsonl) == 6
    with pytest.raises(FileExistsError, match="--overwrite"):
        group_file(tmp_path / "group.jsonl")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 1 is not JSON"),
        ('{"id":"a","language":"en","findings":"Jane Doe"}', r"report a\): expected a structured report"),
        (
            '{"id":"a","language":"en","findings":"Jane Doe","impression":"","report":{"normal":true,"findings":'
            '[{"finding":"Jane Doe","site":"brain"}]}}',
            "line 1 .*finding 1 finding: expected one of",
        ),
    ],
)
def test_a_wrong_file_is_named_and_its_text_is_not(tmp_path: Path, row: str, message: str) -> None:
    """Errors say file, row and what is wrong, and quote nothing of a report's text sections."""
    file = tmp_path / "group.jsonl"
    file.write_text(row + "\n")
    with pytest.raises(ValueError, match=message):
        read_report_files([file])


def test_an_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    """One report in two files would be trained on and watched at once."""
    one, two = group_file(tmp_path / "one.jsonl", 3), group_file(tmp_path / "two.jsonl", 3)
    with pytest.raises(ValueError, match="got the id"):
        read_report_files([one, two])


def test_module_form_is_what_accelerate_launches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-m selip.training.structuring.tuning NAME --key value` builds the configuration of the shipped file."""
    seen: list[TuneConfig] = []
    monkeypatch.setattr(tuning, "tune_structurer", seen.append)
    tuning.main(
        [
            "structuring/tiny",
            "--output",
            str(tmp_path),
            "--optimization.steps",
            "7",
            "--optimization.warmup-steps",
            "1",
        ]
    )
    assert seen[0].output == tmp_path
    assert seen[0].optimization.steps == 7
    with pytest.raises(SystemExit, match="usage"):
        tuning.main([])
