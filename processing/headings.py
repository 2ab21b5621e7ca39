"""Where the sections of a report begin: headings in the styles that reports use, and lines that are titles.

Which words are headings is data (`lexicon/headings.yaml`); how they stand out is read here:
- on a line of their own, or at the start of one before a colon or a dash, plain, bold, numbered or in brackets
  ("FINDINGS:", "**Findings**", "2. Findings -", "## Impression", "一、影像所见：");
- in 【】 anywhere;
- within a line after the end of a sentence, before a colon ("... contrast. IMPRESSION: Normal", "...。诊断意见：");
- in capitals at the start of a line, with the section going on behind ("FINDINGS The ventricles ...").
"""

import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import NamedTuple

from .vocabulary import load_headings

SECTIONS = (
    *("findings", "impression", "technique", "comparison"),
    *("indication", "recommendation", "title", "signature"),
)
_MOST_TITLE_CHARACTERS = 120
_LONG_NAME = 4  # characters from which a Chinese heading needs no colon: 影像所见, but not 所见
_DATE_OR_NUMBER = re.compile(r"\[[A-Z]+\]|[\d/.:+&,()-]+")


class Heading(NamedTuple):
    """A heading: the section it opens, where it stands, and where the section's text begins."""

    section: str
    start: int
    end: int


def find_headings(text: str) -> Iterator[Heading]:
    """Headings of a report in order. Line ends are line feeds."""
    sections = _sections()
    for match in _pattern().finditer(text):
        name = next(match[group] for group in _NAME_GROUPS if match[group] is not None)
        yield Heading(sections[_key(name)], match.start(), match.end())


def is_title(line: str) -> bool:
    """Whether a line says which examination was done, and nothing about its result."""
    line = line.strip().strip("*#_【】[]：:.。 ")
    if not line or len(line) > _MOST_TITLE_CHARACTERS:
        return False
    if _chinese_title().fullmatch(line):
        return True
    words = [word for word in re.split(r"[\s\-–—,;:()]+", _DATE_OR_NUMBER.sub(" ", line).lower()) if word]
    known = load_headings()["title_words"]["en"]
    return bool(words) and words[0] not in ("and", "with", "of", "or") and all(word in known for word in words)


def _key(name: str) -> str:
    return " ".join(name.casefold().split())


@cache
def _sections() -> dict[str, str]:
    """Section by heading, case folded."""
    table = load_headings()
    return {_key(name): section for section in SECTIONS for names in table[section].values() for name in names}


_NAME_GROUPS = ("bracketed", "alone", "capital", "spaced", "inner", "signature")


@cache
def _pattern() -> re.Pattern[str]:
    table = load_headings()
    english_names = {name for section in SECTIONS if section != "signature" for name in table[section]["en"]}
    english, capitals = _alternatives(english_names), _alternatives({name.upper() for name in english_names})
    capitalised = {form for name in english_names for form in (name.upper(), name.capitalize(), name.title())}
    chinese_names = {name for section in SECTIONS for name in table[section]["zh"]}
    chinese, long_chinese = (
        _alternatives(chinese_names),
        _alternatives({n for n in chinese_names if len(n) >= _LONG_NAME}),
    )
    signature = _alternatives(table["signature"]["en"])
    any_name = f"{chinese}|(?i:{english})"
    begin = r"^[ \t>]*[#*_【\[（(<]*[ \t]*(?:(?:\d{1,2}|[一二三四五六七八九十]{1,2})[.)、．][ \t]*)?[*_【\[]*"
    colon = r"[ \t]*[*_]*[:：][*_]*[ \t]*[,，]?"
    return re.compile(
        rf"【[ \t]*(?P<bracketed>{any_name})[ \t]*】[ \t]*[:：]?[ \t]*"
        rf"|{begin}(?P<alone>{any_name})[ \t]*[*_】\])）>]*(?:{colon}|[ \t]+[-–—](?=[ \t])|[ \t]*$)[ \t]*"
        rf"|^[ \t]*(?P<capital>{capitals})[ \t]+(?=[A-Z]?[a-z]|\d{{1,2}}[.)])"
        rf"|^[ \t]*(?P<spaced>{long_chinese})[ \t\u3000]+(?=\S)"
        rf"|(?<=[.。;；!?！？,，\]】])[ \t]*(?P<inner>{chinese}|{_alternatives(capitalised)}){colon}[ \t]*"
        rf"|^[ \t*_]*(?P<signature>(?i:{signature}))\b[ \t]*[:：]?[ \t]*",
        re.MULTILINE,
    )


def _alternatives(names: Collection[str]) -> str:
    """The names as one alternative, the longest first."""
    ordered = sorted(names, key=lambda name: (-len(name), name))
    return "(?:" + "|".join(re.escape(name).replace(r"\ ", r"[ \t]+") for name in ordered) + ")"


@cache
def _chinese_title() -> re.Pattern[str]:
    words = sorted(load_headings()["title_words"]["zh"], key=len, reverse=True)
    told = "|".join(map(re.escape, words))
    is_report_form = r"[\u4e00-\u9fff]{0,20}医院.{0,20}报告单?"
    return re.compile(rf"(?=.*[\u4e00-\u9fff])(?:{told}|[\s+＋、/()（）]|\d)+|{is_report_form}", re.IGNORECASE)
