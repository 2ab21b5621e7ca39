"""The licence that weights inherit from the data they were trained on: a table of terms, and how terms combine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

import yaml

# Of weights whose data asks for nothing.
PERMISSIVE = "apache-2.0"
# Of weights whose data is non-commercial and names no Creative Commons licence itself.
_NON_COMMERCIAL = "cc-by-nc-4.0"


@dataclass(frozen=True)
class Licence:
    """What a licence asks for.

    Attributes:
        id: Its id on the Hub.
        share_alike: Family whose works must stay in the family, empty where it asks for no such thing.
    """

    id: str
    attribution: bool = False
    non_commercial: bool = False
    no_derivatives: bool = False
    share_alike: str = ""


@dataclass(frozen=True)
class DatasetTerms:
    """One row of the table of terms.

    Attributes:
        name: Name of the data set in the table.
        licence: Id of its licence on the Hub; None where the licence of weights must be declared.
        gated: Access by agreement: no image and no text of it may be shown.
        attribution: What a card must say.
        url: Where the terms are.
        source: Where they were read.
        read: On which day, ISO.
    """

    name: str
    licence: str | None
    attribution: str
    url: str
    source: str
    read: str
    non_commercial: bool = False
    gated: bool = False
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class InheritedLicence:
    """What weights may be published under.

    Attributes:
        licence: Id of the Hub, `other` where it is none of the Hub's.
        licence_name: Name of a licence that is `other`.
        licence_link: Address of its text.
        non_commercial: Whether any data set forbids commercial use.
        gated: Whether any data set may not be shown: no image, no text, no plot of single cases.
        attributions: What the card must say, one entry for each data set, in the order in which they were named.
        datasets: Names of the data sets in the table; as they were given where the table has none.
    """

    licence: str
    licence_name: str | None = None
    licence_link: str | None = None
    non_commercial: bool = False
    gated: bool = False
    attributions: tuple[str, ...] = ()
    datasets: tuple[str, ...] = field(default=())


def inherited_licence(names: Sequence[str], declared: Mapping[str, str] = MappingProxyType({})) -> InheritedLicence:
    """The strictest of the licences of some data sets.

    Public domain and permissive data give Apache-2.0, data that asks for attribution CC BY, non-commercial data
    CC BY-NC, share-alike data its own licence in the newest version that is present.

    Args:
        names: Data sets, by name or alias of the table (letter case, spaces and underscores do not matter).
        declared: Licences of data sets that the table does not know, or for which it says that a licence of weights
            must be declared: a Hub id, or `NAME=URL` for a licence that the Hub has no id for. It speaks of weights: a
            data set that the table does not know is gated, for nothing says that its images or texts may be shown.

    Raises:
        ValueError: No data set is named; one is unknown or must be declared and is not; a declared licence
            contradicts the table; two licences cannot be combined.
    """
    if not names:
        raise ValueError("expected the names of the data sets that were trained on, got none; name each of them")
    wanted = {_key(name): text for name, text in declared.items()}
    rows = [_row(name, wanted) for name in dict.fromkeys(names)]
    unused = sorted(set(wanted) - {_key(name) for name in names})
    if unused:
        raise ValueError(f"expected licences of the data sets {', '.join(names)}, got one of {', '.join(unused)}")
    texts = [_text(row, wanted) for row in rows]
    others = {text for text in texts if "=" in text}
    licences = [licence_terms(text) for text in texts if "=" not in text]
    non_commercial = any(row.non_commercial for row in rows) or any(licence.non_commercial for licence in licences)
    licence, name, link = _combined(licences, others, non_commercial)
    return InheritedLicence(
        licence=licence,
        licence_name=name,
        licence_link=link,
        non_commercial=non_commercial,
        gated=any(row.gated for row in rows),
        attributions=tuple(dict.fromkeys(row.attribution for row in rows)),
        datasets=tuple(dict.fromkeys(row.name for row in rows)),
    )


def licence_terms(licence: str) -> Licence:
    """What a licence of the Hub asks for.

    Raises:
        ValueError: The table of licences does not know it.
    """
    licences, _ = _table()
    if licence not in licences:
        raise ValueError(
            f"unknown licence {licence!r}: expected one of {', '.join(licences)}; or NAME=URL for another one"
        )
    return licences[licence]


def dataset_terms(name: str) -> DatasetTerms | None:
    """The row of a data set, by name or alias; None where the table has none."""
    _, datasets = _table()
    return datasets.get(_key(name))


def not_to_be_shown(names: Sequence[str]) -> list[str]:
    """Of some data sets those whose images and texts may not be shown: given by agreement, or not in the table."""
    rows = {name: dataset_terms(name) for name in names}
    return [name for name, row in rows.items() if row is None or row.gated]


def known_datasets() -> tuple[str, ...]:
    """Names of the data sets of the table, without aliases."""
    _, datasets = _table()
    return tuple(dict.fromkeys(row.name for row in datasets.values()))


def _row(name: str, declared: Mapping[str, str]) -> DatasetTerms:
    """The row of a data set, from the table or from what was declared."""
    row, text = dataset_terms(name), declared.get(_key(name))
    if row is None:
        if text is None:
            raise ValueError(
                f"unknown data set {name!r}: expected one of {', '.join(known_datasets())}; "
                "or declare its licence, after reading its terms"
            )
        return DatasetTerms(name, None, name, "", "declared", "", gated=True)
    if row.licence is None and text is None:
        raise ValueError(
            f"data set {row.name}: the table of terms names no licence for weights; read {row.url} and declare one"
        )
    if row.licence is not None and text is not None and text != row.licence:
        raise ValueError(f"data set {row.name}: declared {text}, but its terms say {row.licence} ({row.url})")
    return row


def _text(row: DatasetTerms, declared: Mapping[str, str]) -> str:
    """The licence of a row: of the table, else as declared."""
    if row.licence is not None:
        return row.licence
    names = [_key(row.name), *map(_key, row.aliases)]
    text = next(declared[name] for name in names if name in declared)
    if row.non_commercial and "=" not in text and not licence_terms(text).non_commercial:
        raise ValueError(f"data set {row.name} is non-commercial, declared {text} is not ({row.url})")
    if "=" in text and not all(part.strip() for part in text.split("=", 1)):
        raise ValueError(f"data set {row.name}: expected a Hub id or NAME=URL as its licence, got {text!r}")
    return text


def _combined(
    licences: Sequence[Licence], others: set[str], non_commercial: bool
) -> tuple[str, str | None, str | None]:
    """One licence that keeps all of them: its id, and name and link where it is `other`."""
    fixed = [licence.id for licence in licences if licence.no_derivatives]
    if fixed:
        raise ValueError(f"weights trained on data under {fixed[0]} cannot be published: it allows no derived works")
    families = {licence.share_alike: licence for licence in licences if licence.share_alike}
    if len(families) + len(others) > 1:
        names = sorted([*(licence.id for licence in families.values()), *(text.split("=", 1)[0] for text in others)])
        raise ValueError(
            f"the licences {' and '.join(names)} cannot be combined: each asks that what is made of it stays under "
            "itself; train on one of them, or ask the owners"
        )
    if others:
        name, link = next(iter(others)).split("=", 1)
        return "other", name.strip(), link.strip()
    if families:
        family = next(iter(families))
        found = _newest([licence.id for licence in licences if licence.share_alike == family])
        if non_commercial and not licence_terms(found).non_commercial:
            raise ValueError(
                f"{found} and a non-commercial licence cannot be combined: the first asks that what is made of it "
                "may be used commercially, the other forbids it; train on one of them, or ask the owners"
            )
        return found, None, None
    if non_commercial:
        return _newest([item.id for item in licences if item.non_commercial] or [_NON_COMMERCIAL]), None, None
    # Weights need one licence; CC BY keeps attribution of every version and of ODC-BY.
    return ("cc-by-4.0" if any(licence.attribution for licence in licences) else PERMISSIVE), None, None


def _newest(ids: Sequence[str]) -> str:
    """The highest version of one family; Creative Commons lets later versions take works of earlier ones."""
    return max(ids, key=lambda text: text.rpartition("-")[2])


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(" ", "-")


@cache
def _table() -> tuple[Mapping[str, Licence], Mapping[str, DatasetTerms]]:
    """Licences by id, and rows of data sets by every name and alias."""
    content: dict[str, Any] = yaml.safe_load(resources.files(__package__).joinpath("terms.yaml").read_text("utf-8"))
    licences = {name: Licence(name, **(asked or {})) for name, asked in content["licences"].items()}
    datasets: dict[str, DatasetTerms] = {}
    for name, fields in content["datasets"].items():
        fields = {**fields, "read": str(fields["read"]), "aliases": tuple(fields.get("aliases", ()))}
        row = DatasetTerms(name=name, **{"licence": None, **fields})
        datasets |= {_key(each): row for each in (name, *row.aliases)}
    return MappingProxyType(licences), MappingProxyType(datasets)
