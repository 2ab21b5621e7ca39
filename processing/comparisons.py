"""Sentences that compare with an earlier study: one study cannot show what they say, so images do without them."""

import re
from functools import cache

from .vocabulary import load_lexicon

# Beside the words of change of the lexicons: how reports speak of the earlier study itself.
_EARLIER = {
    "en": (
        r"interval|previous(?:ly)?|prior|compared|comparison|known|redemonstrated|re-demonstrated|since the|"
        r"again (?:seen|noted|demonstrated|identified|visuali[sz]ed)|"
        r"(?:earlier|last|old|outside) (?:study|studies|exam|examination|scan|mri|ct|imaging)"
    ),
    # 对比剂 and 对比增强 are contrast agent and enhancement
    "zh": (
        r"较(?:前|上次|旧片|原片|老片|\d|\[DATE\])|对比(?!剂|增强|度|扫描)|前次|上次|旧片|同前|"
        r"与(?:前|旧|原|老|上次)[^，。；]{0,6}(?:片|比较|相比)"
    ),
}


def compares(sentence: str) -> bool:
    """Whether a sentence, English or Chinese, compares with an earlier study or tells of a change."""
    return _cues().search(sentence) is not None


@cache
def _cues() -> re.Pattern[str]:
    alternatives = []
    for language, earlier in _EARLIER.items():
        change = load_lexicon(language).words["change"]
        words = sorted({w for term, more in change.items() for w in (term, *more)}, key=len, reverse=True)
        told = "|".join((*map(re.escape, words), earlier))
        alternatives.append(rf"\b(?:{told})\b" if language == "en" else told)
    return re.compile("|".join(alternatives), re.IGNORECASE)
