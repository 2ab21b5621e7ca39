"""Protocols of zero-shot classification: which labels, asked in which words, decided by which rule.

A protocol is a YAML file that is never changed once results were published with it; another wording is another
version. Its fingerprint goes into every result, so two results can be told to have asked the same.

    name: example
    version: 1
    language: en
    source: where labels and wording come from
    rule: margin
    templates: ["There is {finding}.", "FLAIR: {place} shows {finding}."]
    labels:
      - name: mass
        positive: [mass, tumor]
        negative: [no mass, no tumor]
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Literal

from selip.processing.vocabulary import load_terms

from ..configuration import as_dict, build_config, nearest, read_yaml

Rule = Literal["margin", "softmax"]
Polarity = Literal["positive", "negative"]
SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
PROTOCOLS = Path(__file__).parent / "protocols"

_FIELDS = ("finding", "place")
# Names of metrics that are not those of a label.
_RESERVED = ("macro", "all", "templates", "choice")


@dataclass(frozen=True)
class ZeroShotLabel:
    """One label and its words.

    Attributes:
        name: As in the column `labels` of the studies table.
        positive: What is said of a study that has it; fills `{finding}` of every template.
        negative: The same denied: the polarity pair.
        places: What fills `{place}`.
        findings: Canonical finding terms that it stands for, so that the true findings tell its side.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()
    places: tuple[str, ...] = ("brain",)
    findings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.strip() or "/" in self.name or self.name in _RESERVED:
            raise ValueError(
                f"expected a label's name without / and none of {', '.join(_RESERVED)}, got {self.name!r}"
            )
        for what in ("positive", "negative", "places"):
            words = getattr(self, what)
            if not words or not all(word.strip() for word in words):
                raise ValueError(f"expected words in {what} of label {self.name!r}, got {list(words)}")
        said_of_both = sorted(set(self.positive) & set(self.negative))
        if said_of_both:
            raise ValueError(
                f"expected other words in negative than in positive of label {self.name!r}, got {said_of_both}"
            )
        for term in self.findings:
            known = list(load_terms().findings)
            if term not in known:
                raise ValueError(f"expected finding terms in label {self.name!r}, got {term!r}{nearest(term, known)}")


@dataclass(frozen=True)
class SideTemplates:
    """How a side is told. Each template has `{finding}`, and may have `{place}`."""

    left: tuple[str, ...]
    right: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.left) != len(self.right) or not self.left:
            raise ValueError(
                f"expected as many templates of the left as of the right, got {len(self.left)} and {len(self.right)}"
            )
        for template in (*self.left, *self.right):
            _check_template(template)


@dataclass(frozen=True)
class ZeroShotProtocol:
    """A protocol.

    Attributes:
        name: Its name.
        version: Raised with every change.
        language: Language of the prompts.
        source: Where labels and wording come from.
        rule: `margin`, several labels a study: the cosine with a label's positive prompts less that with its negative
            ones. `softmax`, exactly one label a study: the labels compete with their positive prompts.
        templates: Sentences with `{finding}`, and perhaps `{place}`.
        labels: The labels.
        sides: How left and right are told; without it there is no test of laterality.
        choices: Groups of labels by name, among which studies of one of them are told apart (softmax only).
    """

    name: str
    version: int
    language: Literal["en", "zh"]
    source: str
    rule: Rule
    templates: tuple[str, ...]
    labels: tuple[ZeroShotLabel, ...]
    sides: SideTemplates | None = None
    choices: dict[str, tuple[str, ...]] | None = None

    def __post_init__(self) -> None:
        if not self.templates or not self.labels:
            raise ValueError(
                f"expected templates and labels, got {len(self.templates)} templates and {len(self.labels)} labels"
            )
        for template in self.templates:
            _check_template(template)
        for what, items in (("label", [label.name for label in self.labels]), ("template", list(self.templates))):
            twice = [name for name, count in Counter(items).items() if count > 1]
            if twice:
                raise ValueError(f"expected every {what} once, got twice: {', '.join(twice)}")
        if self.choices and self.rule != "softmax":
            raise ValueError(f"expected choices with the rule softmax only, got them with {self.rule}")
        known = [label.name for label in self.labels]
        for name, members in (self.choices or {}).items():
            unknown = [member for member in members if member not in known]
            if unknown or len(set(members)) < 2 or "," in name:
                hint = nearest(unknown[0], known) if unknown else ""
                raise ValueError(
                    f"expected two labels or more in the choice {name!r}, and no comma in its name, got "
                    f"{list(members)}{hint}"
                )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the protocol says, whatever the layout of its file."""
        return hashlib.sha256(json.dumps(as_dict(self), sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def only(self, names: Sequence[str]) -> "ZeroShotProtocol":
        """The same with some of the labels, and the choices that are whole with them.

        Raises:
            ValueError: There is no such label.
        """
        known = [label.name for label in self.labels]
        for name in names:
            if name not in known:
                raise ValueError(f"expected labels of the protocol {self.name}, got {name!r}{nearest(name, known)}")
        kept = tuple(label for label in self.labels if label.name in names)
        choices = {name: each for name, each in (self.choices or {}).items() if set(each) <= set(names)}
        return replace(self, labels=kept, choices=choices or None)

    def prompts(self, label: ZeroShotLabel, polarity: Polarity) -> tuple[tuple[str, ...], ...]:
        """The prompts of a label, template by template, each once within its template."""
        words = label.positive if polarity == "positive" else label.negative
        return tuple(_filled(template, words, label.places) for template in self.templates)

    def side_prompts(self, label: ZeroShotLabel, side: Literal["left", "right"]) -> tuple[tuple[str, ...], ...]:
        """The prompts that tell the side of a label, template by template; none where sides are not told."""
        if self.sides is None:
            return ()
        templates = self.sides.left if side == "left" else self.sides.right
        return tuple(_filled(template, label.positive, label.places) for template in templates)


def shipped_protocols() -> dict[str, Path]:
    """The protocols that come with the package, by name."""
    return {file.stem: file for file in sorted(PROTOCOLS.glob("*.yaml"))}


def protocol_path(name: str) -> Path:
    """The YAML file of a shipped protocol by its name, or the file itself.

    Raises:
        FileNotFoundError: There is neither; the message lists the shipped ones.
    """
    shipped = shipped_protocols()
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a YAML file or the name of a shipped protocol, got {name!r}{nearest(name, list(shipped))}"
        )
    return path


def load_protocol(name: str) -> ZeroShotProtocol:
    """A protocol by the name of a shipped one, or by its YAML file.

    Raises:
        FileNotFoundError: There is neither; the message lists the shipped ones.
        ValueError: The file is no protocol: unknown or missing key, a label without negatives, a label twice ...
    """
    path = protocol_path(name)
    values = read_yaml(path)
    labels = values.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, dict) for label in labels):
        raise ValueError(f"expected labels in {path.name} to be a list of mappings with name, positive and negative")
    values["labels"] = [
        build_config(ZeroShotLabel, label, where=f"label {label.get('name', number)!r} of {path.name}")
        for number, label in enumerate(labels, start=1)
    ]
    choices = values.get("choices")
    if isinstance(choices, dict):
        values["choices"] = {str(group): _members(members, str(group), path) for group, members in choices.items()}
    return build_config(ZeroShotProtocol, values, where=path.name)


def _members(members: object, group: str, path: Path) -> tuple[str, ...]:
    if not isinstance(members, list):
        raise ValueError(f"expected a list of labels in the choice {group!r} of {path.name}, got {members!r}")
    return tuple(str(member) for member in members)


def _check_template(template: str) -> None:
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise ValueError(f"expected a sentence with {{finding}} as template, got {template!r} ({error})") from error
    if "finding" not in fields or not set(fields) <= set(_FIELDS):
        raise ValueError(f"expected a template with {{finding}} and at most {{place}} beside it, got {template!r}")


def _filled(template: str, words: Sequence[str], places: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(template.format(finding=word, place=place) for place in places for word in words))
