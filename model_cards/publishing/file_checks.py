"""Checks of files as such: which there are, how large, and that none of them is more than data."""

import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .kinds import Kind
from .verification import Problem

MAX_TEXT_BYTES = 10_000_000  # the Hub takes no larger file outside of its store for large ones
MAX_TOKENIZER_BYTES = 100_000_000
MAX_DATA_BYTES = 20_000_000_000  # above this the Hub asks for smaller files
_DATA = {".safetensors", ".parquet"}
_CODE_CARRIERS = {
    ".pkl",
    ".pickle",
    ".pt",
    ".pth",
    ".ckpt",
    ".joblib",
    ".npy",
    ".npz",
    ".h5",
    ".hdf5",
    ".keras",
    ".bin",
}
_HIDDEN_ALLOWED = ".eval_results"
_OPTIMISER = ("optimizer", "optimiser", "scheduler", "rng_state", "scaler", "training_state", "adapters.safetensors")
_STORE_FROM_TRAINING = "publish the folder that `selip` wrote with the best weights, not the one of a run"


def all_files(folder: Path) -> list[Path]:
    """Files and links of a folder in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def find_missing(folder: Path, kind: Kind) -> Iterator[Problem]:
    """Files without which a repository of a kind is not whole."""
    for name in kind.needed:
        if not (folder / name).is_file():
            remedy = "write it with `selip card`" if name == "README.md" else "save the checkpoint again"
            yield Problem(name, f"a {kind.name} needs this file, it is not there", remedy)
    if not list(folder.glob("*model*.safetensors")):
        yield Problem("model.safetensors", "the weights are not there as safetensors", "save the checkpoint again")


def find_strange_files(folder: Path) -> Iterator[Problem]:
    """Links, hidden files, and what a run needs but no user does."""
    for path in all_files(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield Problem(name, "a symbolic link, which may lead anywhere", "put the file itself there")
        elif any(part.startswith(".") and part != _HIDDEN_ALLOWED for part in Path(name).parts):
            yield Problem(name, "a hidden file", "remove it")
        elif path.name.startswith(_OPTIMISER):
            yield Problem(name, "state of an optimiser or a run", _STORE_FROM_TRAINING)


def find_code_carriers(folder: Path) -> Iterator[Problem]:
    """Pickles and other containers that may run code when they are loaded, by their ending and by what is in them."""
    for path in all_files(folder):
        if path.is_symlink():
            continue
        name = path.relative_to(folder).as_posix()
        what = _carries_code(path)
        if what:
            yield Problem(name, what, "save it as safetensors, or remove it")
        elif path.suffix == ".safetensors" and not _is_safetensors(path):
            yield Problem(name, "is no safetensors file inside", "save the checkpoint again")


def _carries_code(path: Path) -> str:
    """What a file is if it may run code, "" if not."""
    with path.open("rb") as file:
        head = file.read(256)
    if head[:1] == b"\x80" and len(head) > 1 and 2 <= head[1] <= 5 and path.suffix != ".safetensors":
        return "is a pickle inside, which runs code when it is loaded"
    if head[:2] == b"(l" or head[:2] == b"(d" or head[:4] == b"cbui" or head[:5] == b"c__bu":
        return "is a pickle of the old form inside, which runs code when it is loaded"
    if head[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(path) as archive:
            pickled = [item for item in archive.namelist() if item.endswith((".pkl", ".npy"))]
        return f"is a zip archive with {'pickled data' if pickled else 'other files'} inside"
    if head[:6] == b"\x93NUMPY":
        return "is a NumPy array" + (" of objects, which are pickled" if b"'O'" in head or b"|O" in head else "")
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return "is an HDF5 file, which may hold pickled layers"
    if path.suffix.lower() in _CODE_CARRIERS:
        return f"has the ending {path.suffix}, that of pickled or unchecked data"
    return ""


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins with the header of safetensors (length, then JSON) and has just the bytes it announces."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            return False
        (length,) = struct.unpack("<Q", start)
        if length > min(size - 8, 100_000_000):
            return False
        try:
            header = json.loads(file.read(length))
            ends = [item["data_offsets"][1] for name, item in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
    return bool(max(ends, default=0) == size - 8 - length)


def find_wrong_sizes(folder: Path) -> Iterator[Problem]:
    """Empty files, and files above what the Hub takes well."""
    for path in all_files(folder):
        if path.is_symlink():
            continue
        name, size = path.relative_to(folder).as_posix(), path.stat().st_size
        limit = MAX_DATA_BYTES if path.suffix in _DATA else MAX_TEXT_BYTES
        if path.name in ("tokenizer.json", "vocab.json", "spiece.model"):
            limit = MAX_TOKENIZER_BYTES
        if size == 0:
            yield Problem(name, "an empty file", "remove it, or write it again")
        elif size > limit:
            yield Problem(name, f"{size / 1e6:.0f} MB, more than {limit / 1e6:.0f} MB", "split it, or leave it out")
