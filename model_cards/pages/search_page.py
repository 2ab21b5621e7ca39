"""The page of `selip search`: one HTML file that needs no other file and no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from selip.processing.atomic_files import replacing

from ..templates import render
from .pictures import png, png_uri


@dataclass(frozen=True)
class Picture:
    """One picture of a series, or why there is none.

    Attributes:
        label: What it shows, e.g. the sequence.
        pixels: uint8 (rows, columns); None: see `problem`.
        problem: Why there is no picture.
    """

    label: str
    pixels: npt.NDArray[np.uint8] | None = None
    problem: str = ""


@dataclass(frozen=True)
class SearchPage:
    """What a page shows.

    Attributes:
        result: As `SearchResult.as_json` gives it.
        title: The query in words.
        query: Pictures of the query.
        hits: Pictures of each result, in their order.
    """

    result: Mapping[str, Any]
    title: str
    query: Sequence[Picture]
    hits: Sequence[Sequence[Picture]]


def write_search_page(page: SearchPage, path: Path) -> Path:
    """Write the page, atomically; returns its path."""
    context = {
        "title": page.title,
        "result": page.result,
        "query_pictures": _shown(page.query),
        "hits": [
            {**hit, "pictures": _shown(pictures)} for hit, pictures in zip(page.result["hits"], page.hits, strict=True)
        ],
    }
    with replacing(path) as partial:
        partial.write_text(render("pages/search_page.html.jinja", context), encoding="utf-8")
    return path


def _shown(pictures: Sequence[Picture]) -> list[dict[str, str]]:
    return [
        {
            "label": picture.label,
            "uri": "" if picture.pixels is None else png_uri(png(picture.pixels)),
            "problem": picture.problem,
        }
        for picture in pictures
    ]
