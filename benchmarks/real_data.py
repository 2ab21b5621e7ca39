"""Run the processor over the real head MRI of `SELIP_TEST_DATA`, case by case, and print a Markdown table.

    python benchmarks/real_data.py [--preset tiny|base] [--pictures FOLDER]

Each volume stands in its study (box and head mask are of the study), errors are listed with their reason. `ms` is one
core: reading with decompression, then everything else per volume (best of three). Pictures, one per study with the
outline of the head mask, are for looking at; they show people's heads and stay on your disk.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from selip.processing.image_processing_selip import PRESETS, ProcessedStudy, SelipImageProcessor, SeriesInput
from selip.processing.nifti_selip import VolumeError, read_volume

SEQUENCES = {"TRACE": "DWI", "GRE": "unknown", "EPI": "unknown", "FA": "unknown"}
HEADER = (
    "| Case | File | Result | Sequence | Native shape | Spacing (mm) | Axes | In the box (%) | Head (l) "
    "| Mean in head | Read (ms) | Process (ms) |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def studies_in(folder: Path) -> dict[str, list[SeriesInput]]:
    """Every NIfTI volume of the data set by case, with the sequence its name tells; masks are left out."""
    studies: dict[str, list[SeriesInput]] = {}
    for path in sorted(folder.glob("*/*.nii*")):
        if "mask" in path.name:
            continue
        word = path.name.split(".")[0].split("_")[0]
        studies.setdefault(path.parent.name, []).append(SeriesInput(path, SEQUENCES.get(word, word), path.name))
    return studies


def milliseconds(work: Callable[[], object]) -> float:
    """Processor time of the best of three runs on this thread."""
    times = []
    for _ in range(3):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return min(times) * 1000


def share_in_box(item: SeriesInput, study: ProcessedStudy, volume: np.ndarray, affine: np.ndarray) -> float:
    """Share in percent of a series' bright voxels (above a tenth of the 98th percentile) that the box holds."""
    step = tuple(max(1, n // 64) for n in volume.shape)
    view = volume[:: step[0], :: step[1], :: step[2]]
    bright = np.argwhere(view > 0.1 * np.percentile(view, 98)) * step
    mm = nib.affines.apply_affine(affine, bright)
    index = nib.affines.apply_affine(np.linalg.inv(study.affine), mm)
    return 100.0 * ((index >= -0.5) & (index <= np.array(study.head_mask.shape) - 0.5)).all(axis=1).mean()


def rows_of(case: str, series: list[SeriesInput], study: ProcessedStudy, processor: SelipImageProcessor) -> list[str]:
    """Table rows of one study."""
    errors = dict(study.errors)
    litres = study.head_mask.sum() * np.linalg.det(study.affine) / 1e6
    rows = []
    for i, item in enumerate(series):
        image = nib.load(item.volume)
        zooms = " x ".join(f"{z:.3g}" for z in image.header.get_zooms()[:3])
        shape = "x".join(map(str, image.shape))
        place = f"{shape} | {zooms} | {''.join(nib.aff2axcodes(image.affine))}"
        if i in errors:
            rows.append(f"| {case} | {item.series_id} | error `{errors[i].reason}` | | {place} | | | | | |")
            continue
        volume, affine = read_volume(item.volume, where=item.series_id, max_voxels=processor.max_voxels)
        mean = study.volumes[study.kept.index(i)][study.head_mask].mean()
        read = milliseconds(lambda item=item: read_volume(item.volume, where="", max_voxels=processor.max_voxels))
        loaded = SeriesInput((volume, affine), item.sequence)
        process = milliseconds(lambda loaded=loaded: processor.process_study([loaded]))
        share = share_in_box(item, study, volume, affine)
        rows.append(
            f"| {case} | {item.series_id} | loads | {item.sequence} | {place} | {share:.0f} | {litres:.2f} "
            f"| {mean:.2f} | {read:.0f} | {process:.0f} |"
        )
    return rows


def draw(case: str, series: list[SeriesInput], study: ProcessedStudy, folder: Path) -> None:
    """Two axial, a coronal and a sagittal section of every series, with the outline of the head mask."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    x, y, z = study.head_mask.shape
    spacing = np.diag(study.affine)
    figure, axes = plt.subplots(len(study.volumes), 4, figsize=(14, 3.6 * len(study.volumes)), squeeze=False)
    sections = [np.s_[:, :, z // 2], np.s_[:, :, z // 4], np.s_[:, y // 2], np.s_[x // 2]]
    aspects = [1.0, 1.0, spacing[2] / spacing[0], spacing[2] / spacing[1]]
    for row, volume, kept in zip(axes, study.volumes, study.kept, strict=True):
        for axis, section, aspect in zip(row, sections, aspects, strict=True):
            axis.imshow(volume[section].T, cmap="gray", origin="lower", aspect=aspect, vmin=0, vmax=1)
            axis.contour(study.head_mask[section].T, [0.5], colors="r", linewidths=0.6)
            axis.axis("off")
        row[0].set_title(f"{case} {series[kept].series_id}", fontsize=9)
    folder.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(folder / f"{case}.png", dpi=60)
    plt.close(figure)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--pictures", type=Path, help="folder for pictures to look at")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(os.environ.get("SELIP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (root / "head_mri").is_dir():
        parser.error(f"expected real head MRI at {root / 'head_mri'}; set SELIP_TEST_DATA")
    processor = SelipImageProcessor(**PRESETS[arguments.preset])
    print(HEADER)
    for case, series in studies_in(root / "head_mri").items():
        try:
            study = processor.process_study(series, case, skip_invalid=True)
        except VolumeError as error:
            print(f"| {case} | all | error `{error.reason}` | | | | | | | | | |")
            continue
        print("\n".join(rows_of(case, series, study, processor)), flush=True)
        if arguments.pictures:
            draw(case, series, study, arguments.pictures)


if __name__ == "__main__":
    main()
