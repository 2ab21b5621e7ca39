"""The words of a report that a finding stands on, found again for a finding that comes without them."""

import re
from collections.abc import Sequence
from functools import cache

from .findings import MAX_QUOTE_CHARACTERS, Finding
from .vocabulary import LANGUAGES, load_lexicon

# What a sentence gains for naming the finding, its site and its side: a sentence that names the finding alone comes
# before one that names all the rest.
_FINDING, _SITE, _SIDE = 4, 2, 1


def find_quote(finding: Finding, sentences: Sequence[str], language: str) -> str:
    """The sentence that says most of the finding: its term, its site, its side, in the words of the lexicon.

    Args:
        finding: what the quote is for.
        sentences: sentences of the report in order; of equally good ones the first is taken.
        language: of the report.

    Returns:
        The sentence verbatim, cut to the length of a quote; "" where none names the finding or its site, and in a
        language without a lexicon.
    """
    if language not in LANGUAGES:
        return ""
    best, most = "", _SIDE
    for sentence in sentences:
        text = _plain(sentence, language)
        score = (
            _FINDING * _is_named(text, language, "findings", finding.finding)
            + _SITE * _is_named(text, language, "sites", finding.site)
            + _SIDE * _is_named(text, language, "laterality", finding.laterality)
        )
        if score > most:
            best, most = sentence, score
    return best[:MAX_QUOTE_CHARACTERS].strip()


def _is_named(text: str, language: str, group: str, term: str) -> bool:
    return any(word in text for word in _words(language, group, term))


@cache
def _words(language: str, group: str, term: str) -> tuple[str, ...]:
    """How reports of a language write a term."""
    lexicon = load_lexicon(language)
    if group not in lexicon.names or term not in lexicon.names[group] or term == "none":
        return ()
    words = (lexicon.names[group][term], *lexicon.words[group][term])
    return tuple(_plain(word, language) for word in words)


def _plain(text: str, language: str) -> str:
    """Lower case, hyphens as blanks, one spelling."""
    text = re.sub(r"[\s-]+", " ", text.lower())
    for american, british in load_lexicon(language).extra.get("spelling", ()):
        text = text.replace(british, american)
    return text
