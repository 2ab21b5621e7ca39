"""`selip search`: the nearest studies or series of a query, as a table, a file and a page."""

from collections.abc import Sequence

from tqdm import tqdm

from selip.model_cards.pages.search_page import Picture, SearchPage, write_search_page
from selip.processing.atomic_files import write_json
from selip.training.search.config import SearchConfig
from selip.training.search.pictures import SliceView, views_of_series, views_of_study
from selip.training.search.search import SearchResult, search


def search_index(config: SearchConfig) -> SearchResult:
    """Search, and write what was asked for.

    Raises:
        FileExistsError: A file to write is there and `overwrite` is off.
        FileNotFoundError, ValueError: As `selip.training.search.search.search`.
    """
    for path in (config.json, config.html):
        if path is not None and path.exists() and not config.overwrite:
            raise FileExistsError(f"{path} exists; choose another name, or say --overwrite")
    result = search(config)
    if config.json is not None:
        config.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.json, result.as_json())
    if config.html is not None:
        write_search_page(search_page(result), config.html)
    return result


def search_page(result: SearchResult) -> SearchPage:
    """A result with pictures of the query and of each hit."""
    of_query = views_of_series if len(result.query_series) == 1 else views_of_study
    of_hit = views_of_series if result.level == "series" else views_of_study
    hits = tqdm(result.hits, desc="pictures", unit="result", disable=None)
    return SearchPage(
        result=result.as_json(),
        title=result.title,
        query=_pictures(of_query(result.query_series)),
        hits=[_pictures(of_hit(hit.series)) for hit in hits],
    )


def _pictures(views: Sequence[SliceView]) -> list[Picture]:
    return [Picture(view.label, view.pixels, view.problem) for view in views]
