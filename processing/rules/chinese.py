"""How a Chinese sentence is read: clauses, one mention per lesion.

`chinese_marks.py` finds the words, `chinese_clauses.py` parts them, `chinese_lead_ins.py` reads the clauses that tell
no finding, `chinese_items.py` and `chinese_places.py` the findings of the others and where they are,
`chinese_certainty.py` negation and hedging, `chinese_mentions.py` and `chinese_ownership.py` what belongs to what.
"""

import re

from .chinese_certainty import set_certainty
from .chinese_clauses import FINDING, SIGNAL, Clause, split_clauses, with_enhancing_nouns
from .chinese_context import Context
from .chinese_items import find_items
from .chinese_lead_ins import extend, keep_for_later, locate, take_sides
from .chinese_marks import find_marks, readable
from .chinese_mentions import finish, make_mention, name_age
from .chinese_ownership import attach
from .chinese_places import find_places
from .mentions import Mention

_HEADING = re.compile(r"[^,;:，。；：、]{1,16}[:：]")


def heading_sequence(sentence: str) -> str | None:
    """Sequence named by the heading that opens a sentence (头颅MRA：), "" for another heading, None without one."""
    heading = _HEADING.match(sentence)
    if heading is None:
        return None
    return "MRA" if any(m.value == "MRA" for m in find_marks(readable(heading.group())[0])) else ""


def read_sentence(text: str) -> list[Mention]:
    """Findings of one Chinese sentence in order, also the denied and hedged ones.

    A mention without a term of its own (term "") holds what a sentence such as 增强扫描呈环形强化 adds to the lesion
    of the sentence before. Offsets of quotes are those of `text`.
    """
    plain, places = readable(text)
    context, mentions = Context(plain), []
    for clause in split_clauses(find_marks(plain), len(plain)):
        if clause.opener == ";":
            mentions += context.mentions
            context = Context(plain, has_angiogram=context.has_angiogram, is_compared=context.is_compared)
        _read(context, with_enhancing_nouns(clause))
    mentions += context.mentions
    for mention in mentions:
        name_age(mention)
        first, stop = mention.quote
        mention.quote = (places[first], places[stop - 1] + 1) if stop > first else (0, 0)
    return mentions


def _read(context: Context, clause: Clause) -> None:
    """Add one clause to the mentions."""
    context.is_compared = context.is_compared or clause.has("comparison")
    places = find_places(clause.marks, context.text)
    is_bare = bool(places) and not clause.has(FINDING, SIGNAL, "singled_out")
    if is_bare and (locate(context, places, clause) or extend(context, places, clause)):
        places, clause = [], clause.without_places()
    if keep_for_later(context, clause, places) or take_sides(context, clause, places):
        return
    items = find_items(context, clause, places)
    set_certainty(context, clause, items)
    for i, item in enumerate(items):
        make_mention(context, item, [j for j in items[:i] if j.mark.first < item.mark.first], clause)
    attach(context, clause, items)
    for item in items:
        finish(context, item)
    if items and (verbs := clause.of("extension")):
        extend(context, [p for p in places if p.first >= verbs[0].stop and p not in items[-1].places], clause)
    context.latest = [mention for item in items for mention in item.mentions] or context.latest
    context.waiting_places, context.waiting_sequences, context.waiting_hedge = [], [], ""
