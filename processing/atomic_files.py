"""A file or folder that is there whole or not at all: written beside its place, then moved into it."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """The file to write instead of `out`, whose place it takes at the end; after an error `out` is as it was."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(out: Path, *, marker: str, overwrite: bool) -> Iterator[Path]:
    """The empty folder to fill instead of `out`, whose place it takes at the end; after an error `out` is as it was.

    Args:
        out: Folder to make.
        marker: File that tells a folder of this kind; one without it is never replaced.
        overwrite: Replace such a folder.

    Raises:
        FileExistsError: There is a folder already, and `overwrite` is off or it is of another kind.
    """
    if out.exists() and not overwrite and any(out.iterdir()):
        raise FileExistsError(f"{out} exists; choose another folder, or say --overwrite")
    if out.exists() and any(out.iterdir()) and not (out / marker).is_file():
        raise FileExistsError(
            f"{out} holds something else than was to be replaced (no {marker}); choose another folder"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    try:
        partial.mkdir()
        yield partial
        if out.exists():
            out.rename(old)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically: a reader sees the old file or the whole new one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
