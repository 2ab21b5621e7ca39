"""`selip evaluate --task pairs`: which of two texts that differ in one thing belongs to a series."""

from .gallery import build_gallery
from .pairs import PairsEvaluator, PairsResult, read_pairs
from .provenance import is_simulated
from .retrieval import DIRECTIONS
from .task import EvaluationInputs, TaskOutcome, percent_with_interval


def evaluate_pairs(inputs: EvaluationInputs) -> TaskOutcome:
    """Minimal pairs of one split; metrics as in `PairsEvaluator`. Texts are rendered from the true findings.

    Raises:
        FileNotFoundError: The table of pairs is not there.
        ValueError: No table of pairs is named, it lacks a column, or none of its pairs is in the split.
    """
    config = inputs.config
    if config.pairs is None:
        raise ValueError(
            "expected --pairs FILE (a table of study_id, partner_id and kind) for the task pairs, got none"
        )
    pairs = read_pairs(config.pairs)
    wanted = {study_id for pair in pairs for study_id in (pair.study_id, pair.partner_id)}
    studies = (row for row in inputs.rows(config.split, with_partners=True) if row["study_id"] in wanted)
    gallery = build_gallery(studies)
    text_embeds = inputs.embedder.embed_texts([text.text for text in gallery.texts])
    series = inputs.embedder.embed_series(inputs.source(config.split), gallery.images)
    gallery = gallery.keep_images(series.kept.tolist(), series.reasons)
    evaluator = PairsEvaluator(gallery, pairs, bootstrap_samples=config.bootstrap_samples, seed=config.seed)
    result = evaluator.evaluate(series.embeds, text_embeds)
    n = {
        "patients": len(set(result.cases["patient_id"])),
        "studies": len(set(result.cases["study_id"])),
        "series": len(gallery.images),
        "pairs": evaluator.num_pairs,
    }
    return TaskOutcome(
        primary_metric=evaluator.primary_metric,
        greater_is_better=evaluator.greater_is_better,
        metrics=result.metrics,
        intervals=result.intervals,
        cases=result.cases,
        n=n,
        skipped={**gallery.skipped, **evaluator.skipped},
        references=dict(gallery.references),
        settings=evaluator.get_config_dict(),
        summary=pairs_table(result, n, is_simulated(config.studies)),
    )


def pairs_table(result: PairsResult, n: dict[str, int], is_simulated: bool) -> str:
    """Accuracy by kind as a few lines of text."""
    simulated = ", simulated studies" if is_simulated else ""
    lines = [
        f"minimal pairs, {n['pairs']} pairs of {n['patients']} patients{simulated}; percent of right choices between "
        "the two of a pair (chance 50), [95 % interval over patients]",
        f"{'what differs':<20}{'series to report':>24}{'report to series':>24}{'choices':>9}",
    ]
    for kind in dict.fromkeys(name.split("/")[0] for name in result.metrics):
        cells = "".join(
            f"{percent_with_interval(f'{kind}/{direction}/accuracy', result.metrics, result.intervals):>24}"
            for direction in DIRECTIONS
        )
        lines.append(f"{kind:<20}{cells}{result.metrics[f'{kind}/image_to_text/n_choices']:>9.0f}")
    return "\n".join(lines)
