"""Contact sheet of simulated studies: one row a study, one column a sequence, lesions outlined and named."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from ..bids_layout import FILE_NAMES, TRUTH_FOLDER, study_folder
from .contrast import SEQUENCES

MOST_ROWS = 8
FIELD_MM = (190.0, 230.0)
PIXEL_MM = 1.0


def write_preview(
    root: Path, studies: list[str], path: Path, sequences: tuple[str, ...] = SEQUENCES, rows: int = MOST_ROWS
) -> None:
    """Draw the first studies, those with lesions before normal ones.

    Args:
        root: root of the simulated data set.
        studies: study ids as `sub-0001_ses-01`.
        path: PNG to write.
        sequences: one column each.
        rows: at most this many studies.

    Raises:
        ImportError: matplotlib, the extra `plots`, is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "the preview needs matplotlib, which is not installed; "
            "install the extra `plots`: pip install 'selip[plots]'"
        ) from error
    chosen = _choose(root, studies, sequences, rows)
    figure = Figure(figsize=(2.1 * len(sequences), 2.65 * len(chosen)), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(chosen), len(sequences), squeeze=False)
    for row, study in zip(axes, chosen, strict=True):
        _draw_study(row, root, study, sequences)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.98, wspace=0.02, hspace=0.12)
    figure.savefig(path, dpi=90, facecolor="black", metadata={"Software": None})


def _choose(root: Path, studies: list[str], sequences: tuple[str, ...], most: int) -> list[str]:
    """Studies to show: those with most sequences first, each with a finding not shown yet, and one normal one."""

    def missing(study: str) -> int:
        folder = study_folder(root, study)
        return sum(not (folder / f"{FILE_NAMES[name].format(study)}.nii.gz").exists() for name in sequences)

    seen: set[str] = set()
    lesioned: list[str] = []
    normal: list[str] = []
    for study in sorted(studies, key=missing):
        terms = set(json.loads((study_folder(root / TRUTH_FOLDER, study) / f"{study}_labels.json").read_text()))
        if not terms:
            normal.append(study)
        elif terms - seen:
            lesioned.append(study)
            seen |= terms
    rows = lesioned[: most - 1] + normal[:1]
    return rows + [study for study in studies if study not in rows][: most - len(rows)]


def _draw_study(row: np.ndarray, root: Path, study: str, sequences: tuple[str, ...]) -> None:
    """One row: the slice in which most of the lesions is seen, at the same scanner position in every sequence."""
    truth = study_folder(root / TRUTH_FOLDER, study)
    labels = nib.Nifti1Image.from_filename(truth / f"{study}_desc-lesions_dseg.nii.gz")
    findings = json.loads((truth / f"{study}_findings.json").read_text())["findings"]
    label_map = np.asarray(labels.dataobj)
    centre_mm, z_mm = _view(label_map, labels.affine)
    outlines = _sample(label_map.astype(np.float32), labels.affine, centre_mm, z_mm, order=0)
    for axis, sequence in zip(row, sequences, strict=True):
        axis.set_axis_off()
        axis.set_title(f"{study} {sequence}" if sequence == "T1w" else sequence, color="white", fontsize=7, pad=2)
        path = study_folder(root, study) / (FILE_NAMES[sequence].format(study) + ".nii.gz")
        if not path.exists():
            continue
        image = nib.Nifti1Image.from_filename(path)
        picture = _sample(np.asarray(image.dataobj, dtype=np.float32), image.affine, centre_mm, z_mm, order=1)
        top = 3000.0 if sequence == "ADC" else max(float(np.percentile(picture, 99.7)), 1.0)
        axis.imshow(picture.T, origin="lower", cmap="gray", vmin=0.0, vmax=top)
        for number, finding in enumerate(findings, start=1):
            _draw_lesion(axis, outlines == number, f"{finding['laterality'][0].upper()} {finding['finding']}")


def _draw_lesion(axis, mask: np.ndarray, text: str) -> None:  # type: ignore[no-untyped-def]
    """Outline of a lesion with its name below, if the slice meets it."""
    if not mask.any():
        return
    grown = ndimage.binary_dilation(mask, iterations=3)
    axis.contour(grown.T.astype(float), levels=[0.5], colors=["#ffb000"], linewidths=0.7)
    x = ndimage.center_of_mass(grown)[0]
    low = np.flatnonzero(grown.any(axis=0))[0]
    axis.text(x, low - 4, text, color="#ffb000", fontsize=5.5, ha="center", va="top")


def _view(label_map: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre of the head grid, and the scanner z that meets most lesions (mid-brain where there is none)."""
    centre_mm = affine[:3, :3] @ (0.5 * (np.array(label_map.shape) - 1)) + affine[:3, 3]
    numbers = [number for number in np.unique(label_map) if number]
    if not numbers:
        return centre_mm, float(centre_mm[2] + 10.0)
    met = sum((label_map == number).any(axis=(0, 1)) * 1e6 for number in numbers) + (label_map > 0).sum(axis=(0, 1))
    return centre_mm, float(affine[2, 3] + affine[2, 2] * int(np.argmax(met)))


def _sample(volume: np.ndarray, affine: np.ndarray, centre_mm: np.ndarray, z_mm: float, *, order: int) -> np.ndarray:
    """Axial picture (x to the right of the patient, y to the front) of a volume at one scanner height.

    Shown as seen from the feet, the patient's left on the right, as radiologists view it.
    """
    x = centre_mm[0] + np.arange(FIELD_MM[0] / 2, -FIELD_MM[0] / 2, -PIXEL_MM)
    y = centre_mm[1] + np.arange(-FIELD_MM[1] / 2, FIELD_MM[1] / 2, PIXEL_MM)
    grid = np.stack([*np.meshgrid(x, y, indexing="ij"), np.full((len(x), len(y)), z_mm)])
    inverse = np.linalg.inv(affine)
    index = np.tensordot(inverse[:3, :3], grid, axes=1) + inverse[:3, 3][:, None, None]
    return ndimage.map_coordinates(volume, index, order=order, mode="constant")
