"""`selip evaluate`: a checkpoint and a studies table in, one result file with intervals out.

    selip evaluate runs/tiny/best data/studies --volumes data/volumes

Beside OUT.json stand OUT.cases.parquet (the score of every case by study id), with `--scores` OUT.scores.parquet (what
the cases of a retrieval follow from) and the task's pictures. The result file is written last, so where it exists the
others are whole.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from selip.modeling_selip.configuration_selip import SelipConfig
from selip.modeling_selip.modeling_selip import SelipModel
from selip.processing.processing_selip import SelipProcessor
from selip.processing.sequences_selip import sequence_id
from selip.processing.sources.studies import load_studies, studies_fingerprint

from .evaluation.classification_task import evaluate_classification
from .evaluation.config import CheckpointEvaluation, EvaluateConfig
from .evaluation.controls import under_control
from .evaluation.detection_task import evaluate_head_detection, evaluate_map_detection
from .evaluation.embedding import CheckpointEmbedder
from .evaluation.embedding_store import EmbeddingStore, store_folder
from .evaluation.figures import require_matplotlib
from .evaluation.heads import HeadInputs
from .evaluation.leakage import count_leaks
from .evaluation.localization_task import evaluate_localization
from .evaluation.pairs_task import evaluate_pairs
from .evaluation.probe_task import evaluate_probe
from .evaluation.provenance import checkpoint_fingerprint, environment, is_simulated
from .evaluation.result_file import (
    CASES_SUFFIX,
    FORMAT_VERSION,
    SCORES_SUFFIX,
    ResultRecord,
    command_line,
    write_cases,
    write_result,
)
from .evaluation.retrieval_task import evaluate_retrieval
from .evaluation.segmentation_task import evaluate_segmentation
from .evaluation.task import EvaluationInputs, StudyInputs, TaskOutcome
from .evaluation.zero_shot_task import evaluate_zero_shot
from .finetuning.network import HEADS, load_head_checkpoint
from .network import load_image_processor, weights_of
from .volumes import VolumesTable

logger = logging.getLogger(__name__)

TASKS: dict[str, Callable[[EvaluationInputs], TaskOutcome]] = {
    "retrieval": evaluate_retrieval,
    "pairs": evaluate_pairs,
    "probe": evaluate_probe,
    "zero_shot": evaluate_zero_shot,
    "localization": evaluate_localization,
    "detection": evaluate_map_detection,
}
HEAD_TASKS: dict[str, Callable[[HeadInputs], TaskOutcome]] = {
    "classification": evaluate_classification,
    "segmentation": evaluate_segmentation,
    "detection": evaluate_head_detection,
}
_HEAD_OF = {"classification": "classification", "segmentation": "segmentation", "detection": "segmentation"}
InputsT = TypeVar("InputsT", bound=StudyInputs)


def evaluate(config: EvaluateConfig, *, leaks: Mapping[str, int] | None = None) -> ResultRecord:
    """Evaluate a checkpoint and write the result file.

    Args:
        config: The request.
        leaks: What `leaks_of` said of these studies and volumes; None: it is asked.

    Returns:
        Content of the result file: `task`, `primary_metric`, `greater_is_better`, `metrics` and `intervals` by name
        (see the evaluator of the task), `n`, `skipped`, `simulated`, `settings`, `command`, `checkpoint`, `data`,
        `environment`, `files`.

    Raises:
        FileExistsError: There is a result already and `overwrite` is False.
        FileNotFoundError: Checkpoint, studies, volumes, pairs or findings are not there.
        ModuleNotFoundError: Pictures are asked for without the extra `plots`.
        ValueError: The split is empty, has no reference findings, or the volumes were made for another box.
    """
    out = result_path(config)
    if out.exists() and not config.overwrite:
        raise FileExistsError(f"{out} exists; choose another --out, or say --overwrite")
    if config.num_figure_cases:
        require_matplotlib()
    disable_progress_bar()  # Transformers draws one for reading the weights, which takes no time
    if _is_of_head(config):
        return _evaluate_head(config, leaks)
    model, processor = load_checkpoint(config.checkpoint)
    subject = {"name": config.checkpoint.resolve().name, "sha256": checkpoint_fingerprint(config.checkpoint)}
    embeddings = config.embeddings or evaluation_folder(config) / "embeddings"
    store = EmbeddingStore(
        store_folder(
            embeddings,
            checkpoint=subject["sha256"],
            model=model.config.to_dict(),
            processor=processor.image_processor.to_dict(),
            studies=studies_fingerprint(config.studies),
            device=model.device.type,
        )
    )
    embedder = CheckpointEmbedder(model, processor, config.batch_size, store)
    inputs = EvaluationInputs(config, processor.image_processor, embedder, embeddings)
    return evaluate_embedder(inputs, subject=subject, command=command_line(config), leaks=leaks)


def evaluate_embedder(
    inputs: EvaluationInputs, *, subject: dict[str, str], command: str, leaks: Mapping[str, int] | None = None
) -> ResultRecord:
    """Evaluate whatever embeds series and texts, and write the result file.

    Args:
        inputs: The request, and what is evaluated.
        subject: Name of what is evaluated and, of a checkpoint, its fingerprint.
        command: The command that makes this result.
        leaks: As for `evaluate`.
    """
    config = inputs.config
    if config.control != "none":
        inputs = replace(inputs, embedder=under_control(inputs.embedder, config.control, config.seed))
    return _run_task(inputs, TASKS[config.task], subject, command, leaks)


def _is_of_head(config: EvaluateConfig) -> bool:
    """Whether the task is one of a head; detection is one of both kinds of checkpoint, and goes by what is there."""
    if config.task in HEAD_TASKS and config.task in TASKS:
        architectures = SelipConfig.from_pretrained(config.checkpoint).architectures
        return architectures == [HEADS[_HEAD_OF[config.task]].__name__]
    return config.task in HEAD_TASKS


def _evaluate_head(config: EvaluateConfig, leaks: Mapping[str, int] | None) -> ResultRecord:
    """Evaluate a checkpoint with a head on a task of such checkpoints.

    Raises:
        ValueError: A control is asked for: a head reads no text.
    """
    if config.control != "none":
        raise ValueError(f"expected no control for a head, which reads no text, got {config.control}")
    model, image_processor = load_head_checkpoint(config.checkpoint, _HEAD_OF[config.task])
    inputs = HeadInputs(config, image_processor, model)
    subject = {"name": config.checkpoint.resolve().name, "sha256": checkpoint_fingerprint(config.checkpoint)}
    return _run_task(inputs, HEAD_TASKS[config.task], subject, command_line(config), leaks)


def _run_task(
    inputs: InputsT,
    task: Callable[[InputsT], TaskOutcome],
    subject: dict[str, str],
    command: str,
    leaks: Mapping[str, int] | None,
) -> ResultRecord:
    """Refuse splits that leak, evaluate, and write the result file and what stands beside it."""
    config, out = inputs.config, result_path(inputs.config)
    for name in config.sequences:
        sequence_id(name)  # an unknown name is refused
    leaks = leaks_of(config) if leaks is None else leaks
    outcome = task(inputs)
    out.parent.mkdir(parents=True, exist_ok=True)
    cases = {name: values.tolist() for name, values in outcome.cases.items()}
    files = {"cases": write_cases(cases, out.with_suffix(CASES_SUFFIX))}
    if outcome.scores:
        files["scores"] = write_cases(outcome.scores, out.with_suffix(SCORES_SUFFIX))
    if config.num_figure_cases:
        files |= outcome.draw(out)
    record = _record(config, outcome, files, subject, command, leaks)
    write_result(record, out)
    logger.info("wrote %s", out)
    return record


def leaks_of(config: CheckpointEvaluation) -> dict[str, int]:
    """Refuse studies and volumes of a request that leak from another split; see `count_leaks`.

    Raises:
        ValueError: They do.
    """
    table = None if config.volumes is None else VolumesTable(config.volumes)
    return count_leaks(load_studies(config.studies), config.split, table)


def result_path(config: EvaluateConfig) -> Path:
    """Where the result file goes: `out`, else `evaluation/` beside the checkpoint's folder."""
    if config.out is not None:
        return config.out
    parts = [config.checkpoint.resolve().name, config.task, evaluated_split(config), *config.sequences]
    if config.protocol is not None:
        parts.insert(2, Path(config.protocol).stem)
    if config.control != "none":
        parts.append(config.control)
    return evaluation_folder(config) / ("-".join(parts) + ".json")


def evaluated_split(config: EvaluateConfig) -> str:
    """The split whose studies are scored; `all` where they are cross-validated."""
    return "all" if config.probe == "cv" else config.split


def evaluation_folder(config: EvaluateConfig) -> Path:
    """`evaluation/` beside the checkpoint's folder, for what has no other place."""
    return config.checkpoint.resolve().parent / "evaluation"


def load_checkpoint(folder: Path) -> tuple[Any, Any]:
    """Model in evaluation mode, on a GPU where there is one, and processor of a checkpoint folder.

    Raises:
        FileNotFoundError: The folder or one of its parts is missing.
        ValueError: It is a checkpoint of another kind, e.g. with a head of `selip finetune`.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; give the folder of a checkpoint, e.g. RUN/best")
    weights_of(folder, "the checkpoint")  # whole ones
    image_processor = load_image_processor(folder)
    kinds = SelipConfig.from_pretrained(folder).architectures or []
    if kinds and SelipModel.__name__ not in kinds:
        raise ValueError(
            f"expected a pretraining checkpoint, with volume and text encoder, in {folder}, got one of "
            f"{', '.join(kinds)}"
        )
    model = SelipModel.from_pretrained(folder).eval()
    if not any(folder.glob("tokenizer*.json")):
        raise FileNotFoundError(f"{folder} has no tokenizer; save it beside the model, or copy the folder whole")
    # With the configuration at hand the Auto class asks for no permission to run the code in the folder.
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config)
    processor = SelipProcessor(image_processor, tokenizer)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), processor


def _record(
    config: EvaluateConfig,
    outcome: TaskOutcome,
    files: dict[str, str],
    subject: dict[str, str],
    command: str,
    leaks: Mapping[str, int],
) -> ResultRecord:
    content = {
        "format_version": FORMAT_VERSION,
        "task": config.task,
        "primary_metric": outcome.primary_metric,
        "greater_is_better": outcome.greater_is_better,
        "metrics": dict(outcome.metrics),
        "intervals": {name: list(ends) for name, ends in outcome.intervals.items()},
        "n": dict(outcome.n),
        "skipped": dict(outcome.skipped),
        "simulated": is_simulated(config.studies),
        "settings": {
            **outcome.settings,
            "split": evaluated_split(config),
            "batch_size": config.batch_size,
            "sequences": list(config.sequences) or "all",
            "control": config.control,
        },
        "command": command,
        "checkpoint": subject,
        "data": {
            "split": evaluated_split(config),
            "studies_fingerprint": studies_fingerprint(config.studies),
            "volumes": "volumes table" if config.volumes is not None else "NIfTI files",
            "reference_findings": dict(outcome.references),
            "texts_in_other_splits": leaks["texts"],
        },
        "environment": environment(),
        "files": files,
    }
    return ResultRecord(content, outcome.summary)
