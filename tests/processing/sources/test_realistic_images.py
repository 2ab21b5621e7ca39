"""Images of the realistic form: they show what the truth says, age and grades; artefacts do what they say."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

nilearn = pytest.importorskip("nilearn", reason="the simulator needs the extra `simulate`")

from selip.processing.sources.simulated.acquisition import Series  # noqa: E402
from selip.processing.sources.simulated.anatomy import Head  # noqa: E402
from selip.processing.sources.simulated.contrast import (  # noqa: E402
    TISSUE_PROPERTIES,
    Timing,
    Tissue,
    signal,
)
from selip.processing.sources.simulated.findings import PlannedFinding  # noqa: E402
from selip.processing.sources.simulated.lesions import Lesion  # noqa: E402
from selip.processing.sources.simulated.realistic.artefacts import (  # noqa: E402
    Artefacts,
    distorted,
    draw_artefacts,
    limited_k_space,
)
from selip.processing.sources.simulated.realistic.details import HeadTemplate, load_head_template  # noqa: E402
from selip.processing.sources.simulated.realistic.head import Shape, build_head, normal_shape  # noqa: E402
from selip.processing.sources.simulated.realistic.kinds import KINDS, SITES, Kind  # noqa: E402
from selip.processing.sources.simulated.realistic.lesions import place_findings  # noqa: E402
from selip.processing.sources.simulated.realistic.patient import Patient  # noqa: E402
from selip.processing.sources.simulated.realistic.plan import VisitPlan  # noqa: E402
from selip.processing.sources.simulated.realistic.scan import Examination, scan  # noqa: E402
from selip.processing.sources.simulated.realistic.scanners import SEEN, UNSEEN, timing  # noqa: E402
from selip.processing.sources.simulated.realistic.study import draw_visit, make_studies  # noqa: E402

SEED = 5
SHAPE = Shape(ventricle_mm=0.0, sulcus_mm=0.7, iron=0.5, mucosa_mm=(0.0, 0.0))
STILL = replace(SEEN[0], motion_rate=0.0)
BY_NAME = {(kind.term, kind.variant): kind for kind in KINDS}
# Kinds whose tissue is that of the simple form are tested there.
OF_THE_SIMPLE_FORM = ("lacune", "acute infarct", "encephalomalacia", "arachnoid cyst")
IN_BRAIN = [kind for kind in KINDS if kind.place in ("brain", "dura") and kind.term not in OF_THE_SIMPLE_FORM]


@pytest.fixture(scope="module")
def template() -> HeadTemplate:
    return load_head_template()


@pytest.fixture(scope="module")
def head(template: HeadTemplate) -> Head:
    return build_head(template, SHAPE, SEED, 1, 1)


def by_sequence(kind: Kind) -> dict[str, list[str]]:
    signals: dict[str, list[str]] = {}
    for sequence, value in kind.signals:
        signals.setdefault(sequence, []).append(value)
    return signals


def measured(tissue: Tissue, sequence: str, times: Timing) -> float:
    return tissue.adc if sequence == "ADC" else signal(tissue, times)


def lesion_of(kind: Kind, head: Head, site: str = "", side: str = "left", grade: str = "none") -> Lesion:
    planned = PlannedFinding(
        kind, SITES[site or kind.sites[0]], side, kind.shapes[-1], float(np.mean(kind.diameter_mm)), grade
    )
    lesion = place_findings(VisitPlan((planned,)), head, SEED, 1, 1)[0].lesion
    assert lesion is not None
    return lesion


def share_of(mask: np.ndarray, head: Head, series: Series) -> np.ndarray:
    """Part of each voxel of a series that a volume on the grid of the head fills, slices averaged; flat."""
    to_head = np.linalg.inv(head.affine) @ series.affine
    index = np.indices(series.data.shape).reshape(3, -1)
    index = to_head[:3, :3] @ index + to_head[:3, 3:]
    return ndimage.map_coordinates(ndimage.uniform_filter1d(mask.astype(np.float32), 3, axis=2), index, order=1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.variant} {kind.term}".strip())
def test_declared_signals_follow_from_tissue_properties(kind: Kind) -> None:
    """On all twelve scanners each stated signal has its direction against white (and grey) matter; iso: grey."""
    names = ("white matter",) if kind.needs_white else ("white matter", "grey matter")
    parts = [kind.core] if kind.rim is None else [kind.core, kind.rim]
    for scanner in (*SEEN, *UNSEEN):
        for sequence, values in by_sequence(kind).items():
            times = timing(scanner, "DWI" if sequence == "ADC" else sequence, np.random.default_rng(1))
            healthy = [measured(TISSUE_PROPERTIES[name], sequence, times) for name in names]
            contrast = [[measured(part, sequence, times) / value - 1 for value in healthy] for part in parts]
            where = (scanner.name, sequence, contrast)
            if values == ["hyper"]:
                assert min(contrast[0]) > 0.08, where
            elif values == ["hypo"]:
                assert max(contrast[0]) < -0.08, where
            elif values == ["iso"]:
                assert abs(contrast[0][-1]) < 0.15, where
            elif values == ["enhancing"]:
                bare = signal(parts[-1], replace(times, is_enhanced=False))
                assert signal(parts[-1], times) > 1.3 * bare, where
                assert min(contrast[-1]) > 0.2, where
            else:
                first, second = (1.0 if value == "hyper" else -1.0 for value in values)
                assert first * np.mean(contrast[0]) > 0.05, where
                assert second * np.mean(contrast[1]) > 0.05, where


@pytest.mark.parametrize("kind", IN_BRAIN, ids=lambda kind: f"{kind.variant} {kind.term}".strip())
def test_lesions_look_in_the_images_as_their_truth_says(kind: Kind, head: Head) -> None:
    """Mean of a lesion's voxels against the brain around it has the stated sign, noise and all."""
    lesion = lesion_of(kind, head)
    mask = np.zeros(head.template_mm.shape[1:], dtype=bool)
    mask[lesion.box] = lesion.mask
    brain = head.tissue("white matter") + head.tissue("grey matter")
    around = (ndimage.binary_dilation(mask, iterations=7) & ~ndimage.binary_dilation(mask, iterations=2)) * brain
    examination = Examination(head, (lesion,), STILL, SEED, 1, 1)
    for sequence, values in by_sequence(kind).items():
        if len(values) > 1 or values == ["iso"]:
            continue
        series = scan(examination, sequence)
        voxels = series.data.reshape(-1).astype(float)
        share = share_of(mask, head, series)
        outside = voxels[share_of(around, head, series) > 0.8].mean()
        inside = voxels[share > min(0.9, 0.9 * share.max())].mean()
        if values == ["enhancing"]:  # of a ring most of the extent is the dark core
            inside = np.quantile(voxels[share > 0.2], 0.9)
        assert inside > 1.05 * outside if values != ["hypo"] else inside < 0.95 * outside, (sequence, inside, outside)


def test_shine_through_is_bright_on_dwi_without_low_adc(head: Head) -> None:
    """Subacute infarct: DWI as bright as that of an acute one within a third, ADC within 15 % of the brain's."""
    looks = {}
    for term in ("acute infarct", "subacute infarct"):
        kind = replace(BY_NAME[term, ""], shapes=("oval",), diameter_mm=(26.0, 26.0))
        lesion = lesion_of(kind, head, "parietal lobe")
        mask = np.zeros(head.template_mm.shape[1:], dtype=bool)
        mask[lesion.box] = lesion.mask
        brain = head.tissue("white matter") + head.tissue("grey matter") > 0.95
        for sequence in ("DWI", "ADC"):
            series = scan(Examination(head, (lesion,), STILL, SEED, 1, 1), sequence)
            voxels = series.data.reshape(-1).astype(float)
            inside = voxels[share_of(mask, head, series) > 0.9].mean()
            looks[term, sequence] = inside / voxels[share_of(brain & ~mask, head, series) > 0.99].mean()
    assert looks["acute infarct", "DWI"] > 1.5
    assert looks["subacute infarct", "DWI"] > 1.3
    assert looks["acute infarct", "ADC"] < 0.65
    assert looks["subacute infarct", "ADC"] == pytest.approx(1.0, abs=0.15)


def test_blood_is_larger_on_swi_than_on_t2(head: Head) -> None:
    """Blooming: more is dark on SWI than on T2w, of a haemorrhage and most of all of microbleeds."""
    lesion = lesion_of(BY_NAME["hemorrhage", "acute"], head, "parietal lobe")
    dark = {}
    for sequence in ("T2w", "SWI"):
        with_it, without = (
            scan(Examination(head, lesions, STILL, SEED, 1, 1), sequence).data.astype(float)
            for lesions in ((lesion,), ())
        )
        dark[sequence] = np.count_nonzero(with_it < 0.75 * without)
    assert dark["SWI"] > 1.2 * dark["T2w"] > 0
    dots = lesion_of(BY_NAME["microbleed", ""], head, "parietal lobe")
    before, after = (scan(Examination(head, lesions, STILL, SEED, 1, 1), "T2w").data for lesions in ((), (dots,)))
    assert np.count_nonzero(after < 0.75 * before.astype(float)) < 5
    before, after = (scan(Examination(head, lesions, STILL, SEED, 1, 1), "SWI").data for lesions in ((), (dots,)))
    assert np.count_nonzero(after < 0.75 * before.astype(float)) >= 4


def test_ventricles_and_sulci_widen_as_told(template: HeadTemplate) -> None:
    """Fluid within grows by more than 20 ml as the ventricles widen by 4 mm, fluid at the convexity with the sulci."""
    fluid = {}
    for name, shape in {
        "plain": SHAPE,
        "wide": replace(SHAPE, ventricle_mm=4.0),
        "atrophic": replace(SHAPE, sulcus_mm=1.6),
    }.items():
        head = build_head(template, shape, SEED, 2, 1)
        csf, (x, y, z) = head.tissue("csf"), head.template_mm
        central = (np.abs(x) < 45.0) & (np.abs(y + 15.0) < 60.0) & (z > -5.0) & (z < 40.0)
        fluid[name] = (csf[central].sum() * 8e-3, csf[z > 45.0].sum() * 8e-3)  # ml
        assert (head.tissues >= 0.0).all()
        assert head.tissues.sum(axis=0).max() < 1.0 + 1e-4
    assert fluid["wide"][0] > fluid["plain"][0] + 20.0
    assert 0.85 * fluid["plain"][1] < fluid["wide"][1] < fluid["plain"][1]  # what widens presses on the sulci
    assert fluid["atrophic"][1] > 1.2 * fluid["plain"][1]


def test_ventricles_and_sulci_are_wider_in_the_old() -> None:
    """Over 200 patients each: means rise with age, and the healthy old overlap with the healthy young."""
    shapes = {
        age: [normal_shape(Patient(number, age, "F", "train", "en"), 1) for number in range(200)] for age in (30, 80)
    }
    for field in ("ventricle_mm", "sulcus_mm", "iron"):
        young, old = (np.array([getattr(shape, field) for shape in shapes[age]]) for age in (30, 80))
        assert old.mean() > young.mean() + 2.0 * young.std() / np.sqrt(200)
    assert np.mean([shape.ventricle_mm for shape in shapes[80]]) < 3.0


def test_white_matter_lesions_grow_by_grade_and_stay_in_white_matter(head: Head) -> None:
    """Volume rises from mild to severe, on both sides, and nearly all of it is white matter."""
    volumes = []
    for grade in ("mild", "moderate", "severe"):
        lesion = lesion_of(KINDS[0], head, side="bilateral", grade=grade)
        sides = head.template_mm[0][lesion.box][lesion.mask]
        assert (sides > 5.0).any()
        assert (sides < -5.0).any()
        assert head.tissue("white matter")[lesion.box][lesion.mask].mean() > 0.6
        volumes.append(np.count_nonzero(lesion.mask))
    assert volumes[0] * 1.5 < volumes[1]
    assert volumes[1] * 1.5 < volumes[2]


def test_lesions_lie_on_their_side_in_drawn_studies(template: HeadTemplate) -> None:
    """Over 12 visits every planned lesion is there, on its side; those on the dura touch it."""
    checked = 0
    for number in range(1, 13):
        visit = draw_visit(13, number, 1, "en")
        if not visit.plan.findings:
            continue
        head = build_head(template, SHAPE, 13, number, 1)
        for placed in place_findings(visit.plan, head, 13, number, 1):
            for lesion in placed.lesions:
                checked += 1
                x = head.template_mm[0][lesion.box][lesion.mask]
                if placed.planned.side in ("left", "right"):
                    sign = 1.0 if placed.planned.side == "right" else -1.0
                    assert (sign * x > (0.0 if lesion is placed.lesion else -6.0)).mean() > 0.99
                else:
                    assert (x > 0).any()
                    assert (x < 0).any()
    assert checked > 6


def test_motion_makes_ghosts_outside_the_head_along_the_phase_direction() -> None:
    """Without motion the filter keeps the background dark; with it, signal appears before and behind the object."""
    volume = np.zeros((32, 96, 2), dtype=np.float32)
    volume[10:22, 36:60] = 1.0
    still, moved = (
        limited_k_space(volume, 1.0, Artefacts(motion_mm=amount, motion_cycles=4.0)) for amount in (0.0, 1.5)
    )
    far = np.ones(96, dtype=bool)
    far[28:68] = False
    assert np.abs(moved[10:22, far]).mean() > 5.0 * np.abs(still[10:22, far]).mean()
    assert np.abs(moved[:8]).max() < 1e-4  # not across it
    rates = [draw_artefacts(SEEN[3], "T1w", 1, number, 1, 0).motion_mm > 0.0 for number in range(2000)]
    assert np.mean(rates) == pytest.approx(SEEN[3].motion_rate, abs=0.025)


def test_distortion_moves_signal_and_keeps_its_sum() -> None:
    """Reference: no shift changes nothing; a smooth local one moves an edge by its amount and keeps the total."""
    volume = np.zeros((3, 80, 2), dtype=np.float32)
    volume[:, 20:60] = 1.0
    np.testing.assert_allclose(distorted(volume, np.zeros_like(volume)), volume)
    y = np.arange(80, dtype=np.float32)
    shift = np.broadcast_to((3.0 * np.exp(-0.5 * ((y - 40.0) / 9.0) ** 2))[None, :, None], volume.shape)
    moved = distorted(volume, shift)
    assert moved.sum() == pytest.approx(volume.sum(), rel=0.02)
    constant = np.full_like(volume, 2.0)
    np.testing.assert_allclose(distorted(volume, constant)[:, 18:58], volume[:, 20:60])


def test_a_minimal_pair_differs_around_the_lesion_only(template: HeadTemplate) -> None:
    """Series of the two studies are equal to within 2 % of the brain's signal farther than 12 mm from the change."""
    pairs = []
    for number in range(1, 400):
        visit = draw_visit(3, number, 1, "en")
        if visit.patient.is_held_out and visit.plan.findings and len(pairs) < 2:
            made = make_studies(template, visit, 3, with_partner=True)
            assert len(made) == 1 or made[0].report.findings != made[1].report.findings
            pairs += [made] if len(made) == 2 else []
    assert len(pairs) == 2
    for study, partner in pairs:
        np.testing.assert_array_equal(study.label_affine, partner.label_affine)
        changed = study.label_map != partner.label_map
        if not changed.any():  # a swapped signal keeps the geometry
            changed = study.label_map > 0
        near = ndimage.binary_dilation(changed, iterations=6)  # 12 mm
        seen = 0.0
        for one, other in zip(study.series, partner.series, strict=True):
            np.testing.assert_array_equal(one.affine, other.affine)
            to_map = np.linalg.inv(study.label_affine) @ one.affine
            index = np.indices(one.data.shape).reshape(3, -1)
            index = to_map[:3, :3] @ index + to_map[:3, 3:]
            is_near = ndimage.map_coordinates(near.astype(np.float32), index, order=1, mode="constant") > 0.0
            gap = np.abs(one.data.astype(float) - other.data.astype(float)).reshape(-1)
            brain = np.quantile(one.data, 0.9)
            assert np.quantile(gap[~is_near], 0.995) < 0.02 * brain, one.sequence
            seen = max(seen, gap[is_near].max() / brain)
        assert seen > 0.3
