"""Left and right exchanged in report text, so that a text still fits the mirror image of its volume.

Each side word has one partner, and whatever decides that a word is no side word ("right-handed", 左右) holds for its
partner as well. That is why the exchange is its own inverse on every text.
"""

import re
from dataclasses import replace
from typing import TypeVar, overload

from .findings import StructuredReport
from .rendering import Clause, TextItem

Swappable = TypeVar("Swappable", str, TextItem, StructuredReport)

_PAIRS = (
    *(("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")),
    *(("L", "R"), ("Lt", "Rt"), ("lt", "rt"), ("LT", "RT"), ("OS", "OD"), ("左", "右")),
)
_PARTNER = {word: other for pair in _PAIRS for word, other in (pair, pair[::-1])}

_ARTERIES = "MCA|ACA|PCA|ICA|ECA|CCA|PICA|AICA|SCA|VA|CCF|IAC|CPA"
# Words after which capital LT and RT are sides and not radiotherapy.
_PARTS = (
    r"front|pariet|tempor|occipit|cerebr|cerebell|hemisph|thalam|basal|caudat|putam|insul|hippoc|ventric|lateral|corona|"
    r"centrum|white|subdur|epidur|orbit|optic|maxill|ethmoid|sphenoid|mastoid|sinus|verteb|carotid|middle|anterior|"
    r"posterior|side|sided|" + _ARTERIES
)
_SIDE = re.compile(
    # "left", "left-sided", "leftward"; not "cleft", not the patient's hand
    r"(?<![A-Za-z])(?:left|right|Left|Right|LEFT|RIGHT)"
    r"(?=(?:-?(?:sided|wards?))?(?![A-Za-z]))(?![- ]?(?i:hand))"
    # "L MCA", "RMCA", "R>L"; not "L4-5", "L-spine", "R/O", "Dr. R. Smith"
    rf"|(?<![A-Za-z0-9])(?<!Dr )(?<!Dr\. )[LR](?=(?:{_ARTERIES})?(?![A-Za-z0-9'’]))"
    r"(?![- ]?(?i:spine|hand)|/[OoSs](?![A-Za-z]))"
    r"|(?<![A-Za-z])(?:Lt|Rt|lt|rt)(?![A-Za-z])"
    rf"|(?<![A-Za-z])(?:LT|RT)(?=[ .]+(?i:{_PARTS}))"
    r"|(?<![A-Za-z0-9])(?:OS|OD)(?![A-Za-z0-9])"
    # not 左右 ("about", "on both sides"), handedness, the heart, or the turn of a molecule
    r"|(?<![左右])[左右](?![左右]|利手|手利|撇子|心|旋|氧氟沙星)"
)


@overload
def swap_laterality(item: str) -> str: ...
@overload
def swap_laterality(item: TextItem) -> TextItem: ...
@overload
def swap_laterality(item: StructuredReport) -> StructuredReport: ...
def swap_laterality(item: str | TextItem | StructuredReport) -> str | TextItem | StructuredReport:
    """Left becomes right and right becomes left, in English and Chinese; its own inverse on every text.

    Words ("left", "right-sided", "leftward", in lower, capitalised or upper case), abbreviations (L, R, Lt, Rt, RMCA,
    OD, OS) and 左, 右. docs/report_reading.md lists what is left alone. The swapped text of a report goes with the
    mirrored volume.
    """
    if isinstance(item, str):
        return _SIDE.sub(lambda match: _PARTNER[match.group()], item)
    if isinstance(item, TextItem):
        clauses = tuple(Clause(swap_laterality(c.location), swap_laterality(c.description)) for c in item.clauses)
        statements = tuple(said.mirrored() for said in item.statements)
        return replace(item, text=swap_laterality(item.text), clauses=clauses, statements=statements)
    findings = [
        f.model_copy(
            update={"laterality": _PARTNER.get(f.laterality, f.laterality), "quote": swap_laterality(f.quote)}
        )
        for f in item.findings
    ]
    return item.model_copy(update={"findings": findings, "impression": [swap_laterality(s) for s in item.impression]})
