"""A finding as one sentence tells it, whatever the language: what readers of sentences give to the structurer."""

from dataclasses import dataclass, field
from typing import Any

# What is said to accompany a lesion stands where the lesion stands unless a site of its own is named.
ACCOMPANYING = frozenset(
    (
        "edema",
        "mass effect",
        "abnormal enhancement",
        "restricted diffusion",
        "hemorrhage",
        "necrosis",
        "calcification",
        "abnormal vessels",
    )
)
# Sites that a diagnosis has for want of a better one: it stands rather where the lesion it explains stands.
VAGUE_SITES = ("brain", "white matter", "cerebellum", "basal ganglia")
# Terms that turn into a signal of the lesion that the same statement describes.
AS_SIGNAL = {"abnormal enhancement": ("T1c", "enhancing"), "restricted diffusion": ("DWI", "restricted")}
HEDGED = ("probable", "possible")
AGED = {"infarct": {"acute": "acute infarct", "subacute": "subacute infarct", "chronic": "chronic infarct"}}
AGED["lacune"] = {"acute": "acute infarct", "subacute": "subacute infarct"}
# Terms that say an age of their own.
AGES = {
    "acute infarct": "acute",
    "acute abnormality": "acute",
    "subacute infarct": "subacute",
    "chronic infarct": "chronic",
    "lacune": "chronic",
    "encephalomalacia": "chronic",
}


@dataclass
class Mention:
    """A finding as one sentence tells it: tokens [first, stop); sites with their sides in the order of the text."""

    term: str
    first: int
    stop: int
    certainty: str = "present"
    sites: list[tuple[str, str]] = field(default_factory=list)
    side: str = "none"
    signals: set[tuple[str, str]] = field(default_factory=set)
    morphology: set[str] = field(default_factory=set)
    count: int | str = "none"
    size_mm: float | None = None
    severity: str = "none"
    acuity: str = "none"
    change: str = "none"
    is_back_reference: bool = False
    is_definite: bool = False
    reached: set[str] = field(default_factory=set)  # sites that a lesion extends into, not where it is
    doubted: dict[tuple[str, str], str] = field(default_factory=dict)  # where it may be, too, and how likely
    is_involvement: bool = False  # tells where else the lesion spoken of last is, with no finding of its own
    is_of_all: bool = False  # of all that is told ("these findings"), not of the last
    is_alternative: bool = False  # another cause of what the last was a doubted cause of ("... is less likely")
    is_of_these: bool = False  # of several lesions spoken of last ("these do not enhance")
    is_unlike: bool = False  # a denied cause of the lesion spoken of ("not consistent with a meningioma")
    is_near: bool = False  # at a structure told as that beside the lesion ("the adjacent sulci")
    is_apart: bool = False  # at the place of the lesion spoken of last, not of the lesion itself ("the surgical bed")
    sites_follow: bool = False
    quote: tuple[int, int] = (0, 0)


@dataclass(slots=True, eq=False)
class Mark:
    """A word or phrase at [first, stop), counted in tokens (English) or characters (Chinese), and what it means.

    Marks are told apart as objects: no two of a sentence mean the same at the same place.
    """

    kind: str
    value: Any
    first: int
    stop: int
