"""Annotation pages: nothing of a report is read as HTML, and what a reader does on the page comes back as gold."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from selip.model_cards.pages.annotation_page import export_pages
from selip.processing.annotation.config import AnnotateExportConfig, AnnotateImportConfig
from selip.processing.annotation.gold import read_gold
from selip.processing.annotation.saved_findings import import_findings
from selip.processing.row_files import write_rows
from selip.processing.vocabulary import load_terms

ROWS = [
    {
        "id": "a<1>",
        "language": "en",
        "findings": "A 9 mm cyst lies in the left thalamus. </script><script>window.hacked = 1</script> & no edema.",
        "impression": "Cyst.\n<img src=x onerror=window.hacked=1>",
    },
    {"id": "b", "language": "zh", "findings": "右侧小脑见囊肿 。", "impression": ""},
]

# What a reader does: moves the first finding, adds one for selected words, marks both reports as done, saves.
READER = """
window.addEventListener("load", async () => {
  const answer = document.createElement("pre");
  answer.id = "answer";
  document.body.append(answer);
  try {
    URL.createObjectURL = (blob) => { window.savedBlob = blob; return "#saved"; };
    const choose = (field, value) => {
      const made = document.querySelector(`.finding.is-open [data-field="${field}"]`);
      made.value = value;
      made.dispatchEvent(new Event("change", { bubbles: true }));
    };
    const press = (code, more) => document.dispatchEvent(new KeyboardEvent("keydown", { code, ...more }));
    const selectWords = (words) => {
      for (const piece of document.querySelectorAll("#text [data-start]")) {
        const at = piece.firstChild.data.indexOf(words);
        if (at < 0) continue;
        const range = document.createRange();
        range.setStart(piece.firstChild, at);
        range.setEnd(piece.firstChild, at + words.length);
        window.getSelection().removeAllRanges();
        window.getSelection().addRange(range);
        document.dispatchEvent(new Event("selectionchange"));
        return;
      }
      throw new Error(`no piece says ${words}`);
    };
    document.getElementById("save").click();
    const refused = !document.getElementById("message").hidden && !window.savedBlob;
    const reader = document.getElementById("reader");
    reader.value = "R7";
    reader.dispatchEvent(new Event("input"));
    while (document.querySelector(".finding")) press("KeyX", { altKey: true });
    document.getElementById("undo").click();
    document.getElementById("undo").click();
    while (document.querySelector(".finding")) press("KeyX", { altKey: true });
    document.getElementById("done").click();
    const unfinished = document.getElementById("message").textContent;
    selectWords(" cyst lies in the left ");
    press("KeyN", { altKey: true });
    choose("finding", "cyst");
    const prefilled = document.querySelector('.finding.is-open [data-field="site"]').value;
    choose("site", "thalamus");
    choose("laterality", "left");
    choose("size_mm", "9,5");
    choose("count", "1");
    choose("sequence", "T2w");
    choose("signal", "hyper");
    choose("morphology", "round");
    selectWords("no edema");
    document.getElementById("add").click();
    choose("finding", "edema");
    choose("certainty", "absent");
    press("Enter", { key: "Enter", ctrlKey: true });
    document.getElementById("normal").click();
    document.getElementById("normal").click();
    document.getElementById("normal").click();
    while (document.querySelector(".finding")) press("KeyX", { altKey: true });
    press("Enter", { key: "Enter", ctrlKey: true });
    document.getElementById("save").click();
    window.confirm = () => true;
    document.getElementById("anew").click();
    const anew = document.getElementById("reader").value + document.querySelectorAll(".finding").length;
    document.getElementById("file").dispatchEvent(new Event("change")); // nothing chosen: nothing happens
    const choice = new DataTransfer();
    choice.items.add(new File([await window.savedBlob.text()], "saved.json"));
    document.getElementById("file").files = choice.files;
    document.getElementById("file").dispatchEvent(new Event("change"));
    for (let k = 0; k < 40 && !reader.value; k += 1) await new Promise((next) => setTimeout(next, 100));
    const loaded = document.getElementById("reader").value + document.querySelectorAll(".finding").length;
    const kept = Object.keys(localStorage).some((key) => localStorage.getItem(key).includes("R7"));
    answer.textContent = "ANSWER" + JSON.stringify({ anew, loaded, refused, unfinished, prefilled, kept,
      hacked: window.hacked || 0, saved: JSON.parse(await window.savedBlob.text()) }) + "END";
  } catch (error) { answer.textContent = "ANSWER" + JSON.stringify({ error: String(error.stack) }) + "END"; }
});
"""


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    write_rows(ROWS, tmp_path / "sample.jsonl")
    return tmp_path / "sample.jsonl"


def page_of(sample: Path, **options: Any) -> str:
    pages = export_pages(AnnotateExportConfig(sample, sample.parent / "pages", **options)).pages
    assert [page.name for page in pages] == ["batch-01.html"]
    return pages[0].read_text(encoding="utf-8")


def content_of(page: str) -> dict[str, Any]:
    (content,) = re.findall(r'<script type="application/json" id="content">(.*?)</script>', page, flags=re.DOTALL)
    return dict(json.loads(content))


def test_texts_of_reports_cannot_leave_their_place(sample: Path) -> None:
    """The page has its own two script elements, fetches nothing, and its data are the rows of the sample."""
    page = page_of(sample)
    assert page.lower().count("<script") == page.lower().count("</script>") == 2
    assert "<img" not in page
    assert "http" not in page.replace("http-equiv", "")
    content = content_of(page)
    assert [{name: report[name] for name in ROWS[0]} for report in content["reports"]] == ROWS
    assert {term["term"] for term in content["vocabulary"]["sites"]} == set(load_terms().sites)
    assert {term["term"] for term in content["vocabulary"]["findings"]} == set(load_terms().findings)


def test_blind_pages_show_no_findings(sample: Path) -> None:
    """With --blind no report brings findings along, without it those of the rules; a row's own findings come first."""
    assert all(report["start"] is None for report in content_of(page_of(sample, blind=True))["reports"])
    filled = content_of(page_of(sample, overwrite=True))["reports"]
    assert "cyst" in {finding["finding"] for finding in filled[0]["start"]["findings"]}
    own = {"normal": False, "findings": [{"finding": "mass", "site": "pons"}]}
    write_rows([{**row, "report": own} for row in ROWS], sample)
    reports = content_of(page_of(sample, overwrite=True))["reports"]
    assert [finding["finding"] for finding in reports[0]["start"]["findings"]] == ["mass"]


def test_pages_are_cut_into_batches_and_kept(sample: Path, tmp_path: Path) -> None:
    """Each batch is a page of its own with its own reports; pages that are there stay unless told."""
    config = AnnotateExportConfig(sample, tmp_path / "pages", batch_size=1)
    summary = export_pages(config)
    names = [[report["id"] for report in content_of(page.read_text())["reports"]] for page in summary.pages]
    assert names == [["a<1>"], ["b"]]
    with pytest.raises(FileExistsError, match=r"batch-01\.html, batch-02\.html"):
        export_pages(config)


def test_what_a_reader_does_comes_back_as_gold(sample: Path, tmp_path: Path) -> None:
    """In a browser: edit, add by selection, undo, mark as done, save; the file is imported as what was typed."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium, found none")
    page = page_of(sample)
    driven = tmp_path / "driven.html"
    driven.write_text(page.replace("</body>", f"<script>{READER}</script></body>"), encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=10000", "--dump-dom", driven.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    found = re.search(r"<pre id=\"answer\">ANSWER(.*?)END</pre>", done.stdout, flags=re.DOTALL)
    assert found is not None, done.stdout[-2000:]
    answer = json.loads(found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert "error" not in answer, answer
    assert answer["refused"]  # no reader code yet
    assert "no finding is present" in answer["unfinished"]
    assert answer["prefilled"] == load_terms().findings["cyst"].default_site
    assert answer["kept"], answer
    start = content_of(page)["reports"][0]["start"]["findings"]
    assert (answer["anew"], answer["loaded"]) == (str(len(start)), "R72")  # as at first; then the two of the file
    assert answer["hacked"] == 0

    saved = tmp_path / "batch-01-R7.json"
    saved.write_text(json.dumps(answer["saved"]), encoding="utf-8")
    summary = import_findings(AnnotateImportConfig((saved,), sample, tmp_path / "R7.jsonl"))
    assert (summary.reader, summary.reports, summary.unfinished) == ("R7", 2, 0)
    first, second = read_gold(tmp_path / "R7.jsonl")
    cyst, edema = first.report.findings
    assert (cyst.finding, cyst.site, cyst.laterality, cyst.count, cyst.size_mm) == ("cyst", "thalamus", "left", 1, 9.5)
    assert [signal.model_dump() for signal in cyst.signals] == [{"sequence": "T2w", "signal": "hyper"}]
    assert cyst.morphology == ["round"]
    assert cyst.quote == "cyst lies in the left"
    assert (edema.finding, edema.certainty, edema.quote) == ("edema", "absent", "no edema")
    assert (second.report.normal, second.report.findings) == (True, [])
