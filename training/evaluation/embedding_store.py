"""Embeddings of series kept on disk, so that all evaluations of a checkpoint on some studies compute each once.

A folder of Arrow files, each written whole; an interrupted evaluation loses the series since the last one. Which
checkpoint, studies and processing they are of is the folder's name, so a folder never holds two kinds.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selip.processing.atomic_files import replacing

Key = tuple[str, str]
# Rows of one file: a few minutes of work on a laptop.
ROWS_PER_FILE = 256


def store_folder(parent: Path, **origin: Any) -> Path:
    """The folder of the embeddings that follow from `origin`, any JSON values: fingerprints, options, device."""
    described = json.dumps(origin, sort_keys=True).encode()
    return parent / hashlib.sha256(described).hexdigest()[:16]


class EmbeddingStore(Mapping[Key, npt.NDArray[np.float32]]):
    """Vectors (E,) by study id and series id.

    Args:
        folder: Folder of the files; made with the first of them.

    Raises:
        ValueError: A file there is no file of embeddings.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._vectors: dict[Key, npt.NDArray[np.float32]] = {}
        self._unsaved: list[Key] = []
        for path in sorted(folder.glob("*.arrow")):
            self._read(path)

    def __getitem__(self, key: Key) -> npt.NDArray[np.float32]:
        return self._vectors[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._vectors)

    def __len__(self) -> int:
        return len(self._vectors)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Saves what was added inside, also after an error."""
        try:
            yield
        finally:
            self._save()

    def add(self, keys: Sequence[Key], vectors: npt.NDArray[np.float32]) -> None:
        """Add the vectors (n, E) of n series; every 256 series are saved."""
        self._vectors.update(zip(keys, vectors.astype(np.float32), strict=True))
        self._unsaved += keys
        if len(self._unsaved) >= ROWS_PER_FILE:
            self._save()

    def _save(self) -> None:
        if not self._unsaved:
            return
        name = hashlib.sha256(json.dumps(self._unsaved).encode()).hexdigest()[:16]
        vectors = np.stack([self._vectors[key] for key in self._unsaved])
        table = pa.table(
            {
                "study_id": [study_id for study_id, _ in self._unsaved],
                "series_id": [series_id for _, series_id in self._unsaved],
                "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
            }
        )
        with replacing(self.folder / f"{name}.arrow") as out, pa.ipc.new_file(str(out), table.schema) as file:
            file.write_table(table)
        self._unsaved = []

    def _read(self, path: Path) -> None:
        try:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
            embeds = table["embedding"].combine_chunks()
            vectors = embeds.flatten().to_numpy().reshape(len(embeds), -1).copy()
            keys = list(zip(table["study_id"].to_pylist(), table["series_id"].to_pylist(), strict=True))
        except (pa.ArrowException, KeyError, AttributeError, ValueError) as error:
            raise ValueError(
                f"expected embeddings in {path.name}, but it cannot be read ({type(error).__name__}); remove "
                f"{self.folder} and evaluate again"
            ) from error
        self._vectors.update(zip(keys, vectors, strict=True))
