"""Whether a series embedded alone is like itself embedded on the box of its study.

    python benchmarks/series_alone.py CHECKPOINT STUDIES [--studies 40]

Series of the first test studies are embedded twice: on the box of their study, and on the box that each finds on its
own. Prints by sequence the cosine of the two, how often the nearest of all studies is the same series, and how far
the two boxes lie apart. Nothing but the box differs where the last column says 1.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selip.processing.image_processing_selip import ProcessedStudy, SeriesInput
from selip.processing.sources.studies import iter_studies, load_studies
from selip.training.evaluate import load_checkpoint


@dataclass(frozen=True)
class Measured:
    """One series: embedded with its study, alone, and alone on the study's box, each (E,); mm between the boxes."""

    sequence: str
    together: np.ndarray
    alone: np.ndarray
    on_box: np.ndarray
    distance_mm: float


def embed(model: Any, study: ProcessedStudy) -> np.ndarray:
    """Embeddings (S, E) of the series of a processed study, each taken alone, unit length."""
    count = len(study.volumes)
    with torch.inference_mode():
        output = model.get_image_features(
            pixel_values=torch.from_numpy(np.asarray(study.volumes, np.float32))[:, None],
            series_mask=torch.ones(count, 1, dtype=torch.bool),
            sequence_ids=torch.from_numpy(study.sequence_ids)[:, None],
        )
    return torch.nn.functional.normalize(output.pooler_output.float(), dim=-1).numpy()


def measure(model: Any, processor: Any, series: Sequence[SeriesInput]) -> list[Measured]:
    """All series of a study."""
    study = processor.process_study(series)
    found = []
    for one, together in zip(series, embed(model, study), strict=True):
        alone = processor.process_study([one])
        fixed = processor.process_study([one], box_affine=study.affine)
        distance = float(np.linalg.norm((alone.affine - study.affine)[:3, 3]))
        found.append(Measured(one.sequence, together, embed(model, alone)[0], embed(model, fixed)[0], distance))
    return found


def line(name: str, rows: Sequence[Measured], itself: float) -> str:
    """A row of the table."""
    cosines = [float(row.together @ row.alone) for row in rows]
    on_box = [float(row.together @ row.on_box) for row in rows]
    distance = np.sqrt(np.mean([row.distance_mm**2 for row in rows]))
    low, middle = np.quantile(cosines, [0.05, 0.5])
    numbers = f"{middle:.2f} | {low:.2f} | {100 * itself:.0f} | {distance:.1f} | {np.median(on_box):.2f}"
    return f"| {name} | {len(rows)} | {numbers} |"


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="folder of a checkpoint")
    parser.add_argument("table", type=Path, help="studies table; its test split is read")
    parser.add_argument("--studies", type=int, default=40, help="studies to take (default: 40)")
    arguments = parser.parse_args()
    model, processor = load_checkpoint(arguments.checkpoint)
    rows: list[Measured] = []
    for study in list(iter_studies(load_studies(arguments.table)["test"]))[: arguments.studies]:
        series = [SeriesInput(each["volume"], each["sequence"], each["series_id"]) for each in study["series"]]
        rows += measure(model, processor.image_processor, series)
    print(
        "| sequence | series | cosine, median | 5th percentile | nearest is itself, % | mm apart | on the same box |"
    )
    print("|---|---|---|---|---|---|---|")
    hits: list[bool] = []
    for sequence in sorted({row.sequence for row in rows}):
        own = [row for row in rows if row.sequence == sequence]
        nearest = np.argmax(np.stack([row.alone for row in own]) @ np.stack([row.together for row in own]).T, axis=1)
        found = nearest == np.arange(len(own))
        hits += found.tolist()
        print(line(sequence, own, float(found.mean())))
    print(line("all", rows, float(np.mean(hits))))


if __name__ == "__main__":
    main()
