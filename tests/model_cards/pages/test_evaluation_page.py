"""The page of an evaluation: self-contained, whatever an id is called, for tasks that nobody wrote words for."""

import math
import re
from html.parser import HTMLParser
from typing import get_args, get_type_hints

import pytest

from selip.model_cards.pages.charts import interval_bar
from selip.model_cards.pages.evaluation_cases import ReportedResult, cases_table
from selip.model_cards.pages.evaluation_heat import heat_table
from selip.model_cards.pages.evaluation_page import write_evaluation_page
from selip.model_cards.pages.evaluation_words import metric_text, picture_words, row_title, task_words
from selip.training.evaluation.config import EvaluateConfig

HOSTILE = "</td><script>alert(1)</script>\"' onmouseover=x {{ 7*7 }} & 左侧"
PNG = b"\x89PNG\r\n\x1a\nnot looked at"


def record(task="zero_shot", **changes):
    """A result file of two labels, one of them hostile."""
    return {
        "task": task,
        "primary_metric": "macro/auroc",
        "greater_is_better": True,
        "metrics": {
            "macro/auroc": 0.75, "mass/auroc": 0.9, "mass/n_positive": 4.0, f"{HOSTILE}/auroc": 0.6,
            f"{HOSTILE}/n_positive": 30.0, "templates/00/auroc": 0.7,
        },
        "intervals": {"macro/auroc": [0.6, 0.85], "mass/auroc": [0.7, None], f"{HOSTILE}/auroc": [0.5, 0.7]},
        "n": {"patients": 50, "studies": 1234},
        "skipped": {f"unusable volume ({HOSTILE})": 3, "nothing": 0},
        "simulated": True,
        "settings": {"bootstrap_samples": 100, "confidence": 0.95, "interval": "bootstrap", "control": "none"},
        "command": f"selip evaluate '{HOSTILE}'",
        "checkpoint": {"name": HOSTILE, "sha256": "ab" * 32},
        "data": {"split": "test", "texts_in_other_splits": 2},
        "environment": {"selip": "0.1.0"},
        "files": {"cases": "result.cases.parquet"},
        **changes,
    }  # fmt: skip


def cases():
    """Six cases; the last three are right."""
    return {
        "study_id": [HOSTILE, "s2", "s3", "s4", "s5", "s6"],
        "patient_id": ["secret"] * 6,
        "label": ["mass", "mass", HOSTILE, "mass", "mass", HOSTILE],
        "positive": [False, True, True, True, False, False],
        "margin": [0.2, -0.1, float("nan"), 0.3, -0.2, 0.0],
        "text": ["the patient has a secret mass"] * 6,
    }


MISTAKES = [1.0, 1.0, 0.25, 0.0, 0.0, math.nan]


def reported(**changes):
    given = {
        "name": "result.json",
        "record": record(),
        "cases": cases(),
        "mistakes": MISTAKES,
        "pictures": {"roc": PNG},
    }
    return ReportedResult(**(given | changes))


class Page(HTMLParser):
    """Tags, attributes and rows of cells of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.tables, self.cell = [], [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.cell = tag

    def handle_endtag(self, tag):
        if tag == self.cell:
            self.cell = None

    def handle_data(self, data):
        if self.cell:
            self.tables[-1][-1][-1] += data


@pytest.fixture
def written(tmp_path):
    """Writes a page and reads it."""

    def write(*results, max_cases=100):
        path = write_evaluation_page(results or (reported(),), tmp_path / "page.html", max_cases=max_cases)
        return path.read_text(encoding="utf-8")

    return write


def test_page_needs_nothing_else_and_runs_no_foreign_script(written):
    """No address of another file, one script of our own, no handler; hostile names come out as text."""
    html = written()
    page = Page(html)
    assert page.tags.count("script") == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("src", "href")]
    assert links
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in links)
    assert not re.search(r"https?://|@import|url\(", html)
    assert any(HOSTILE in cell for table in page.tables for row in table for cell in row)
    assert "49" not in re.findall(r"onmouseover=x (\S+)", html)
    assert "default-src 'none'" in dict(page.attributes).get("content", "") + str(page.attributes)


def test_headline_yardsticks_and_caveats_are_there(written):
    """Number, interval, chance, numbers of studies, what was left out, simulated, few positives."""
    html = written(max_cases=5)
    for said in (
        "75.0 %", "95 % interval 60.0 % to 85.0 %", "50.0 %", "guessing", "1,234 studies", "The studies are simulated",
        "Not a medical device", "Fewer than 10 studies have: mass.", "2 reports of these studies stand word for word",
        "selip evaluate", "result.cases.parquet",
    ):  # fmt: skip
        assert said in html, said
    assert "nothing" not in [row[0] for table in Page(html).tables for row in table], "a reason that never came up"


def test_worst_cases_come_first_and_texts_stay_away(written):
    """Sorted by mistake, missed findings before false alarms, unknown last; no patient, no text of a report."""
    html = written(max_cases=5)
    (table,) = [table for table in Page(html).tables if "studies of the other kind on the wrong side" in table[0][-1]]
    assert [row[0] for row in table[1:]] == ["s2", HOSTILE, "s3", "s4", "s5"]
    assert [row[-1] for row in table[1:]] == ["100 %", "100 %", "25 %", "0 %", "0 %"]
    assert [row[2] for row in table[1:]] == ["yes", "no", "yes", "yes", "no"]
    assert "1 more cases are not on this page" in html
    assert "secret" not in html


def test_main_table_has_the_groups_of_the_result(written):
    """The headline first, then each label with its number of studies; single templates are no labels."""
    tables = Page(written()).tables
    (table,) = [table for table in tables if table[0][0].startswith("label")]
    shown = [(row[0], *row[2:4]) for row in table[1:]]
    assert shown[0] == ("mean over labels", "75.0 % (60.0 to 85.0)", "")
    assert shown[1] == ("mass", "90.0 %", "4")
    assert shown[2][1:] == ("60.0 % (50.0 to 70.0)", "30")
    assert len(shown) == 3


def test_a_task_without_words_gets_a_page(written):
    """Names as declared, other metrics with intervals beside the headline, ids and numbers of cases, no text."""
    other = record(
        "counting",
        primary_metric="froc",
        metrics={"froc": 0.4, "false_per_study": 0.7, "distance_mm": 3.26, "n_lesions": 12.0},
        intervals={"froc": [0.3, 0.5], "false_per_study": [0.5, 0.9]},
    )
    html = written(reported(record=other, mistakes=None, pictures={"free_response": PNG}))
    assert "Counting, test split" in html
    tables = Page(html).tables
    assert ["all", "40.0 % (30.0 to 50.0)", "0.700", "12"] in [[row[0], *row[2:]] for table in tables for row in table]
    assert "Free response" in html
    assert "3.3 mm" in html
    heading = [table[0] for table in tables if table[0][0] == "study"]
    assert heading == [["study", "label", "positive", "margin"]]
    assert "secret" not in html


def test_results_of_one_checkpoint_share_a_page(written):
    """Each has a section and a line at the top; another checkpoint is refused."""
    html = written(reported(), reported(record=record("probe", primary_metric="macro/auroc")))
    anchors = re.findall(r'<section id="([^"]+)"', html)
    assert anchors == re.findall(r'href="#([^"]+)"', html) == ["result-1", "result-2"]
    with pytest.raises(ValueError, match="one checkpoint, got 2"):
        written(reported(), reported(record=record(checkpoint={"name": "b"})))


def test_missing_sequences_are_a_table_in_colours(written):
    """Rows are sets, cells have their difference from the first row, blue above and red below it."""
    sets = [
        {"title": title, "n": {"studies": 9}, "metrics": {"mean/auroc": value, "a/auroc": 0.5},
         "intervals": {"mean/auroc": [value - 0.1, value + 0.1]}}
        for title, value in (("all", 0.8), (HOSTILE, 0.7), ("T1w only", 0.82))
    ]  # fmt: skip
    summary = record("missing: probe", sets=sets, headline="mean/auroc", compared=["mean/auroc", "a/auroc"])
    for name in ("metrics", "intervals", "n", "skipped", "settings", "primary_metric"):
        del summary[name]
    html = written(reported(record=summary, cases={}, mistakes=None, pictures={"heat table": PNG}))
    (table,) = [table for table in Page(html).tables if table[0][0] == "shown"]
    assert table[1] == ["all", "9", "80.0 % (70.0 to 90.0)", "80", "50"]
    assert table[2] == [HOSTILE, "9", "70.0 % (60.0 to 80.0)", "70-10", "500"]
    colours = re.findall(r"rgba\((\d+),\d+,\d+,([\d.]+)\)", html)
    assert [colours[place] for place in (0, 2, 4)] == [("178", "0.00"), ("178", "0.55"), ("33", "0.11")]
    assert "data:image/png" not in html, "the table says the same as the picture"
    del summary["compared"]
    assert "data:image/png" in written(reported(record=summary, cases={}, pictures={"heat table": PNG}))


@pytest.mark.parametrize(
    ("name", "value", "ends", "expected"),
    [
        ("a/auroc", 0.614, [0.518, 0.708], "61.4 % (51.8 to 70.8)"),
        ("hd95_mm", 12.34, [1, 374], "12.3 mm (1.0 to 374.0)"),
        ("volume_error_ml", 0.5, None, "0.5 ml"),
        ("x/n_positive", 12.0, None, "12"),
        ("x/median_rank", 3.0, None, "3"),
        ("x/median_rank", 3.5, None, "3.5"),
        ("x/p_holm", 0.00213, None, "0.0021"),
        ("x/brier", 0.1, None, "0.100"),
        ("x/above_chance_recall@5", -0.02, None, "-2.0 %"),
        ("x/auroc", None, None, ""),
        ("x/auroc", math.nan, None, ""),
    ],
)
def test_numbers_have_their_units(name, value, ends, expected):
    """Shares in percent, quantities in their unit, counts whole, p values with four digits."""
    assert metric_text(name, value, ends) == expected


def test_words_of_rows_and_pictures():
    """Parts are looked up one by one; what nobody wrote words for keeps its name."""
    words = task_words("retrieval")
    assert row_title("FLAIR/image_to_text", words) == "FLAIR, series to report"
    assert picture_words("froc_curve") == "Froc curve"
    assert task_words("my_task").title == "My task"


def test_no_cases_where_none_are_asked_for():
    """With a limit of 0, or without a table, the page has none."""
    assert cases_table(reported(), task_words("zero_shot"), 0) is None
    assert cases_table(reported(cases={}), task_words("zero_shot"), 10) is None


def test_interval_bar_lies_where_its_numbers_are():
    """Ends, value and mark in percent of the way; what is beyond 0 or 1 stays at the edge."""
    svg = interval_bar(0.5, -0.2, 0.75, mark=0.25)
    assert 'M0.0 7H75.0"' in svg
    assert 'cx="50.0"' in svg
    assert 'M25.0 0V14"' in svg


def test_no_picture_of_gated_data_is_on_a_page(tmp_path):
    """With a set that is given by agreement no picture is there, and the page says why; the numbers stay."""
    pictures = {"examples": PNG, "roc": PNG}
    shown = write_evaluation_page([reported(pictures=pictures)], tmp_path / "shown.html", max_cases=5).read_text()
    assert shown.count("data:image/png") == 2
    page = write_evaluation_page(
        [reported(pictures=pictures)], tmp_path / "page.html", max_cases=5, gated=["adni"]
    ).read_text()
    assert "data:image" not in page
    assert "texts of adni may not be shown" in page
    assert "75.0 %" in page


def test_metrics_of_one_group_are_told_apart_in_the_table_of_sequences():
    """Two metrics of one group stand with their names; a group that is there once stands alone."""
    names = ["study/recall@1", "study/recall@5", "overall/recall@5"]
    sets = [{"title": "all", "n": {}, "metrics": dict.fromkeys(names, 0.5), "intervals": {}}]
    columns = heat_table(sets, names, task_words("retrieval"))["columns"]
    assert columns == [
        "recall@1, whole studies",
        "recall@5, whole studies",
        "all series, among the texts of all sequences",
    ]


@pytest.mark.parametrize("task", [item for item in get_args(get_type_hints(EvaluateConfig)["task"])])
def test_every_task_is_told_in_plain_words(task):
    """What was asked, what is right, and headings for the cases."""
    words = task_words(task)
    assert words.question
    assert words.truth
    assert words.cases
