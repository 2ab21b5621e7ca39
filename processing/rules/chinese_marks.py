"""Finding lexicon phrases in a Chinese sentence: a trie over characters as one regular expression, and patterns.

Chinese has no blanks, so phrases are found anywhere, the longest at each place. Blanks of the text are left out,
full-width forms read as half-width ones, Latin letters as capitals; offsets of marks count the characters that are
left.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from ..vocabulary import load_lexicon, load_terms
from .mentions import Mark

_FORMS = {chr(c): chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)} | dict(zip("粘✕—–", "黏×--", strict=True))
_FORMS |= {c: _FORMS.get(c, c).upper() for c in [*_FORMS, *map(chr, range(ord("a"), ord("z") + 1))]}
_READ_AS = str.maketrans(_FORMS)
_UNIT = "(?:CM|MM|厘米|毫米)"
_NUMBER = r"\d+(?:\.\d+)?"
_DEGREE = "稍|略|较|偏|极|明显|显著|轻度"
_PART = "(?:中心|边缘|周边|周围|内部|中央)"
# What the lists of the lexicon do not hold, in order of precedence; the name says the kind of mark.
_PATTERNS = {
    # the name of an examination is no site; which part is worse ("mainly the left", "more than the left") no finding
    "unread": r"(?:头颅|颅脑|颅内|头部|脑部|头|脑)(?=MR|磁共振|平扫|血管成像)"
    r"|以(?![^,。;]{0,8}信号)[^,。;]{1,14}?(?:为著|为重|为主|为甚|为多|为显|明显|显著|较著|多见)"
    r"|[左右]侧?(?:较|比|大于|重于|多于|著于|>)(?:[左右]侧?)(?:明显|显著|为著|著|重|多)?",
    "size": rf"(?:{_NUMBER}{_UNIT}?[×X*~至-]约?)*{_NUMBER}{_UNIT}(?![/²])",
    "relaxation": rf"(?:(?:(?:{_DEGREE})?(?:长|短|等|混杂)[、/及或至]?)+T[12](?:WI)?)(?:[、/及]?T2(?:WI)?)?",
    "clear": r"(?:未见|无)(?:明显|明确|确切|显著|特殊|其他)*异常"
    r"(?:改变|表现|征象|发现|所见|变化)?(?=[,。;?!、()及和与]|$)",
    "signal": rf"{_PART}?(?:(?:{_DEGREE}|混杂|异常|欠?不?均匀?|[高低等])[、/及至到或-]?)*"
    r"(?:[高低等]|混杂|不均匀?)(?:混杂|不均匀)?信号(?:影|灶|区|带|改变|病灶)?",
    "bare": rf"{_PART}?(?<!不)[高低等](?=[、,/~至及]?(?:稍|略|较)?(?:[高低等]|混杂)信号"
    rf"|[、,]?(?:T[12]|FLAIR|DWI|ADC|SWI)|[、,]{_PART})",
    "level": rf"(?:(?:信号)?(?:{_DEGREE})?(?:增高|升高|减低|降低|下降))|信号(?:{_DEGREE})?(?:增强|减弱|丢失)",
    "lobes": r"[额顶颞枕岛](?:[叶部]?[、/及与和-]?[额顶颞枕岛])+(?:叶|部|区|交界区|交界处|交界|皮层|皮质)*(?![骨窦角])"
    r"|[额顶颞枕](?=[、及与和](?:左|右|双|两))",
    "count": r"[一二两三四五六七八九\d]{1,2}(?:个|枚|处|颗|粒|只)"
    r"|(?<=[见有呈])一(?=[^一致些般侧定级])|单发|单个|孤立(?!性纤维)性?",
    "certainty": r"\((?:-|阴性)\)",
    "stop": r"[,;:。?!()]",
}
_LOBES = {"额": "frontal lobe", "顶": "parietal lobe", "颞": "temporal lobe", "枕": "occipital lobe", "岛": "insula"}
_DIGITS = {"一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_OF_LETTER = {"高": "hyper", "低": "hypo", "等": "iso"}
_OF_RELAXATION = {"T1": {"长": "hypo", "短": "hyper", "等": "iso"}, "T2": {"长": "hyper", "短": "hypo", "等": "iso"}}
_TABLES = (
    "consistent",
    "boundary",
    "exists",
    "anaphora",
    "operated",
    "back_reference",
    "singled_out",
    "history",
    "advice",
    "comparison",
    "extension",
    "locates",
    "unread",
)


class Predicate(NamedTuple):
    """A word whose finding depends on the site it is said of; `is_denial`: it says that the finding is not there."""

    terms: dict[str, str]
    is_denial: bool

    def term_at(self, site: str) -> str | None:
        """The finding at a site: that of the smallest site of the table around it, None where it means nothing."""
        sites = load_terms().sites
        current: str | None = site
        while current is not None:
            if current in self.terms:
                return self.terms[current]
            current = sites[current].parent
        return self.terms.get("any")


def readable(text: str) -> tuple[str, list[int]]:
    """The sentence as phrases are looked for in it, and the place of each of its characters in `text`."""
    plain = text.translate(_READ_AS)
    if not any(map(str.isspace, plain)):
        return plain, list(range(len(plain)))
    places = [i for i, c in enumerate(plain) if not c.isspace()]
    return "".join(plain[i] for i in places), places


def find_marks(text: str) -> list[Mark]:
    """What `readable` text says, in order; marks of one place are the meanings of one phrase."""
    marks: list[Mark] = []
    phrases, pattern = _scanner()
    for found in pattern.finditer(text):
        kind, (first, stop) = str(found.lastgroup), found.span()
        if kind == "phrase":
            marks += [Mark(k, value, first, stop) for k, value in phrases[found.group()]]
        elif kind != "unread":
            marks.append(Mark(kind, _VALUES[kind](found.group()), first, stop))
    return marks


@cache
def _scanner() -> tuple[dict[str, list[tuple[str, Any]]], re.Pattern[str]]:
    phrases: dict[str, list[tuple[str, Any]]] = {}
    for phrase, kind, value in _phrases():
        meanings = phrases.setdefault(readable(phrase)[0], [])
        if (kind, value) not in meanings:
            meanings.append((kind, value))
    for (
        meanings
    ) in phrases.values():  # a word of the reader's own tables means nothing else, a predicate no other finding
        if any(kind == "unread" for kind, _ in meanings):
            meanings.clear()
        if any(kind == "predicates" for kind, _ in meanings):
            meanings[:] = [m for m in meanings if m[0] != "findings"]
    named = [f"(?P<{kind}>{pattern})" for kind, pattern in _PATTERNS.items()]
    return phrases, re.compile("|".join([*named, f"(?P<phrase>{_trie_pattern(phrases)})"]))


def _phrases() -> Iterator[tuple[str, str, Any]]:
    lexicon, extra = load_lexicon("zh"), load_lexicon("zh").extra
    predicates = {word: Predicate(row["terms"], False) for row in extra["predicates"] for word in row["words"]}
    sites = {
        w: (term,) for term, words in lexicon.words["sites"].items() for w in {lexicon.names["sites"][term], *words}
    }
    for word, terms in (*sites.items(), *((w, tuple(s)) for w, s in extra["compound_sites"].items())):
        yield word, "sites", terms
        for sided in extra["sided_sites"]:
            for prefix, side in extra["sided_prefixes"].items() if word.startswith(sided) else ():
                yield prefix + word, "laterality", side
                yield prefix + word, "sites", terms
    for group, rows in lexicon.words.items():
        for term, words in rows.items() if group not in ("sites", "signals") else ():
            name = lexicon.names[group][term]
            for word in {name, *words} if name != term or group == "sequences" else words:
                # "site + predicate" is read in two, so that a list of sites shares the predicate
                # "nothing abnormal" is read by a pattern that looks at what follows ("no abnormal signal")
                parts = [(sites.get(word[:i]), predicates.get(word[i:])) for i in range(1, len(word))]
                is_split = any(at and predicate and predicate.term_at(at[0]) == term for at, predicate in parts)
                if group == "morphology" and (len(word) == 1 or "强化" in word):
                    continue  # 大 and 小 stand in too many words, and enhancement is a finding
                if not (group == "findings" and (is_split or (term == "normal" and "异常" in word))):
                    yield word, group, term
    for is_denial, table in ((False, "predicates"), (True, "denied_predicates")):
        for row in extra[table]:
            for word in row["words"]:
                yield word, "predicates", Predicate(row["terms"], is_denial)
    for word, (term, site) in extra["placed_findings"].items():
        yield word, "findings", term
        yield word, "own_site", site
    for table in _TABLES:
        for word in extra[table]:
            yield word, table, word


def _trie_pattern(phrases: dict[str, list[tuple[str, Any]]]) -> str:
    """A regular expression that matches the longest phrase at a place without trying them one by one."""
    root: dict[str, Any] = {}
    for phrase in phrases:
        node = root
        for character in phrase:
            node = node.setdefault(character, {})
        node[""] = {}

    def pattern(node: dict[str, Any]) -> str:
        branches = [re.escape(character) + pattern(below) for character, below in sorted(node.items()) if character]
        if not branches:
            return ""
        joined = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
        return f"(?:{joined})?" if "" in node else joined

    return pattern(root)


def _millimetres(text: str) -> float:
    """The largest of the numbers; a number without a unit has that of the next one."""
    scale, sizes = 1.0, []
    for number, unit in reversed(re.findall(rf"({_NUMBER})({_UNIT}?)", text)):
        scale = {"CM": 10.0, "厘米": 10.0, "": scale}.get(unit, 1.0)
        sizes.append(scale * float(number))
    return max(sizes)


def _relaxation(text: str) -> tuple[tuple[str, str], ...]:
    """长T1 is dark on T1, 长T2 bright on T2; in "长T1、T2" the word covers both."""
    pairs = []
    letters = ""
    for part in re.split(r"(T[12])", text):
        if part in _OF_RELAXATION:
            pairs += [(part + "w", _OF_RELAXATION[part].get(letter, "mixed")) for letter in letters]
        else:
            letters = "".join(re.findall(r"[长短等]|混(?=杂)", part)) or letters
    return tuple(pairs)


def _signals(text: str) -> tuple[str, ...]:
    if "混杂" in text or not any(letter in text for letter in _OF_LETTER):
        return ("mixed",)
    return tuple(_OF_LETTER[letter] for letter in text if letter in _OF_LETTER)


def _count(text: str) -> int:
    if text[0] in "单孤":
        return 1
    digits = re.match(r"\d+", text)
    return int(digits.group()) if digits else _DIGITS[text[0]]


_VALUES = {
    "size": _millimetres,
    "relaxation": _relaxation,
    "signal": _signals,
    "bare": _signals,
    "level": lambda text: ("hypo" if re.search("减|降|下|丢", text) else "hyper",),
    "lobes": lambda text: tuple(_LOBES[c] for c in text if c in _LOBES),
    "count": _count,
    "certainty": lambda text: "absent",
    "clear": lambda text: "normal",
    "stop": lambda text: text,
}
