"""How training starts as a program of its own, in one process or in several: `accelerate launch -m MODULE CONFIG`."""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from accelerate import PartialState

from .configuration import find_config, load_config, overrides_from_arguments
from .distributed import leave_processes

logger = logging.getLogger(__name__)

ConfigT = TypeVar("ConfigT")


def run_program(
    train: Callable[[ConfigT], Any],
    config_class: type[ConfigT],
    arguments: Sequence[str] | None,
    *,
    module: str,
    command: str,
) -> None:
    """Read a configuration from the words of a command line, train, say what came of it, and leave.

    Args:
        train: What is run; what it returns is logged by the main process.
        config_class: What it takes.
        arguments: Words of the command line, a configuration first; None: those of this process.
        module: The module that is launched, for the usage.
        command: The `selip` command with the same options, for the usage.

    Raises:
        SystemExit: No configuration is given.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words or words[0].startswith("-"):
        raise SystemExit(
            f"usage: accelerate launch -m {module} CONFIG.yaml [--group.field value ...]\n"
            f"the options are those of `{command} --help`"
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    outcome = train(load_config(config_class, find_config(words[0]), overrides_from_arguments(words[1:])))
    if PartialState().is_main_process:
        logger.info("%s", outcome)
    leave_processes()
