"""The card of what is published: metadata, sections, licence by the terms of the data, right names and links."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from ..cards.terms import InheritedLicence
from .kinds import CARD_NAME, relative_links
from .verification import Problem

_LOADED = re.compile(r"""(?:from_pretrained|load_dataset|load_studies|pipeline\([^)]*model=)\(?["']([^"']+)["']""")
_PLACEHOLDERS = re.compile(r"\b(?:TODO|FIXME|TBD|XXX|PATH_OR_HUB_ID|lorem ipsum)\b", re.IGNORECASE)
_NOT_A_DEVICE = "not a medical device"
_WRITE_AGAIN = "write the card again with `selip card ... --overwrite`"


def read_card(folder: Path) -> tuple[dict[str, Any], str]:
    """Metadata and text of a card.

    Raises:
        ValueError: The metadata cannot be read.
    """
    content = (folder / CARD_NAME).read_text(encoding="utf-8")
    try:
        card = ModelCard(content, ignore_metadata_errors=False)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"no YAML{f' in line {mark.line + 2}' if mark is not None else ''}") from None
    return card.data.to_dict(), card.text


def find_card_problems(folder: Path, sections: Sequence[str], repo: str) -> Iterator[Problem]:
    """What a card lacks, or says of another repository."""
    if not (folder / CARD_NAME).is_file():
        return  # named among the missing files
    try:
        data, text = read_card(folder)
    except ValueError as error:
        yield Problem(CARD_NAME, f"its metadata cannot be read ({' '.join(str(error).split())[:200]})", _WRITE_AGAIN)
        return
    for key in ("license", "tags"):
        if not data.get(key):
            yield Problem(CARD_NAME, f"its metadata has no `{key}`", _WRITE_AGAIN)
    headings = [match.strip().casefold() for match in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)]
    for section in sections:
        if not any(heading.startswith(section.casefold()) for heading in headings):
            yield Problem(CARD_NAME, f"it has no section {section!r}", _WRITE_AGAIN)
    if _NOT_A_DEVICE not in " ".join(text.split()).casefold():
        yield Problem(CARD_NAME, "it does not say that this is not a medical device", _WRITE_AGAIN)
    if _PLACEHOLDERS.search(text):
        yield Problem(CARD_NAME, "a placeholder is left in it", "fill it in")
    loaded = {name.removeprefix("hf://datasets/") for name in _LOADED.findall(text)}
    others = sorted(name for name in loaded if name != repo and not _is_other_repository(name, data))
    if others:
        yield Problem(
            CARD_NAME,
            f"its examples load {', '.join(others)}, expected {repo}",
            f"write it with `selip card ... --name {repo}`",
        )
    for link in sorted(relative_links(text)):
        if not (folder / link).is_file():
            yield Problem(
                CARD_NAME, f"it links to {link}, which does not go along", "remove the link, or add the file"
            )


def _is_other_repository(name: str, data: dict[str, Any]) -> bool:
    """A base model that the metadata names may be loaded in the examples too."""
    base = data.get("base_model") or []
    return name in ([base] if isinstance(base, str) else base)


def find_licence_problems(folder: Path, terms: InheritedLicence) -> Iterator[Problem]:
    """Where the card does not keep the terms of the data that was trained on."""
    if not (folder / CARD_NAME).is_file():
        return
    try:
        data, text = read_card(folder)
    except ValueError:
        return  # named by the check of the card
    expected = {"license": terms.licence, "license_name": terms.licence_name, "license_link": terms.licence_link}
    for key, value in expected.items():
        if value is not None and data.get(key) != value:
            remedy = f"{_WRITE_AGAIN}, or name the data sets that are meant"
            names = ", ".join(terms.datasets)
            yield Problem(CARD_NAME, f"{key} is {data.get(key)!r}, the terms of {names} ask for {value!r}", remedy)
    flat = " ".join(text.split())
    for attribution in terms.attributions:
        if " ".join(attribution.split()) not in flat:
            yield Problem(CARD_NAME, f"it does not name its source as asked: {attribution}", "add these words to it")
    has_code = any(folder.glob("*.py"))
    if has_code and not any(path.name.startswith(("LICENSE", "LICENCE")) for path in folder.iterdir()):
        yield Problem("LICENSE", "there is no text of a licence", "put it beside the weights")
    pictures = sorted(
        link for link in relative_links(text) if link.lower().endswith((".png", ".jpg", ".jpeg", ".svg"))
    )
    if terms.gated and (pictures or "data:image" in text):
        yield Problem(
            CARD_NAME,
            "it shows pictures, and access to the data is by agreement",
            "remove them: no image of such data may go",
        )
