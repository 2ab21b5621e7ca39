"""`selip evaluate --task probe`: what a linear classifier reads out of the frozen embeddings of a study.

It is asked what a study shows (its labels), and where: the places, sites with their sides, of its true findings. Much
of what is there shows in the intensities of the whole head; where it is does not. Beside it stand an attention probe,
baselines that cost nothing, a few-shot curve and a map of the embeddings (`--probe-extent`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from selip.processing.findings import StructuredReport, is_abnormal
from selip.processing.sources.studies import studies_fingerprint

from .attention_probe import attention_scores, series_sets
from .embedding import CheckpointEmbedder, SeriesEmbeddings, SeriesSource, StudySeries, embed_stored, series_of
from .embedding_map import (
    LARGEST_MAP,
    NUM_NEIGHBOURS,
    main_finding,
    map_of,
    nearest_of_other_patients,
    neighbour_purity,
    side_of,
    usable_colours,
)
from .embedding_store import EmbeddingStore, store_folder
from .few_shot import FULL_CURVE, SHORT_CURVE, few_shot_scores
from .probe import (
    MIDDLE_STRENGTH,
    FloatArray,
    ProbeEvaluator,
    ProbeResult,
    ProbeStudies,
    fold_of_splits,
    mean_of_series,
    patient_folds,
)
from .probe_baselines import (
    kind_of_series,
    sequences_present,
    series_statistics,
    statistics_of_studies,
    with_random_weights,
)
from .probe_figures import draw_few_shot, draw_map
from .probe_metrics import ATTENTION, BASELINE, NEIGHBOURS, SCORE, few_shot_columns, label_areas
from .provenance import is_simulated
from .task import EvaluationInputs, TaskOutcome, percent_with_interval

SPLITS = ("train", "validation", "test")
_MAP_KINDS = ("main finding", "side", "sequences", "report language")


@dataclass(frozen=True)
class ProbeData:
    """Studies of all splits that take part, with what is known of them.

    Attributes:
        studies: N studies.
        splits: Split of each.
        series: M usable series.
        kinds: What the table says of each series (`kind_of_series`).
        embeds: (M, E).
        colours: Category of each study by name, for the map.
        reasons: Number of unusable series by reason.
    """

    studies: ProbeStudies
    splits: tuple[str, ...]
    series: tuple[StudySeries, ...]
    kinds: tuple[str, ...]
    embeds: npt.NDArray[np.float32]
    colours: dict[str, tuple[str, ...]]
    reasons: dict[str, int]

    @property
    def owners(self) -> list[str]:
        """Study of each series."""
        return [each.study_id for each in self.series]

    def means(self, of_series: npt.NDArray[np.floating]) -> FloatArray:
        """(N, E) mean of what the series of each study have, (M, E)."""
        return mean_of_series(of_series, self.owners, self.studies.study_ids)


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
    columns, chosen = {SCORE: linear}, {SCORE: strengths}
    mapped = None
    if extent != "linear":
        columns[ATTENTION], chosen[ATTENTION] = attention_scores(
            evaluator, series_sets(data.embeds, data.owners, data.studies.study_ids)
        )
        for name, features in baseline_features(inputs, data, with_network=extent == "full").items():
            columns[BASELINE + name], chosen[BASELINE + name] = evaluator.linear_scores(features)
        plan = FULL_CURVE if extent == "full" else SHORT_CURVE
        columns |= few_shot_scores(evaluator, means, plan, config.seed)
        mapped = map_studies(evaluator, data, means, config.seed)
        columns |= {
            NEIGHBOURS + name: np.repeat(each[:, None], len(evaluator.labels), 1)
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
        summary=probe_table(evaluator, result, n, simulated),
        draw=_drawing(result, mapped, n, simulated),
    )


def gather(inputs: EvaluationInputs, splits: Sequence[str]) -> ProbeData:
    """Embed the series of some splits, and read what the table says of their studies.

    Raises:
        ValueError: A split has no studies but partners of minimal pairs.
    """
    series: list[StudySeries] = []
    kinds: list[str] = []
    embeds, rows, split_of = [], [], []
    reasons: Counter[str] = Counter()
    for split in splits:
        found = list(inputs.rows(split))
        names = series_of(found)
        embedded = inputs.embedder.embed_series(inputs.source(split), names)
        reasons.update(embedded.reasons)
        told = [kind_of_series(str(each["sequence"]), each["b_value"]) for row in found for each in row["series"]]
        kept = np.flatnonzero(embedded.kept)
        series += [names[place] for place in kept]
        kinds += [told[place] for place in kept]
        embeds.append(embedded.embeds)
        usable = {names[place].study_id for place in kept}
        mine = [row for row in found if row["study_id"] in usable]
        rows += mine
        split_of += [split] * len(mine)
    present: dict[str, set[str]] = {}
    for each in series:
        present.setdefault(each.study_id, set()).add(each.sequence)
    labels = [frozenset(row["labels"]) for row in rows]
    findings = [row["reference_findings"] for row in rows]
    colours = (
        [main_finding(*each) for each in zip(labels, findings, strict=True)],
        [side_of(each) for each in findings],
        ["+".join(sorted(present[row["study_id"]])) for row in rows],
        [row["language"] for row in rows],
    )
    return ProbeData(
        ProbeStudies(
            tuple(row["study_id"] for row in rows),
            tuple(row["patient_id"] for row in rows),
            tuple(own | places(each) for own, each in zip(labels, findings, strict=True)),
        ),
        tuple(split_of),
        tuple(series),
        tuple(kinds),
        np.concatenate(embeds),
        dict(zip(_MAP_KINDS, map(tuple, colours), strict=True)),
        dict(reasons),
    )


def baseline_features(inputs: EvaluationInputs, data: ProbeData, *, with_network: bool) -> dict[str, FloatArray]:
    """(N, F) features by name of baseline.

    Args:
        inputs: The request.
        data: Its studies and usable series.
        with_network: Also by the same network with random weights, if a checkpoint is evaluated.
    """
    ids, sequences = data.studies.study_ids, [each.sequence for each in data.series]
    origin: dict[str, Any] = {
        "processor": inputs.image_processor.to_dict(),
        "studies": studies_fingerprint(inputs.config.studies),
    }
    size, folder = inputs.config.batch_size, inputs.embeddings
    store = None if folder is None else EmbeddingStore(store_folder(folder, statistics="volume", **origin))
    statistics = _of_series(
        inputs, data, lambda source, names: embed_stored(series_statistics, store, source, names, batch_size=size)
    )
    features = {
        "sequences": sequences_present(data.kinds, data.owners, ids),
        "statistics": statistics_of_studies(statistics, sequences, data.owners, ids),
    }
    if with_network and isinstance(inputs.embedder, CheckpointEmbedder):
        device = inputs.embedder.model.device.type
        untrained = with_random_weights(inputs.embedder, inputs.config.seed, folder, device=device, **origin)
        features["random_weights"] = data.means(_of_series(inputs, data, untrained.embed_series))
    return features


def _of_series(
    inputs: EvaluationInputs,
    data: ProbeData,
    embed: Callable[[SeriesSource, Sequence[StudySeries]], SeriesEmbeddings],
) -> npt.NDArray[np.float32]:
    """(M, F) of the usable series by another embedder, split by split."""
    split_of = dict(zip(data.studies.study_ids, data.splits, strict=True))
    parts = []
    for split in dict.fromkeys(data.splits):
        names = [each for each in data.series if split_of[each.study_id] == split]
        parts.append(embed(inputs.source(split), names).embeds)
    return np.concatenate(parts)


@dataclass(frozen=True)
class MappedStudies:
    """The scored studies on a map.

    Attributes:
        embeds: (n, E), for the picture.
        colours: Category of each by colouring, those with two categories alone.
        shares: (n,) share of neighbours of the same category by colouring.
        metrics: What is expected of shares dealt out anew, and their p values.
        seed: Seed of the picture.
    """

    embeds: FloatArray
    colours: dict[str, tuple[str, ...]]
    shares: dict[str, FloatArray]
    metrics: dict[str, float]
    seed: int


def map_studies(evaluator: ProbeEvaluator, data: ProbeData, means: FloatArray, seed: int) -> MappedStudies:
    """How nearest neighbours among the scored studies agree, colouring by colouring."""
    rows = evaluator.scored
    embeds, patients = means[rows], [data.studies.patient_ids[row] for row in rows]
    colours = usable_colours({name: [each[row] for row in rows] for name, each in data.colours.items()})
    neighbours = nearest_of_other_patients(embeds, patients)
    shares, metrics = {}, {}
    for name, categories in colours.items():
        found = neighbour_purity(neighbours, categories, patients, seed=seed)
        shares[name] = found.shares
        metrics |= {f"map/{name}/expected": found.expected, f"map/{name}/p_value": found.p_value}
    return MappedStudies(embeds, colours, shares, metrics, seed)


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
            notes = {name: purity_line(result, name) for name in colours}
            title = f"Map of the embeddings of {len(shown)} {kind} (t-SNE)"
            draw_map(map_of(mapped.embeds[shown], mapped.seed), colours, notes, map_picture, title=title)
            files["map"] = map_picture.name
        return files

    return draw


def purity_line(result: ProbeResult, name: str) -> str:
    """What the neighbours say of one colouring, as a line of text."""
    purity = percent_with_interval(f"map/{name}/purity", result.metrics, result.intervals)
    expected, p_value = (result.metrics[f"map/{name}/{each}"] for each in ("expected", "p_value"))
    return f"neighbours alike {purity} %, dealt anew {100 * expected:.1f} %, p = {p_value:.3f}"


def left_out_from(result: ProbeResult) -> dict[str, int]:
    """The number of studies a class from which on each label is left out of the few-shot curve."""
    found: dict[str, int] = {}
    for setting, columns in few_shot_columns(result.cases).items():
        if setting.startswith("k="):
            for label, area in label_areas(result.cases, columns[0]).items():
                if np.isnan(area):
                    found.setdefault(label, int(setting.removeprefix("k=")))
    return found


def places(reference_findings: str) -> frozenset[str]:
    """Where the abnormal findings are, such as `at left thalamus`; nothing for a study without true findings.

    Args:
        reference_findings: JSON of a `StructuredReport`, or empty.
    """
    if not reference_findings:
        return frozenset()
    report = StructuredReport.model_validate_json(reference_findings)
    found = [finding for finding in report.findings if is_abnormal(finding)]
    return frozenset(
        f"at {each.site}" if each.laterality == "none" else f"at {each.laterality} {each.site}" for each in found
    )


def probe_table(evaluator: ProbeEvaluator, result: ProbeResult, n: dict[str, int], is_simulated: bool) -> str:
    """Areas as a few lines of text: what is compared, the few-shot curve, the map, and the labels."""
    simulated = ", simulated studies" if is_simulated else ""
    metrics, intervals = result.metrics, result.intervals
    lines = [
        f"linear probe, {n['studies']} studies of {n['patients']} patients{simulated}; area under the ROC curve in "
        "percent (chance 50), [95 % interval over patients]",
    ]
    baselines = [name.split("/")[1] for name in metrics if name.startswith("baseline/") and name.endswith("/auroc")]
    if baselines:
        lines.append(f"{'mean over labels':<32}{'':>22}  {'linear probe minus it':>22}")
        lines.append(f"{'linear probe':<32}{percent_with_interval('mean/auroc', metrics, intervals):>22}")
        for name in baselines:
            title = f"baseline/{name}"
            area = percent_with_interval(f"{title}/auroc", metrics, intervals)
            difference = percent_with_interval(f"{title}/difference", metrics, intervals)
            lines.append(f"{'baseline: ' + name.replace('_', ' '):<32}{area:>22}  {difference:>22}")
        area, difference = (
            percent_with_interval(f"{ATTENTION}/{each}", metrics, intervals) for each in ("auroc", "difference")
        )
        lines.append(f"{'attention probe':<32}{area:>22}  {difference:>22} (minus linear)")
    for setting in few_shot_columns(result.cases):
        name = f"few_shot/{setting}"
        if f"{name}/auroc" in metrics:
            area = percent_with_interval(f"{name}/auroc", metrics, intervals)
            lines.append(f"{'few-shot, ' + setting:<32}{area:>22}  {metrics[f'{name}/n_labels']:.0f} labels")
    left_out = left_out_from(result)
    if left_out:
        lines.append("few-shot leaves out: " + ", ".join(f"{label} from {k}" for label, k in left_out.items()))
    lines += [
        f"map, {name.split('/')[1]}: {purity_line(result, name.split('/')[1])}"
        for name in metrics
        if name.endswith("/p_value")
    ]
    beside = [name for name in (SCORE, ATTENTION, *(BASELINE + each for each in baselines)) if name in result.cases]
    areas = {name: label_areas(result.cases, name) for name in beside}
    if baselines:
        heads = "".join(f"{name.removeprefix(BASELINE).replace('_', ' '):>16}" for name in beside[1:])
        lines.append(f"{'':<32}{'linear':>22}{heads}")
    for label in ("mean", *evaluator.labels):
        area = percent_with_interval(f"{label}/auroc", metrics, intervals)
        if label == "mean":
            if not baselines:
                lines.append(f"{label:<32}{area:>22}")
            continue
        others = "".join(f"{100 * areas[name][label]:>16.1f}" for name in beside[1:])
        lines.append(f"{label:<32}{area:>22}{others}  {metrics[f'{label}/n_positive']:.0f} with it")
    return "\n".join(lines)
