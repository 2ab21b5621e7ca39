"""True lesions and the head on the study box, and marks of maps there: what localization and detection share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from selip.modeling_selip.localization_selip import on_box
from selip.processing.findings import Finding, StructuredReport, is_present
from selip.processing.geometry_selip import resample
from selip.processing.head_selip import find_head, head_on_box
from selip.processing.nifti_selip import VolumeError, read_volume
from selip.processing.sources.schema import StudyRow

from .series_source import BoxedSeries, SeriesSource

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]

COVERED = 0.5
"""Share of a box voxel that must lie in a lesion; of a lesion that no voxel has so much of, the fullest counts."""
ANY_NEIGHBOUR = np.ones((3, 3, 3), dtype=bool)
"""Voxels that touch by face, edge or corner are one component."""


def lesions_on_box(
    cell: Any, affine: npt.NDArray[np.float64], image_processor: Any, where: str
) -> dict[int, BoolArray]:
    """The lesions of a label map on a study box, by label.

    Args:
        cell: Volume of a mask of the studies table; 0 is background.
        affine: (4, 4) of the box.
        image_processor: `SelipImageProcessor` of that box.
        where: Study id for messages.

    Returns:
        bool (X, Y, Z) by label, ascending; a label that lies outside of the box is all False.

    Raises:
        ValueError: The mask cannot be read.
    """
    try:
        values, own = read_volume(
            cell, where=f"mask of {where}", max_voxels=image_processor.max_voxels, allow_constant=True
        )
    except VolumeError as error:
        raise ValueError(f"expected a readable mask of study {where}, got {error}; repair or remove it") from error
    # whatever is above 0 is lesion, also in a mask of shares
    labels = np.where(values > 0, np.maximum(np.rint(values), 1), 0)
    found = {}
    for label in np.unique(labels[labels > 0]):
        mask = (labels == label).astype(np.float32)
        share, _ = resample(mask, own, affine, tuple(image_processor.spatial_size))
        found[int(label)] = (share >= min(COVERED, share.max())) & (share > 0)
    return found


def finding_of_label(report: StructuredReport, label: int) -> Finding | None:
    """The finding that a label of the mask stands for: label i + 1 is the i-th present one; None: there is none."""
    present = [finding for finding in report.findings if is_present(finding)]
    return present[label - 1] if label <= len(present) else None


def head_of(series: Sequence[BoxedSeries], image_processor: Any) -> BoolArray:
    """The filled head (X, Y, Z) over all series of a study on its box, found as the processor finds it.

    Raises:
        VolumeError: Nothing stands out from the air.
    """
    names = image_processor.sequence_names
    affine = series[0].affine
    shown = [each for each in series if names[each.sequence_id] != "ADC"] or series  # air in ADC maps is noise
    head = find_head([(each.volume, affine) for each in shown])
    mask: BoolArray = head_on_box(head, affine, tuple(image_processor.spatial_size))[0]
    return mask


def map_on_box(positions: FloatArray, image_processor: Any) -> npt.NDArray[np.float32]:
    """A map of positions (gx, gy, gz) on the voxels of the box (X, Y, Z), by linear interpolation."""
    values: npt.NDArray[np.float32] = on_box(
        torch.from_numpy(np.ascontiguousarray(positions, dtype=np.float32)), tuple(image_processor.spatial_size)
    ).numpy()
    return values


def highest_share(values: FloatArray, head: BoolArray, share: float) -> BoolArray:
    """The voxels of the head whose values are among its highest `share`; all that tie with the last one are in.

    Args:
        values: (X, Y, Z), a map.
        head: (X, Y, Z) voxels that may be marked.
        share: In (0, 1).
    """
    return head & (values >= np.quantile(values[head], 1 - share))


def highest_voxel(values: FloatArray, head: BoolArray) -> tuple[int, int, int]:
    """Where a map (X, Y, Z) is highest within the head; of several such voxels the first."""
    x, y, z = np.unravel_index(np.where(head, values, -np.inf).argmax(), values.shape)
    return int(x), int(y), int(z)


def components(mask: BoolArray) -> list[tuple[tuple[slice, slice, slice], BoolArray]]:
    """Connected parts of a mask (X, Y, Z): the box of each as slices, and the part within it, of the box's shape."""
    labelled, _ = ndimage.label(mask, structure=ANY_NEIGHBOUR)
    boxes = ndimage.find_objects(labelled)
    return [(box, labelled[box] == number) for number, box in enumerate(boxes, start=1)]


class RememberedStudy:
    """A source that keeps the study it was asked for last, so that two readers of one study read it once.

    Args:
        source: Where the series come from.
    """

    def __init__(self, source: SeriesSource) -> None:
        self.source = source
        self._study_id = ""
        self._found: dict[str, BoxedSeries | str] = {}

    def study(self, study_id: str, series_ids: Sequence[str]) -> dict[str, BoxedSeries | str]:
        """See `SeriesSource`."""
        if study_id != self._study_id or not set(series_ids) <= self._found.keys():
            self._found, self._study_id = self.source.study(study_id, series_ids), study_id
        return {series_id: self._found[series_id] for series_id in series_ids}

    def usable(self, row: StudyRow) -> dict[str, BoxedSeries]:
        """All series of a study that can be had."""
        found = self.study(row["study_id"], [each["series_id"] for each in row["series"]])
        return {name: each for name, each in found.items() if isinstance(each, BoxedSeries)}
