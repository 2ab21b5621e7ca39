"""What tests of cards and pages share."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

METRICS = {
    "within_sequence/image_to_text/recall@1": 0.125,
    "within_sequence/image_to_text/recall@5": 0.5,
    "within_sequence/image_to_text/recall@10": 0.75,
    "within_sequence/image_to_text/chance_recall@5": 0.05,
    "within_sequence/image_to_text/blind_recall@5": 0.1,
    "within_sequence/image_to_text/above_chance_recall@5": 0.45,
    "within_sequence/image_to_text/median_rank": 4.5,
    "within_sequence/image_to_text/n_candidates": 80.0,
    "within_sequence/image_to_text/n_queries": 300.0,
    "within_sequence/text_to_image/recall@5": 0.4,
}
RESULT: dict[str, Any] = {
    "task": "retrieval",
    "metrics": METRICS,
    "intervals": {"within_sequence/image_to_text/recall@5": [0.4, 0.6]},
    "n": {"patients": 70, "studies": 90, "series": 300, "texts": 250},
    "simulated": True,
    "data": {"split": "test"},
    "command": "selip evaluate run/best studies",
    "files": {},
}


@pytest.fixture
def retrieval_result() -> dict[str, Any]:
    """The content of a result file of retrieval."""
    return {**RESULT, "metrics": dict(METRICS)}


class Elements(HTMLParser):
    """Tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def elements_of() -> Callable[[str], list[tuple[str, dict[str, Any]]]]:
    """Reads a page: its tags with their attributes, in order."""
    return lambda page: Elements(page).found
