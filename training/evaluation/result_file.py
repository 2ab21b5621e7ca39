"""The result file of an evaluation, the table of its cases beside it, and the command that makes it again."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selip.processing.atomic_files import write_json

from .case_metrics import Cases

FORMAT_VERSION = 1
CASES_SUFFIX, SCORES_SUFFIX = ".cases.parquet", ".scores.parquet"


class ResultRecord(dict[str, Any]):
    """What a result file holds; as text, the small table of its main numbers."""

    def __init__(self, content: dict[str, Any], summary: str):
        super().__init__(content)
        self.summary = summary

    def __str__(self) -> str:
        return self.summary


def write_result(record: ResultRecord, path: Path) -> None:
    """Write a result file, atomically; what is not a number becomes null."""
    write_json(path, _without_nan(record))


def write_cases(columns: Mapping[str, Sequence[Any]], path: Path) -> str:
    """Write the table of cases (Parquet), atomically; returns its file name."""
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), partial)
    os.replace(partial, path)
    return path.name


def read_result_file(path: Path) -> dict[str, Any]:
    """What a result file holds.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not JSON, or no result of `selip evaluate`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a result file of `selip evaluate`, found none at {path}")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"expected a result file of `selip evaluate`, {path} is not JSON ({error})") from error
    if not isinstance(record, dict) or not {"task", "data", "command"} <= record.keys():
        raise ValueError(f"expected a result file of `selip evaluate`, got another file: {path}")
    return record


def read_cases(result: Path) -> Cases:
    """The table of cases beside a result file, by column.

    Raises:
        FileNotFoundError: It is not there.
    """
    path = result.with_suffix(CASES_SUFFIX)
    if not path.is_file():
        raise FileNotFoundError(f"expected the table of cases {path.name} beside {result.name}, found none")
    table = pq.read_table(path)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def command_line(config: Any, *command: str) -> str:
    """The `selip` command of a configuration, defaults left out.

    Args:
        config: Dataclass of the command's arguments.
        command: Words after `selip`; `evaluate` where none are given.
    """
    words = ["selip", *(command or ("evaluate",))]
    options: list[str] = []
    for item in fields(config):
        value = getattr(config, item.name)
        if item.default is MISSING and item.metadata.get("positional", True):
            words.append(_word(value))
        elif value != item.default:
            flag = f"--{item.name.replace('_', '-')}"
            options += [flag] if value is True else [flag, _word(value)]
    return shlex.join(words + options)


def _word(value: Any) -> str:
    """A value as a command line takes it, several with commas."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _without_nan(value: Any) -> Any:
    """The value with NaN, which JSON does not know, as None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
