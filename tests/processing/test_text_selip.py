"""Report text normalisation."""

import unicodedata

import pytest

from selip.processing.text_selip import normalize_text

TEXTS = [
    "  FLAIR,\n left  frontal\tlesion. ",
    "在左侧额叶表现为高信号\u3000，\n余未见异常。",
    "cafe\u0301 \u00b5 1.5\u00a0mm²",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
def test_only_white_space_and_composition_change(text: str) -> None:
    """Nothing visible is lost: without white space, the NFC forms before and after are the same; twice is once."""
    out = normalize_text(text)
    assert "".join(out.split()) == "".join(unicodedata.normalize("NFC", text).split())
    assert normalize_text(out) == out
    assert out == out.strip()
    assert "  " not in out


def test_compatibility_characters_stay() -> None:
    """NFC, not NFKC: full-width punctuation and superscripts carry meaning in reports."""
    assert normalize_text("大小（2×3）cm²，") == "大小（2×3）cm²，"


def test_text_must_be_a_string() -> None:
    """A missing report is an error here, not the text 'None'."""
    with pytest.raises(TypeError, match="NoneType"):
        normalize_text(None)  # type: ignore[arg-type]
