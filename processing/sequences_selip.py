"""MRI sequence names and their ids: the one vocabulary that processor, tables and models share."""

from collections.abc import Sequence

SEQUENCE_NAMES: tuple[str, ...] = (
    "unknown",
    "T1w",
    "T1c",
    "T2w",
    "FLAIR",
    "DWI",
    "ADC",
    "SWI",
    "MRA",
    "PD",
    "T1w-contrast-unknown",
    "DWI-b-unknown",
)
"""Sequence names in the order of their ids. Id 0 is `unknown`, which also fills padded slots. T1c is T1-weighted after
contrast agent; a T1w whose contrast state nobody recorded is a sequence of its own, so is a DWI of unknown b-value."""


def sequence_id(name: str, names: Sequence[str] = SEQUENCE_NAMES) -> int:
    """Return the id of a sequence name.

    Args:
        name: Exact sequence name, such as `"FLAIR"`.
        names: Vocabulary; the index is the id.

    Raises:
        ValueError: The name is not in the vocabulary; the message lists the allowed names.
    """
    if name not in names:
        raise ValueError(f"expected a sequence name of {', '.join(names)}; got {name!r}")
    return list(names).index(name)
