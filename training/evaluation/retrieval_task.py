"""`selip evaluate --task retrieval`: series find their reports, reports their series."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from selip.processing.findings_table import load_findings

from .config import EvaluateConfig
from .embedding import SeriesEmbeddings
from .figures import RetrievalExample, RetrievedText, draw_examples, draw_recall
from .gallery import GalleryImage, RetrievalGallery, build_gallery, build_study_gallery
from .metrics import unit_rows
from .probe import mean_of_series
from .provenance import is_simulated
from .retrieval import RetrievalEvaluator, RetrievalResult
from .series_source import SeriesSource, StudySeries, series_of
from .task import EvaluationInputs, StudyInputs, TaskOutcome

logger = logging.getLogger(__name__)

_NUM_RETRIEVED_SHOWN = 5


def evaluate_retrieval(inputs: EvaluationInputs) -> TaskOutcome:
    """Retrieval on one split; metrics as in `RetrievalEvaluator`.

    Raises:
        ValueError: The split is empty or has no reference findings.
    """
    config = inputs.config
    gallery, studies = galleries_of(inputs)
    source, series = inputs.source(config.split), series_of(inputs.rows(config.split))
    logger.info("embedding %d series and %d texts", len(series), len(gallery.texts) + len(studies.texts))
    texts = inputs.embedder.embed_texts([text.text for text in (*gallery.texts, *studies.texts)])
    vectors = _Vectors(inputs.embedder.embed_series(source, series), series)
    gallery = gallery.keep_images([vectors.has(image) for image in gallery.images], vectors.reasons)
    studies = studies.keep_images([vectors.has(image) for image in studies.images], {})
    settings = {"bootstrap_samples": config.bootstrap_samples, "seed": config.seed}
    evaluator = RetrievalEvaluator(gallery, **settings)
    image_embeds, text_embeds = vectors.of(gallery.images), texts[: len(gallery.texts)]
    of_series, series_scores = _scored(evaluator, image_embeds, text_embeds, config.scores)
    of_studies, study_scores = _scored(
        RetrievalEvaluator(studies, **settings),
        vectors.of(studies.images),
        texts[len(gallery.texts) :],
        config.scores,
    )
    result = evaluator.summarise({name: np.concatenate([of_series[name], of_studies[name]]) for name in of_series})
    simulated = is_simulated(config.studies)

    def draw(out: Path) -> dict[str, str]:
        rows = inputs.rows(config.split)
        masks = {study["study_id"]: [mask["volume"] for mask in study["masks"]] for study in rows}
        examples = _examples(
            config, evaluator, source, inputs.image_processor, masks, of_series, image_embeds, text_embeds
        )
        return _draw(out, examples, result, gallery, simulated)

    n = {
        "patients": len({image.patient_id for image in gallery.images}),
        "studies": len({image.study_id for image in gallery.images}),
        "series": len(gallery.images),
        "texts": len(gallery.texts),
    }
    return TaskOutcome(
        primary_metric=evaluator.primary_metric,
        greater_is_better=evaluator.greater_is_better,
        metrics=result.metrics,
        intervals=result.intervals,
        cases=result.cases,
        n=n,
        skipped=dict(gallery.skipped),
        references=dict(gallery.references),
        settings={**evaluator.get_config_dict(), "study": "mean of its series' embeddings, each of unit length"},
        summary=retrieval_table(result, n, simulated),
        draw=draw,
        scores={name: [*values, *study_scores[name]] for name, values in series_scores.items()},
    )


def _scored(
    evaluator: RetrievalEvaluator,
    image_embeds: npt.NDArray[np.float32],
    text_embeds: npt.NDArray[np.float32],
    keeps_scores: bool,
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, list[Any]]]:
    """The table of cases and, where they are kept, the scores that it follows from: a row an image, ids first."""
    if not keeps_scores:
        return evaluator.score(image_embeds, text_embeds), {}
    scores = evaluator.cosines(image_embeds, text_embeds)
    columns = {
        "study_id": [image.study_id for image in evaluator.gallery.images],
        "series_id": [image.series_id for image in evaluator.gallery.images],
        "scores": list(scores),
    }
    return evaluator.score_matrix(scores), columns


class _Vectors:
    """Embeddings of gallery images: of series, and of studies as the mean of their series scaled to unit length."""

    def __init__(self, found: SeriesEmbeddings, series: Sequence[StudySeries]):
        self.reasons = found.reasons
        kept = [each for each, is_kept in zip(series, found.kept, strict=True) if is_kept]
        self._vectors = {(each.study_id, each.series_id): row for each, row in zip(kept, found.embeds, strict=True)}
        owners = [each.study_id for each in kept]
        study_ids = list(dict.fromkeys(owners))
        means = mean_of_series(unit_rows(found.embeds), owners, study_ids)
        self._vectors |= {(study_id, ""): row for study_id, row in zip(study_ids, means, strict=True)}

    def has(self, image: GalleryImage) -> bool:
        """Whether the series, or any of the study, could be had."""
        return (image.study_id, image.series_id) in self._vectors

    def of(self, images: Sequence[GalleryImage]) -> npt.NDArray[np.float32]:
        """(N, E) in the order of the images."""
        return np.stack([self._vectors[image.study_id, image.series_id] for image in images]).astype(np.float32)


def galleries_of(inputs: StudyInputs) -> tuple[RetrievalGallery, RetrievalGallery]:
    """Galleries of the series and of the studies of the split; warns where they depend on the structurer."""
    config = inputs.config
    findings = None if config.findings is None else load_findings(config.findings)
    gallery = build_gallery(inputs.rows(config.split), findings)
    studies = build_study_gallery((row for row in inputs.rows(config.split) if row["series"]), findings)
    if gallery.references.get("findings_table"):
        logger.warning(
            "%d of %d studies have no true findings: their reference is the findings table, so the result depends on "
            "the structurer",
            gallery.references["findings_table"],
            sum(gallery.references.values()),
        )
    return gallery, studies


def retrieval_table(result: RetrievalResult, n: dict[str, int], is_simulated: bool) -> str:
    """The main numbers as a few lines of text, percentages with their intervals."""
    metrics, intervals = result.metrics, result.intervals
    scopes = [key.rsplit("/", 2)[0] for key in metrics if key.endswith("/image_to_text/recall@5")]
    simulated = ", simulated studies" if is_simulated else ""
    lines = [
        f"retrieval, {n['studies']} studies of {n['patients']} patients{simulated}; "
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


def _examples(
    config: EvaluateConfig,
    evaluator: RetrievalEvaluator,
    source: SeriesSource,
    image_processor: Any,
    masks: dict[str, list[Any]],
    cases: dict[str, npt.NDArray[Any]],
    image_embeds: npt.NDArray[np.float32],
    text_embeds: npt.NDArray[np.float32],
) -> list[RetrievalExample]:
    """Examples drawn at random (not chosen by score): abnormal series, spread over sequences and patients."""
    gallery = evaluator.gallery
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
                lesions=_lesions(image.study_id, masks[image.study_id], image_processor, series.affine),
            )
        )
    return examples


def _lesions(
    study_id: str, masks: list[Any], image_processor: Any, affine: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_] | None:
    """The masks of a study joined on its box; None where it has none, or one that cannot be read."""
    try:
        # A tenth of a voxel is enough: a small lesion must not vanish from the picture.
        on_box = [np.asarray(image_processor.mask_to_box(mask, affine, threshold=0.1)) for mask in masks]
    except (ValueError, OSError) as error:  # no result depends on the outline
        logger.warning("no outline of lesions in the picture of study %s: %s", study_id, error)
        return None
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
