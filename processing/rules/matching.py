"""Finding lexicon phrases in text: a trie over words, longest match first."""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

# Hyphens and blanks only part words; every other mark is a token, so that no phrase reaches across a comma.
_TOKEN = re.compile(r"[^\W\d_][^\W_]*\*?|\d+(?:\.\d+)?(?:st|nd|rd|th)?(?![A-Za-z0-9])|\d+(?:\.\d+)?|[^\s\w-]")
# Builds a named tuple without its own constructor, which takes longer than all else that a token needs.
_new = tuple.__new__
_END = ""  # no token is empty, so the key can hold the meanings of a phrase


class Token(NamedTuple):
    """One word, number or punctuation mark; `word` is in lower case, offsets count code points of the text."""

    word: str
    start: int
    end: int


class Match(NamedTuple):
    """A lexicon phrase at tokens [first, stop) and its meanings, (kind, value) pairs."""

    meanings: tuple[tuple[str, Any], ...]
    first: int
    stop: int


def tokenize(text: str) -> list[Token]:
    """Words, numbers and punctuation marks of a text in order."""
    return [_new(Token, (m[0].lower(), m.start(), m.end())) for m in _TOKEN.finditer(text)]


class PhraseMatcher:
    """Longest-match search for phrases, in time linear in the text.

    Args:
        phrases: (phrase, kind, value); one phrase may have several meanings.
        tokens_of: How phrases are cut into tokens; by `tokenize` if not given.
    """

    def __init__(
        self, phrases: Iterable[tuple[str, str, Any]], tokens_of: Callable[[str], list[Token]] | None = None
    ) -> None:
        self._root: dict[str, Any] = {}
        for phrase, kind, value in phrases:
            node = self._root
            for token in (tokens_of or tokenize)(phrase):
                node = node.setdefault(token.word, {})
            meanings = node.setdefault(_END, ())
            if (kind, value) not in meanings:
                node[_END] = (*meanings, (kind, value))

    def find(self, words: list[str]) -> list[Match]:
        """Matches in the words of a text from left to right, which do not overlap, each the longest at its place."""
        matches, root = [], self._root
        n, stop = len(words), 0
        for i in [i for i, word in enumerate(words) if word in root]:
            if i < stop:
                continue
            node, meanings, j = root[words[i]], None, i + 1
            while True:
                if _END in node:
                    meanings, stop = node[_END], j
                if j == n or (below := node.get(words[j])) is None:
                    break
                node, j = below, j + 1
            if meanings is not None:
                matches.append(_new(Match, (meanings, i, stop)))
        return matches
