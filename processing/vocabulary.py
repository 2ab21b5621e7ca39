"""Canonical terms, their words in each language, and the visibility table, read from `lexicon/*.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any

import yaml

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Site:
    """One site: `parent` is the next larger site (None: a root), `paired`: a left and a right one exist.

    `snomed_ct`: id of its SNOMED CT concept, for joining with other tables; None where none is known for certain.
    """

    parent: str | None
    paired: bool
    snomed_ct: str | None = None


@dataclass(frozen=True)
class FindingTerm:
    """A finding term; `kind` is description (what is seen), diagnosis (its cause) or status (not an abnormality).

    `family`: the group of terms that look alike or lead to one another; None for a status.
    """

    default_site: str
    kind: str
    family: str | None


@dataclass(frozen=True)
class Terms:
    """Canonical terms of every language; dictionary order is the canonical order of clauses in rendered texts."""

    sites: Mapping[str, Site]
    findings: Mapping[str, FindingTerm]
    morphology: tuple[str, ...]

    def is_within(self, site: str, ancestor: str) -> bool:
        """Whether `site` is `ancestor` or lies below it in the site tree."""
        return ancestor in self._wholes[site]

    @cached_property
    def _wholes(self) -> Mapping[str, frozenset[str]]:
        """Every site with itself and those that it lies in."""
        wholes: dict[str, frozenset[str]] = {}
        for site in self.sites:
            chain: list[str] = []
            current: str | None = site
            while current is not None:
                chain.append(current)
                current = self.sites[current].parent
            wholes[site] = frozenset(chain)
        return wholes


@dataclass(frozen=True)
class Lexicon:
    """Words of one language: `names[group][term]` as rendered, `words[group][term]` as reports also say it.

    Groups are sites, findings, morphology, signals, sequences, laterality, severity, acuity, change, count, certainty.
    `extra` holds the language's own tables (spelling variants, compound sites, sentence-reader cues).
    """

    language: str
    names: Mapping[str, Mapping[str, str]]
    words: Mapping[str, Mapping[str, tuple[str, ...]]]
    extra: Mapping[str, Any]


def _read(file_name: str) -> dict[str, Any]:
    text = resources.files("selip.processing.lexicon").joinpath(file_name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def load_terms() -> Terms:
    """The canonical terms (`lexicon/terms.yaml`), read once."""
    data = _read("terms.yaml")
    family = {term: name for name, terms in data["families"].items() for term in terms}
    return Terms(
        sites={name: Site(**row) for name, row in data["sites"].items()},
        findings={name: FindingTerm(**row, family=family.get(name)) for name, row in data["findings"].items()},
        morphology=tuple(data["morphology"]),
    )


@cache
def load_lexicon(language: str) -> Lexicon:
    """The words of one language (`lexicon/<language>.yaml`), read once.

    Raises:
        ValueError: for a language without a lexicon.
    """
    if language not in LANGUAGES:
        raise ValueError(f"expected a language among {', '.join(LANGUAGES)}, got {language!r}")
    data = _read(f"{language}.yaml")
    groups = {key: rows for key, rows in data.items() if _is_group(rows)}
    return Lexicon(
        language=language,
        names={group: {t: row.get("name", t) for t, row in rows.items()} for group, rows in groups.items()},
        words={group: {t: tuple(row.get("words", ())) for t, row in rows.items()} for group, rows in groups.items()},
        extra={key: value for key, value in data.items() if key not in groups and key != "language"},
    )


def _is_group(rows: Any) -> bool:
    return isinstance(rows, dict) and all(isinstance(row, dict) for row in rows.values())


@cache
def load_visibility() -> Mapping[str, Mapping[str, str]]:
    """`table[finding][sequence]` is "yes", "maybe" or "no" (`lexicon/visibility.yaml` names the sources)."""
    data = _read("visibility.yaml")
    table = {}
    for finding, row in data["findings"].items():
        value = dict.fromkeys(data["columns"], "no")
        value.update(dict.fromkeys(row["maybe"], "maybe"))
        value.update(dict.fromkeys(row["yes"], "yes"))
        table[finding] = value
    return table


@cache
def load_headings() -> Mapping[str, Mapping[str, frozenset[str]]]:
    """`table[section][language]`: the headings that open a section of a report (`lexicon/headings.yaml`)."""
    data = _read("headings.yaml")
    return {section: {key: frozenset(names) for key, names in row.items()} for section, row in data.items()}
