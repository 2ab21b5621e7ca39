"""Which part may import which, and what the files that ship to the Hub may contain. Nothing is imported: AST only."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LAYERS = {
    "selip": REPOSITORY / "src" / "selip",
    "selip.modeling_selip": REPOSITORY / "modeling_selip",
    "selip.processing": REPOSITORY / "processing",
    "selip.training": REPOSITORY / "training",
    "selip.model_cards": REPOSITORY / "model_cards",
}
# What a layer may import of selip, besides itself. The facade and the command line may import all.
ALLOWED_LAYERS = {
    "selip.modeling_selip": set(),
    "selip.processing": set(),
    "selip.training": {"selip.processing", "selip.modeling_selip"},
    "selip.model_cards": {"selip.processing", "selip.modeling_selip"},
}
# `import selip` for its version and registration; it loads nothing by itself.
FACADE_USERS = {"selip.training", "selip.model_cards"}
# Packages that only some parts may import.
RESERVED = {
    "accelerate": ("training/",),
    "peft": ("training/",),
    "datasets": ("processing/sources/", "training/"),
    "nilearn": ("processing/sources/simulated/",),
    "matplotlib": ("processing/sources/simulated/", "training/evaluation/", "model_cards/tables/benchmark.py"),
    "nibabel": ("processing/nifti_selip.py", "processing/sources/simulated/", "processing/sources/dicom/"),
    "pydicom": ("processing/sources/dicom/headers.py",),
    "dcm2niix": ("processing/sources/dicom/conversion.py",),
}
SHIPPED_PACKAGES = {"torch", "numpy", "transformers", "huggingface_hub"}
SHIPPED_IN_TRY = {"nibabel"}
# Modules of findings and texts, usable where torch is not installed.
TORCH_FREE = (
    "agreement",
    "assignment",
    "assignment_similarity",
    "comparisons",
    "corpus_statistics",
    "deidentification",
    "findings",
    "headings",
    "laterality",
    "rendering",
    "reports",
    "similarity",
    "statements",
    "structurer",
    "vocabulary",
)
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "misc", "common"}


@dataclass(frozen=True)
class Import:
    """One import statement."""

    module: str  # absolute for `import a.b`, with its leading dots for a relative one
    names: tuple[str, ...]
    line: int
    is_in_try: bool
    is_type_checking: bool


def layer_files(layer: str) -> list[Path]:
    return sorted(path for path in LAYERS[layer].rglob("*.py") if "__pycache__" not in path.parts)


def all_files() -> list[Path]:
    return [path for layer in LAYERS for path in layer_files(layer)]


def shipped_files() -> list[Path]:
    return [path for path in all_files() if path.stem.endswith("_selip")]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> list[Import]:
    return list(_imports(parsed(path), in_try=False, type_checking=False))


def _imports(node: ast.AST, *, in_try: bool, type_checking: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, (), child.lineno, in_try, type_checking)
        elif isinstance(child, ast.ImportFrom):
            names = tuple(alias.name for alias in child.names)
            yield Import("." * child.level + (child.module or ""), names, child.lineno, in_try, type_checking)
        else:
            is_guard = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _imports(
                child,
                in_try=in_try or isinstance(child, ast.Try),
                type_checking=type_checking or is_guard,
            )


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def test_folders_import_only_what_lies_below_them() -> None:
    """Arrows point one way: cli -> model_cards, training -> processing, modeling_selip; the last two never meet."""
    wrong = []
    for layer, allowed in ALLOWED_LAYERS.items():
        for path in layer_files(layer):
            for found in imports(path):
                if found.module == "selip" and layer in FACADE_USERS:
                    continue
                target = ".".join(found.module.split(".")[:2])
                if found.module.split(".")[0] == "selip" and target not in {layer, *allowed}:
                    wrong.append(f"{name_of(path)}:{found.line} imports {found.module}")
    assert not wrong, wrong


def test_imports_inside_a_folder_are_relative_and_across_folders_absolute() -> None:
    """`from .name import X` inside a folder, `from selip.folder.name import X` across; never upwards by dots."""
    wrong = []
    for path in all_files():
        for found in imports(path):
            dots = len(found.module) - len(found.module.lstrip("."))
            folder = next(folder for folder in LAYERS.values() if folder in path.parents)
            if dots > len(path.parent.relative_to(folder).parts) + 1:
                wrong.append(f"{name_of(path)}:{found.line} leaves its folder by dots")
            if "*" in found.names:
                wrong.append(f"{name_of(path)}:{found.line} imports a star")
    assert not wrong, wrong


@pytest.mark.parametrize("package", RESERVED)
def test_reserved_packages_stay_in_their_part(package: str) -> None:
    """A package that only one part needs is imported there alone, so the other parts work without it."""
    wrong = [
        f"{name_of(path)}:{found.line}"
        for path in all_files()
        for found in imports(path)
        if found.module.split(".")[0] == package and not name_of(path).startswith(RESERVED[package])
    ]
    assert not wrong, f"{package} may be imported in {RESERVED[package]} only, found in {wrong}"


def test_text_modules_import_no_torch() -> None:
    """Findings, rendering, similarity and the structurer run where torch is not installed."""
    files = [path for path in layer_files("selip.processing") if path.stem in TORCH_FREE]
    assert len(files) >= 4
    wrong = [
        f"{name_of(path)}:{found.line} imports {found.module}"
        for path in files
        for found in imports(path)
        if found.module.split(".")[0] in {"torch", "transformers"}
    ]
    assert not wrong, wrong


def test_modeling_knows_no_files() -> None:
    """The network's code neither opens files nor prints."""
    wrong = [
        f"{name_of(path)}:{node.lineno} calls {node.func.id}"
        for path in layer_files("selip.modeling_selip")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "print"}
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("path", shipped_files(), ids=lambda path: path.name)
def test_shipped_file_imports_only_what_the_hub_loader_takes(path: Path) -> None:
    """Standard library, torch, numpy, transformers, huggingface_hub; nibabel in `try`; siblings by `from .x`."""
    wrong = []
    for found in imports(path):
        root = found.module.split(".")[0]
        if found.module.startswith("."):
            sibling = found.module[1:]
            is_sibling = re.fullmatch(r"\w+_selip", sibling) and (path.parent / f"{sibling}.py").is_file()
            if not is_sibling:
                wrong.append(f"line {found.line}: from {found.module} import is no `from .sibling_selip import`")
        elif root in SHIPPED_IN_TRY:
            if not found.is_in_try:
                wrong.append(f"line {found.line}: {root} outside of try aborts the load where it is missing")
        elif root not in SHIPPED_PACKAGES and root not in sys.stdlib_module_names:
            wrong.append(f"line {found.line}: {found.module} is not allowed in a file that ships")
        if root == "importlib":
            wrong.append(f"line {found.line}: importlib hides imports from the loader")
    assert not wrong, wrong


@pytest.mark.parametrize("path", shipped_files(), ids=lambda path: path.name)
def test_no_text_line_of_a_shipped_file_looks_like_a_relative_import(path: Path) -> None:
    """The loader scans lines by a regular expression, docstrings too: what looks like an import is one."""
    statements = {found.line for found in imports(path) if found.module.startswith(".")}
    looks = {
        number
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.match(r"\s*(import\s+\.|from\s+\.)", line)
    }
    assert looks == statements


@pytest.mark.parametrize("path", shipped_files(), ids=lambda path: path.name)
def test_shipped_files_never_ask_for_the_type_of_our_own_classes(path: Path) -> None:
    """Loaded from a folder, config and model bring two classes of one name, so isinstance on them is False.

    Within the file that defines a class there is one class of that name, and the question has a true answer.
    """
    elsewhere = {
        node.name
        for file in shipped_files()
        if file != path
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ClassDef)
    }
    # Only these are loaded by an entry point of their own; value objects come along with the code that asks for them.
    crossing = {name for name in elsewhere if name.endswith(("Config", "Model", "Processor"))}
    wrong = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"isinstance", "issubclass"}
        and crossing & {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
    ]
    assert not wrong, wrong


def test_names_of_shipped_files_are_unique() -> None:
    """Files are copied flat by their name, so two of one name would overwrite each other."""
    names = [path.name for path in shipped_files()]
    assert len(set(names)) == len(names)


def test_shipped_files_are_those_that_the_public_classes_reach() -> None:
    """A file ends in `_selip.py` if and only if a public class reaches it by relative imports."""
    roots = {
        "configuration_selip.py",
        "modeling_selip.py",
        "image_processing_selip.py",
        "processing_selip.py",
    }
    by_name = {path.name: path for path in shipped_files()}
    reached: set[str] = set()
    waiting = set(roots)
    while waiting:
        name = waiting.pop()
        reached.add(name)
        siblings = {f"{found.module[1:]}.py" for found in imports(by_name[name]) if found.module.startswith(".")}
        waiting |= siblings - reached
    assert reached == set(by_name)


def test_no_module_is_called_utils() -> None:
    """A module's name says what it is for."""
    wrong = [name_of(path) for path in all_files() if FORBIDDEN_NAMES & set(path.with_suffix("").parts[-2:])]
    assert not wrong, wrong


def test_nothing_edits_the_import_path_or_pickles() -> None:
    """No `sys.path` edits, no pickle, no `strict=False` loading: each has hidden a broken checkpoint somewhere."""
    wrong = []
    for path in all_files():
        wrong += [f"{name_of(path)}:{found.line} pickle" for found in imports(path) if found.module == "pickle"]
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path":
                wrong.append(f"{name_of(path)}:{node.lineno} sys.path")
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("load_state_dict"):
                lenient = [key for key in node.keywords if key.arg == "strict" and ast.unparse(key.value) == "False"]
                wrong += [f"{name_of(path)}:{node.lineno} strict=False"] if lenient else []
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "torch.save"}:
                wrong.append(f"{name_of(path)}:{node.lineno} {ast.unparse(node.func)}")
    assert not wrong, wrong


def test_every_package_folder_is_a_package() -> None:
    """A folder with modules has an `__init__.py`, else it would be missing from the wheel."""
    wrong = [name_of(path.parent) for path in all_files() if not (path.parent / "__init__.py").is_file()]
    assert not wrong, sorted(set(wrong))
