"""What stands where in a Chinese sentence: lexicon words, signals of T1 and T2 values, lobes, shifts, sizes.

Chinese has no blanks, so words are found over characters, the longest at each place. What is written by rule rather
than listed (长T1稍长T2信号, 额颞顶叶, 中线结构左移, 1.2cm×0.8cm) has a pattern of its own and comes first.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from ..vocabulary import load_lexicon
from .matching import PhraseMatcher, Token
from .mentions import Mark

# One character for one, so offsets stay those of the report.
_NARROW = str.maketrans(
    {chr(c): chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)}
    | {"\u3000": " ", "、": "、", "＊": "*", "×": "x", "╳": "x"}
)
_EXTRA = ("negation", "consistent", "boundary", "back_reference", "singled_out", "seen", "ignored")
_VALUES = {"长": "hypo", "短": "hyper", "等": "iso"}
_OF_T2 = {"长": "hyper", "短": "hypo", "等": "iso"}
_RELAXATION = re.compile(
    r"(长|短|等|混杂)(?=(?:、|或|/)?(?:稍|略)?[长短等]?T[12])(?:(?:、|或|/)(?:稍|略)?([长短等]))?T([12])(?:[、及和/]T([12])(?!WI|加权|-?FLAIR))?(?!\*)"
)
_LOBES = re.compile(r"[额顶颞枕岛](?:、?[额顶颞枕岛])*(?:叶|部(?!骨)|区|极)")
_LOBE = {"额": "frontal lobe", "顶": "parietal lobe", "颞": "temporal lobe", "枕": "occipital lobe", "岛": "insula"}
_SHIFT = re.compile(
    r"中线(?:结构)?(?:局部)?(?:轻度|轻微|明显|显著|稍|略)?(?:向)?([左右])侧?(?:轻度|明显|稍|略)?(?:移位|偏移|移|偏)"
)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(cm|mm|厘米|毫米)?((?:\s*[xX*]\s*\d+(?:\.\d+)?\s*(?:cm|mm|厘米|毫米)?)*)")
_UNIT = re.compile(r"(cm|mm|厘米|毫米)\s*$", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_COUNT = re.compile(r"(\d{1,2}|[一二两三四五六])(?:个|枚|处)")
_ONE = re.compile(r"(?<=见)一(?![些致般])|单发|单个|孤立")
_DIGITS = {"一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6}
# 未见异常 says that all is normal unless what is abnormal follows
_ALL_NORMAL = re.compile(
    r"(?:未见|无|未发现|未见到|未示)(?:明显|明确|确切|显著|特殊)?(?:改变|异常(?:改变|征象|发现|所见)?)"
    r"(?!信号|强化|密度|增粗|扩张|狭窄|流空|占位|出血|灌注|弥散|扩散|高|低|血管|影|T|对比)"
)
_NORMAL_NAME = "未见异常"  # may go on as 未见异常信号
# "中心低、边缘高信号": the signal word is said once for both
_SHARED_SIGNAL = re.compile(
    r"([高低等])(?:、|，|/|及|或)?(?:中心|中央|边缘|周围|周边|外周|内部)?(?:呈)?[稍略]?[高低等]信号"
)


def narrow(text: str) -> str:
    """Full-width letters, digits and marks as narrow ones, character for character."""
    return text.translate(_NARROW)


def characters(text: str) -> list[Token]:
    """Every character is a token; letters in lower case."""
    return [Token(c.lower(), i, i + 1) for i, c in enumerate(text)]


@cache
def chinese_matcher() -> PhraseMatcher:
    """The matcher over all Chinese words of the lexicon."""
    return PhraseMatcher(_phrases(), characters)


def _phrases() -> Iterator[tuple[str, str, Any]]:
    lexicon = load_lexicon("zh")
    for group, rows in lexicon.words.items():
        for term, words in rows.items():
            value = (term,) if group == "sites" else term
            named = {lexicon.names[group][term], *words} if group != "sequences" else set(words)
            for word in named - {"", _NORMAL_NAME}:
                yield word, group, value
                if group == "morphology" and word.endswith("强化"):  # 明显强化: the grade of what is also seen
                    yield word, "signals", "enhancing"
                    yield word, "findings", "abnormal enhancement"
    for word, site, term in lexicon.extra["predicates"]:
        yield word, "predicate", (site, term)
    for word, site in lexicon.extra["placed"]:
        yield word, "placed", (site,)
    for word, site, term in lexicon.extra["denials"]:
        yield word, "denial", (site, term)
    for group in _EXTRA:
        for word in lexicon.extra[group]:
            yield word, group, word


def find_marks(text: str) -> list[Mark]:
    """All marks of a narrow sentence in order; offsets are characters."""
    ruled = [*_relaxation(text), *_lobes(text), *_shifts(text), *_all_normal(text), *_counts(text)]
    taken = {i for mark in ruled for i in range(mark.first, mark.stop)}
    marks = list(ruled)
    for match in chinese_matcher().find(characters(text)):
        if taken.isdisjoint(range(match.first, match.stop)):
            marks += [Mark(kind, value, match.first, match.stop) for kind, value in match.meanings]
    marks += _sizes(text)
    marks += _shared_signals(text)
    marks.sort(key=lambda mark: (mark.first, -mark.stop))
    return marks


def _relaxation(text: str) -> Iterator[Mark]:
    """长T1长T2: a long T1 is dark on T1-weighted images, a long T2 bright on T2-weighted ones."""
    for found in _RELAXATION.finditer(text):
        for weighting in filter(None, found.group(3, 4)):
            values = _VALUES if weighting == "1" else _OF_T2
            for word in filter(None, found.group(1, 2)):
                yield Mark("pair", (f"T{weighting}w", values.get(word, "mixed")), found.start(), found.end())


def _lobes(text: str) -> Iterator[Mark]:
    """额颞顶叶, 额、顶叶: every lobe is a site."""
    for found in _LOBES.finditer(text):
        sites = tuple(_LOBE[c] for c in found[0] if c in _LOBE)
        yield Mark("sites", sites, found.start(), found.end())


def _shifts(text: str) -> Iterator[Mark]:
    for found in _SHIFT.finditer(text):
        yield Mark("shift", "left" if found[1] == "左" else "right", found.start(), found.end())


def _all_normal(text: str) -> Iterator[Mark]:
    for found in _ALL_NORMAL.finditer(text):
        yield Mark("findings", "normal", found.start(), found.end())


def _counts(text: str) -> Iterator[Mark]:
    for found in _COUNT.finditer(text):
        yield Mark("count", _DIGITS.get(found[1]) or int(found[1]), found.start(), found.end())
    for found in _ONE.finditer(text):
        yield Mark("count", 1, found.start(), found.end())


def _sizes(text: str) -> Iterator[Mark]:
    """Largest dimension in mm; a number without any unit is no size."""
    for found in _SIZE.finditer(text):
        unit = _UNIT.search(found[0])
        if unit is None or unit[1] is None:
            continue
        scale = 10.0 if unit[1].lower() in ("cm", "厘米") else 1.0
        yield Mark("size", scale * max(map(float, _NUMBER.findall(found[0]))), found.start(), found.end())


def _shared_signals(text: str) -> Iterator[Mark]:
    for found in _SHARED_SIGNAL.finditer(text):
        word = {"高": "hyper", "低": "hypo", "等": "iso"}[found[1]]
        yield Mark("signals", word, found.start(1), found.end(1))
