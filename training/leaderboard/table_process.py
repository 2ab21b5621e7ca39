"""Read a Parquet file of unknown origin in a process of its own, with limits on memory and time.

    python table_process.py REQUEST.json TABLE.arrow

What a Parquet file says of its size need not be true, and a few kilobytes can unpack to gigabytes. Metadata are looked
at first; what they do not tell is caught by the limits: this process ends, the one that asked goes on. It prints a
JSON list of reasons; an empty one means that TABLE.arrow holds the columns. Standard library and pyarrow only.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_MAX_ROW_GROUPS = 1000


def limit_resources(memory: int, seconds: int) -> None:
    """Limit address space and processor time of this process, where the system can."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows: metadata are all that protects
        return
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        with contextlib.suppress(ValueError, OSError):  # macOS knows no limit of address space
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def read(request: dict[str, Any], out: Path) -> list[str]:
    """Check and read one file; returns the reasons why not.

    Args:
        request: `path`, `keys` (text columns), `numbers` and `lists` (columns of numbers), `rows`, `list_values` (of
            all rows of a column of lists), `max_bytes` (unpacked), `max_key_bytes`.
        out: Arrow file to write.
    """
    limits = {"thrift_string_size_limit": 1 << 20, "thrift_container_size_limit": 100_000}
    problems = metadata_problems(pq.ParquetFile(request["path"], **limits), request)
    if problems:
        return problems
    # a text that is stored once is not unpacked for every row
    file = pq.ParquetFile(request["path"], read_dictionary=request["keys"], **limits)
    table = file.read(columns=["run", *request["keys"], *request["numbers"], *request["lists"]], use_threads=False)
    for name in request["keys"]:
        texts = [chunk.dictionary for chunk in table[name].chunks]
        if any(pc.max(pc.binary_length(each)).as_py() > request["max_key_bytes"] for each in texts if len(each)):
            return [f"column {name}: expected ids of at most {request['max_key_bytes']} bytes, got longer ones"]
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].cast(pa.string()))
    if table.nbytes > request["max_bytes"]:
        return [f"expected at most {request['max_bytes']} bytes unpacked, got more"]
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    for name in request["lists"]:
        lists = columns[name]
        if lists.null_count or lists.flatten().null_count:
            problems.append(f"column {name}: expected no missing scores")
        elif len(lists.flatten()) != request["list_values"]:
            problems.append(f"column {name}: expected {request['list_values']} scores in all, got another number")
    if problems:
        return problems
    with pa.OSFile(str(out), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return []


def metadata_problems(file: pq.ParquetFile, request: dict[str, Any]) -> list[str]:
    """What is wrong by the file's own description, before any value is read."""
    metadata, schema = file.metadata, file.schema_arrow
    expected = {"run", *request["keys"], *request["numbers"], *request["lists"]}
    missing, more = sorted(expected - set(schema.names)), len([name for name in schema.names if name not in expected])
    problems = []
    if missing:
        problems.append(f"missing columns: {', '.join(missing)}")
    if more or len(set(schema.names)) < len(schema.names):
        problems.append(f"expected the columns {', '.join(sorted(expected))} once each and no other, got {more} more")
    for name in sorted(expected & set(schema.names)):
        kind, needed = schema.field(schema.names.index(name)).type, _needed(name, request)
        if not _fits(kind, needed):
            problems.append(f"column {name}: expected {needed}, got another type")
    if metadata.num_rows != request["rows"]:
        problems.append(f"expected {request['rows']} rows, got {metadata.num_rows}")
    if metadata.num_row_groups > _MAX_ROW_GROUPS:
        problems.append(f"expected at most {_MAX_ROW_GROUPS} row groups, got {metadata.num_row_groups}")
        return problems
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    # lists of one row may hold any number of values, so values are counted too
    values = max((sum(group.column(i).num_values for group in groups) for i in range(metadata.num_columns)), default=0)
    if values > max(request["rows"], request["list_values"]):
        problems.append(
            f"expected at most {max(request['rows'], request['list_values'])} values in a column, got more"
        )
    if sum(chunk.total_uncompressed_size for chunk in chunks) > request["max_bytes"]:
        problems.append(f"expected at most {request['max_bytes']} bytes unpacked, got more")
    return problems


def _needed(name: str, request: dict[str, Any]) -> str:
    if name == "run":
        return "whole numbers"
    if name in request["keys"]:
        return "text"
    return "lists of numbers" if name in request["lists"] else "numbers"


def _fits(kind: pa.DataType, needed: str) -> bool:
    if needed == "whole numbers":
        return bool(pa.types.is_integer(kind))
    if needed == "text":
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
    if needed == "numbers":
        return kind in (pa.float32(), pa.float64())
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and kind.value_type in (pa.float32(), pa.float64())


def main(request_file: Path, out: Path) -> None:
    """Answer one request."""
    request = json.loads(request_file.read_text(encoding="utf-8"))
    limit_resources(request["memory"], request["seconds"])
    try:
        problems = read(request, out)
    except MemoryError:
        problems = ["unpacks to more than it may"]
    except Exception:  # whatever a made-up file can raise; its words may hold what was made up
        problems = ["expected a Parquet file, could not read it"]
    print(json.dumps(problems))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
