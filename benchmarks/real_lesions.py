"""Lesion masks on real head MRI: learned by heart, and on the study left out, from a checkpoint and from scratch.

    python benchmarks/real_lesions.py CHECKPOINT OUT [--steps 300]

`SELIP_TEST_DATA` has two studies with a lesion mask on their own grid: multiple sclerosis and an acute stroke. A
network is trained on the one and evaluated on both. The first number says whether decoder, loss and the way back to
the grid of the mask work on real volumes; the second is leave-one-out with two studies of two diseases, and says
nothing of how well lesions are found. OUT keeps runs and result files.
"""

import argparse
import os
from pathlib import Path

from selip.processing.sources.schema import StudyRow
from selip.processing.sources.studies_writer import write_studies
from selip.training.config import AugmentationConfig, TrackingConfig
from selip.training.evaluate import evaluate
from selip.training.evaluation.config import EvaluateConfig
from selip.training.finetuning.config import FinetuneConfig, FinetuneData, FinetuneOptimization, HeadConfig
from selip.training.finetuning.run import finetune
from selip.training.volumes import prepare_volumes
from selip.training.volumes_config import PrepareConfig

STUDIES = {
    "ms_cs_p19": ("T1w", "T1c", "T2w", "FLAIR"),
    "stroke_acute_isles0009": ("DWI", "ADC", "FLAIR"),
}


def study_row(data: Path, name: str, split: str) -> StudyRow:
    """A study of the data set with its lesion mask; it has no report."""
    return {
        "study_id": name,
        "patient_id": name,
        "split": split,
        "language": "en",
        "series": [
            {"series_id": kind, "sequence": kind, "volume": str(data / name / f"{kind}.nii.gz"), "b_value": None}
            for kind in STUDIES[name]
        ],
        "report": {"findings": "", "impression": ""},
        "labels": [],
        "masks": [{"name": "lesions", "volume": str(data / name / "lesion_mask.nii.gz")}],
        "reference_findings": "",
    }


def train_and_evaluate(checkpoint: Path, tables: Path, run: Path, weights: str, steps: int) -> dict[str, dict]:
    """Train on the study of the split train; metrics of it and of the one left out, by split."""
    finetune(
        FinetuneConfig(
            output=run,
            task="segmentation",
            data=FinetuneData(studies=tables / "studies", volumes=tables / "volumes", batch_studies=1),
            model=HeadConfig(checkpoint=checkpoint, weights=weights, decoder_width=8),
            augmentation=AugmentationConfig(max_shift_mm=5.0, max_gamma=0.1, max_gain=0.05),
            optimization=FinetuneOptimization(
                steps=steps, learning_rate=5e-4, learning_rate_head=1e-3, warmup_steps=20, precision="fp32"
            ),
            tracking=TrackingConfig(validate_every=steps, patience=None),
        )
    )
    found = {}
    for split in ("train", "validation"):
        config = EvaluateConfig(
            checkpoint=run / "last",
            studies=tables / "studies",
            volumes=tables / "volumes",
            task="segmentation",
            split=split,
            bootstrap_samples=0,
            out=run / f"{split}.json",
            overwrite=True,
        )
        found[split] = evaluate(config)["metrics"]
    return found


def main() -> None:
    """Train four networks and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="folder of a pretraining checkpoint of tiny size")
    parser.add_argument("out", type=Path, help="folder for all that is made")
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: 300)")
    arguments = parser.parse_args()
    default = Path(__file__).parents[1].parent / "shared" / "data"
    data = Path(os.environ.get("SELIP_TEST_DATA", default)) / "head_mri"
    print("| trained on | from | Dice, learned by heart | through the box at best | Dice, left out |")
    print("|---|---|---|---|---|")
    for learned in STUDIES:
        tables = arguments.out / learned
        rows = [study_row(data, name, "train" if name == learned else "validation") for name in STUDIES]
        write_studies(rows, tables / "studies", data, overwrite=True)
        prepare_volumes(PrepareConfig(studies=tables / "studies", out=tables / "volumes", num_proc=1, overwrite=True))
        for weights in ("checkpoint", "random"):
            found = train_and_evaluate(arguments.checkpoint, tables, tables / weights, weights, arguments.steps)
            own, other = found["train"], found["validation"]
            print(
                f"| {learned} | {weights} | {100 * own['dice']:.0f} | {100 * own['box_dice']:.0f} "
                f"| {100 * other['dice']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
