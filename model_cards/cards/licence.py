"""The licence on a card: from the names of data sets that were given and from what the counts say."""

from collections.abc import Mapping, Sequence
from typing import Any

from .terms import InheritedLicence, inherited_licence

SIMULATED = "selip-simulated"


def licence_of_card(
    named: Sequence[str], statements: Sequence[Mapping[str, Any]], *, known: Sequence[str] = ()
) -> InheritedLicence:
    """The licence that a card states.

    Args:
        named: Data sets, each NAME or NAME=LICENCE.
        statements: Counts of everything that was trained on; simulated ones name their data set themselves.
        known: Data sets that are known to be in it without being named.

    Raises:
        ValueError: A data set is not named, unknown or of contradicting terms; or the counted studies are not
            simulated and none but simulated ones are named.
    """
    declared = dict(item.split("=", 1) for item in named if "=" in item)
    names = [item.partition("=")[0] for item in named]
    names += [SIMULATED] if any(statement["simulated"] for statement in statements) else []
    found = inherited_licence([*names, *known], declared)
    is_real = any(not statement["simulated"] for statement in statements)
    if is_real and set(found.datasets) <= {SIMULATED, *known}:
        raise ValueError(
            "expected the name of the data set of studies that are not simulated, got simulated ones only; name it "
            "by --datasets"
        )
    return found
