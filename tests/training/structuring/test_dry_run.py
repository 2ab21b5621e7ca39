"""The dry run counts what a run would have."""

from dataclasses import replace
from pathlib import Path

import pytest

from selip.training.structuring.config import TunedModel
from selip.training.structuring.dry_run import DryRun, dry_run
from selip.training.structuring.models import prepare_for_tuning
from selip.training.structuring.scratch import build_architecture, build_random_model
from selip.training.structuring.tuning import tune_structurer

from .conftest import ARCHITECTURE, small_config


@pytest.mark.parametrize("is_tied", [True, False])
def test_counts_are_those_of_the_model(tmp_path: Path, is_tied: bool) -> None:
    """Parameters counted on the meta device, and adapters by formula, are those that a real model and peft have."""
    fields = {**ARCHITECTURE, "vocab_size": 700, "tie_word_embeddings": is_tied}
    model = TunedModel(base="example/base", architecture=fields, lora_rank=3)
    found = dry_run(replace(small_config(tmp_path / "run"), model=model))
    built = build_random_model(build_architecture(fields))
    assert found.parameters == sum(parameter.numel() for parameter in built.parameters())
    adapted = prepare_for_tuning(built, model)
    assert found.trainable == sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert found.memory_gib["Adam in fp32"] == pytest.approx(8 * found.trainable / 2**30)


def test_dry_run_writes_nothing_and_tells_what_is_measured(tmp_path: Path) -> None:
    """It is part of the command, leaves no folder, and its text tells counted, estimated and measured apart."""
    found = tune_structurer(replace(small_config(tmp_path / "run"), dry_run=True))
    assert isinstance(found, DryRun)
    assert not (tmp_path / "run").exists()
    assert all(word in str(found) for word in ("counted:", "estimated by formula:", "measured:", "not the speed"))


def test_a_misspelt_field_of_an_architecture_is_refused() -> None:
    """Transformers keeps unknown fields silently; here they are named."""
    with pytest.raises(ValueError, match="unknown fields of a qwen3 configuration: hidden_sise"):
        build_architecture({"model_type": "qwen3", "hidden_sise": 32})
    with pytest.raises(ValueError, match="model_type"):
        build_architecture({"model_type": "qwen99"})
