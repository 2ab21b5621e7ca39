"""Signals follow physics, and lesions look in every sequence as their truth says, in equations and in images."""

import numpy as np
import pytest
from scipy import ndimage

nilearn = pytest.importorskip("nilearn", reason="the simulator needs the extra `simulate`")

from selip.processing.sources.simulated.acquisition import acquire  # noqa: E402
from selip.processing.sources.simulated.anatomy import Head, deform, load_template  # noqa: E402
from selip.processing.sources.simulated.contrast import (  # noqa: E402
    SEQUENCES,
    TISSUE_PROPERTIES,
    Timing,
    Tissue,
    draw_timing,
    signal,
)
from selip.processing.sources.simulated.findings import KINDS, SITES, LesionKind, PlannedFinding  # noqa: E402
from selip.processing.sources.simulated.lesions import make_lesion  # noqa: E402

KIND_IDS = [f"{kind.variant} {kind.term}".strip() for kind in KINDS]


def measured(tissue: Tissue, sequence: str, timing: Timing) -> float:
    return tissue.adc if sequence == "ADC" else signal(tissue, timing)


def by_sequence(kind: LesionKind) -> dict[str, list[str]]:
    signals: dict[str, list[str]] = {}
    for sequence, value in kind.signals:
        signals.setdefault(sequence, []).append(value)
    return signals


@pytest.fixture(scope="module")
def head() -> Head:
    return deform(load_template(), seed=5, patient=1, session=1)


def test_signal_equals_steady_state_of_repeated_pulses() -> None:
    """Reference: magnetisation followed pulse by pulse until it repeats (inversion, recovery, excitation)."""
    tissue, timing = Tissue(1300.0, 90.0, 0.8, 800.0), Timing(tr_ms=5000.0, te_ms=60.0, ti_ms=1700.0, b_value=500.0)
    longitudinal = 1.0
    for _ in range(5):
        longitudinal = 1 - (1 + longitudinal) * np.exp(-timing.ti_ms / tissue.t1_ms)  # type: ignore[operator]
        read_out = longitudinal
        longitudinal = 1 - np.exp(-(timing.tr_ms - timing.ti_ms) / tissue.t1_ms)  # type: ignore[operator]
    expected = 0.8 * abs(read_out) * np.exp(-60.0 / 90.0) * np.exp(-500.0 * 800.0e-6)
    assert signal(tissue, timing) == pytest.approx(expected, rel=1e-9)


def test_healthy_contrast_is_that_of_the_sequences() -> None:
    """White > grey > fluid on T1w, the reverse on T2w, fluid nulled on FLAIR and dark on DWI, for all timings."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for sequence in ("T1w", "T2w", "FLAIR", "DWI"):
            timing = draw_timing(sequence, rng)
            white, grey, fluid = (signal(TISSUE_PROPERTIES[n], timing) for n in ("white matter", "grey matter", "csf"))
            if sequence == "T1w":
                assert white > 1.05 * grey > 1.05 * fluid
            elif sequence == "T2w":
                assert fluid > 1.3 * grey > 1.3 * white
            else:
                assert grey > 1.05 * white > 2.0 * fluid


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_declared_signals_follow_from_tissue_properties(kind: LesionKind) -> None:
    """Each stated signal differs from white (and grey) matter in its direction; what is not stated does not."""
    stated = by_sequence(kind)
    names = ("white matter",) if kind.needs_white else ("white matter", "grey matter")
    for sequence in SEQUENCES:
        timing = draw_timing("DWI" if sequence == "ADC" else sequence, np.random.default_rng(1))
        parts = [kind.core] if kind.rim is None else [kind.core, kind.rim]
        healthy = [measured(TISSUE_PROPERTIES[name], sequence, timing) for name in names]
        contrast = [[measured(part, sequence, timing) / value - 1 for value in healthy] for part in parts]
        values = stated.get(sequence, [])
        if values == ["hypo", "hyper"]:
            assert max(contrast[0]) < -0.5
            assert min(contrast[1]) > 0.2
        elif values == ["hyper"]:
            assert min(contrast[0]) > 0.1
        elif values == ["hypo"]:
            assert max(contrast[0]) < -0.1
        else:
            assert not values
            assert min(contrast[0]) < 0.15
            assert max(contrast[0]) > -0.15


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_lesions_look_in_the_images_as_their_truth_says(kind: LesionKind, head: Head) -> None:
    """Mean of lesion voxels against the brain around it has the stated sign in every sequence, noise and all."""
    diameter_mm = float(np.mean(kind.diameter_mm))
    plan = PlannedFinding(kind, SITES[kind.sites[0]], "left", kind.shapes[-1], diameter_mm)
    lesion = make_lesion(plan, head, 5, 1, 1, 0)
    mask = np.zeros(head.template_mm.shape[1:], dtype=np.float32)
    mask[lesion.box][lesion.mask] = 1.0
    brain = head.tissue("white matter") + head.tissue("grey matter")
    around = (
        ndimage.binary_dilation(mask > 0, iterations=7) & ~ndimage.binary_dilation(mask > 0, iterations=2)
    ) * brain
    for sequence, values in by_sequence(kind).items():
        series = acquire(head, [lesion], sequence, 5, 1, 1)
        to_head = np.linalg.inv(head.affine) @ series.affine
        index = np.indices(series.data.shape).reshape(3, -1)
        index = to_head[:3, :3] @ index + to_head[:3, 3:]
        # The slices are 6 mm thick: average what the voxel of the image averaged.
        share = ndimage.map_coordinates(ndimage.uniform_filter1d(mask, 3, axis=2), index, order=1)
        background = ndimage.map_coordinates(
            ndimage.uniform_filter1d(around.astype(np.float32), 3, axis=2), index, order=1
        )
        voxels = series.data.reshape(-1).astype(float)
        outside = voxels[background > 0.85].mean()
        inside = voxels[share > min(0.9, 0.9 * share.max())]
        if values == ["hypo", "hyper"]:
            assert np.quantile(voxels[share > 0.3], 0.1) < 0.75 * outside
            assert np.quantile(voxels[share > 0.3], 0.9) > 1.15 * outside
        else:
            ratio = inside.mean() / outside
            assert ratio > 1.05 if values == ["hyper"] else ratio < 0.95, (sequence, ratio)
