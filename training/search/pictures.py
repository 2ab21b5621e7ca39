"""Axial slices of series, to look at beside a search result."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from selip.processing.image_processing_selip import ProcessedStudy, SelipImageProcessor
from selip.processing.intensity_selip import quantise
from selip.processing.nifti_selip import VolumeError
from selip.processing.study_inputs_selip import SeriesInput

from ..evaluation.figures import axial_view, spread_slices
from .search import ShownSeries

# A head at the resolution of a screen. The grid of the model itself is too coarse to look at.
_VIEW: dict[str, Any] = {"spatial_size": (192, 232, 32), "spacing_mm": (1.0, 1.0, 5.0), "patch_size": (8, 8, 4)}
_SLICES_OF_A_SERIES = 3
_SERIES_OF_A_STUDY = 4


@dataclass(frozen=True)
class SliceView:
    """One slice, or why there is none.

    Attributes:
        label: Sequence of the series.
        pixels: uint8 (232, 192), anterior on top, the patient's right on the left; None: see `problem`.
        problem: Why the volume cannot be shown.
    """

    label: str
    pixels: npt.NDArray[np.uint8] | None
    problem: str = ""


@cache
def _viewer() -> SelipImageProcessor:
    return SelipImageProcessor(**_VIEW)


def viewed(volume: Any, sequence: str, series_id: str) -> tuple[SelipImageProcessor, ProcessedStudy]:
    """One series at the resolution of a screen, and the processor whose box it lies on.

    Raises:
        VolumeError: It cannot be shown.
    """
    return _viewer(), _viewer().process_study([SeriesInput(volume, sequence, series_id)])


def views_of_series(series: Sequence[ShownSeries]) -> list[SliceView]:
    """Three slices of each series, from lower to upper."""
    return _views(series, _SLICES_OF_A_SERIES, range(_SLICES_OF_A_SERIES))


def views_of_study(series: Sequence[ShownSeries]) -> list[SliceView]:
    """The middle slice of the first series of each sequence, four sequences at most."""
    first = {each.sequence: each for each in reversed(series)}
    chosen = [each for each in series if first[each.sequence] is each][:_SERIES_OF_A_STUDY]
    return _views(chosen, 3, (1,))


def _views(series: Sequence[ShownSeries], spread: int, shown: Sequence[int]) -> list[SliceView]:
    """Those of `spread` slices of each series that have the numbers `shown`, all on one box."""
    if not series:
        return []
    inputs = [SeriesInput(each.volume, each.sequence, each.series_id) for each in series]
    try:
        boxed = _viewer().process_study(inputs, skip_invalid=True)
    except VolumeError as error:
        return [SliceView(each.sequence, None, f"the volume cannot be shown ({error.reason})") for each in series]
    # Heights are chosen once, so that all sequences show the same place of the head.
    heights = spread_slices(np.asarray(boxed.head_mask), spread)
    volumes = dict(zip(boxed.kept, boxed.volumes, strict=True))
    reasons = {place: error.reason for place, error in boxed.errors}
    views: list[SliceView] = []
    for place, each in enumerate(series):
        if place in volumes:
            slices = [axial_view(quantise(volumes[place]), heights[number]) for number in shown]
            views += [SliceView(each.sequence, pixels) for pixels in slices]
        else:
            views.append(SliceView(each.sequence, None, f"the volume cannot be shown ({reasons[place]})"))
    return views
