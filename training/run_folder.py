"""The folder of a run: which run it holds, its log, and where the run was made."""

import json
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Protocol

import torch
import yaml
from accelerate import Accelerator

from .checkpoint import recover_folder
from .config import PretrainConfig
from .configuration import as_dict

# the result is the same up to float error, but how much memory and how many cores there are is not
MAY_CHANGE = ("data.num_workers", "optimization.micro_batch")


class RunConfig(Protocol):
    """What the configuration of any run has."""

    @property
    def output(self) -> Path: ...
    @property
    def resume(self) -> bool: ...
    @property
    def overwrite(self) -> bool: ...


def prepare_output(config: RunConfig) -> None:
    """Makes the folder of a run, or checks that the run in it is this one and repairs what a kill has left of it.

    Raises:
        FileExistsError: another configuration, or a run that may not be resumed.
    """
    output, wanted = config.output, as_dict(config)
    written = output / "config.yaml"
    for key in ("resume", "overwrite"):
        wanted.pop(key)
    if output.exists() and config.overwrite:
        shutil.rmtree(output)
    if written.exists():
        is_same = _decisive(yaml.safe_load(written.read_text())) == _decisive(wanted)
        if not is_same and [path.name for path in output.iterdir()] == [written.name]:
            _write_config(wanted, written)  # a run that was refused before its first step: nothing is lost
            return
        if not is_same or not config.resume:
            why = "with another configuration" if not is_same else "and resume is off"
            raise FileExistsError(f"{output} holds a run {why}; choose another output or pass --overwrite")
        for name in ("best", "last"):
            recover_folder(output / name)
        return
    output.mkdir(parents=True, exist_ok=True)
    _write_config(wanted, written)


def _write_config(content: dict, path: Path) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(yaml.safe_dump(content, sort_keys=False))
    partial.replace(path)


def _decisive(config: dict) -> dict:
    """A configuration without what may differ between the machines that a run is continued on."""
    return {
        group: {name: value for name, value in values.items() if f"{group}.{name}" not in MAY_CHANGE}
        if isinstance(values, dict)
        else values
        for group, values in config.items()
    }


def drop_lines_after(log: Path, step: int) -> None:
    """Removes from a metrics log what an interrupted run wrote after its last checkpoint; it will be written again."""
    if log.exists():
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step))


def describe_environment(accelerator: Accelerator, precision: str, config: PretrainConfig) -> dict:
    """Versions, device, batch and commit of a pretraining, for its state file and the model card."""
    data, optimization = config.data, config.optimization
    of_process = data.batch_studies // accelerator.num_processes
    micro_batch = optimization.micro_batch or of_process
    # one text of each kind, of the series kinds one for each drawn series
    texts = sum(data.series_per_study if kind in ("series", "finding") else 1 for kind in data.text_items)
    return {
        **run_environment(accelerator, precision),
        "objective": optimization.objective,
        "similarity": optimization.similarity,
        "steps": optimization.steps,
        "batch_studies": data.batch_studies,
        "series_per_study": data.series_per_study,
        "text_items": list(data.text_items),
        "negatives_at_most": (data.batch_studies - 1) * texts,  # views of one study are never compared
        "micro_batch": micro_batch,
        "micro_batches_per_process": -(-of_process // micro_batch),
        "batch_sequences": data.batch_sequences,
        "normal_rate": data.normal_rate,
        "language": data.language,
        "max_text_tokens": data.max_text_tokens,
        "unnamed": data.unnamed,
        "text_tower": _published_name(config.model.text_tower),
        "text_tuning": config.model.text_tuning,
        "optimizer": "AdamW",
        "learning_rate_vision": optimization.learning_rate_vision,
        "learning_rate_text": optimization.learning_rate_text,
        "weight_decay": optimization.weight_decay,
        "warmup_steps": optimization.warmup_steps,
        "decay": optimization.decay,
        "seed": optimization.seed,
    }


def _published_name(tower: str | None) -> str | None:
    """A Hub id as it is; of a folder only that it is one, for its name is nobody's business."""
    return "a local folder" if tower is not None and Path(tower).exists() else tower


def run_environment(accelerator: Accelerator, precision: str) -> dict:
    """Versions, device and commit of any run."""
    import transformers

    import selip

    return {
        "selip": selip.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "device": str(accelerator.device),
        "processes": accelerator.num_processes,
        "precision": precision,
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
