"""The page of a search: nothing in it is read as HTML, it needs no network, and a browser shows its pictures."""

import base64
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selip.model_cards.pages.search_page import Picture, SearchPage, write_search_page

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror=window.hacked=1> & \"'"
PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def result(**changes: Any) -> dict[str, Any]:
    hit = {"rank": 1, "cosine": 0.5, "study_id": HOSTILE, "patient_id": HOSTILE, "series_id": HOSTILE}
    hit |= {"sequence": "FLAIR", "findings": HOSTILE, "series": []}
    content: dict[str, Any] = {"query": {"kind": "text", "value": HOSTILE, "sequence": None}, "level": "series"}
    content |= {"filter": HOSTILE, "candidates": 7, "simulated": True, "hits": [hit, {**hit, "findings": ""}]}
    return {**content, "checkpoint": {"name": HOSTILE, "sha256": "0" * 64}, **changes}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    pictures = [Picture("FLAIR", PIXELS), Picture("T1w", None, "missing")]
    return write_search_page(
        SearchPage(result(), HOSTILE, pictures[:1], [pictures, []]), tmp_path / "new" / "page.html"
    )


def test_page_holds_what_was_found_and_no_foreign_markup(page: Path, elements_of: Any) -> None:
    """Words stand as words, pictures are the pixels, and nothing is fetched."""
    text = page.read_text(encoding="utf-8")
    elements = elements_of(text)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in elements}
    assert {name for _, names in elements for name in names} <= {
        *("lang", "charset", "name", "content", "class", "src", "alt")
    }
    assert all(names["src"].startswith("data:") for _, names in elements if "src" in names)
    assert "http" not in text
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(found) == 2
    for content in found:
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))), PIXELS)
    for words in ("T1w: missing", "Findings are not known.", "No picture", "simulated studies", "not for diagnosis"):
        assert words in text


def test_browser_shows_the_pictures(page: Path, tmp_path: Path) -> None:
    """In a browser both pictures have their size, and no word of a result has run."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium, found none")
    script = (
        "<script>addEventListener('load', () => document.title = 'SHOWN' + "
        "[...document.images].map((each) => each.naturalWidth + 'x' + each.naturalHeight) + (window.hacked || ''))"
        "</script></body>"
    )
    driven = tmp_path / "driven.html"
    driven.write_text(page.read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", driven.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert "<title>SHOWN4x3,4x3</title>" in done.stdout
