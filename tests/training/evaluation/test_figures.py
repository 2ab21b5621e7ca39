"""Pictures: right side where radiologists expect it, slices through the lesions, text within its place."""

import sys

import numpy as np
import pytest

from selip.training.evaluation.figures import (
    RetrievalExample,
    RetrievedText,
    axial_view,
    draw_examples,
    draw_recall,
    shown_slices,
    spread_slices,
    wrap,
)

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def example(**changes):
    """A box with a head in it."""
    volume = np.zeros((20, 24, 16), dtype=np.float32)
    volume[4:16, 4:20, 3:14] = 0.5
    values = {
        "volume": volume,
        "spacing_mm": (2.5, 2.5, 6.0),
        "title": "study-1 FLAIR",
        "own_text": "FLAIR: left frontal lobe shows hyperintense acute infarct.",
        "rank": 2,
        "num_candidates": 9,
        "retrieved": [RetrievedText("FLAIR: right frontal lobe shows mass.", 0.7, 0), RetrievedText("own", 0.6, 3)],
    }
    return RetrievalExample(**(values | changes))


def test_patient_right_is_on_the_left_and_anterior_on_top():
    """A mark at the patient's right front (high x, high y in RAS+) is in the upper left corner of the picture."""
    volume = np.zeros((5, 7, 3))
    volume[4, 6, 1] = 1
    picture = axial_view(volume, 1)
    assert picture.shape == (7, 5)
    assert np.argwhere(picture).tolist() == [[0, 0]]


def test_slices_lie_within_the_head():
    """Air above and below the head is not shown; an empty volume still gives slices."""
    head = example().volume
    assert all(3 <= z <= 13 for z in spread_slices(head))
    assert spread_slices(head) == sorted(set(spread_slices(head)))
    assert len(spread_slices(np.zeros((4, 4, 9)))) == 3


def test_slices_go_through_the_lesions_first():
    """Each separate lesion gets its largest slice; slices beside it are not wasted; the rest is spread."""
    lesions = np.zeros((20, 24, 16), dtype=bool)
    lesions[5:8, 5:8, 4:6] = True
    lesions[5:9, 5:9, 4] = True
    lesions[10:12, 10:12, 11] = True
    volume = example().volume
    shown = shown_slices(volume, lesions)
    assert len(shown) == 3
    assert {4, 11} <= set(shown)
    assert shown == sorted(shown)
    assert shown_slices(volume, np.zeros_like(lesions)) == shown_slices(volume, None)


@pytest.mark.parametrize(
    "text", ["one two three four five six", "在左侧基底节区表现为斑片状高信号，在右侧小脑表现为低信号。", "x" * 50]
)
def test_wrapped_lines_keep_the_text_and_the_width(text):
    """No line is wider than allowed (a single long word excepted) and nothing but blanks at the breaks is lost."""
    lines = wrap(text, 16)
    cells = [sum(2 if ord(c) > 0x2E80 else 1 for c in line) for line in lines]
    assert max(cells) <= 16 or " " not in text
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    if text[0] == "在":
        assert max(cells) <= 16, "Chinese breaks anywhere"


def test_pictures_are_written_whole(tmp_path):
    """Both pictures are PNG files without left-overs, with and without lesions, intervals and abnormal cases."""
    lesions = np.zeros((20, 24, 16), dtype=bool)
    lesions[5:8, 5:8, 4:6] = True
    draw_examples([example(), example(lesions=lesions)], tmp_path / "a" / "examples.png", title="t")
    groups = [f"{scope}/{way}" for scope in ("within_sequence", "FLAIR") for way in ("image_to_text", "text_to_image")]
    names = [f"{group}/{kind}recall@{k}" for group in groups for kind in ("", "chance_", "blind_") for k in (1, 5, 10)]
    intervals = {"within_sequence/image_to_text/recall@5": (0.2, 0.4)}
    draw_recall(dict.fromkeys(names, 0.3), intervals, ["FLAIR"], tmp_path / "recall.png", title="t")
    for path in (tmp_path / "a" / "examples.png", tmp_path / "recall.png"):
        assert path.read_bytes().startswith(PNG_HEAD)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["examples.png", "recall.png"]


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    """Without the extra the error says how to get it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"selip\[plots\]"):
        draw_examples([example()], tmp_path / "x.png", title="t")


def test_no_example_is_refused(tmp_path):
    """An empty picture would look like a result."""
    with pytest.raises(ValueError, match="at least one example"):
        draw_examples([], tmp_path / "x.png", title="t")
