"""Lesion masks on the study box, read once and kept small: a mask of a base box is 2.4 million voxels, mostly 0."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from selip.processing.nifti_selip import VolumeError

from ..volumes import VolumesTable


class BoxMasks:
    """Masks of studies on their boxes, in memory, compressed."""

    def __init__(self, shape: Sequence[int]):
        self.shape = tuple(shape)
        self._packed: dict[str, bytes] = {}

    def add(self, study_id: str, mask: npt.NDArray[np.bool_]) -> None:
        """Keep the mask (X, Y, Z) of a study."""
        if mask.shape != self.shape:
            raise ValueError(f"expected a mask of shape {self.shape}, got {mask.shape}")
        self._packed[study_id] = zlib.compress(np.packbits(mask).tobytes(), level=1)

    def __contains__(self, study_id: str) -> bool:
        return study_id in self._packed

    def __getitem__(self, study_id: str) -> npt.NDArray[np.int64]:
        """(X, Y, Z), 1 = lesion."""
        bits = np.frombuffer(zlib.decompress(self._packed[study_id]), dtype=np.uint8)
        return np.unpackbits(bits, count=int(np.prod(self.shape))).reshape(self.shape).astype(np.int64)


def mask_cell(row: Mapping[str, Any], name: str) -> Any | None:
    """The volume cell of the mask of that name of a study; None where it has none."""
    return next((mask["volume"] for mask in row["masks"] if mask["name"] == name), None)


def read_masks(
    rows: Sequence[Mapping[str, Any]],
    name: str,
    table: VolumesTable,
    image_processor: Any,
    *,
    threshold: float,
    show_progress: bool,
) -> BoxMasks:
    """Masks of the studies that have one, on the boxes of the volumes table.

    Args:
        rows: Rows of the studies table, undecoded.
        name: Name of the mask.
        table: Says where the box of each study lies.
        image_processor: `SelipImageProcessor` of the same box.
        threshold: Share of a box voxel that must lie in the mask.
        show_progress: Show a bar on a terminal.

    Raises:
        ValueError: No study has such a mask; or one cannot be read, or lies outside of its study's box.
    """
    known = set(table.study_ids())
    masks = BoxMasks(table.processor_config["spatial_size"])
    for row in tqdm(rows, desc="masks", unit="study", disable=None if show_progress else True):
        cell = mask_cell(row, name)
        if cell is None or row["study_id"] not in known:
            continue
        affine = table.affine(table.series_of(row["study_id"])[0].row)
        try:
            masks.add(row["study_id"], image_processor.mask_to_box(cell, affine, threshold=threshold))
        except VolumeError as error:
            raise ValueError(
                f"expected a readable mask {name!r} of study {row['study_id']}, got {error}; repair or remove it"
            ) from error
    if not any(row["study_id"] in masks for row in rows):
        found = sorted({mask["name"] for row in rows for mask in row["masks"]})
        raise ValueError(
            f"expected studies with volumes and a mask named {name!r}, got none among {len(rows)}; their masks are "
            f"named {', '.join(found) or 'nothing (there are none)'}"
        )
    return masks
