"""Free-text reports: language, sections, sentences, and the key by which repeated reports are known."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from .deidentification import deidentify
from .headings import find_headings, is_title

_HAN = re.compile(r"[\u4e00-\u9fff]")
# English: a full stop ends a sentence unless it follows an abbreviation, an initial or a list number, or stands inside
# a number.
_ABBREVIATIONS = r"(?:dr|mr|mrs|ms|vs|approx|fig|no|cf|etc|e\.g|i\.e|st|ca|resp|incl)"
# No other character than those looked ahead for opens a gap: most places are passed over at once.
_SENTENCE_END = re.compile(r"(?=[\s\"')\]])(?:(?<=[.?!])[\"')\]]*\s+(?=\S)|[ \t]*\n+\s*)")
_SHORTENED = re.compile(r"\b(?:" + _ABBREVIATIONS + r"|[A-Z])\.$", re.IGNORECASE)
_SHORTENED_REACH = len(" approx.")  # the longest, and the character before it
_LIST_NUMBER = re.compile(r"\s*\d{1,2}\.")
_LIST_MARK = re.compile(r"\s*(?:\(?\d{1,2}[.)]|[-*\u2022\u2013])\s+")

# Chinese: what ends a sentence belongs to it, a list mark ("1、", "(2)", ③, 四、) to none. A full stop of Latin script
# ends one behind a word, not inside a number; 、 behind a number is a list mark unless what it counts stands before it
# (T2、, 颈4、, 约2、).
_CHINESE_NUMERALS = "一二三四五六七八九十"
_CHINESE_CUT = re.compile(
    r"(?P<end>[。！？!?]+[”’\"）)】]*|(?<=[\u4e00-\u9fffA-Za-z)）%])[.．](?=\s|$|[\u4e00-\u9fff]))\s*"
    r"|[ \t\u3000]*(?P<line>\n)\s*"
    r"|(?<![A-Za-z\d.、第约近颈胸腰骶级期])(?<![A-Za-z] )"
    r"(?P<mark>(?P<number>\d{1,2})[、.．)）](?![\d.])|[（(](?P<inner>\d{1,2})[)）]|(?P<circled>[①-⑳])"
    rf"|(?P<han>[{_CHINESE_NUMERALS}])、|[-*•–](?=[ \t]))[ \t\u3000]*"
)
_GOES_ON = re.compile(r"[，,、：:]\s*$")

# What a report is known by has no list marks, and only these words and numbers.
_KEY_MARK = re.compile(
    r"(?:^|(?<=[.;。；:：]))[ \t]*(?:[（(]?\d{1,2}[.)、）](?![\d.])|[-*•–]|[①-⑳])[ \t]*", re.MULTILINE
)
_KEY_PLACEHOLDER = re.compile(r"\[[A-Z]+\]")
_KEY_WORD = re.compile(r"\d+(?:[./-]\d+)*|[a-z]+|[^\W\d_]")


@dataclass(frozen=True)
class Sentence:
    """One sentence, `text == report[start:end]`, list numbers and dashes left out. Offsets count code points."""

    text: str
    start: int
    end: int


def report_language(text: str) -> str:
    """Return "zh" where at least a fifth of the letters are Han characters, else "en"."""
    letters = sum(character.isalpha() for character in text)
    return "zh" if letters and len(_HAN.findall(text)) >= letters / 5 else "en"


def read_sections(text: str) -> dict[str, str]:
    """Sections of a report by name (`headings.SECTIONS`), English or Chinese, any line ends.

    Text before the first heading is the title where a section of findings follows, otherwise it is findings, but for
    lines that say which examination was done. A report without headings is findings. Sections that occur twice are
    joined by a line feed. Absent sections are absent from the result.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    sections: dict[str, list[str]] = {}
    name, start = "", 0
    for heading in find_headings(text):
        sections.setdefault(name, []).append(text[start : heading.start].strip())
        name, start = heading.section, heading.end
    sections.setdefault(name, []).append(text[start:].strip())
    title, body = _split_preamble("".join(sections.pop("")))
    if any(sections.get("findings", ())):
        title, body = "\n".join(part for part in (title, body) if part), ""
    sections["title"] = [title, *sections.get("title", ())]
    sections["findings"] = [body, *sections.get("findings", ())]
    joined = {name: "\n".join(part for part in parts if part) for name, parts in sections.items()}
    return {name: part for name, part in joined.items() if part}


def _split_preamble(text: str) -> tuple[str, str]:
    """The leading lines that are titles, and the rest."""
    lines = text.split("\n")
    count = 0
    while count < len(lines) and (is_title(lines[count]) or (count and not lines[count].strip())):
        count += 1
    return "\n".join(lines[:count]).strip(), "\n".join(lines[count:]).strip()


def split_sentences(text: str, language: str = "en") -> list[Sentence]:
    """Sentences of a section in order, with their offsets; every letter that is no list mark stands in one.

    English: a line break ends a sentence where the next line starts with a capital, a digit or a list mark. Decimals
    ("1.2 cm"), abbreviations ("approx. 5 mm") and list numbers ("1. ") do not end one.
    Chinese: 。！？ and a line break end a sentence (not a line that ends in a comma), and so does the next number of a
    list ("1、...2、..."), also within a line. Decimals and numbered things (T2、, 颈4、) do not, nor does ；: what
    leads in before it (颅脑MRA：) may hold behind it.

    Args:
        text: one section of a report.
        language: "zh", or any other for the rules of English.
    """
    spans = _chinese_spans(text) if language == "zh" else _english_spans(text)
    sentences = (_sentence(text, start, end) for start, end in spans)
    return [sentence for sentence in sentences if sentence.text]


def report_key(text: str) -> str:
    """A key that reports share which say the same words: the mark of a repeated report.

    White space, case, punctuation, full-width forms, list marks, and what de-identification takes away (names, dates,
    numbers of records) make no difference. Sizes and all other numbers do.

    Returns:
        32 hexadecimal digits, from which the text cannot be read.
    """
    clean = _KEY_PLACEHOLDER.sub(" ", deidentify(text)[0])
    clean = unicodedata.normalize("NFKC", _KEY_MARK.sub(" ", clean)).casefold()
    return hashlib.sha256(" ".join(_KEY_WORD.findall(clean)).encode()).hexdigest()[:32]


def _english_spans(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for gap in _SENTENCE_END.finditer(text):
        if _ends_sentence(text, start, gap):
            yield _after_mark(text, start, gap.start()), gap.start()
            start = gap.end()
    yield _after_mark(text, start, len(text)), len(text)


def _ends_sentence(text: str, start: int, gap: re.Match[str]) -> bool:
    if "\n" in gap.group():
        following = text[gap.end() : gap.end() + 1]
        return "\n\n" in gap.group() or not following.islower()
    if text[gap.start() - 1] == "?" and text[gap.end() : gap.end() + 1].islower():
        return False  # "temporal mass, ? glioma"
    before = text[start : gap.start()]
    if _SHORTENED.search(before[-_SHORTENED_REACH:]):
        return False
    return _LIST_NUMBER.fullmatch(before.rpartition("\n")[2]) is None


def _after_mark(text: str, start: int, end: int) -> int:
    mark = _LIST_MARK.match(text, start, end)
    return mark.end() if mark else start


def _chinese_spans(text: str) -> Iterator[tuple[int, int]]:
    start, number = 0, 0  # of the sentence; of the last item of a list
    for cut in _CHINESE_CUT.finditer(text):
        before = text[start : cut.start()]
        if cut["mark"]:
            marked = _number(cut)
            if before.strip() and not cut["circled"] and marked != number + 1:
                continue
            number = marked
        elif cut["line"] and _GOES_ON.search(before):
            continue
        yield start, cut.end("end") if cut["end"] else cut.start()
        start = cut.end()
    yield start, len(text)


def _number(mark: re.Match[str]) -> int:
    """What a list mark counts; a dash counts nothing, and follows on nothing."""
    if mark["circled"]:
        return ord(mark["circled"]) - ord("①") + 1
    if mark["han"]:
        return _CHINESE_NUMERALS.index(mark["han"]) + 1
    digits = mark["number"] or mark["inner"]
    return int(digits) if digits else -1


def _sentence(text: str, start: int, end: int) -> Sentence:
    said = text[start:end]
    stripped = said.strip()
    start += len(said) - len(said.lstrip())
    return Sentence(stripped, start, start + len(stripped))
