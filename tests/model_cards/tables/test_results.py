"""Rows of a retrieval say what its result file says, and nothing else is taken for one."""

from pathlib import Path
from typing import Any

import pytest

from selip.model_cards.tables.results import read_result, result_table


def test_table_holds_the_percentages_of_the_result(retrieval_result: dict[str, Any]) -> None:
    """Each cell is its metric in percent, intervals beside their metric; yardsticks make no rows of their own."""
    table = result_table(retrieval_result)
    assert [row.name for row in table.rows] == ["within sequence", "within sequence, text to series"]
    row = table.rows[0]
    assert (row.recall_1, row.recall_5, row.recall_10) == ("12.5", "50.0", "75.0")
    assert (row.interval, row.chance, row.blind) == ("40.0 to 60.0", "5.0", "10.0")
    assert (row.median_rank, row.candidates, row.queries) == ("4.5", "80", "300")
    assert table.rows[1].interval == ""
    assert table.subtitle.startswith("90 simulated studies of 70 patients")


@pytest.mark.parametrize("text", ["{", "{}", '{"task": "retrieval"}'])
def test_what_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    """A file that is not JSON, or lacks parts of a result, is a ValueError that names it."""
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"broken\.json"):
        read_result(path)


def test_only_retrievals_make_rows_of_the_page(retrieval_result: dict[str, Any]) -> None:
    """Any other result is refused by the name of its task."""
    with pytest.raises(ValueError, match="task structuring"):
        result_table({**retrieval_result, "task": "structuring", "metrics": {"finding/f1": 0.5}})
