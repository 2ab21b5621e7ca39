"""The staged folder: copies of exactly what goes, made beside its place and then moved into it."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from ..cards.terms import PERMISSIVE, InheritedLicence
from .kinds import CARD_NAME


def stage(out: Path, fill: Callable[[Path], None], *, overwrite: bool) -> None:
    """Make a folder of what goes; it appears whole.

    A folder that publishing made before, and that nobody has changed since, is replaced.

    Args:
        out: Where it is put. A record of its files stands beside it, hidden.
        fill: Writes the files into an empty folder.
        overwrite: Replace a folder that publishing did not make, or that was changed.

    Raises:
        FileExistsError: There is such a folder and `overwrite` is off.
    """
    record = out.with_name(f".{out.name}.staged.json")
    if out.exists() and any(out.iterdir()) and not overwrite:
        known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None
        if known != digests(out):
            raise FileExistsError(
                f"{out} holds something that publishing did not put there; choose --out, or --overwrite"
            )
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        fill(partial)
    except BaseException:
        shutil.rmtree(partial)
        raise
    record.write_text(json.dumps(digests(partial), indent=1), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder by its name, both in order."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _digest(path: Path) -> str:
    if not path.is_file():
        return "a link to nothing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_files(source: Path, names: Sequence[str], to: Path) -> None:
    """Copy files by name; links stay links, so that they are found and refused rather than followed."""
    for name in names:
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target, follow_symlinks=False)


def add_licence(folder: Path, terms: InheritedLicence) -> None:
    """Put the licence of the code beside the weights, and into the card what it lacks of licence and sources.

    Nothing that stands in the card is changed.
    """
    if not any(path.name.startswith(("LICENSE", "LICENCE")) for path in folder.iterdir()):
        text = _licence_of_code()
        if text is not None and terms.licence == PERMISSIVE:
            (folder / "LICENSE").write_text(text, encoding="utf-8")
        elif text is not None and any(folder.glob("*.py")):  # the licence of the code alone
            (folder / "LICENSE-CODE").write_text(text, encoding="utf-8")
    card = folder / CARD_NAME
    if card.is_file():
        content = card.read_text(encoding="utf-8")
        card.write_text(_with_sources(_with_licence(content, terms), terms), encoding="utf-8")


def _licence_of_code() -> str | None:
    """Text of the licence of this package, from the metadata of its installation.

    A checkout may hold metadata of a build beside it, without the text: all of that name are looked at.
    """
    texts = (found.read_text("licenses/LICENSE") for found in metadata.distributions(name="selip"))
    return next(filter(None, texts), None)


def _with_licence(card: str, terms: InheritedLicence) -> str:
    head, rest = _split_head(card)
    if "license:" in head:
        return card
    wanted: Mapping[str, str | None] = {
        "license": terms.licence,
        "license_name": terms.licence_name,
        "license_link": terms.licence_link,
    }
    lines = "".join(f"{key}: {value}\n" for key, value in wanted.items() if value is not None)
    return f"---\n{lines}{head}---\n{rest}"


def _with_sources(card: str, terms: InheritedLicence) -> str:
    """The card, and at its end the sources that it does not name yet."""
    flat = " ".join(card.split())
    missing = [text for text in terms.attributions if " ".join(text.split()) not in flat]
    has_section = any(line.startswith("## Licence") for line in card.splitlines())
    if not missing and has_section:
        return card
    heading = (
        "" if has_section else f"\n## Licence\n\nWeights: {terms.licence_name or terms.licence}. Code: Apache-2.0.\n"
    )
    sources = "".join(f"- {' '.join(text.split())}\n" for text in missing)
    return card.rstrip("\n") + "\n" + heading + ("\nMade from:\n\n" + sources if sources else "")


def _split_head(card: str) -> tuple[str, str]:
    """The YAML between the first two lines `---` of a card, and what follows; no head gives "" and the card."""
    if not card.startswith("---\n"):
        return "", card
    head, separator, rest = card[4:].partition("---\n")
    return (head, rest) if separator else ("", card)
