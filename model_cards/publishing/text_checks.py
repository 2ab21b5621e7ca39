"""Checks of texts: no path of this machine, no string that must not go, nothing that looks like a person's data.

What is found is never repeated: a problem names the file, the kind, and lines or numbers of tokens.
"""

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selip.processing.deidentification import KINDS, deidentify

from .file_checks import all_files
from .verification import Problem

_TEXT_ENDINGS = {".json", ".md", ".txt", ".yaml", ".yml", ".py", ".jinja", ".svg", ".html", ".css", ".tsv", ".csv", ""}
# Absolute, of two parts or more, and no part of an address, a fraction or a tag: /home/x, C:\x, \\server\x, file:///x.
_PATHS = re.compile(
    r"(?<![\w:/.<>*`~+%@)\]-])/(?:[A-Za-z][\w.@+-]+/)+[\w.@+-]+|file:///|(?<![A-Za-z])[A-Za-z]:\\{1,2}[\w]|\\\\\\?\\?[\w.-]+\\"
    r"|(?<![\w/])~/[\w.-]+"
)
_NAME_KEYS = ("_name_or_path", "base_model_name_or_path", "name_or_path", "tokenizer_file", "resume_from_checkpoint")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_PIECE_MARKS = re.compile(r"^(?:##|[ĠĊ▁])+|(?:</w>|@@)$")
# A fingerprint or commit as cards write it: four in a hundred begin with seven digits, as the number of a record does.
_HEX = r"(?=[0-9]*[a-f])(?:[0-9a-f]{12}|[0-9a-f]{16}|[0-9a-f]{40}|[0-9a-f]{64})"
_DIGEST = re.compile(rf"(?<=[`(]){_HEX}(?=[`)])|(?<=, commit ){_HEX}(?=\.)|(?<=\| git commit \| ){_HEX}(?= \|)")
_KEY_AND_NUMBER = re.compile(
    r"""[\s-]*(?:"?(?P<key>[\w./@ -]+)"?\s*:\s*)?(?:["']?[0-9a-f]{12,64}["']?|-?[\d.]+(?:[eE][+-]?\d+)?)\s*,?"""
)
_SHORTEST = 4  # characters of a word that is looked for among tokens
_MOST_PLACES = 5
_NO_TEXT = "train the tokenizer on texts without it (`selip ingest --deidentify`), or take it out of the file"


@dataclass(frozen=True)
class Text:
    """A text of a folder in parts: lines of a file, or tokens of a vocabulary."""

    file: str
    parts: Sequence[str]
    unit: str  # "line" or "token"

    def places(self, indices: Iterable[int]) -> str:
        """Where parts are, for a message."""
        found = sorted(set(indices))
        shown = ", ".join(str(i + (self.unit == "line")) for i in found[:_MOST_PLACES])
        return f"{self.unit}{'s' if len(found) > 1 else ''} {shown}" + (" ..." if len(found) > _MOST_PLACES else "")


def texts_of(folder: Path) -> Iterator[Text]:
    """The texts of a folder: of a vocabulary its tokens, of any other text file its lines."""
    for path in all_files(folder):
        if path.is_symlink() or path.suffix.lower() not in _TEXT_ENDINGS:
            continue
        name = path.relative_to(folder).as_posix()
        content = path.read_text(encoding="utf-8", errors="replace")
        if path.name in ("tokenizer.json", "vocab.json"):
            yield Text(name, _tokens(json.loads(content)), "token")
        elif path.name in ("vocab.txt", "merges.txt"):
            yield Text(name, content.splitlines(), "token")
        else:
            yield Text(name, content.splitlines(), "line")


def _tokens(content: dict[str, Any]) -> list[str]:
    """The vocabulary of a tokenizer file by token id; ids are those of a list, or of the mapping."""
    model = content.get("model", content)
    vocabulary = model.get("vocab", model)
    if isinstance(vocabulary, list):
        tokens = [str(entry[0] if isinstance(entry, list) else entry) for entry in vocabulary]
    else:
        by_id = {number: token for token, number in vocabulary.items() if isinstance(number, int)}
        tokens = [by_id.get(number, "") for number in range(max(by_id, default=-1) + 1)]
    return tokens + [str(entry.get("content", "")) for entry in content.get("added_tokens", [])]


def find_local_paths(folder: Path) -> Iterator[Problem]:
    """Paths of this machine, absolute ones in any text, and folders where the name of a model belongs."""
    home = str(Path.home())
    own = [
        text for text in (home if home != "/" else "", str(Path.cwd()), str(folder.resolve().parent)) if len(text) > 4
    ]
    for text in texts_of(folder):
        if text.unit == "token":
            continue
        found = [
            number
            for number, line in enumerate(text.parts)
            if any(place in line for place in own) or (_PATHS.search(line) and not line.startswith("#!"))
        ]
        if found:
            yield Problem(
                text.file,
                f"a path of a machine in {text.places(found)}",
                "run its command with relative paths and write it again",
                f"{text.file}:path",
            )
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        for key, value in _named_models(json.loads(path.read_text(encoding="utf-8"))):
            if value and (not _HUB_ID.fullmatch(value) or Path(value).exists()):
                yield Problem(
                    name,
                    f"{key} names a folder, expected an id of the Hub",
                    "write the id of the base (model.base_model_id), or leave it empty",
                )


def _named_models(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key in _NAME_KEYS and isinstance(item, str):
                yield key, item
            else:
                yield from _named_models(item)
    elif isinstance(value, list):
        for item in value:
            yield from _named_models(item)


def find_personal_patterns(folder: Path) -> Iterator[Problem]:
    """What looks like a name, a date, a number of a record, a telephone number or an address, by file and kind.

    Code and licences are left out: dates and numbers in them are their own. Lines are looked at one by one, tokens
    too.
    """
    for text in texts_of(folder):
        if text.file.endswith(".py") or text.file.startswith(("LICENSE", "LICENCE", "NOTICE")):
            continue
        places: dict[str, list[int]] = defaultdict(list)
        for number, part in enumerate(text.parts):
            if _is_machine_written(part):
                continue
            for kind in deidentify(_DIGEST.sub("", part))[1]:
                places[kind].append(number)
        for kind in KINDS:
            if places[kind]:
                yield Problem(
                    text.file,
                    f"{len(places[kind])} of kind {kind} by their form, at {text.places(places[kind])}",
                    f"look there, and take it out or say --accept {text.file}:{kind}",
                    f"{text.file}:{kind}",
                )


def _is_machine_written(line: str) -> bool:
    """A key with a bare number or a hash, as in JSON and YAML, where the key is no label of a person's number."""
    found = _KEY_AND_NUMBER.fullmatch(line)
    return found is not None and not deidentify(f"{(found['key'] or '').replace('_', ' ')}: 12345")[1]


def find_forbidden(folder: Path, strings: Sequence[str], what: str = "forbidden") -> Iterator[Problem]:
    """Strings that must not go: anywhere in a text, and their longer words as whole tokens of a vocabulary.

    Letter case and the forms of letters make no difference.
    """
    wanted = [text for text in map(folded, strings) if text]
    words = {word for text in wanted for word in re.findall(r"\w+", text) if len(word) >= _SHORTEST}
    for text in texts_of(folder):
        if text.unit == "token":
            found = [i for i, token in enumerate(text.parts) if folded(_PIECE_MARKS.sub("", token)) in words]
        else:
            whole = "\n".join(map(folded, text.parts))
            present = [string for string in wanted if string in whole]
            found = [i for i, part in enumerate(text.parts) if any(string in folded(part) for string in present)]
            if present and not found:
                found = [0]  # over the end of a line
        if found:
            yield Problem(
                text.file,
                f"{len(found)} with a {what} string, at {text.places(found)}",
                _NO_TEXT,
                f"{text.file}:{what}",
            )


def find_report_text(folder: Path, sentences: Sequence[str]) -> Iterator[Problem]:
    """Sentences and ids of the studies that were trained on, in any text but vocabularies."""
    wanted = {folded(sentence) for sentence in sentences}
    for text in texts_of(folder):
        if text.unit == "token":
            continue
        whole = " ".join(" ".join(map(folded, text.parts)).split())
        count = sum(sentence in whole for sentence in wanted)
        if count:
            yield Problem(
                text.file, f"{count} sentences or ids of the studies", "take them out", f"{text.file}:report"
            )


def read_strings(files: Sequence[Path]) -> list[str]:
    """The lines of text files, without empty ones.

    Raises:
        FileNotFoundError: A file is not there.
    """
    found: list[str] = []
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"expected a text file with one string a line, found none at {path}")
        found += [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return found


def folded(text: str) -> str:
    """A text without letter case and variant forms of letters, to compare it."""
    return unicodedata.normalize("NFKC", text).casefold().strip()
