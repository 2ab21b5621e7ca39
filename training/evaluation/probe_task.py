"""`selip evaluate --task probe`: what a linear classifier reads out of the frozen embeddings of a study.

It is asked what a study shows (its labels), and where: the places, sites with their sides, of its true findings. Much
of what is there shows in the intensities of the whole head; where it is does not. Beside it stand an attention probe,
baselines that cost nothing, a few-shot curve and a map of the embeddings (`--probe-extent`).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from .attention_probe import attention_scores, series_sets
from .embedding_map import LARGEST_MAP, NUM_NEIGHBOURS, MappedStudies, map_of, map_studies
from .few_shot import FULL_CURVE, SHORT_CURVE, few_shot_scores
from .probe import MIDDLE_STRENGTH, FloatArray, ProbeEvaluator, ProbeResult, fold_of_splits, patient_folds
from .probe_data import ProbeData, baseline_features, gather
from .probe_figures import draw_few_shot, draw_map
from .probe_metrics import ATTENTION, BASELINE, NEIGHBOURS, SCORE, few_shot_columns
from .probe_report import left_out_from, probe_table, purity_line
from .provenance import is_simulated
from .task import EvaluationInputs, TaskOutcome

SPLITS = ("train", "validation", "test")


def evaluate_probe(inputs: EvaluationInputs) -> TaskOutcome:
    """Linear probe, and what stands beside it; metrics as in `probe_case_metrics`.

    A study's features are the mean of the embeddings of its series, each embedded alone.

    Raises:
        ValueError: A split is empty, a label is unknown, or no label has enough studies.
    """
    config = inputs.config
    if config.split != "test":
        raise ValueError(
            f"expected split test (a probe is fitted on the training split, or with --probe cv on all studies), got "
            f"{config.split}"
        )
    data = gather(inputs, [name for name in SPLITS if len(inputs.splits[name])])
    is_crossed = config.probe == "cv"
    folds = patient_folds(data.studies.patient_ids) if is_crossed else (fold_of_splits(data.splits),)
    evaluator = ProbeEvaluator(
        data.studies, folds, labels=config.labels, bootstrap_samples=config.bootstrap_samples, seed=config.seed
    )
    extent = "linear" if config.control != "none" else config.probe_extent
    means = data.means(data.embeds)
    linear, strengths = evaluator.linear_scores(means)
    columns, chosen, mapped = {SCORE: linear}, {SCORE: strengths}, None
    if extent != "linear":
        beside, strengths_beside = _beside(inputs, data, evaluator, is_full=extent == "full")
        columns |= beside | few_shot_scores(
            evaluator, means, FULL_CURVE if extent == "full" else SHORT_CURVE, config.seed
        )
        chosen |= strengths_beside
        rows = evaluator.scored
        patients = [data.studies.patient_ids[row] for row in rows]
        colours = {name: [each[row] for row in rows] for name, each in data.colours.items()}
        mapped = map_studies(means[rows], patients, colours, config.seed)
        columns |= {
            NEIGHBOURS + name: np.repeat(each[:, None], len(evaluator.labels), axis=1)
            for name, each in mapped.shares.items()
        }
    result = evaluator.result(evaluator.table(columns))
    result.metrics["penalty_strength"] = float(np.median(strengths))
    result.metrics.update({} if mapped is None else mapped.metrics)
    scored = evaluator.scored
    n = {
        "patients": len({data.studies.patient_ids[row] for row in scored}),
        "studies": len(scored),
        "training studies": len(folds[0].train),
        "labels": len(evaluator.labels),
    }
    simulated = is_simulated(config.studies)
    settings = {
        **evaluator.get_config_dict(),
        "scheme": "cross-validation over all studies, patients kept together" if is_crossed else "splits",
        "extent": extent,
        "chosen_strengths": chosen,
        "few_shot_strength": MIDDLE_STRENGTH,
        "few_shot_left_out": left_out_from(result),
        "map_neighbours": NUM_NEIGHBOURS,
    }
    return TaskOutcome(
        primary_metric=evaluator.primary_metric,
        greater_is_better=evaluator.greater_is_better,
        metrics=result.metrics,
        intervals=result.intervals,
        cases=result.cases,
        n=n,
        skipped={**data.reasons, **evaluator.skipped},
        references={"labels": len(scored)},
        settings=settings,
        summary=probe_table(evaluator.labels, result, n, simulated),
        draw=_drawing(result, mapped, n, simulated),
    )


def _beside(
    inputs: EvaluationInputs, data: ProbeData, evaluator: ProbeEvaluator, *, is_full: bool
) -> tuple[dict[str, FloatArray], dict[str, list[float]]]:
    """Scores of the attention probe and of every baseline by column, and the strengths that each chose."""
    sets = series_sets(data.embeds, data.owners, data.studies.study_ids)
    found = {ATTENTION: attention_scores(evaluator, sets)}
    for name, features in baseline_features(inputs, data, with_network=is_full).items():
        found[BASELINE + name] = evaluator.linear_scores(features)
    scores = {name: each for name, (each, _) in found.items()}
    return scores, {name: strengths for name, (_, strengths) in found.items()}


def _drawing(
    result: ProbeResult, mapped: MappedStudies | None, n: dict[str, int], simulated: bool
) -> Callable[[Path], dict[str, str]]:
    """Draws few-shot curve and map beside a result path."""

    def draw(out: Path) -> dict[str, str]:
        if mapped is None:
            return {}
        kind = "simulated studies" if simulated else "studies"
        curve, map_picture = (out.with_name(f"{out.stem}.{name}.png") for name in ("few-shot", "map"))
        title = f"Linear probe on few labelled studies: {n['studies']} {kind} of {n['patients']} patients scored"
        draw_few_shot(result.metrics, result.intervals, list(few_shot_columns(result.cases)), curve, title=title)
        files = {"few-shot": curve.name}
        if mapped.colours:
            shown = np.arange(len(mapped.embeds))
            if len(shown) > LARGEST_MAP:
                shown = np.sort(np.random.default_rng(mapped.seed).permutation(shown)[:LARGEST_MAP])
            colours = {name: [each[row] for row in shown] for name, each in mapped.colours.items()}
            notes = {name: purity_line(result, name).replace(" %, ", " %\n", 1) for name in colours}
            title = f"Map of the embeddings of {len(shown)} {kind} (t-SNE)"
            draw_map(map_of(mapped.embeds[shown], mapped.seed), colours, notes, map_picture, title=title)
            files["map"] = map_picture.name
        return files

    return draw
