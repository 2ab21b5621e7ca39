"""Plans, sites and lesions: right frequencies, tissue at the sites, side and place as stated."""

import numpy as np
import pytest

nilearn = pytest.importorskip("nilearn", reason="the simulator needs the extra `simulate`")

from selip.processing.findings import StructuredReport  # noqa: E402
from selip.processing.sources.simulated.anatomy import Template, deform, load_template  # noqa: E402
from selip.processing.sources.simulated.findings import KINDS, SITES, PlannedFinding, Site, plan_findings  # noqa: E402
from selip.processing.sources.simulated.lesions import make_lesion  # noqa: E402


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template()


def test_one_study_in_four_is_normal_and_none_has_more_than_three_findings() -> None:
    """Over many plans the normal rate is 25 % within sampling error, and sites and terms of a study differ."""
    plans = [plan_findings(3, patient, 1).findings for patient in range(2000)]
    assert np.mean([len(plan) == 0 for plan in plans]) == pytest.approx(0.25, abs=0.03)
    assert {len(plan) for plan in plans} == {0, 1, 2, 3}
    for plan in plans:
        assert len({finding.site.term for finding in plan}) == len(plan)
        assert len({finding.kind.term for finding in plan}) == len(plan)
    drawn = {(finding.kind.term, finding.side) for plan in plans for finding in plan}
    assert {side for _, side in drawn} == {"left", "right", "bilateral"}
    assert {term for term, _ in drawn} == {kind.term for kind in KINDS}


def test_terms_are_those_of_the_schema() -> None:
    """Every kind at every site is a valid structured report, so that truth and reports speak of the same terms."""
    for kind in KINDS:
        for site in kind.sites:
            morphology = [*kind.shapes, *kind.morphology]
            signals = [{"sequence": sequence, "signal": value} for sequence, value in kind.signals]
            finding = {"finding": kind.term, "site": site, "signals": signals, "morphology": morphology}
            StructuredReport.model_validate({"normal": False, "findings": [finding]})


@pytest.mark.parametrize("site", SITES.values(), ids=list(SITES))
@pytest.mark.parametrize("side", [1.0, -1.0], ids=["right", "left"])
def test_site_coordinates_lie_in_brain_tissue(site: Site, side: float, template: Template) -> None:
    """Most of the tissue within 6 mm of each coordinate is brain, and for white-matter sites enough of it is white."""
    axes = [template.origin_mm[i] + 2.0 * np.arange(template.channels.shape[i + 1]) for i in range(3)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    centre = np.array(site.right_mm) * [side, 1.0, 1.0]
    near = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < 6.0**2
    white, grey = template.channels[0][near].mean(), template.channels[1][near].mean()
    assert white + grey > 0.8
    if site.is_white:
        assert white > 0.45


def test_lesions_lie_on_their_side_near_their_site(template: Template) -> None:
    """In template space the centre of each lesion is within 16 mm of the site, all of it on the stated side."""
    head = deform(template, seed=2, patient=4, session=1)
    for number, site in enumerate(SITES.values()):
        kind = next(kind for kind in KINDS if site.term in kind.sites)
        for side, sign in (("left", -1.0), ("right", 1.0)):
            plan = PlannedFinding(kind, site, side, kind.shapes[0], kind.diameter_mm[0])
            lesion = make_lesion(plan, head, 2, 4, 1, number)
            inside = [head.template_mm[i][lesion.box][lesion.mask] for i in range(3)]
            assert (sign * inside[0] > 0.0).all()
            away = np.array([values.mean() for values in inside]) - np.array(site.right_mm) * [sign, 1.0, 1.0]
            assert np.linalg.norm(away) < 16.0, (site.term, away)


def test_size_is_the_extent_of_the_lesion_as_made(template: Template) -> None:
    """The stated size is the largest distance between voxels of the largest part, by brute force within 2 voxels."""
    head = deform(template, seed=2, patient=4, session=1)
    kind = next(kind for kind in KINDS if kind.term == "cyst")
    lesion = make_lesion(PlannedFinding(kind, SITES["frontal lobe"], "left", "round", 20.0), head, 2, 4, 1, 0)
    points = 2.0 * np.argwhere(lesion.mask)
    widest = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2)).max() + 2.0
    assert lesion.count == 1
    assert lesion.size_mm == pytest.approx(widest, abs=4.0)
    assert lesion.size_mm == pytest.approx(20.0, abs=4.0)
