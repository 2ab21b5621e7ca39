"""The page of a leaderboard: words of others stay words, nothing is fetched, tabs and sorting work in a browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from selip.model_cards.leaderboard.page import leaderboard_markdown, leaderboard_page, markdown_text
from selip.model_cards.leaderboard.tables import read_board, task_tabs
from selip.model_cards.pages.charts import Interval, interval_chart

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror=window.hacked=1> & \"' | [a](b) `c`"


def cell(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "by_run": [value - 0.01, value + 0.01]}


def board_of(words: str = "plain") -> dict[str, Any]:
    """A board of three systems, two tasks, two parts each; `words` stand wherever others' words can."""
    names = {"alpha": f"Alpha {words}", "beta": "Beta", "gamma": "Gamma"}
    systems = {
        id_: dict.fromkeys(("organisation", "description", "licence", "trained_on", "date"), words)
        | {"system": name, "link": "https://example.org/x", "runs": 2}
        for id_, name in names.items()
    }

    def subset(id_: str, group: str, values: dict[str, float]) -> dict[str, Any]:
        rows = [
            {"system": name, "rank": rank, "behind": behind, "cells": {"a": cell(values[name]), "b": cell(0.5)}}
            for name, rank, behind in (("alpha", 1, []), ("beta", 1, []), ("gamma", 3, ["alpha", "beta"]))
        ]
        about = {"count": "9 cases", "patients": 30, "yardsticks": {"chance": 0.1}}
        return {"id": id_, "title": f"{id_} {words}", "group": group, **about, "rows": rows, "differences": []}

    columns = [{"id": "a", "title": "first"}, {"id": "b", "title": "second"}]
    values = {"alpha": 0.6, "beta": 0.55, "gamma": 0.07}
    subsets = [subset("all", "", values), subset("FLAIR", "sequence", values)]
    tasks = [
        {"id": id_, "title": id_.title(), "columns": columns, "subsets": subsets} for id_ in ("retrieval", "probe")
    ]
    benchmark = {"name": f"test {words}", "version": "1.0", "fingerprint": "0" * 64}
    benchmark |= {"simulated": True, "split": "test"}
    return {
        "format_version": 1,
        "benchmark": benchmark | {"description": words},
        "settings": {"rule": "rank by differences", "bootstrap_samples": 100, "seed": 0, "alpha": 0.05},
        "systems": systems,
        "tasks": [*tasks, {"id": "pairs", "title": "Pairs", "columns": [], "subsets": []}],
        "self_reported": [{"system": "alpha", "task": words, "metric": words, "value": 0.9}],
        "refused": [{"submission": words, "reasons": [words]}],
    }


def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs chromium, found none")
    return found


def dumped(page: Path, folder: Path, *options: str) -> str:
    """The page as a browser has it after it ran."""
    command = [
        *(browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", *options, "--dump-dom"),
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def test_words_of_others_are_no_markup(elements_of: Any) -> None:
    """One script, our own, whose hash the page's policy names; no other element or attribute comes from words."""
    text = leaderboard_page(board_of(HOSTILE))
    elements = elements_of(text)
    tags = [tag for tag, _ in elements]
    assert tags.count("script") == 1
    assert not {"img", "iframe", "link", "object", "form"} & set(tags)
    assert not [name for _, names in elements for name in names if name.startswith("on")]
    [policy] = [names["content"] for _, names in elements if names.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy
    targets = {value for _, names in elements for name, value in names.items() if name in ("href", "src")}
    assert targets == {"https://example.org/x"}
    assert "simulated studies" in text
    assert "research only" in text


def test_markdown_keeps_words_of_others_as_words() -> None:
    """Every letter that means something in Markdown is escaped, and a line stays a line."""
    assert markdown_text("a|b\n# c <i>") == r"a\|b \# c \<i\>"
    text = leaderboard_markdown(board_of(HOSTILE))
    assert "<script>" not in text
    assert "[a](b)" not in text
    assert "| 1 = | Beta | 2 | 55.0 [50.0, 60.0] | 50.0 [45.0, 55.0] |" in text


def test_tables_hold_ranks_values_and_who_is_ahead() -> None:
    """Percent with intervals, shared ranks, names of the systems that are better."""
    first = task_tabs(board_of())[0].tables[0]
    assert [(row.rank, row.tied, row.name) for row in first.rows] == [
        (1, True, "Alpha plain"),
        (1, True, "Beta"),
        (3, False, "Gamma"),
    ]
    assert first.rows[0].cells[0].text == "60.0 [55.0, 65.0]"
    assert first.rows[2].behind == ("Alpha plain", "Beta")
    assert first.about == "9 cases, 30 patients; chance 10.0"


def test_interval_chart_draws_to_scale() -> None:
    """Positions are in proportion to values, and a label cannot be markup."""
    lines = [Interval("<b>", 50.0, 0.0, 100.0, (25.0,)), Interval("second", 100.0, 100.0, 100.0)]
    text = interval_chart(lines, title="t", mark=0.0, mark_label="chance")
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    first, second = (float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', text))
    [tick] = (float(x) for x in re.findall(r'd="M([0-9.]+) [0-9.]+v10"', text))
    start = float(re.findall(r'd="M([0-9.]+) [0-9.]+H', text)[0])
    assert first - start == pytest.approx((second - start) / 2, abs=0.2)
    assert tick - start == pytest.approx((second - start) / 4, abs=0.2)
    with pytest.raises(ValueError, match="at least one"):
        interval_chart([], title="t")


def test_a_folder_without_leaderboard_is_named(tmp_path: Path) -> None:
    """What is missing, and what makes it."""
    with pytest.raises(FileNotFoundError, match="selip leaderboard build"):
        read_board(tmp_path)
    (tmp_path / "leaderboard.json").write_text("{}")
    with pytest.raises(ValueError, match="it has no benchmark"):
        read_board(tmp_path)
    (tmp_path / "leaderboard.json").write_text(json.dumps(board_of()))
    assert read_board(tmp_path) == board_of()


def test_browser_shows_one_table_sorts_it_and_runs_no_word(tmp_path: Path) -> None:
    """Tabs by click and arrow key, parts, sorting by number; hostile words do nothing, under the page's own policy."""
    driver = """<script>addEventListener("load", () => {
      const said = [];
      const isShown = (each) => each.offsetParent && each.closest("section");
      const tables = () => [...document.querySelectorAll("table")].filter(isShown);
      const nameOf = (row) => row.cells[1].dataset.value.split(" ")[0];
      const names = () => [...tables()[0].tBodies[0].rows].map(nameOf).join();
      said.push(tables().length, names());
      const headers = tables()[0].querySelectorAll("th button");
      headers[2].click(); said.push(names());
      headers[2].click(); said.push(names());
      const tabs = document.querySelectorAll('[role="tab"]');
      tabs[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
      said.push([...tabs].map((tab) => tab.getAttribute("aria-selected")).join());
      const select = [...document.querySelectorAll("select")].find((each) => each.offsetParent);
      select.value = "FLAIR"; select.dispatchEvent(new Event("change"));
      said.push(document.querySelectorAll("section.part:not([hidden])").length, tables().length);
      said.push(document.documentElement.scrollWidth <= innerWidth, window.hacked === undefined);
      document.title = "SAID " + said.join(" ; ");
    })</script></body>"""
    page = tmp_path / "page.html"
    hostile = board_of()
    hostile["systems"]["beta"]["description"] = HOSTILE
    text = leaderboard_page(hostile)
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    assert policy.search(text)
    page.write_text(policy.sub("", text).replace("</body>", driver), encoding="utf-8")
    found = re.search("<title>SAID (.*)</title>", dumped(page, tmp_path, "--window-size=500,900"))
    assert found is not None
    orders = ["Alpha,Beta,Gamma", "Alpha,Beta,Gamma", "Gamma,Beta,Alpha"]
    assert found[1].split(" ; ") == ["1", *orders, "false,true,false", "2", "1", "true", "true"]
    page.write_text(text, encoding="utf-8")  # with the policy our script runs, and no other
    shown = dumped(page, tmp_path)
    assert 'aria-selected="true"' in shown
