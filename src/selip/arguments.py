"""Command-line arguments from the dataclasses that also describe the YAML files.

A field without a default is a positional argument, any other field is an option: `num_proc` is `--num-proc`, a group's
field is `--optimization.steps`, a truth value has a `--no-` form, several values are written with commas. The help
text is the field's own description. Values are converted by `selip.training.configuration`, so a value is right or
wrong in the same words wherever it comes from.
"""

import argparse
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from selip.training.configuration import Option, find_config, load_config, nearest, options_of

ConfigT = TypeVar("ConfigT")


class Parser(argparse.ArgumentParser):
    """`argparse` with errors as exceptions and no abbreviated options."""

    def __init__(self, *, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see `{self.prog} --help`")


def parse_config(
    cls: type[ConfigT],
    arguments: Sequence[str],
    *,
    prog: str,
    description: str = "",
    epilog: str = "",
    config_first: bool = False,
) -> ConfigT:
    """Build a configuration from command-line words.

    Args:
        cls: Dataclass to build.
        arguments: Words after the command.
        prog: Command shown in the help, e.g. `selip simulate`.
        description: What the command does.
        epilog: Example shown below the options.
        config_first: Take the YAML file as the first positional argument and every field as an option. Otherwise the
            file is the option `--config` and the fields without default are positional.

    Raises:
        ValueError: Unknown option, wrong or missing value.
        FileNotFoundError: The YAML file does not exist.
    """
    parser = Parser(prog=prog, description=description, epilog=epilog)
    options = options_of(cls)
    if config_first:
        parser.add_argument("config", metavar="CONFIG", help="YAML file, or the name of a shipped configuration")
    else:
        parser.add_argument("--config", metavar="FILE", help="YAML file with any of these values; options win")
    for option in options:
        _add(parser, option, positional=option.is_positional and not config_first)
    values, unknown = parser.parse_known_args(list(arguments))
    _refuse_unknown(unknown, parser)
    given = {key: value for key, value in vars(values).items() if key != "config" and value is not None}
    return load_config(cls, find_config(values.config) if values.config else None, given)


def _add(parser: argparse.ArgumentParser, option: Option, *, positional: bool) -> None:
    if positional:
        # May stand in the YAML file instead, so a missing one is reported after both have been read.
        parser.add_argument(option.key, nargs="?", metavar=_dashed(option.key).upper(), help=_help(option))
        return
    flag = f"--{_dashed(option.key)}"
    if _plain_type(option.annotation) is bool:
        action = argparse.BooleanOptionalAction
        parser.add_argument(flag, dest=option.key, action=action, default=None, help=_help(option))
    else:
        parser.add_argument(flag, dest=option.key, metavar=_metavar(option), help=_help(option))


def _refuse_unknown(unknown: Sequence[str], parser: argparse.ArgumentParser) -> None:
    if not unknown:
        return
    word = unknown[0].partition("=")[0]
    if not word.startswith("-"):
        raise ValueError(f"unexpected argument {word!r}; see `{parser.prog} --help`")
    allowed = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    raise ValueError(f"unknown option {word!r}{nearest(word, allowed)}")


def _help(option: Option) -> str:
    text = option.help.rstrip(".")
    if option.default is not MISSING:
        text = f"{text} (default: {_shown(option.default)})".strip()
    return text.replace("%", "%%")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ",".join(str(part) for part in value) or "empty"
    return str(value)


def _metavar(option: Option) -> str:
    annotation = _plain_type(option.annotation)
    if get_origin(annotation) is Literal:
        return "{" + ",".join(str(choice) for choice in get_args(annotation)) + "}"
    if annotation in (tuple, list) or get_origin(annotation) in (tuple, list):
        return "A,B,..."
    names = {int: "N", float: "X", Path: "PATH", str: "TEXT"}
    return names.get(annotation, "VALUE")


def _plain_type(annotation: Any) -> Any:
    """The type without `| None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        return members[0] if len(members) == 1 else annotation
    return annotation


def _dashed(name: str) -> str:
    return name.replace("_", "-")
