"""What is denied, doubted or sure in a Chinese clause."""

from ..vocabulary import load_terms
from .chinese_clauses import Clause, Item
from .chinese_context import Context
from .chinese_marks import Predicate
from .mentions import Mark

_BEHIND = ("可能", "待", "有待")  # hedges that stand behind what they hedge, if it is directly before them


def set_certainty(context: Context, clause: Clause, items: list[Item]) -> None:
    """Set the certainty of the findings of a clause from the cues before and behind them."""
    cues = clause.of("certainty")
    for item in items:
        if isinstance(item.mark.value, Predicate) and item.mark.value.is_denial and item.term != "normal":
            item.certainty = "absent"
            continue
        item.certainty = _cue_before(context, item, items, cues, clause) or "present"
    for cue in cues:
        governed = [i for i in items if i.mark.stop <= cue.first]
        if not governed or not _stands_behind(context, cue, items, clause):
            continue
        last = governed[-1]
        reached = [i for i in governed if i is last or _is_list(context.text[i.mark.stop : last.mark.first])]
        for item in reached:
            if item.certainty == "present" and item.term != "normal":
                item.certainty = str(cue.value)
    if clause.closer == "?":
        for item in items:
            if item.certainty == "present" and load_terms().findings[item.term].kind == "diagnosis":
                item.certainty = "possible"


def _cue_before(context: Context, item: Item, items: list[Item], cues: list[Mark], clause: Clause) -> str:
    ahead = [c for c in cues if c.stop <= item.mark.first and not _stands_behind(context, c, items, clause)]
    if not ahead:
        return context.waiting_hedge if item.term != "normal" else ""
    cue = ahead[-1]
    denials = [c for c in ahead if c.value == "absent"]
    if denials and "除外" not in context.text[cue.first : cue.stop]:
        cue = denials[-1]  # "no sign that suggests" denies
    since = [m for m in clause.of("exists") if cue.stop <= m.first < item.mark.first]
    if item.term == "normal" and cue.value != "absent":
        return ""
    if item.term == "normal":
        return "present"
    return "" if since else str(cue.value)


def _stands_behind(context: Context, cue: Mark, items: list[Item], clause: Clause) -> bool:
    """Whether a cue speaks of the finding before it: nothing follows it, or it is a word such as 待排."""
    word = context.text[cue.first : cue.stop]
    follows = any(i.mark.first >= cue.stop for i in items)
    if cue.value == "absent":
        return word == "不明显" or (not follows and cue.stop >= clause.stop - 1)
    if not follows:
        return True
    return (
        word.startswith(_BEHIND)
        and any(i.mark.stop == cue.first for i in items)
        and not word.endswith(("为", "是", "系"))
    )


def _is_list(text: str) -> bool:
    return any(mark in text for mark in "、或及和与伴/") and len(text) < 16
