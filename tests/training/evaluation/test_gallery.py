"""The gallery: built from the truth, unique texts as candidates, the same for every checkpoint and structurer."""

import json

import numpy as np
import pytest

from selip.processing.findings import StructuredReport
from selip.training.evaluation.gallery import STUDY, build_gallery, build_study_gallery

INFARCT = {"finding": "acute infarct", "site": "frontal lobe", "laterality": "left", "size_mm": 12.0}
INFARCT["signals"] = [{"sequence": "DWI", "signal": "hyper"}, {"sequence": "FLAIR", "signal": "hyper"}]
MASS = {"finding": "mass", "site": "cerebellum", "laterality": "right", "signals": []}
MASS["signals"] = [{"sequence": "FLAIR", "signal": "hyper"}, {"sequence": "T1w", "signal": "hypo"}]


def study(number, findings, sequences=("FLAIR", "DWI"), patient=None, **changes):
    """A row of the studies table without voxels."""
    report = {"normal": not findings, "findings": findings, "impression": []}
    return {
        "study_id": f"study-{number}",
        "patient_id": patient or f"patient-{number}",
        "language": "en",
        "series": [{"series_id": f"series-{place}", "sequence": name} for place, name in enumerate(sequences)],
        "reference_findings": json.dumps(report),
        **changes,
    }


def by_sequence(gallery, sequence):
    """Texts of one sequence."""
    return [text for text in gallery.texts if text.sequence == sequence]


def test_candidates_are_the_unique_texts_of_each_sequence():
    """Normal studies share one text a sequence; a finding that a sequence cannot show makes no text for it."""
    gallery = build_gallery([study(1, []), study(2, []), study(3, [INFARCT]), study(4, [MASS])])
    assert len(gallery.images) == 7
    assert gallery.skipped == {"series that the report does not speak of": 1}, "the mass on DWI"
    assert len(by_sequence(gallery, "FLAIR")) == 3
    assert len(by_sequence(gallery, "DWI")) == 2
    assert sum(text.is_normal for text in gallery.texts) == 2
    for image in gallery.images:
        assert gallery.texts[image.text].sequence == image.sequence
        assert image.findings in gallery.texts[image.text].findings


def test_a_study_has_all_its_findings_in_one_text():
    """Also those that its sequences hide; no sequence is named, and normal studies share a text."""
    gallery = build_study_gallery([study(1, []), study(2, []), study(3, [INFARCT, MASS]), study(4, [MASS, INFARCT])])
    assert [(image.study_id, image.series_id, image.sequence) for image in gallery.images] == [
        (f"study-{number}", "", STUDY) for number in (1, 2, 3, 4)
    ]
    assert gallery.images[0].text == gallery.images[1].text
    assert len(gallery.images[2].findings) == 2
    assert not any(name in text.text for text in gallery.texts for name in ("FLAIR:", "DWI:"))
    assert (gallery.grades(STUDY)[2] == gallery.grades(STUDY)[3]).all(), "the order of findings does not matter"


def test_hits_are_own_text_same_text_and_same_findings():
    """A report with the same finding set in other words is a hit; a neighbouring report has a lower grade."""
    larger = {**INFARCT, "size_mm": 42.0}
    mirrored = {**INFARCT, "laterality": "right"}
    reports = [[INFARCT], [INFARCT], [larger], [mirrored], [], [INFARCT, MASS]]
    gallery = build_gallery([study(n, findings) for n, findings in enumerate(reports)])
    images, texts = gallery.members("FLAIR")
    grades = gallery.grades("FLAIR")
    assert len(images) == 6
    assert len(texts) == 5, "studies 0 and 1 share a text"
    assert grades[0].tolist() == [3, 3, 1, 0, 2]
    assert (grades[0] == grades[1]).all()
    assert grades[4].tolist() == [0, 0, 0, 3, 0]


def test_denied_and_resolved_findings_do_not_count():
    """A study whose only entries are denied is its normal text, with an empty finding set."""
    denied = {**MASS, "certainty": "absent"}
    resolved = {**MASS, "change": "resolved"}
    gallery = build_gallery([study(1, [INFARCT, denied, resolved], ("FLAIR",)), study(2, [INFARCT], ("FLAIR",))])
    assert gallery.images[0].findings == gallery.images[1].findings
    assert gallery.images[0].text == gallery.images[1].text


def test_truth_wins_over_the_findings_table():
    """Where truth exists the structurer's output changes nothing; where it does not, it is used and counted."""
    wrong = StructuredReport.model_validate({"normal": True})
    rows = [study(1, [INFARCT]), study(2, [MASS])]
    assert build_gallery(rows, {"study-1": wrong}).fingerprint() == build_gallery(rows).fingerprint()
    rows[0]["reference_findings"] = ""
    gallery = build_gallery(rows, {"study-1": wrong})
    assert gallery.references == {"findings_table": 1, "truth": 1}
    without = build_gallery(rows)
    assert without.skipped["study without reference findings"] == 1


def test_missing_series_leave_the_candidates_alone():
    """An unreadable series asks nothing, but its text stays a candidate: the gallery belongs to the data set."""
    gallery = build_gallery([study(1, [INFARCT]), study(2, [MASS]), study(3, [])])
    kept = gallery.keep_images([image.study_id != "study-2" for image in gallery.images], {"unreadable": 1})
    assert kept.texts == gallery.texts
    assert kept.skipped["unreadable"] == 1
    assert (kept.grades("FLAIR") == gallery.grades("FLAIR")[[0, 2]]).all()


def test_fingerprint_changes_with_texts_and_ids_only():
    """Same table, same fingerprint; another side or study id, another one."""
    rows = [study(1, [INFARCT]), study(2, [])]
    first = build_gallery(rows).fingerprint()
    assert build_gallery(rows).fingerprint() == first
    assert build_gallery([study(1, [{**INFARCT, "laterality": "right"}]), study(2, [])]).fingerprint() != first
    assert build_gallery([study(1, [INFARCT]), study(9, [])]).fingerprint() != first


def test_chinese_studies_get_chinese_texts():
    """The language of the row decides; the finding sets do not depend on it."""
    english, chinese = (build_gallery([study(1, [INFARCT], language=language)]) for language in ("en", "zh"))
    assert "左侧" in chinese.texts[0].text
    assert chinese.texts[0].findings == english.texts[0].findings


def test_bad_studies_are_refused():
    """Nothing to retrieve, repeated series ids, unknown language, wrong number of flags."""
    with pytest.raises(ValueError, match=r"got none \(1 study without reference findings\)"):
        build_gallery([study(1, [], reference_findings="")])
    repeated = study(1, [])
    repeated["series"] = [repeated["series"][0]] * 2
    with pytest.raises(ValueError, match="repeated one in study study-1"):
        build_gallery([repeated])
    with pytest.raises(ValueError, match="language"):
        build_gallery([study(1, [], language="fr")])
    with pytest.raises(ValueError, match="2 flags"):
        build_gallery([study(1, [])]).keep_images(np.array([True]), {})
