"""Which MRI sequence a converted series is: by its description, and by how it was measured where that says nothing.

Read from the JSON file that dcm2niix writes beside a volume (times in seconds, names of the BIDS specification 1.10,
"Magnetic Resonance Imaging"). A series that a radiologist does not read as a picture of the head (localizer, phase,
projection, map of another kind) has no sequence, and the reason says why.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Fewer slices are a localizer or a single picture.
MIN_SLICES = 8


@dataclass(frozen=True)
class Naming:
    """What a series is.

    Attributes:
        sequence: Its sequence; None if it is left out. T1w where contrast is not decided yet.
        reason: What told it (`description`, `protocol`, `image-type`, `measurement`), or why it is left out.
        contrast: True with contrast agent, False without, None where nothing says so; of T1w.
    """

    sequence: str | None
    reason: str
    contrast: bool | None = None


def _words(*words: str) -> re.Pattern[str]:
    """Any of these, not as a part of a longer word; in descriptions "-" and digits end a word, and "_" is a blank."""
    return re.compile(rf"(?<![a-z])(?:{'|'.join(words)})(?![a-z])")


# Of the value ImageType (PS3.3 C.8.3.1.1.1 and the vendors' own).
_LEFT_OUT_TYPES = (
    ({"P", "PHASE", "PHASE MAP", "I", "IMAGINARY", "R", "REAL"}, "phase-or-complex"),
    ({"PROJECTION IMAGE", "MIP", "MINIP", "MNIP"}, "projection"),
    ({"FA", "EADC", "EXP", "TENSOR", "CBF", "CBV", "RCBF", "RCBV", "MTT", "TTP", "T2 MAP", "T1 MAP"}, "other-map"),
    ({"LOCALIZER"}, "localizer"),
)
_LEFT_OUT = (
    (
        _words("loc", "locali[sz]er", "scout", "survey", "3[ -]?plane", "three[ -]?plane", "aahead", "smartbrain"),
        "localizer",
    ),
    (_words("mip", "minip", "mnip", "projection", "collapsed?"), "projection"),
    (_words("pha", "phase", "field[ -]?map(?:ping)?", "b0[ -]?map", "fmap"), "phase-or-complex"),
    (
        _words("spine", "[ctl][ -]?spine", "cervical", "thoracic", "lumbar", "neck", "orbits?", "pelvis"),
        "not-head",
    ),
    (
        _words("perf", "perfusion", "dsc", "dce", "p?c?asl", "cb[fv]", "mtt", "tmax", "ttp", "bold", "fmri"),
        "other-map",
    ),
    (_words("spectro\\w*", "mrs", "csi"), "spectroscopy"),
    (_words("e[ -]?adc", "exponential", r"fa(?! ?\d)", "tensor", "colfa", "color[ -]?fa"), "other-map"),
    (_words("stir"), "stir"),
)
_T1 = _words("t1w?", "t1[ -]?weighted", "mprage", "mp2rage", "f?spgr", "bravo", "vibe", "tfl3d")
_T2, _PD = _words("t2w?", "t2[ -]?weighted"), _words("pdw?", "proton(?:[ -]?density)?")
# In this order: what is more special comes first.
_TOLD = (
    (_words("adc", "apparent[ -]?diffusion\\w*"), "ADC"),
    (_words("dwi", "diff", "diffusion", "tracew?", "dti", "resolve", "b[ =-]?(?:[5-9]00|1[0-9]00)"), "DWI"),
    (_words("flair", "dark[ -]?fluid"), "FLAIR"),
    (_words("swi", "swan", "swip", "ven[ -]?bold", "t2[ -]?star\\w*", "hemo") , "SWI"),
    (re.compile(r"t2 ?\*"), "SWI"),
    (_words("tof", "mra", "angio\\w*", "pca"), "MRA"),
)  # fmt: skip
_GRADIENT_ECHO = _words("gre", "ffe", "t2[ -]?gre")
_WITH_AGENT = re.compile(
    r"(?<![a-z])(?:post|gd|gad\w*|ce|c\+|km|contrast|enhanced|t1c)(?![a-z])|\+ ?(?:c|gd|km)(?![a-z])|增强"
)
_WITHOUT_AGENT = re.compile(
    r"(?<![a-z])(?:pre|nativ\w*|un-?enhanced|non[ -]?contrast|without|w/?o)(?![a-z])|(?<![a-z])c-(?![a-z0-9])|平扫"
)
_HEAD_PARTS = ("HEAD", "BRAIN", "SKULL", "CRANI", "NEURO")
DIFFUSION_B_VALUE = re.compile(r"(?<![a-z])b[ =-]?(\d{3,4})(?!\d)")
"""A b-value that a description names, in s/mm^2."""


def description_of(sidecar: Mapping[str, Any]) -> str:
    """What the scanner calls a series; "" where it says nothing."""
    return str(sidecar.get("SeriesDescription") or sidecar.get("ProtocolName") or "").strip()


def name_sequence(sidecar: Mapping[str, Any], slices: int) -> Naming:
    """Tell what a converted series is.

    Args:
        sidecar: The JSON file of dcm2niix.
        slices: Length of the shortest axis in voxels.
    """
    reason = _left_out(sidecar, slices)
    if reason:
        return Naming(None, reason)
    types = _image_types(sidecar)
    if "ADC" in types:
        return Naming("ADC", "image-type")
    for key, source in (("SeriesDescription", "description"), ("ProtocolName", "protocol")):
        text = _plain(sidecar.get(key))
        sequence = _told(text)
        if sequence == "T1w":
            return Naming(sequence, source, _contrast(text))
        if sequence is not None:
            return Naming(sequence, source)
    if "DIFFUSION" in types:
        return Naming("DWI", "image-type")
    sequence = _measured(sidecar)
    if sequence is None:
        return Naming(None, "sequence-not-told")
    return Naming(sequence, "measurement", _contrast(_plain(description_of(sidecar))) if sequence == "T1w" else None)


def decide_contrast(series: Sequence[tuple[tuple[float, int], bool | None]]) -> list[str]:
    """Names of the T1-weighted series of one study.

    Where nothing is said of a series, it is without contrast agent if no other series of the study has one, or if it
    was measured before the first that has; otherwise nobody recorded it.

    Args:
        series: When each was measured, and whether with contrast agent (None: not said).

    Returns:
        `T1w`, `T1c` or `T1w-contrast-unknown` for each.
    """
    first = min((order for order, contrast in series if contrast), default=None)
    names = []
    for order, contrast in series:
        if contrast is None and (first is None or order < first):
            contrast = False
        names.append({True: "T1c", False: "T1w", None: "T1w-contrast-unknown"}[contrast])
    return names


def _left_out(sidecar: Mapping[str, Any], slices: int) -> str:
    """Why a series is left out; "" if it is not."""
    types = _image_types(sidecar)
    for names, reason in _LEFT_OUT_TYPES:
        if types & names:
            return reason
    text = _plain(sidecar.get("SeriesDescription"))
    if _words("ven bold").search(text) is None:
        for pattern, reason in _LEFT_OUT:
            if pattern.search(text):
                return reason
    part = str(sidecar.get("BodyPartExamined") or "").upper()
    if part and not any(name in part for name in _HEAD_PARTS):
        return "not-head"
    return f"fewer-than-{MIN_SLICES}-slices" if slices < MIN_SLICES else ""


def _plain(text: Any) -> str:
    """Lower case, blanks for "_", and without the letter that Philips puts before (sT2W_TSE, dADC: SENSE, delayed)."""
    return re.sub(r"(?<![A-Za-z])[sd](?=[A-Z][A-Z0-9])", "", str(text or "")).lower().replace("_", " ")


def _image_types(sidecar: Mapping[str, Any]) -> set[str]:
    types = {str(name).upper() for name in sidecar.get("ImageType") or ()}
    return types | {part for name in types for part in name.split("_")}


def _told(text: str) -> str | None:
    """The sequence that a description names; None where it names none, or two."""
    is_t1 = bool(_T1.search(text))
    for pattern, sequence in _TOLD:
        # a T1-weighted inversion recovery is called T1 FLAIR; a TOF is T1-weighted, and called TOF
        if pattern.search(text) and not (is_t1 and sequence in ("FLAIR", "SWI")):
            return sequence
    weights = [
        name for name, is_said in (("T1w", is_t1), ("T2w", _T2.search(text)), ("PD", _PD.search(text))) if is_said
    ]
    if len(weights) != 1:
        return None
    if weights == ["T2w"] and _GRADIENT_ECHO.search(text):
        return "SWI"
    return weights[0]


def _contrast(text: str) -> bool | None:
    if _WITHOUT_AGENT.search(text):
        return False
    return True if _WITH_AGENT.search(text) else None


def _measured(sidecar: Mapping[str, Any]) -> str | None:
    """The weighting that echo, repetition and inversion times give (seconds); None where they are between two.

    Which times weight what: Nitz and Reimer, European Radiology 9, 1999. The limits are ours, wide of the usual times
    of clinical head MRI (a short echo is below 30 ms, a long one above 80; short repetition is below 800 ms, long
    above 2 s).
    """
    kinds = str(sidecar.get("ScanningSequence") or "").upper().replace("\\", "_").split("_")
    echo, repetition = (_seconds(sidecar, name) for name in ("EchoTime", "RepetitionTime"))
    inversion = _seconds(sidecar, "InversionTime")
    if echo is None or repetition is None or "EP" in kinds:
        return None
    if inversion is not None and inversion > 1.5 and echo > 0.06:
        return "FLAIR"
    if inversion is not None and 0.1 <= inversion <= 0.25 and "SE" in kinds:
        return None  # short inversion recovery: fat is nulled, not a sequence of ours
    if "GR" in kinds and "SE" not in kinds:
        if echo >= 0.015:
            return "SWI"
        return "T1w" if inversion is not None or repetition <= 0.015 else None  # slower ones may be angiography
    if "SE" not in kinds and "IR" not in kinds:
        return None
    if echo >= 0.06:
        return "T2w" if repetition >= 1.5 else None
    if echo <= 0.04:
        return "PD" if repetition >= 1.8 and inversion is None else "T1w" if repetition < 1.5 or inversion else None
    return None


def _seconds(sidecar: Mapping[str, Any], name: str) -> float | None:
    value = sidecar.get(name)
    return float(value) if isinstance(value, int | float) else None
