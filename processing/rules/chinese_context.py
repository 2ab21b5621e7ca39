"""What the clauses of a Chinese sentence have told so far, and what a later one may speak of."""

from dataclasses import dataclass, field

from .chinese_clauses import Item
from .chinese_places import Place
from .mentions import Mark, Mention

# What has no signal of its own: a signal beside it in a sentence is another finding.
WITHOUT_SIGNAL = frozenset((
    "normal", "normal variant", "atrophy", "ventricular dilation", "sulcal widening", "mass effect", "midline shift",
    "herniation", "hydrocephalus", "postoperative change", "artifact", "fracture", "sellar enlargement",
    "chiari malformation", "vessel tortuosity", "stenosis", "occlusion", "mucosal thickening",
))  # fmt: skip
# What stands where it stands, whatever the sentence spoke of before.
KEEPS_ITS_SITE = frozenset(
    ("herniation", "hydrocephalus", "atrophy", "midline shift", "normal", "normal variant", "artifact")
)


@dataclass
class Context:
    """The mentions of a sentence and what they leave open.

    Args:
        text: the sentence, as `readable` gives it.
        mentions: all so far.
        lesions: spoken of last; what a clause without a finding adds to.
        bearers: the last of them that can have a signal.
        places: named last.
        latest: mentions of the clause before.
        latest_sequences: sequences that the clause before is about.
        angiogram: the sentence is about one.
        is_compared: an earlier study has been named.
        waiting_places: told for the next clause, so are the other `waiting_*`.
    """

    text: str
    mentions: list[Mention] = field(default_factory=list)
    lesions: list[Mention] = field(default_factory=list)
    bearers: list[Mention] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    latest: list[Mention] = field(default_factory=list)
    latest_sequences: list[Mark] = field(default_factory=list)
    has_angiogram: bool = False
    is_compared: bool = False
    waiting_places: list[Place] = field(default_factory=list)
    waiting_sequences: list[Mark] = field(default_factory=list)
    waiting_hedge: str = ""


def draw_out_quotes(item: Item, mark: Mark) -> Item:
    """The item, the quotes of its mentions drawn out over a word that belongs to them."""
    for mention in item.mentions if mark.stop > mark.first else ():
        mention.quote = (min(mention.quote[0], mark.first), max(mention.quote[1], mark.stop))
    return item
