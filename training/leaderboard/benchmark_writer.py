"""`selip leaderboard init`: studies and tasks frozen as a benchmark."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from selip.processing.atomic_files import replacing_folder

from ..evaluation.config import EvaluateConfig
from ..evaluation.gallery import RetrievalGallery, build_gallery
from ..evaluation.leakage import count_leaks
from ..evaluation.pairs import PairsEvaluator, read_pairs
from ..evaluation.probe import ProbeEvaluator, fold_of_splits
from ..evaluation.probe_data import studies_of
from ..evaluation.probe_task import SPLITS
from ..evaluation.provenance import is_simulated
from ..evaluation.retrieval import RetrievalEvaluator
from ..evaluation.retrieval_task import galleries_of
from ..evaluation.task import StudyInputs
from ..evaluation.zero_shot import ZeroShotEvaluator
from ..evaluation.zero_shot_protocol import load_protocol, protocol_path
from ..evaluation.zero_shot_task import check_labels, labelled_studies
from .benchmark import (
    CARD_NAME,
    EVAL_NAME,
    FORMAT_VERSION,
    INFO_NAME,
    SPLITS_NAME,
    Benchmark,
    file_fingerprint,
    fingerprint_of_all,
    load_benchmark,
    reference_path,
)
from .config import LeaderboardInitConfig
from .references import Columns, gallery_columns

Rename = Callable[[str], str]
_HEADLINES = {
    "retrieval": RetrievalEvaluator.primary_metric,
    "pairs": PairsEvaluator.primary_metric,
    "probe": ProbeEvaluator.primary_metric,
    "zero_shot": ZeroShotEvaluator.primary_metric,
}


def init_benchmark(config: LeaderboardInitConfig) -> Benchmark:
    """Freeze the split of a studies table as a benchmark.

    Patients are renamed by a keyed hash whose key is thrown away: that two studies are of one patient stays known, who
    it is does not follow. Study and series ids stay, so they must be pseudonyms in the studies table already.

    Raises:
        FileExistsError: The folder is there and `overwrite` is off, or it is something else than a benchmark.
        FileNotFoundError: Studies, pairs or protocol are not there.
        ValueError: A split is empty or leaks, or a task has no cases.
    """
    inputs = StudyInputs(
        EvaluateConfig(checkpoint=Path(), studies=config.studies, pairs=config.pairs, split=config.split), None
    )
    count_leaks(inputs.splits, config.split, None)
    key = secrets.token_bytes(32)

    def rename(patient: str) -> str:
        return hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:16]

    with replacing_folder(config.out, marker=INFO_NAME, overwrite=config.overwrite) as folder:
        settings = {task: _write_task(task, config, inputs, folder, rename) for task in config.tasks}
        splits = {
            name: {
                row["study_id"]: rename(row["patient_id"]) for row in rows.select_columns(["study_id", "patient_id"])
            }
            for name, rows in inputs.splits.items()
        }
        _write_json(folder / SPLITS_NAME, splits)
        (folder / EVAL_NAME).write_text(_eval_yaml(config), encoding="utf-8")
        frozen = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): file_fingerprint(path) for path in frozen}
        info = {
            "format_version": FORMAT_VERSION,
            "name": config.name,
            "version": config.version,
            "description": config.description,
            "simulated": is_simulated(config.studies),
            "split": config.split,
            "tasks": settings,
            "files": files,
            "fingerprint": fingerprint_of_all(files),
        }
        _write_json(folder / INFO_NAME, info)
        (folder / CARD_NAME).write_text(_card(info), encoding="utf-8")
    return load_benchmark(config.out)


def _write_task(
    task: str, config: LeaderboardInitConfig, inputs: StudyInputs, folder: Path, rename: Rename
) -> dict[str, Any]:
    """Write the references of a task; returns what `benchmark.json` says of it."""
    headline = {"primary_metric": _HEADLINES[task]}
    if task == "retrieval":
        galleries = galleries_of(inputs)
        # of the ids as the studies table has them: a result file says the same
        settings = {"gallery_fingerprint": galleries[0].fingerprint()}
        images, texts = gallery_columns([_renamed(gallery, rename) for gallery in galleries])
        _write_table(images, folder / reference_path(task, "images"))
        _write_table(texts, folder / reference_path(task, "texts"))
        return headline | settings
    if task == "zero_shot":
        assert config.protocol is not None, "the configuration asks for one"
        columns, settings = _zero_shot_cases(config.protocol, inputs)
        path = protocol_path(config.protocol)
        (folder / "protocols").mkdir()
        (folder / "protocols" / path.name).write_bytes(path.read_bytes())
    else:
        columns, settings = (_pair_cases if task == "pairs" else _probe_cases)(inputs), {}
    columns["patient"] = [rename(patient) for patient in columns["patient"]]
    _write_table(columns, folder / reference_path(task))
    return headline | settings


def _renamed(gallery: RetrievalGallery, rename: Rename) -> RetrievalGallery:
    images = tuple(replace(image, patient_id=rename(image.patient_id)) for image in gallery.images)
    return replace(gallery, images=images)


def _pair_cases(inputs: StudyInputs) -> Columns:
    """The choices of all minimal pairs; scores that say nothing show which there are."""
    config = inputs.config
    assert config.pairs is not None, "the configuration asks for one"
    pairs = read_pairs(config.pairs)
    wanted = {study_id for pair in pairs for study_id in (pair.study_id, pair.partner_id)}
    gallery = build_gallery(row for row in inputs.rows(config.split, with_partners=True) if row["study_id"] in wanted)
    cases = PairsEvaluator(gallery, pairs).evaluate(
        np.ones((len(gallery.images), 1)), np.ones((len(gallery.texts), 1))
    )
    columns = {
        name: cases.cases[name].tolist() for name in ("direction", "kind", "sequence", "study_id", "partner_id")
    }
    keys = list(zip(*(columns[name] for name in ("direction", "sequence", "study_id", "partner_id")), strict=True))
    if len(set(keys)) < len(keys):
        raise ValueError(
            "expected one series a sequence in the studies of minimal pairs, got several; leave the task pairs out"
        )
    return columns | {"patient": cases.cases["patient_id"].tolist()}


def _probe_cases(inputs: StudyInputs) -> Columns:
    """Studies and labels that a probe is scored on; which labels there are depends on the training split too."""
    if inputs.config.split != "test":
        raise ValueError("expected split test with the task probe, which is fitted on the other two")
    rows = {name: [row for row in inputs.rows(name) if row["series"]] for name in SPLITS}
    split_of = [name for name, found in rows.items() for _ in found]
    everything = studies_of([row for found in rows.values() for row in found])
    labels, test = ProbeEvaluator(everything, (fold_of_splits(split_of),)).labels, studies_of(rows["test"])
    return {
        "study_id": [study for study in test.study_ids for _ in labels],
        "patient": [patient for patient in test.patient_ids for _ in labels],
        "label": [label for _ in test.study_ids for label in labels],
        "positive": [label in has for has in test.labels for label in labels],
    }


def _zero_shot_cases(name: str, inputs: StudyInputs) -> tuple[Columns, dict[str, Any]]:
    """Studies and labels of a protocol, with sides and choices; scores that say nothing show which there are."""
    config, protocol = inputs.config, load_protocol(name)
    check_labels(protocol, {label for split in inputs.splits.values() for row in split["labels"] for label in row})
    kept = {row["study_id"] for row in inputs.rows(config.split) if row["series"]}
    labelled = labelled_studies(inputs.studies(config.split), kept, protocol.labels)
    evaluator = ZeroShotEvaluator(protocol, labelled)
    cases = evaluator.evaluate(np.ones((len(labelled.study_ids), 1)), np.ones((len(evaluator.texts), 1)), 1.0).cases
    columns = {each: cases[each].tolist() for each in ("study_id", "label", "positive", "choices", "side")}
    columns["patient"] = cases["patient_id"].tolist()
    columns["is_sided"] = (~np.isnan(cases["side_margin"])).tolist()
    columns["templates"] = [len(protocol.templates)] * len(columns["label"])
    return columns, {"protocol": protocol.name, "protocol_sha256": protocol.fingerprint}


def _write_table(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=False) + "\n", encoding="utf-8")


def _eval_yaml(config: LeaderboardInitConfig) -> str:
    """The file that makes a dataset repository a benchmark of the Hub."""
    content = {
        "name": config.name,
        "description": config.description or "Retrieval and classification of head MRI studies.",
        "evaluation_framework": "selip",
        "tasks": [{"id": task, "config": task, "split": config.split} for task in config.tasks],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _card(info: Mapping[str, Any]) -> str:
    """A card that `load_dataset` and people can read."""
    parts = [(f"{task}_texts", reference_path(task, "texts")) for task in info["tasks"] if task == "retrieval"]
    main = [(task, reference_path(task, "images" if task == "retrieval" else "")) for task in info["tasks"]]
    head = {
        "configs": [
            {"config_name": name, "data_files": [{"split": info["split"], "path": path}]}
            for name, path in main + parts
        ],
        "tags": ["benchmark", "head-mri"],
    }
    kind = " Simulated studies." if info["simulated"] else ""
    return "\n".join(
        [
            "---",
            yaml.safe_dump(head, sort_keys=False).rstrip(),
            "---",
            f"# {info['name']} {info['version']}",
            "",
            f"{info['description']}{kind} Not a medical device.".strip(),
            "",
            f"Tasks: {', '.join(info['tasks'])}; split: {info['split']}. Fingerprint: `{info['fingerprint']}`.",
            "",
            "`reference/` holds what submissions are scored against, `splits.json` which study is in which split. A",
            "submission is checked with",
            "",
            "    selip leaderboard check SUBMISSION --benchmark THIS_FOLDER",
            "",
        ]
    )
