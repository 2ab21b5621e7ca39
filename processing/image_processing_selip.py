"""Image processor of SeLIP: head MRI studies in, `pixel_values` on one study box out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

from .geometry_selip import resample
from .head_selip import count_in_patches, find_head, head_on_box, study_box
from .intensity_selip import adc_factor, scale_adc, scale_by_percentiles
from .nifti_selip import VolumeError, make_image, read_grid, read_volume
from .sequences_selip import SEQUENCE_NAMES, sequence_id
from .study_inputs_selip import SeriesInput, as_studies, place_of

PRESETS: dict[str, dict[str, tuple]] = {
    "tiny": {"spatial_size": (72, 88, 24), "spacing_mm": (2.5, 2.5, 6.0), "patch_size": (8, 8, 4)},
    "base": {"spatial_size": (224, 224, 48), "spacing_mm": (1.0, 1.0, 3.5), "patch_size": (16, 16, 8)},
}
"""Study boxes by model size: `SelipImageProcessor(**PRESETS["base"])`. Both cover a head from vertex to skull base."""

MAX_VOXELS = 200_000_000
"""Default limit of a volume, 0.8 GB as float32: above any head MRI (a 0.4 mm isotropic head has 130 million)."""

MIN_CORE_VOXELS = 500
"""Fewest voxels of the head's core to take percentiles from; a series that shows less of it uses the head mask."""


class SelipImagesKwargs(TypedDict, total=False):
    """Settings of `SelipImageProcessor`, each usable at construction and per call."""

    spatial_size: Sequence[int]
    spacing_mm: Sequence[float]
    patch_size: Sequence[int]
    sequence_names: Sequence[str]
    percentiles: Sequence[float]
    adc_window: Sequence[float]
    max_voxels: int
    return_tensors: str | None


@dataclass(frozen=True)
class ProcessedStudy:
    """A study on its box; S series that could be used.

    Attributes:
        volumes: float32 (S, X, Y, Z) in [0, 1], RAS+, air 0.
        affine: float64 (4, 4), box voxel -> scanner mm; one for all series.
        head_mask: bool (X, Y, Z), filled head over all series.
        patch_counts: uint16 (X/px, Y/py, Z/pz), head voxels per patch.
        sequence_ids: int64 (S,).
        kept: For each of the S series its place in the input.
        errors: Pairs (place in the input, error) of the series left out; empty unless these were to be skipped.
    """

    volumes: np.ndarray
    affine: np.ndarray
    head_mask: np.ndarray
    patch_counts: np.ndarray
    sequence_ids: np.ndarray
    kept: tuple[int, ...]
    errors: tuple[tuple[int, VolumeError], ...] = ()


class SelipImageProcessor(BaseImageProcessor):
    """Bring the series of head MRI studies to one box per study and to [0, 1].

    The box of a study is an axis-aligned RAS+ grid in scanner millimetres that hangs from the vertex and is centred on
    the head over all its series. What a series does not cover is 0. ADC maps are physics, windowed in 10^-6 mm^2/s;
    every other sequence is scaled by its own percentiles within the core of the head (brain, not scalp fat).

    Args:
        spatial_size: Voxels (x, y, z) of the box.
        spacing_mm: Voxel size (x, y, z) of the box in mm.
        patch_size: Voxels (x, y, z) of a patch, for the head-mask counts; divides `spatial_size`.
        sequence_names: Vocabulary; the index is the id, `"unknown"` is 0.
        percentiles: Percentiles within the core of the head (16 mm below its outline) that become 0 and 1.
        adc_window: ADC values in 10^-6 mm^2/s that become 0 and 1.
        max_voxels: Largest volume to accept, checked before memory is allocated.

    Raises:
        ValueError: A setting is out of range.
        TypeError: A setting is unknown.

    Example:
        >>> processor = SelipImageProcessor()
        >>> batch = processor({"T1w": "t1.nii.gz", "FLAIR": "flair.nii.gz"})
        >>> batch["pixel_values"].shape
        torch.Size([1, 2, 72, 88, 24])
    """

    model_input_names = [  # noqa: RUF012 (transformers' form)
        "pixel_values",
        "series_mask",
        "sequence_ids",
        "affines",
        "patch_mask",
    ]
    valid_kwargs = SelipImagesKwargs

    def __init__(
        self,
        *,
        spatial_size: Sequence[int] = (72, 88, 24),
        spacing_mm: Sequence[float] = (2.5, 2.5, 6.0),
        patch_size: Sequence[int] = (8, 8, 4),
        sequence_names: Sequence[str] = SEQUENCE_NAMES,
        percentiles: Sequence[float] = (0.5, 99.5),
        adc_window: Sequence[float] = (0.0, 3000.0),
        max_voxels: int = MAX_VOXELS,
        **kwargs: Any,
    ) -> None:
        written = {"image_processor_type", "processor_class", "auto_map"}  # by transformers, beside the settings
        unknown = {key for key in kwargs if not key.startswith("_")} - written
        if unknown:
            raise TypeError(f"expected settings of {sorted(SETTINGS)}, got {sorted(unknown)}")
        if kwargs.get("auto_map"):
            # Saved within a processor it names that too; beside a head it would name code that is not there.
            kwargs["auto_map"] = {k: v for k, v in kwargs["auto_map"].items() if k == "AutoImageProcessor"}
        super().__init__(**kwargs)
        self.spatial_size = _numbers("spatial_size", spatial_size, 3, int)
        self.spacing_mm = _numbers("spacing_mm", spacing_mm, 3, float)
        self.patch_size = _numbers("patch_size", patch_size, 3, int)
        self.sequence_names = tuple(str(name) for name in sequence_names)
        self.percentiles = _numbers("percentiles", percentiles, 2, float)
        self.adc_window = _numbers("adc_window", adc_window, 2, float)
        self.max_voxels = int(max_voxels)
        self._check_settings()

    def _check_settings(self) -> None:
        if min(self.spatial_size) < 1 or min(self.patch_size) < 1 or min(self.spacing_mm) <= 0 or self.max_voxels < 1:
            raise ValueError("expected positive spatial_size, patch_size, spacing_mm and max_voxels")
        if any(n % p for n, p in zip(self.spatial_size, self.patch_size, strict=True)):
            raise ValueError(f"expected a patch_size that divides {self.spatial_size}, got {self.patch_size}")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError(f"expected two rising percentiles in 0 to 100, got {self.percentiles}")
        if not self.adc_window[0] < self.adc_window[1]:
            raise ValueError(f"expected a rising adc_window, got {self.adc_window}")
        names = self.sequence_names
        if not names or names[0] != "unknown" or len(set(names)) != len(names):
            raise ValueError(f"expected distinct sequence_names that begin with 'unknown', got {names}")

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds this processor: `SelipImageProcessor(**settings)`; JSON-ready, tuples as lists."""
        values = {name: getattr(self, name) for name in sorted(SETTINGS)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def fetch_images(self, images: Any) -> Any:
        """Return the input as it is: paths are opened by `preprocess`, nothing is downloaded."""
        return images

    def preprocess(self, images: Any, *, return_tensors: str | None = "pt", **kwargs: Any) -> BatchFeature:
        """Process one study or a batch of studies.

        Args:
            images: A volume (path, nibabel image, NIfTI bytes, `datasets` cell, or (array, affine)); a study, which is
                a dict {sequence: volume} or a list of `SeriesInput` or of dicts {"volume", "sequence", "series_id"};
                or a list of studies.
            return_tensors: `"pt"` (also None) or `"np"`.
            **kwargs: Settings for this call, those of the constructor.

        Returns:
            `BatchFeature` of B studies with S slots, S the most series that a study has:
            pixel_values float32 (B, S, X, Y, Z) in [0, 1]; series_mask bool (B, S), False in empty slots;
            sequence_ids int64 (B, S), 0 in empty slots; affines float32 (B, S, 4, 4), box voxel -> scanner mm,
            identity in empty slots; patch_mask bool (B, S, X/px, Y/py, Z/pz), the patches that touch the head of the
            study, False in empty slots.

        Raises:
            VolumeError: A volume cannot be used (see `VolumeError.reason`).
            ValueError: The input is ambiguous, or a sequence name is unknown.
            TypeError: A setting or the form of the input is unknown.
        """
        if return_tensors not in (None, "pt", "np"):
            raise ValueError(f"expected return_tensors 'pt' or 'np', got {return_tensors!r}")
        processor = self._with_settings(kwargs)
        studies = [processor.process_study(series) for series in as_studies(images, processor.sequence_names)]
        return _collate(studies, as_numpy=return_tensors == "np")

    def _with_settings(self, settings: dict[str, Any]) -> "SelipImageProcessor":
        unknown = set(settings) - SETTINGS
        if unknown:
            raise TypeError(f"expected settings of {sorted(SETTINGS)}, got {sorted(unknown)}")
        return type(self)(**{**self.settings(), **settings}) if settings else self

    def process_study(
        self,
        series: Sequence[SeriesInput],
        study_id: str = "",
        *,
        box_affine: np.ndarray | None = None,
        skip_invalid: bool = False,
    ) -> ProcessedStudy:
        """Bring the series of one study to the study box.

        Box and head mask come from all series together, so a series on its own may get another box than within its
        study; pass `box_affine` to hold the box fixed.

        Args:
            series: Objects with `volume`, `sequence` and `series_id`.
            study_id: Name for error messages.
            box_affine: float64 (4, 4) of a box to use instead, box voxel -> scanner mm.
            skip_invalid: Leave out series that cannot be used and report them in `errors`.

        Raises:
            VolumeError: A series cannot be used, or none is left.
            ValueError: A sequence name is unknown, or there is no series.
        """
        if not series:
            raise ValueError(f"expected at least one series in {study_id or 'the study'}")
        ids = [sequence_id(item.sequence, self.sequence_names) for item in series]
        errors: dict[int, VolumeError] = {}
        volumes = self._read(series, study_id, errors)
        _check_errors(errors, skip_invalid=skip_invalid, usable=len(volumes))
        shows_head = [i for i in volumes if series[i].sequence != "ADC"] or list(volumes)  # air in ADC maps is noise
        head = find_head([volumes[i] for i in shows_head], where=study_id)
        if box_affine is None:
            box_affine = study_box(head, self.spatial_size, self.spacing_mm)
        box_affine = np.asarray(box_affine, dtype=np.float64)
        head_mask, core = head_on_box(head, box_affine, self.spatial_size)
        scaled = {}
        for i, (volume, affine) in volumes.items():
            values, covered = resample(volume, affine, box_affine, self.spatial_size)
            try:
                scaled[i] = self._scale(values, covered, (core, head_mask), series[i].sequence)
            except VolumeError as error:
                errors[i] = error.located(place_of(series[i], study_id))
        _check_errors(errors, skip_invalid=skip_invalid, usable=len(scaled))
        return ProcessedStudy(
            volumes=np.stack(list(scaled.values())),
            affine=box_affine,
            head_mask=head_mask,
            patch_counts=count_in_patches(head_mask, self.patch_size),
            sequence_ids=np.array([ids[i] for i in scaled], dtype=np.int64),
            kept=tuple(scaled),
            errors=tuple(sorted(errors.items())),
        )

    def _read(
        self, series: Sequence[SeriesInput], study_id: str, errors: dict[int, VolumeError]
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Read what can be read, by place in the study; the rest goes into `errors`."""
        volumes = {}
        for i, item in enumerate(series):
            try:
                volumes[i] = read_volume(item.volume, where=place_of(item, study_id), max_voxels=self.max_voxels)
            except VolumeError as error:
                errors[i] = error
        return volumes

    def _scale(
        self, values: np.ndarray, covered: np.ndarray, masks: tuple[np.ndarray, ...], sequence: str
    ) -> np.ndarray:
        """Scale one resampled series to [0, 1] by what it shows of the first mask that it reaches enough of."""
        inside = next((m & covered for m in masks if (m & covered).sum() >= MIN_CORE_VOXELS), masks[-1] & covered)
        if sequence == "ADC":
            scaled = scale_adc(values, adc_factor(values, inside), self.adc_window)
        else:
            scaled = scale_by_percentiles(values, inside, self.percentiles)
        return scaled * covered

    def mask_to_box(
        self, mask: Any, affine_box: np.ndarray, *, labels: bool = False, threshold: float = 0.5
    ) -> np.ndarray:
        """Bring a mask or label map to a study box.

        Args:
            mask: Any volume form, on its own grid.
            affine_box: float64 (4, 4) of the box, as `ProcessedStudy.affine`.
            labels: Keep label numbers (nearest voxel) instead of a yes/no mask.
            threshold: Share of a box voxel that must lie in the mask, in (0, 1]; below 0.5 keeps lesions smaller than
                a voxel, and makes others larger.

        Returns:
            bool (X, Y, Z), or int64 (X, Y, Z) with `labels`.
        """
        array, affine = read_volume(mask, where="mask", max_voxels=self.max_voxels, allow_constant=True)
        box = np.asarray(affine_box, dtype=np.float64)
        if labels:
            return np.rint(resample(array, affine, box, self.spatial_size, nearest=True)[0]).astype(np.int64)
        return resample((array > 0).astype(np.float32), affine, box, self.spatial_size)[0] >= threshold

    def to_native(self, box_volume: Any, affine_box: np.ndarray, like: Any) -> Any:
        """Put a mask, label map or heatmap of the study box on an input's own grid.

        Args:
            box_volume: Array or tensor (X, Y, Z): bool (mask), integer (labels) or float (heatmap).
            affine_box: float64 (4, 4) of the box.
            like: Volume whose grid to use; only its header is read.

        Returns:
            nibabel `Nifti1Image` on that grid: uint8 for masks, int32 for labels, float32 for heatmaps; 0 outside
            the box.
        """
        values = np.asarray(box_volume.detach().cpu() if isinstance(box_volume, torch.Tensor) else box_volume)
        if values.shape != self.spatial_size:
            raise ValueError(f"expected a box volume of shape {self.spatial_size}, got {values.shape}")
        size, affine = read_grid(like, where="like")
        is_mask, is_labels = values.dtype == bool, values.dtype.kind in "iu"
        box = np.asarray(affine_box, dtype=np.float64)
        native, _ = resample(values.astype(np.float32), box, affine, size, nearest=is_labels)
        if is_mask:
            native = (native >= 0.5).astype(np.uint8)
        elif is_labels:
            native = np.rint(native).astype(np.int32)
        return make_image(native, affine)


SETTINGS = frozenset(SelipImagesKwargs.__annotations__) - {"return_tensors"}


def _check_errors(errors: dict[int, VolumeError], *, skip_invalid: bool, usable: int) -> None:
    """Raise the first error, unless it may be skipped and there is something left to use."""
    if errors and not (skip_invalid and usable):
        raise errors[min(errors)]


def _numbers(name: str, values: Iterable[Any], count: int, kind: type) -> tuple:
    """Return settings as a tuple of one type: JSON brings lists, and whole numbers for floats."""
    numbers = tuple(kind(v) for v in values)
    if len(numbers) != count or any(n != v for n, v in zip(numbers, values, strict=True)):
        raise ValueError(f"expected {name} of {count} numbers of type {kind.__name__}, got {values!r}")
    return numbers


def _collate(studies: list[ProcessedStudy], *, as_numpy: bool) -> BatchFeature:
    """Pad studies to the same number of slots. Empty slots are marked in the mask, never just zeros."""
    slots = max(len(study.volumes) for study in studies)
    size = studies[0].volumes.shape[1:]
    pixel_values = np.zeros((len(studies), slots, *size), np.float32)
    series_mask = np.zeros((len(studies), slots), bool)
    sequence_ids = np.zeros((len(studies), slots), np.int64)
    affines = np.tile(np.eye(4, dtype=np.float32), (len(studies), slots, 1, 1))
    patch_mask = np.zeros((len(studies), slots, *studies[0].patch_counts.shape), bool)
    for b, study in enumerate(studies):
        n = len(study.volumes)
        pixel_values[b, :n] = study.volumes
        series_mask[b, :n] = True
        sequence_ids[b, :n] = study.sequence_ids
        affines[b, :n] = study.affine
        patch_mask[b, :n] = study.patch_counts > 0
    data = {
        "pixel_values": pixel_values,
        "series_mask": series_mask,
        "sequence_ids": sequence_ids,
        "affines": affines,
        "patch_mask": patch_mask,
    }
    return BatchFeature(data if as_numpy else {key: torch.from_numpy(value) for key, value in data.items()})


SelipImageProcessor.register_for_auto_class()
