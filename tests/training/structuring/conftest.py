"""A model of the Qwen3 architecture that is tuned in a second, and runs of it that tests share."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selip.training.structuring.config import TuneConfig, TunedModel, TuningData, TuningOptimization
from selip.training.structuring.tuning import tune_structurer

ARCHITECTURE = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}


def small_config(output: Path, **optimization: Any) -> TuneConfig:
    """A model from scratch on a few reports; a run of it takes a second or two."""
    values = {
        "steps": 4,
        "batch_reports": 4,
        "micro_batch": 2,
        "learning_rate": 3e-3,
        "warmup_steps": 1,
        "validate_every": 2,
        "max_new_tokens": 6,
        "log_every": 1,
    }
    return TuneConfig(
        output=output,
        model=TunedModel(tuning="full", architecture=ARCHITECTURE, vocabulary_size=600, gradient_checkpointing=False),
        data=TuningData(pseudo_reports=16, validation_reports=2, max_tokens=1000, instruction=""),
        optimization=TuningOptimization(**{**values, **optimization}),
    )


def adapter_config(base: Path, output: Path, **optimization: Any) -> TuneConfig:
    """Adapters on the model of `base`, which is on no Hub."""
    config = small_config(output, **optimization)
    model = TunedModel(base=str(base), base_model_id="example/base", lora_rank=4, gradient_checkpointing=True)
    return replace(config, model=model)


@pytest.fixture(scope="session")
def scratch_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of a run from scratch that was not interrupted."""
    output = tmp_path_factory.mktemp("scratch") / "run"
    tune_structurer(small_config(output))
    return output


@pytest.fixture(scope="session")
def adapter_run(scratch_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of a run that tuned adapters on it and merged them."""
    output = tmp_path_factory.mktemp("adapter") / "run"
    tune_structurer(replace(adapter_config(scratch_run / "best", output), merge=True))
    return output
