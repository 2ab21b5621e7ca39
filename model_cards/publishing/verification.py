"""Named checks of a folder that is to be published, and all that they found."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file.

    Attributes:
        file: Name in the folder; empty where it is the folder as a whole.
        what: What was expected and what is there; never words of a report or an identifier.
        remedy: What to do.
        accepted_by: Entry of `--accept` that lets it go; empty where nothing does.
    """

    file: str
    what: str
    remedy: str
    accepted_by: str = ""

    def __str__(self) -> str:
        return f"{self.file + ': ' if self.file else ''}{self.what}; {self.remedy}"


@dataclass(frozen=True)
class Check:
    """A check: its name in the words of a user, and what finds its problems."""

    name: str
    find: Callable[[Path], Iterable[Problem]]


class PublishError(ValueError):
    """A folder that must not be published; `problems` by the name of the check that found them."""

    def __init__(self, folder: Path, problems: dict[str, list[Problem]]):
        self.problems = problems
        count = sum(map(len, problems.values()))
        listed = " | ".join(f"[{name}] {problem}" for name, found in problems.items() for problem in found)
        super().__init__(f"{count} problem{'s' if count > 1 else ''} in {folder}, nothing was pushed: {listed}")


def verify(folder: Path, checks: Iterable[Check], accepted: Iterable[str] = ()) -> None:
    """Run all checks, say how each ended, and fail if any found a problem that is not accepted.

    Args:
        folder: What is to be published.
        checks: Run in their order, all of them.
        accepted: Entries FILE:KIND of problems that may go.

    Raises:
        PublishError: There are problems; it has all of them.
        ValueError: Something is accepted that was not found.
    """
    left, failed, used = set(accepted), {}, set()
    for check in checks:
        problems = list(check.find(folder))
        used |= {problem.accepted_by for problem in problems} & left
        refused = [problem for problem in problems if problem.accepted_by not in left]
        accepted_here = len(problems) - len(refused)
        logger.info(
            "  %-6s %s%s",
            "FAILED" if refused else "ok",
            check.name,
            f" ({accepted_here} accepted)" * bool(accepted_here),
        )
        for problem in refused:
            logger.info("         - %s", problem)
        if refused:
            failed[check.name] = refused
    if failed:
        raise PublishError(folder, failed)
    if left - used:
        raise ValueError(f"accept: nothing was found for {', '.join(sorted(left - used))}; leave it out")
