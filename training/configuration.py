"""Typed configuration: YAML file -> frozen dataclass, with overrides and errors that name the nearest key.

The dataclasses themselves stand beside the code that uses them. A field may be a `bool`, `int`, `float`, `str`,
`Path`, `Literal`, `tuple[...]`, `dict`, an optional of these, or another dataclass (a group). The flow is always
YAML -> dataclass -> explicit arguments; nothing reads a raw dictionary.

This module imports the standard library only (and PyYAML when a file is read), so that `selip --help` stays quick.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

ConfigT = TypeVar("ConfigT")

_NONE_WORDS = ("none", "null")
_BOOL_WORDS = {"true": True, "yes": True, "false": False, "no": False}


@dataclasses.dataclass(frozen=True)
class Option:
    """One value of a configuration, groups flattened.

    Attributes:
        key: Dotted name, e.g. `optimization.steps`.
        annotation: Type of the value.
        default: Default value, `dataclasses.MISSING` where the value is required.
        help: What the value means, from `metadata["help"]` or the attributes in the docstring of its class.
        is_positional: Whether a command line takes it without naming it: `metadata["positional"]`, and whatever is
            required.
    """

    key: str
    annotation: Any
    default: Any
    help: str
    is_positional: bool


def load_config(
    cls: type[ConfigT], path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> ConfigT:
    """Build a configuration from a YAML file and overrides; the overrides win.

    Args:
        cls: Dataclass to build.
        path: YAML file that holds a mapping, or None for the defaults.
        overrides: Values by dotted key, e.g. `{"optimization.steps": "100"}`. Text is converted to the field's type.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: Unknown or missing key, wrong type, or a value that the dataclass refuses.

    Example:
        >>> load_config(PretrainConfig, "selip.yaml", {"optimization.steps": 100})  # doctest: +SKIP
    """
    values = read_yaml(path) if path is not None else {}
    for key, value in (overrides or {}).items():
        _set(values, key.split("."), value)
    return build_config(cls, values, where=str(path) if path is not None else "the arguments")


def build_config(cls: type[ConfigT], values: Mapping[str, Any], *, where: str) -> ConfigT:
    """Build a dataclass from nested mappings, checking every key and type.

    Args:
        cls: Dataclass to build.
        values: Values by field name; a group is a mapping of its own.
        where: Name of the origin for error messages.

    Raises:
        ValueError: As for `load_config`.
    """
    return _build(cls, values, base=None, prefix="", where=where)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping (an empty file is an empty mapping).

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is not YAML or holds something else than a mapping.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a YAML file, found none at {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"expected a mapping of keys to values in {path}, got a {type(values).__name__}")
    return values


def as_dict(config: Any) -> dict[str, Any]:
    """Nested plain values of a configuration, ready for YAML or JSON: paths become text, tuples become lists."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def overrides_from_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Read `--group.field value` and `--group.field=value` from a command line.

    Dashes in a name stand for underscores. The values stay text; `load_config` converts them.

    Raises:
        ValueError: Something that is not an option, or an option without a value.
    """
    overrides = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ValueError(f"expected an option such as --optimization.steps 100, got {word!r}")
        name, has_value, value = word[2:].partition("=")
        if not has_value:
            if not rest:
                raise ValueError(f"expected a value after {word}")
            value = rest.pop(0)
        overrides[name.replace("-", "_")] = value
    return overrides


def find_config(name: str | Path) -> Path:
    """Path of a YAML file, or of a configuration that ships with the package (by its name without `.yaml`).

    Raises:
        FileNotFoundError: Neither exists; the message lists the shipped names.
    """
    path = Path(name)
    if path.is_file():
        return path
    folder = Path(__file__).parent / "configs"
    shipped = {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.yaml"))}
    if str(name) in shipped:
        return shipped[str(name)]
    raise FileNotFoundError(
        f"expected a YAML file or the name of a shipped configuration ({', '.join(shipped)}), got {str(name)!r}"
    )


def options_of(cls: type, prefix: str = "") -> list[Option]:
    """All values of a dataclass and its groups, in the order of the fields."""
    annotations = typing.get_type_hints(cls)
    described = _described_attributes(cls)
    options = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        key = f"{prefix}{field.name}"
        group = _group_of(annotations[field.name])
        if group is not None:
            options.extend(options_of(group, prefix=f"{key}."))
            continue
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        text = field.metadata.get("help", described.get(field.name, ""))
        is_positional = bool(field.metadata.get("positional", default is MISSING))
        options.append(Option(key, annotations[field.name], default, text, is_positional))
    return options


def nearest(name: str, allowed: Sequence[str]) -> str:
    """The end of an error message: the nearest allowed name if there is one, and the list of all."""
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (allowed: {', '.join(allowed)})"


def _build(cls: type[ConfigT], values: Mapping[str, Any], *, base: ConfigT | None, prefix: str, where: str) -> ConfigT:
    annotations = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ValueError(f"unknown key {prefix + str(key)!r} in {where}{nearest(str(key), list(fields))}")
    arguments: dict[str, Any] = {}
    for name, field in fields.items():
        key = prefix + name
        group = _group_of(annotations[name])
        if name not in values:
            if base is not None or field.default is not MISSING or field.default_factory is not MISSING:
                continue
            if group is None:
                raise ValueError(f"expected a value for {key!r} ({_name(annotations[name])}) in {where}, got none")
        value = values.get(name, {})  # a required group that is not there: the error names its first required key
        if group is not None and isinstance(value, Mapping):
            start = getattr(base, name) if base is not None else _default(field)
            arguments[name] = _build(group, value, base=start, prefix=f"{key}.", where=where)
        else:
            arguments[name] = convert(value, annotations[name], where=f"{key!r} in {where}")
    try:
        return dataclasses.replace(base, **arguments) if base is not None else cls(**arguments)  # type: ignore[type-var]
    except ValueError as error:
        raise ValueError(f"{error} (in {where})") from error


def convert(value: Any, annotation: Any, *, where: str) -> Any:
    """Convert a value of YAML or of the command line to the type of a field.

    Raises:
        ValueError: The value is not one of that type; the message names `where`.
    """
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(annotation), where=where)
    if origin is Literal:
        return _convert_literal(value, get_args(annotation), where=where)
    if annotation in (tuple, list) or origin in (tuple, list):
        return _convert_sequence(value, origin or annotation, get_args(annotation), where=where)
    if annotation is Any:
        return value
    if annotation is dict or origin is dict:
        return _convert_mapping(value, where=where)
    converter = {bool: _to_bool, int: _to_int, float: _to_float, str: _to_str, Path: _to_path}.get(annotation)
    if converter is None:
        if dataclasses.is_dataclass(annotation) and isinstance(value, annotation):  # type: ignore[arg-type]
            return value
        raise ValueError(f"expected {_name(annotation)} for {where}, got {value!r}")
    try:
        return converter(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected {_name(annotation)} for {where}, got {value!r}") from error


def _convert_union(value: Any, members: tuple[Any, ...], *, where: str) -> Any:
    if type(None) in members and (value is None or (isinstance(value, str) and value.lower() in _NONE_WORDS)):
        return None
    others = [member for member in members if member is not type(None)]
    for member in others:
        try:
            return convert(value, member, where=where)
        except ValueError:
            if len(others) == 1:
                raise
    raise ValueError(f"expected {' or '.join(_name(member) for member in others)} for {where}, got {value!r}")


def _convert_literal(value: Any, allowed: tuple[Any, ...], *, where: str) -> Any:
    for choice in allowed:
        if choice == value or (isinstance(value, str) and str(choice) == value):
            return choice
    raise ValueError(f"unknown value {value!r} for {where}{nearest(str(value), [str(choice) for choice in allowed])}")


def _convert_sequence(value: Any, kind: type, members: tuple[Any, ...], *, where: str) -> Any:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")] if value else []
    if not isinstance(value, Sequence):
        raise ValueError(f"expected a list for {where}, got {value!r}")
    if not members:
        return kind(value)
    if kind is tuple and members[-1] is not Ellipsis:
        if len(value) != len(members):
            raise ValueError(f"expected {len(members)} values for {where}, got {len(value)}: {value!r}")
        return tuple(convert(part, member, where=where) for part, member in zip(value, members, strict=True))
    return kind(convert(part, members[0], where=where) for part in value)


def _convert_mapping(value: Any, *, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        import yaml

        value = yaml.safe_load(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a mapping for {where}, got {value!r}")
    return dict(value)


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return _BOOL_WORDS[value.lower()] if isinstance(value, str) and value.lower() in _BOOL_WORDS else _refuse()


def _to_int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        return _refuse()
    return int(value)


def _to_float(value: Any) -> float:
    # YAML 1.1 reads 1e-4 (no dot) as text, so text is converted here.
    return _refuse() if isinstance(value, bool) else float(value)


def _to_str(value: Any) -> str:
    return value if isinstance(value, str) else _refuse()


def _to_path(value: Any) -> Path:
    return Path(value).expanduser()


def _refuse() -> typing.NoReturn:
    raise TypeError("wrong type")


def _set(values: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set a nested value, making groups where there are none."""
    *groups, last = keys
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise ValueError(f"expected a group of values at {group!r}, got {values!r}")
    values[last] = value


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def _group_of(annotation: Any) -> type | None:
    """The dataclass that a field holds, alone or as an optional, or None."""
    candidates = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    found = [item for item in candidates if isinstance(item, type) and dataclasses.is_dataclass(item)]
    return found[0] if found else None


def _name(annotation: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(annotation))
    return names.get(annotation, str(getattr(annotation, "__name__", annotation)))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_dict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    return value


def _described_attributes(cls: type) -> dict[str, str]:
    """Descriptions of the fields from the `Attributes:` or `Args:` section of a class docstring."""
    described: dict[str, str] = {}
    inside, name, indent = False, "", 0
    for line in (cls.__doc__ or "").expandtabs().splitlines():
        text = line.strip()
        depth = len(line) - len(line.lstrip())
        if text in ("Attributes:", "Args:"):
            inside, indent = True, 0
        elif inside and text:
            indent = indent or depth
            head, colon, tail = text.partition(": ")
            if depth < indent:
                inside = False
            elif depth == indent and colon:
                name = head.split()[0].strip("`")
                described[name] = tail
            elif name:
                described[name] += f" {text}"
    return described
