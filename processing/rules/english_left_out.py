"""What an English sentence names without telling it of this study: history, other examinations, preambles, beds."""

from ..vocabulary import load_lexicon
from .matching import Token
from .mentions import Mark

_PICTURES = frozenset(("imaging", "images", "views", "examination"))
SCAN = frozenset(("mri", "mr", "scan", *_PICTURES))  # "imaging of the posterior fossa demonstrates ..."
_MAGNETIC = frozenset(("mri", "mr", "mra", "mrv", "compared", "comparison"))
# fmt: off
REPORTING = frozenset((
    "revealed", "reveals", "showed", "shows", "demonstrated", "demonstrates", "demonstrate", "show", "shown",
    "confirmed", "reported", "disclosed", "suggested", "raised", "was", "were",
))
OTHER_SOURCES = frozenset((
    "ct", "pet", "spect", "angiography", "angiogram", "arteriogram", "arteriography", "biopsy", "pathology",
    "histology", "surgery", "autopsy", "eeg", "ultrasound", "radiograph", "radiographs",
))
_IN_HISTORY = frozenset((
    ",", "and", "or", "/", "the", "a", "an", "of", "possible", "known", "any", "left", "right", "prior", "previous",
    "treated", "resected", "recurrent", "newly", "diagnosed", "metastatic", "irradiated",
))
# fmt: on
BEDS = frozenset(("bed", "cavity", "site", "defect"))
_AT_BEDS = frozenset(("in", "within", "at", "along", "about", "around", "of", "near"))
_AT_BEDS |= frozenset(("surrounding", "overlies", "overlying", "underlying", "beneath", "deep", "under", "subjacent"))


def without_unread(marks: list[Mark], tokens: list[Token]) -> list[Mark]:
    """Leave out what is told not to have been looked at ("vasospasm cannot be assessed")."""
    for cue in [m for m in marks if m.kind == "unread"]:
        start = next((i for i in range(cue.first - 1, -1, -1) if tokens[i].word in ";:"), 0)
        start = max([start, *(m.first for m in marks if m.kind == "boundary" and m.first < cue.first)])
        marks = [m for m in marks if not (start <= m.first <= cue.first and m.kind in ("findings", "predicates"))]
    return [m for m in marks if m.kind != "unread"]


def without_conditions(marks: list[Mark], tokens: list[Token]) -> list[Mark]:
    """Leave out what is only supposed ("If acute infarct is suspected, diffusion imaging should be obtained")."""
    cued = {i for m in marks if m.kind == "certainty" for i in range(m.first, m.stop)}  # "it is unclear if"
    for start in [i for i, t in enumerate(tokens) if t.word == "if" and i not in cued]:
        stop = next((i for i in range(start, len(tokens)) if tokens[i].word in (",", ";", "then")), len(tokens))
        marks = [m for m in marks if not start <= m.first < stop]
    return marks


def without_beds(marks: list[Mark], tokens: list[Token]) -> list[Mark]:
    """Leave out a cavity or bed that is only named as the place of a finding ("no tumor in the surgical bed")."""
    findings = [m for m in marks if m.kind == "findings"]
    return [
        m
        for m in marks
        if not (
            m.value == "postoperative change"
            and m is not findings[0]
            and not BEDS.isdisjoint(t.word for t in tokens[m.stop - 1 : m.stop + 1])
            and {t.word for t in tokens[max(0, m.first - 3) : m.first]} & _AT_BEDS
        )
    ]


def without_removed(marks: list[Mark], tokens: list[Token]) -> list[Mark]:
    """What has been taken out is a postoperative change where it was ("the left frontal glioma has been resected")."""
    for removal in [m for m in marks if m.kind == "removed"]:
        findings = [m for m in marks if m.kind == "findings" and m.stop <= removal.first]
        if findings and not any(t.word in ";:" for t in tokens[findings[-1].stop : removal.first]):
            findings[-1].value = "postoperative change"
    return [m for m in marks if m.kind != "removed"]


def tells_another_source(tokens: list[Token]) -> bool:
    """Whether a sentence tells what CT, a biopsy and the like showed ("Biopsy revealed glioblastoma")."""
    words = [t.word for t in tokens[:13]]
    if words[:2] == ["comparison", ":"]:
        words = words[2:]
    verb = next((i for i, word in enumerate(words) if word in REPORTING), None)
    return verb is not None and not OTHER_SOURCES.isdisjoint(words[:verb]) and _MAGNETIC.isdisjoint(words[:verb])


def without_preamble(marks: list[Mark], tokens: list[Token]) -> list[Mark]:
    """Leave out part and contrast agent where they only name the scan ("MRI brain, 3/30, revealed ...")."""
    cued = {i for m in marks if m.kind == "certainty" for i in range(m.first, m.stop)}  # "no MR evidence of infarct"
    scan = next((i for i, t in enumerate(tokens[:8]) if t.word in SCAN and i not in cued), None)
    if scan is not None and tokens[scan].word in _PICTURES and [t.word for t in tokens[scan + 1 : scan + 2]] != ["of"]:
        return marks
    if scan is None:
        return marks
    verb = next((i for i, t in enumerate(tokens) if i > scan and t.word in REPORTING), None)
    end = verb if verb is not None else scan + 2
    named = [m for m in marks if m.kind in ("sites", "certainty") or (m.kind == "sequences" and m.value == "T1c")]
    # "MRI of the brain did not show ...": the denial goes on behind the verb
    return [m for m in marks if m not in named or m.first >= end or (m.kind == "certainty" and m.stop > end)]


def without_history(marks: list[Mark], tokens: list[Token]) -> list[Mark]:
    """Leave out what was operated on, is asked for or lies in the past ("history of meningioma")."""
    cues = [m for m in marks if m.kind == "history"]
    after = load_lexicon("en").extra["history_after"]
    findings = [m for m in marks if m.kind == "findings" and m.stop < len(tokens)]
    dropped = {id(m) for m in findings if tokens[m.stop].word in after}  # "aneurysm clipping"
    if not cues and not dropped:
        return marks
    for cue in cues:
        end = cue.stop
        for mark in marks:
            gap = tokens[end : mark.first] if mark.first >= end else None
            if mark.first < cue.stop or gap is None:
                if mark.first >= cue.stop and mark.first < end:
                    dropped.add(id(mark))
                continue
            if mark.kind not in ("findings", "sites", "laterality", "acuity", "certainty", "morphology", "severity"):
                break
            if mark.value == "absent" or any(t.word not in _IN_HISTORY for t in gap):
                break
            dropped.add(id(mark))
            end = mark.stop
    return [m for m in marks if id(m) not in dropped and m.kind != "history"]


def is_told_by_ct(mark: Mark, tokens: list[Token]) -> bool:
    """Whether a finding is told to be one of CT."""
    behind = [t.word for t in tokens[mark.stop : mark.stop + 2]]
    return behind in (["on", "ct"], ["by", "ct"])
