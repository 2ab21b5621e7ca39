"""Text with marked stretches that may overlap, cut into pieces that do not."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple


class Span(NamedTuple):
    """A stretch `text[start:end]` that belongs to the finding of a number, of a kind."""

    start: int
    end: int
    number: int
    kind: str


def locate_quotes(text: str, quotes: Sequence[str]) -> list[tuple[int, int] | None]:
    """Where quotes stand in a text; None for a quote that is empty or not in the text.

    Findings come in the order of the report, so of several places the first is taken that does not lie before the
    quote before.
    """
    places: list[tuple[int, int] | None] = []
    position = 0
    for quote in quotes:
        start = text.find(quote, position) if quote else -1
        if quote and start < 0:
            start = text.find(quote)
        if start < 0:
            places.append(None)
            continue
        places.append((start, start + len(quote)))
        position = start
    return places


def highlighted(text: str, spans: Sequence[Span], kinds: Sequence[str], start: int, end: int) -> list[dict[str, Any]]:
    """Pieces of `text[start:end]` in order.

    Args:
        text: The whole text.
        spans: Stretches of it; parts outside of [start, end) are left out.
        kinds: Kinds, the most serious first: a piece is of the most serious kind of its spans.
        start: Where to begin.
        end: Where to end.

    Returns:
        `text`, `kind` ("" outside of all spans), `numbers` of the findings whose span ends with the piece.
    """
    inside = [span._replace(start=max(span.start, start), end=min(span.end, end)) for span in spans]
    inside = [span for span in inside if span.start < span.end]
    borders = sorted({start, end, *(border for span in inside for border in (span.start, span.end))})
    pieces = []
    for left, right in pairwise(borders):
        covering = [span for span in inside if span.start <= left and right <= span.end]
        kind = min((span.kind for span in covering), key=kinds.index, default="")
        ending = sorted({span.number for span in covering if span.end == right})
        pieces.append({"text": text[left:right], "kind": kind, "numbers": ending})
    return pieces
