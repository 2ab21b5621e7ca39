"""Free-text reports: sections and sentences."""

import re
from dataclasses import dataclass

# Headings of real reports and the section that each opens. "" = findings-like text is told apart from the rest only by
# a heading.
_HEADINGS = {
    "findings": "findings",
    "description": "findings",
    "mri findings": "findings",
    "report": "findings",
    "impression": "impression",
    "impressions": "impression",
    "conclusion": "impression",
    "conclusions": "impression",
    "opinion": "impression",
    "summary": "impression",
    "technique": "technique",
    "procedure": "technique",
    "protocol": "technique",
    "comparison": "comparison",
    "comparisons": "comparison",
    "indication": "indication",
    "indications": "indication",
    "history": "indication",
    "clinical history": "indication",
    "clinical information": "indication",
    "reason for exam": "indication",
    "exam": "title",
    "examination": "title",
    "study": "title",
}
_HEADING = re.compile(
    r"^[ \t]*(?:\*\*)?("
    + "|".join(sorted(_HEADINGS, key=len, reverse=True))
    + r")(?:\*\*)?[ \t]*(?::(?:\*\*)?|\n)[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
# A full stop ends a sentence unless it follows an abbreviation, an initial or a list number, or stands inside a
# number.
_ABBREVIATIONS = r"(?:dr|mr|mrs|ms|vs|approx|fig|no|cf|etc|e\.g|i\.e|st|ca|resp|incl)"
_SENTENCE_END = re.compile(r"(?<=[.?!])[\"')\]]*\s+(?=\S)|[ \t]*\n+\s*")
_NOT_AN_END = re.compile(r"(?:\b" + _ABBREVIATIONS + r"|\b[A-Z]|(?:^|\n)\s*\d{1,2})\.$", re.IGNORECASE)
_LIST_MARK = re.compile(r"^\s*(?:\(?\d{1,2}[.)]|[-*\u2022\u2013])\s+")
# Chinese: no blank follows a list number, so a number that goes on ("1.2cm") is told apart by its next digit.
_CHINESE_NUMBER = r"(?:[(（]\d{1,2}[)）][.、．]?|\d{1,2}[.、．)）](?!\d)|[①-⑳]|[-*\u2022])\s*"
_CHINESE_END = re.compile(
    r"(?<=[。！？!?])(?![。！？!?”’」』）)])\s*|\s*\n\s*|(?<=[；;])\s*(?=" + _CHINESE_NUMBER + ")"
)
_CHINESE_MARK = re.compile(r"^\s*" + _CHINESE_NUMBER)


@dataclass(frozen=True)
class Sentence:
    """One sentence, `text == report[start:end]`, list numbers and dashes left out. Offsets count code points."""

    text: str
    start: int
    end: int


def read_sections(text: str) -> dict[str, str]:
    """Sections of a report by name: findings, impression, technique, comparison, indication, title.

    Text before the first heading, and a report without headings, is findings. Sections that occur twice are joined by
    a line feed. Absent sections are absent from the result.
    """
    sections: dict[str, list[str]] = {}
    name, start = "findings", 0
    for heading in _HEADING.finditer(text):
        sections.setdefault(name, []).append(text[start : heading.start()].strip())
        name, start = _HEADINGS[heading.group(1).lower()], heading.end()
    sections.setdefault(name, []).append(text[start:].strip())
    joined = {name: "\n".join(part for part in parts if part) for name, parts in sections.items()}
    return {name: part for name, part in joined.items() if part}


def split_sentences(text: str, language: str = "en") -> list[Sentence]:
    """Sentences of a section in order, with their offsets.

    English: a line break ends a sentence where the next line starts with a capital, a digit or a list mark. Decimals
    ("1.2 cm"), abbreviations ("approx. 5 mm") and list numbers ("1. ") do not end one. Chinese: full stops, line
    breaks and semicolons before a list number end one.
    """
    ends = _CHINESE_END if language == "zh" else _SENTENCE_END
    mark = _CHINESE_MARK if language == "zh" else _LIST_MARK
    sentences, start = [], 0
    for gap in ends.finditer(text):
        if language == "zh" or _ends_sentence(text, start, gap):
            sentences.append(_sentence(text, start, gap.start(), mark))
            start = gap.end()
    sentences.append(_sentence(text, start, len(text), mark))
    return [s for s in sentences if s.text]


def _ends_sentence(text: str, start: int, gap: re.Match[str]) -> bool:
    if "\n" in gap.group():
        following = text[gap.end() : gap.end() + 1]
        return "\n\n" in gap.group() or not following.islower()
    return _NOT_AN_END.search(text[start : gap.start()]) is None


def _sentence(text: str, start: int, end: int, list_mark: re.Pattern[str]) -> Sentence:
    mark = list_mark.match(text[start:end])
    if mark:
        start += mark.end()
    stripped = text[start:end].strip()
    start += len(text[start:end]) - len(text[start:end].lstrip())
    return Sentence(stripped, start, start + len(stripped))
