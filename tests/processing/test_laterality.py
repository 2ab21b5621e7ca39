"""Left and right exchanged: every side word has its partner, what is no side word stays, and twice is nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selip.processing.laterality import swap_laterality

SIDES = ["left", "Right", "LEFT", "L", "R", "Lt", "rt", "LT", "RT", "OD", "OS", "左", "右", "RMCA", "lEft"]
NEIGHBOURS = [
    *("bright", "-sided", "wards", "-handed", "hand", " ", ".", "-", "/", ">", "MCA", "4-5", "-spine", "Dr. ", "O"),
    *("S", "x", " frontal", " TEMPORAL", "侧", "利手", "心室", "双", "旋", "、", "\n"),
]


@given(st.lists(st.sampled_from([*SIDES, *NEIGHBOURS]) | st.characters(), max_size=12).map("".join))
def test_swap_is_its_own_inverse_on_any_text(text: str) -> None:
    """Invariant: swapping sides twice gives the text back, on side words among their worst neighbours."""
    assert swap_laterality(swap_laterality(text)) == text


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        (
            "Left-sided bright focus, RIGHT thalamus, leftward shift, LEFT-SIDED",
            "Right-sided bright focus, LEFT thalamus, rightward shift, RIGHT-SIDED",
        ),
        ("left lateral ventricle (R > L), both sides", "right lateral ventricle (L > R), both sides"),
        ("L MCA and RICA; Rt. frontal, lt parietal", "R MCA and LICA; Lt. frontal, rt parietal"),
        ("RT FRONTAL MASS; LT MCA", "LT FRONTAL MASS; RT MCA"),
        ("OD proptosis, lens of OS", "OS proptosis, lens of OD"),
        ("左侧额叶，约10mm，双侧，右额，左、右顶叶", "右侧额叶，约10mm，双侧，左额，右、左顶叶"),
        ("中线结构向左移位，R侧颞叶", "中线结构向右移位，L侧颞叶"),
    ],
)
def test_side_words_have_partners(text: str, swapped: str) -> None:
    """Invariant: words, abbreviations and characters of a side become those of the other, in either direction."""
    assert swap_laterality(text) == swapped
    assert swap_laterality(swapped) == text


@pytest.mark.parametrize(
    "text",
    [
        "cleft copyright bright upright lefty",
        "A right-handed man; left handedness; R-handed.",
        "L4-5 and L-spine, R/O infarct, 3 L/S levels, Dr. R. Smith, post RT changes, ALT and LTE",
        "约10mm左右，左右两侧脑室对称，右利手，左心室，左氧氟沙星",
        "bilateral, midline, 双侧, 中线",
    ],
)
def test_what_is_no_side_stays(text: str) -> None:
    """Invariant: look-alikes, handedness, levels of the spine, radiotherapy, 左右 and the heart stay as they are."""
    assert swap_laterality(text) == text
