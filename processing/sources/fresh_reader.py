"""Read a published data set in a process that cannot import selip, by plain `datasets.load_dataset`.

    python -I fresh_reader.py REQUEST.json ANSWER.json

The request holds `folder` and `whole`, whether to load all of it, which writes it anew into a cache, or to stream
alone. The answer adds `rows`, by configuration and split where all was loaded, and `first`, the shapes of the first
volume of each split as each way of reading decodes it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any


def read(folder: str, *, whole: bool) -> dict[str, Any]:
    """Load every configuration of a folder and decode the first volume of each split."""
    from datasets import get_dataset_config_names, load_dataset

    rows: dict[str, dict[str, int]] = {}
    first: dict[str, list[list[int]]] = {}
    for name in get_dataset_config_names(folder):
        found = [load_dataset(folder, name, streaming=True)] + [load_dataset(folder, name)] * whole
        if whole:
            rows[name] = {split: len(part) for split, part in found[-1].items()}
        for split in found[0]:
            starts = [next(iter(each[split])) for each in found]
            if "series" in starts[0]:
                first[split] = [list(row["series"][0]["volume"].shape) for row in starts]
    return {"rows": rows, "first": first}


if __name__ == "__main__":
    sys.modules["selip"] = None  # type: ignore[assignment]  # documented: None stops an import
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answer = request | read(request["folder"], whole=request["whole"])
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")
    os._exit(0)  # threads that `datasets` keeps for streams not read to their end now and then abort a usual exit
