"""Sequences told from what scanners say: words first, then how it was measured, and what is left out."""

import pytest

from selip.processing.sources.dicom.sequences import decide_contrast, name_sequence


def named(slices: int = 24, **sidecar: object) -> str:
    """The sequence, or in brackets why there is none."""
    naming = name_sequence(sidecar, slices)
    return naming.sequence or f"({naming.reason})"


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("t1_mprage_sag_p2_iso", "T1w"),
        ("Sag T1 FLAIR", "T1w"),
        ("AX T2 FLAIR", "FLAIR"),
        ("t2_tirm_tra_dark-fluid", "FLAIR"),
        ("T2W_TSE_tra", "T2w"),
        ("t2_fl2d_tra_hemo", "SWI"),
        ("AX T2* GRE", "SWI"),
        ("Ax T2 GRE", "SWI"),
        ("SWAN", "SWI"),
        ("sVEN_BOLD", "SWI"),
        ("sT2W_TSE", "T2w"),
        ("dADC map", "ADC"),
        ("VEN_BOLD", "SWI"),
        ("SWI_Images", "SWI"),
        ("mIP_Images(SW)", "(projection)"),
        ("Pha_Images", "(phase-or-complex)"),
        ("ep2d_diff_3scan_trace_p2", "DWI"),
        ("ep2d_diff_3scan_trace_p2_ADC", "ADC"),
        ("AX DWI b1000", "DWI"),
        ("Apparent Diffusion Coefficient (mm2/s)", "ADC"),
        ("eADC", "(other-map)"),
        ("ep2d_diff_FA", "(other-map)"),
        ("T1 FA 30 3D", "T1w"),
        ("3D TOF MRA Willis", "MRA"),
        ("FSE PD AXIAL OBL", "PD"),
        ("3-plane loc", "(localizer)"),
        ("AAHead_Scout", "(localizer)"),
        ("t2_tse_sag_C-spine", "(not-head)"),
        ("ep2d_perf_p2", "(other-map)"),
        ("COR STIR", "(stir)"),
        ("GRE field mapping", "(phase-or-complex)"),
        ("T1_BRAVO", "T1w"),
        ("Collapsed image", "(projection)"),
        ("", "(sequence-not-told)"),
    ],
)
def test_descriptions_of_scanners(description: str, expected: str) -> None:
    """Words as the three large vendors and technologists write them."""
    assert named(SeriesDescription=description) == expected


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({"ScanningSequence": "SE", "EchoTime": 0.09, "RepetitionTime": 4.0}, "T2w"),
        ({"ScanningSequence": "SE", "EchoTime": 0.012, "RepetitionTime": 0.5}, "T1w"),
        ({"ScanningSequence": "SE", "EchoTime": 0.022, "RepetitionTime": 2.3}, "PD"),
        ({"ScanningSequence": "SE_IR", "EchoTime": 0.12, "RepetitionTime": 9.0, "InversionTime": 2.5}, "FLAIR"),
        ({"ScanningSequence": "SE_IR", "EchoTime": 0.06, "RepetitionTime": 5.0, "InversionTime": 0.16}, "nothing"),
        ({"ScanningSequence": "GR_IR", "EchoTime": 0.003, "RepetitionTime": 2.0, "InversionTime": 0.9}, "T1w"),
        ({"ScanningSequence": "GR", "EchoTime": 0.003, "RepetitionTime": 0.008}, "T1w"),
        ({"ScanningSequence": "GR", "EchoTime": 0.004, "RepetitionTime": 0.025}, "nothing"),
        ({"ScanningSequence": "GR", "EchoTime": 0.02, "RepetitionTime": 0.6}, "SWI"),
        ({"ScanningSequence": "EP", "EchoTime": 0.09, "RepetitionTime": 4.0}, "nothing"),
        ({"ScanningSequence": "SE", "EchoTime": 0.05, "RepetitionTime": 1.7}, "nothing"),
        ({"ScanningSequence": "SE"}, "nothing"),
    ],
)
def test_measurement_decides_where_words_do_not(measured: dict[str, object], expected: str) -> None:
    """Times in seconds; a description that names two weightings is none."""
    expected = "(sequence-not-told)" if expected == "nothing" else expected
    assert named(**measured) == expected
    assert named(**measured, SeriesDescription="AX PD/T2 dual echo") == expected
    assert named(**measured, SeriesDescription="head 3") == expected


def test_words_of_the_series_come_before_those_of_the_protocol() -> None:
    """The protocol of a whole examination names other series too."""
    assert named(SeriesDescription="AX T2", ProtocolName="T1 brain routine") == "T2w"
    assert named(SeriesDescription="AX", ProtocolName="T1 brain routine") == "T1w"


def test_what_the_image_is_comes_before_its_words() -> None:
    """A map is a map, a phase image is none of ours, whatever the series is called."""
    assert named(SeriesDescription="ep2d_diff", ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND"]) == "ADC"
    assert named(SeriesDescription="SWI", ImageType=["ORIGINAL", "PRIMARY", "P", "ND"]) == "(phase-or-complex)"
    assert named(SeriesDescription="SWI", ImageType=["DERIVED", "SECONDARY", "MNIP"]) == "(projection)"
    assert named(SeriesDescription="AX T2", BodyPartExamined="CSPINE") == "(not-head)"
    assert named(SeriesDescription="AX T2", BodyPartExamined="HEAD") == "T2w"
    assert named(slices=3, SeriesDescription="AX T2") == "(fewer-than-8-slices)"


@pytest.mark.parametrize(
    ("description", "contrast"),
    [
        ("AX T1 POST", True),
        ("t1_mprage_tra_KM", True),
        ("T1 +C", True),
        ("T1 GD FS", True),
        ("T1W CE", True),
        ("T1增强", True),
        ("AX T1 PRE", False),
        ("T1 non-contrast", False),
        ("T1 w/o contrast", False),
        ("t1_tse_nativ", False),
        ("T1平扫", False),
        ("AX T1", None),
        ("T1 FACE", None),
    ],
)
def test_contrast_agent_in_descriptions(description: str, contrast: bool | None) -> None:
    """With, without, or not said."""
    naming = name_sequence({"SeriesDescription": description}, 24)
    assert (naming.sequence, naming.contrast) == ("T1w", contrast)


def test_contrast_that_is_not_said_follows_from_the_study() -> None:
    """None anywhere: none was given. Before the first that has it: none yet. After it: nobody recorded it."""
    order = [(float(time), 0) for time in range(4)]
    assert decide_contrast([(order[0], None), (order[1], None)]) == ["T1w", "T1w"]
    series = list(zip(order, (None, True, None, False), strict=True))
    assert decide_contrast(series) == ["T1w", "T1c", "T1w-contrast-unknown", "T1w"]
    assert decide_contrast([]) == []
