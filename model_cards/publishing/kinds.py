"""What a folder is, and which of its files belong into a repository of that kind; all others stay here."""

import fnmatch
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REFERENCE_NAME = "reference_outputs.safetensors"
CARD_NAME = "README.md"
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
)
_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
_PAPERS = (CARD_NAME, "LICENSE*", "NOTICE*", ".eval_results/*.yaml")
_SECTIONS = ("Intended use", "Use", "Data", "Training", "Results", "Limits", "Licence")
_PICTURES = {".png", ".jpg", ".jpeg", ".svg"}
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_RELATIVE_IMPORT = re.compile(r"^\s*from\s+\.(\w+)\s+import", re.MULTILINE)


@dataclass(frozen=True)
class Kind:
    """A kind of repository.

    Attributes:
        name: What it is called.
        files: Patterns of the files that belong into it, beside its code and what its card shows.
        needed: Files without which it is not whole.
        sections: Headings that its card must have; a heading may go on after these words.
    """

    name: str
    files: tuple[str, ...]
    needed: tuple[str, ...]
    sections: tuple[str, ...]


MODEL = Kind(
    "model",
    ("config.json", "processor_config.json", *_WEIGHTS, *_TOKENIZER, *_PAPERS),
    ("config.json", "processor_config.json", "tokenizer.json", CARD_NAME),
    _SECTIONS,
)
HEAD = Kind(
    "head",
    ("config.json", "preprocessor_config.json", "processor_config.json", *_WEIGHTS, *_PAPERS),
    ("config.json", CARD_NAME),
    _SECTIONS,
)
STRUCTURER = Kind(
    "structurer",
    ("config.json", "generation_config.json", "structurer.json", *_WEIGHTS, *_TOKENIZER, *_PAPERS),
    ("config.json", "structurer.json", "tokenizer.json", CARD_NAME),
    _SECTIONS,
)
ADAPTER = Kind(
    "adapter",
    ("adapter_config.json", "adapter_model.safetensors", "structurer.json", *_TOKENIZER, *_PAPERS),
    ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", CARD_NAME),
    _SECTIONS,
)


def kind_of(folder: Path) -> Kind:
    """What a folder holds.

    Raises:
        FileNotFoundError: It is no folder, or holds no configuration.
        ValueError: It holds the configuration of something else.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"expected the folder of a checkpoint, found no folder {folder}")
    if (folder / "adapter_config.json").is_file():
        return ADAPTER
    config = folder / "config.json"
    if not config.is_file():
        hint = next((f"; did you mean {folder / name}?" for name in ("best", "last") if (folder / name).is_dir()), "")
        raise FileNotFoundError(f"expected config.json or adapter_config.json in {folder}, found neither{hint}")
    content: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    architectures = content.get("architectures") or []
    if content.get("model_type") == "selip":
        return MODEL if architectures == ["SelipModel"] else HEAD
    if (folder / "structurer.json").is_file():
        return STRUCTURER
    raise ValueError(
        f"expected a checkpoint of selip in {folder}, got one of {', '.join(architectures) or 'an unknown kind'}; "
        "selip publishes models, heads, structurers and their adapters"
    )


def files_that_go(folder: Path, kind: Kind) -> tuple[list[str], list[str]]:
    """Names of the files that belong into a repository, and of those that stay, both relative and in order."""
    wanted = {*code_files(folder), *_pictures_of_card(folder)}
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    goes = [name for name in names if name in wanted or any(fnmatch.fnmatchcase(name, item) for item in kind.files)]
    return [name for name in goes if name != REFERENCE_NAME], [name for name in names if name not in goes]


def code_files(folder: Path) -> set[str]:
    """Python files that the configuration names (`auto_map`, pipelines), and what these import from beside them."""
    text = "\n".join(_text(path) for path in folder.glob("*config.json"))
    waiting = {f"{name}.py" for name in re.findall(r'"(\w+_selip)\.\w+"', text)}
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if (folder / name).is_file():
            found.add(name)
            source = _text(folder / name)
            waiting |= {f"{module}.py" for module in _RELATIVE_IMPORT.findall(source)} - found
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"expected text in {path.name}, got bytes that are no UTF-8; write it again") from None


def relative_links(card: str) -> set[str]:
    """Targets of the links and pictures of a card that are files beside it."""
    targets = {target.partition("#")[0] for target in _LINK.findall(card)}
    return {target for target in targets if target and not re.match(r"[a-z]+:", target)}


def _pictures_of_card(folder: Path) -> set[str]:
    card = folder / CARD_NAME
    links = relative_links(_text(card)) if card.is_file() else set()
    return {link for link in links if Path(link).suffix.lower() in _PICTURES and ".." not in Path(link).parts}
