"""`selip evaluate`: a checkpoint and a studies table in, one result file with intervals out.

    selip evaluate runs/tiny/best data/studies --volumes data/volumes

Beside OUT.json stand OUT.cases.parquet (the score of every query by study and series id), OUT.examples.png and
OUT.recall.png. The result file is written last, so where it exists the others are whole.
"""

import logging
import os
import shlex
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from selip.modeling_selip.modeling_selip import SelipModel
from selip.processing.image_processing_selip import SelipImageProcessor
from selip.processing.processing_selip import SelipProcessor
from selip.processing.sources.studies import iter_studies, load_studies, studies_fingerprint, write_json
from selip.processing.structurer import load_findings

from .config import EvaluateConfig
from .evaluation.embedding import NiftiSeries, PreparedSeries, SeriesSource, embed_series, embed_texts
from .evaluation.figures import RetrievalExample, RetrievedText, draw_examples, draw_recall, require_matplotlib
from .evaluation.gallery import RetrievalGallery, build_gallery
from .evaluation.provenance import checkpoint_fingerprint, environment, is_simulated
from .evaluation.retrieval import RetrievalEvaluator, RetrievalResult
from .volumes import VolumesTable

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_NUM_RETRIEVED_SHOWN = 5


class ResultRecord(dict[str, Any]):
    """What a result file holds; as text, the small table of its main numbers."""

    def __str__(self) -> str:
        return result_table(self)


def evaluate(config: EvaluateConfig) -> ResultRecord:
    """Evaluate a checkpoint and write the result file.

    Returns:
        Content of the result file: `task`, `primary_metric`, `greater_is_better`, `metrics` and `intervals` by name
        (see `RetrievalEvaluator`), `n`, `skipped`, `simulated`, `settings`, `command`, `checkpoint`, `data`,
        `environment`, `files`.

    Raises:
        FileExistsError: There is a result already and `overwrite` is False.
        FileNotFoundError: Checkpoint, studies, volumes or findings are not there.
        ModuleNotFoundError: Pictures are asked for without the extra `plots`.
        ValueError: The split is empty, has no reference findings, or the volumes were made for another box.
    """
    out = result_path(config)
    if out.exists() and not config.overwrite:
        raise FileExistsError(f"{out} exists; choose another --out, or say --overwrite")
    if config.num_figure_cases:
        require_matplotlib()
    disable_progress_bar()  # Transformers draws one for reading the weights, which takes no time
    model, processor = load_checkpoint(config.checkpoint)
    studies = load_studies(config.studies)[config.split]
    gallery = _gallery(config, studies)
    source = _source(config, studies, processor.image_processor)
    logger.info("embedding %d series and %d texts on %s", len(gallery.images), len(gallery.texts), model.device.type)
    texts = embed_texts(model, processor, [text.text for text in gallery.texts], batch_size=4 * config.batch_size)
    series = embed_series(model, source, gallery, batch_size=config.batch_size)
    gallery = gallery.keep_images(series.kept.tolist(), series.reasons)
    evaluator = RetrievalEvaluator(gallery, bootstrap_samples=config.bootstrap_samples, seed=config.seed)
    result = evaluator.evaluate(series.embeds, texts)

    out.parent.mkdir(parents=True, exist_ok=True)
    files = {"cases": _write_cases(result, out.with_suffix(".cases.parquet"))}
    simulated = is_simulated(config.studies)
    if config.num_figure_cases:
        masks = {study["study_id"]: [mask["volume"] for mask in study["masks"]] for study in iter_studies(studies)}
        examples = _examples(config, evaluator, source, processor.image_processor, masks, result, series.embeds, texts)
        files |= _draw(out, examples, result, gallery, simulated)
    record = _record(config, evaluator, result, simulated, files)
    write_json(out, _without_nan(record))
    logger.info("wrote %s", out)
    return record


def result_path(config: EvaluateConfig) -> Path:
    """Where the result file goes: `out`, else `evaluation/` beside the checkpoint's folder."""
    if config.out is not None:
        return config.out
    folder = config.checkpoint.resolve()
    return folder.parent / "evaluation" / f"{folder.name}-{config.task}-{config.split}.json"


def load_checkpoint(folder: Path) -> tuple[Any, Any]:
    """Model in evaluation mode, on a GPU where there is one, and processor of a checkpoint folder.

    Raises:
        FileNotFoundError: The folder or one of its parts is missing.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; give the folder of a checkpoint, e.g. RUN/best")
    if not any((folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json")):
        raise FileNotFoundError(f"{folder} has no processor; save it beside the model: processor.save_pretrained(...)")
    model = SelipModel.from_pretrained(folder).eval()
    image_processor = SelipImageProcessor.from_pretrained(folder)
    # With the configuration at hand the Auto class asks for no permission to run the code in the folder.
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config)
    processor = SelipProcessor(image_processor, tokenizer)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), processor


def result_table(record: dict[str, Any]) -> str:
    """The main numbers of a result as a few lines of text, percentages with their intervals."""
    metrics, intervals = record["metrics"], record["intervals"]
    scopes = [key.rsplit("/", 2)[0] for key in metrics if key.endswith("/image_to_text/recall@5")]
    simulated = ", simulated studies" if record["simulated"] else ""
    lines = [
        f"retrieval, {record['n']['studies']} studies of {record['n']['patients']} patients{simulated}; "
        "percent, [95 % interval over patients]",
        f"{'series to report':<26}{'recall@1':>9}{'recall@5':>22}{'chance':>8}{'blind':>7}{'recall@10':>11}"
        f"{'median rank':>13}{'of':>6}{'queries':>9}",
    ]
    for scope in scopes:
        value = {key.rsplit("/", 1)[1]: metrics[key] for key in metrics if key.startswith(f"{scope}/image_to_text/")}
        low, high = intervals.get(f"{scope}/image_to_text/recall@5", (float("nan"), float("nan")))
        interval = "" if np.isnan(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"
        recall = f"{100 * value['recall@5']:.1f}{interval}"
        lines.append(
            f"{scope.replace('_', ' '):<26}{100 * value['recall@1']:>9.1f}{recall:>22}"
            f"{100 * value['chance_recall@5']:>8.1f}{100 * value['blind_recall@5']:>7.1f}"
            f"{100 * value['recall@10']:>11.1f}{value['median_rank']:>13.1f}{value['n_candidates']:>6.0f}"
            f"{value['n_queries']:>9.0f}"
        )
    back = "/".join(("within_sequence", "text_to_image", "recall@5"))
    if back in metrics:
        chance = metrics["within_sequence/text_to_image/chance_recall@5"]
        lines.append(
            f"report to series, within sequence: recall@5 {100 * metrics[back]:.1f} (chance {100 * chance:.1f})"
        )
    return "\n".join(lines)


def _gallery(config: EvaluateConfig, studies: Dataset) -> RetrievalGallery:
    if len(studies) == 0:
        raise ValueError(f"expected studies in split {config.split}, got none in {config.studies}")
    findings = None if config.findings is None else load_findings(config.findings)
    gallery = build_gallery(iter_studies(studies), findings)
    if gallery.references.get("findings_table"):
        logger.warning(
            "%d of %d studies have no true findings: their reference is the findings table, so the result depends on "
            "the structurer",
            gallery.references["findings_table"],
            sum(gallery.references.values()),
        )
    return gallery


def _source(config: EvaluateConfig, studies: Dataset, image_processor: Any) -> SeriesSource:
    if config.volumes is None:
        return NiftiSeries(studies, image_processor)
    table = VolumesTable(config.volumes)
    if table.info.studies_fingerprint != studies_fingerprint(config.studies):
        raise ValueError(
            f"expected volumes prepared from {config.studies}, but {config.volumes} was prepared from another studies "
            "table; prepare again, or leave volumes out"
        )
    return PreparedSeries(table, image_processor)


def _write_cases(result: RetrievalResult, path: Path) -> str:
    """Write the per-case table; returns its file name."""
    columns = {name: pa.array(values.tolist()) for name, values in result.cases.items()}
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(pa.table(columns), partial)
    os.replace(partial, path)
    return path.name


def _examples(
    config: EvaluateConfig,
    evaluator: RetrievalEvaluator,
    source: SeriesSource,
    image_processor: Any,
    masks: dict[str, list[Any]],
    result: RetrievalResult,
    image_embeds: npt.NDArray[np.float32],
    text_embeds: npt.NDArray[np.float32],
) -> list[RetrievalExample]:
    """Examples drawn at random (not chosen by score): abnormal series, spread over sequences and patients."""
    gallery = evaluator.gallery
    cases = result.cases
    rows = np.flatnonzero((cases["direction"] == "image_to_text") & ~cases["is_normal"])
    examples = []
    for row in _spread(cases, np.random.default_rng(config.seed).permutation(rows), config.num_figure_cases):
        index = int(cases["query"][row])
        image = gallery.images[index]
        series = source.study(image.study_id, [image.series_id])[image.series_id]
        assert not isinstance(series, str), "a series that was embedded can be read again"
        ranked = evaluator.ranked_texts(image_embeds, text_embeds, index, _NUM_RETRIEVED_SHOWN)
        examples.append(
            RetrievalExample(
                volume=series.volume,
                spacing_mm=tuple(image_processor.spacing_mm),
                title=f"{image.study_id}  {image.sequence}",
                own_text=gallery.texts[image.text].text,
                rank=int(cases["rank"][row]),
                num_candidates=int(cases["n_candidates"][row]),
                retrieved=[RetrievedText(gallery.texts[text].text, score, grade) for text, score, grade in ranked],
                lesions=_lesions(masks[image.study_id], image_processor, series.affine),
            )
        )
    return examples


def _lesions(masks: list[Any], image_processor: Any, affine: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_] | None:
    """The masks of a study joined on its box; None where it has none."""
    # A tenth of a voxel is enough: a small lesion must not vanish from the picture.
    on_box = [np.asarray(image_processor.mask_to_box(mask, affine, threshold=0.1)) for mask in masks]
    return np.logical_or.reduce(on_box) if on_box else None


def _spread(cases: dict[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64], count: int) -> list[int]:
    """The first `count` rows, taking those first whose sequence and patient have been taken least."""
    chosen: list[int] = []
    taken: Counter[str] = Counter()
    left = [int(row) for row in rows]
    while left and len(chosen) < count:
        best = min(left, key=lambda row: (taken[str(cases["patient_id"][row])], taken[str(cases["sequence"][row])]))
        left.remove(best)
        chosen.append(best)
        taken.update((str(cases["patient_id"][best]), str(cases["sequence"][best])))
    return chosen


def _draw(
    out: Path, examples: list[RetrievalExample], result: RetrievalResult, gallery: RetrievalGallery, simulated: bool
) -> dict[str, str]:
    """Draw both pictures; returns their file names."""
    kind = " (simulated studies)" if simulated else ""
    recall = out.with_suffix(".recall.png")
    draw_recall(
        result.metrics, result.intervals, gallery.sequences, recall, title=f"Retrieval within the sequence{kind}"
    )
    files = {"recall": recall.name}
    if examples:
        path = out.with_suffix(".examples.png")
        draw_examples(examples, path, title=f"Reports retrieved for a series, cases drawn at random{kind}")
        files["examples"] = path.name
    return files


def _record(
    config: EvaluateConfig,
    evaluator: RetrievalEvaluator,
    result: RetrievalResult,
    simulated: bool,
    files: dict[str, str],
) -> ResultRecord:
    gallery = evaluator.gallery
    return ResultRecord(
        format_version=FORMAT_VERSION,
        task=config.task,
        primary_metric=evaluator.primary_metric,
        greater_is_better=evaluator.greater_is_better,
        metrics=result.metrics,
        intervals={name: list(ends) for name, ends in result.intervals.items()},
        n={
            "patients": len({image.patient_id for image in gallery.images}),
            "studies": len({image.study_id for image in gallery.images}),
            "series": len(gallery.images),
            "texts": len(gallery.texts),
        },
        skipped=dict(gallery.skipped),
        simulated=simulated,
        settings=evaluator.get_config_dict() | {"split": config.split, "batch_size": config.batch_size},
        command=command_line(config),
        checkpoint={"name": config.checkpoint.resolve().name, "sha256": checkpoint_fingerprint(config.checkpoint)},
        data={
            "split": config.split,
            "studies_fingerprint": studies_fingerprint(config.studies),
            "volumes": "volumes table" if config.volumes is not None else "NIfTI files",
            "reference_findings": dict(gallery.references),
        },
        environment=environment(),
        files=files,
    )


def command_line(config: EvaluateConfig) -> str:
    """The `selip evaluate` command that makes this result, defaults left out."""
    words = ["selip", "evaluate", str(config.checkpoint), str(config.studies)]
    for item in fields(config)[2:]:
        value = getattr(config, item.name)
        if value == item.default:
            continue
        flag = f"--{item.name.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)]
    return shlex.join(words)


def _without_nan(value: Any) -> Any:
    """The value with NaN, which JSON does not know, as None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
