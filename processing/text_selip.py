"""Normalisation of report text: one function, the same in training and at inference."""

import unicodedata


def normalize_text(text: str) -> str:
    """Bring a report text to its canonical form without losing a visible character.

    Unicode is composed (NFC, which changes no character's meaning, unlike NFKC), and every run of white space, line
    breaks and ideographic spaces included, becomes one space. Case, punctuation and full-width forms stay.

    Args:
        text: Report text in any language.

    Returns:
        The text without leading or trailing white space; the function is idempotent.

    Raises:
        TypeError: `text` is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected a report text of type str, got {type(text).__name__}")
    return " ".join(unicodedata.normalize("NFC", text).split())
