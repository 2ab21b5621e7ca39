"""Work in stages, each by the command that a user would type: what is finished is skipped, what was cut goes on."""

import hashlib
import json
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selip import __version__


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: Heading, unique among the stages.
        words: What follows `selip` on the command line; empty for a stage that is no command.
        output: File or folder that exists if and only if the stage is finished; None where only the record tells.
        action: What is done where there is no command.
        needs: Names of the stages whose result it uses, so that other settings of these make it run anew; None: all
            before it.
    """

    name: str
    words: tuple[str, ...] = ()
    output: Path | None = None
    action: Callable[[], None] | None = None
    needs: tuple[str, ...] | None = None


class StagedWork:
    """Stages in one folder, with a record of what is done, in how many seconds and with which settings.

    Attributes:
        record: By stage name: `is_started`, `is_finished`, `replaces` (something made with other settings), `seconds`
            and `fingerprint` (of the settings of this stage and those it needs).
        skipped: Number of stages that had been done before.
    """

    def __init__(self, folder: Path, record_name: str, stages: Sequence[Stage], *, overwrite: bool):
        """
        Args:
            folder: Where all is made; created if it is not there.
            record_name: File of the record in it.
            stages: In their order.
            overwrite: Run stages anew that were made with other settings, and those after them.

        Raises:
            FileExistsError: The folder holds work with other settings, or something else, and `overwrite` is off.
        """
        self.folder, self.path, self.stages = folder, folder / record_name, tuple(stages)
        self.skipped = 0
        self.record = self._open_record(overwrite)

    @property
    def seconds(self) -> float:
        """Time spent in all stages, over all runs."""
        return sum(entry["seconds"] for entry in self.record.values())

    def run(self) -> None:
        """Run every stage that is not finished, in order."""
        for number, stage in enumerate(self.stages, start=1):
            heading = f"[{number}/{len(self.stages)}] {stage.name}, {self.seconds / 60:.1f} min so far"
            if self.record[stage.name]["is_finished"]:
                print(f"{heading}: done before", flush=True)
                self.skipped += 1
                continue
            print(f"\n{heading}", flush=True)
            self._run_stage(stage, self.record[stage.name])

    def _run_stage(self, stage: Stage, entry: dict[str, Any]) -> None:
        """Run one stage and write down how long it took."""
        start = time.perf_counter()
        entry["is_started"] = True
        self._write_record(self.record)
        if entry["replaces"] or stage.output is None or not stage.output.exists():
            _act(stage, overwrite=entry["replaces"])
        entry |= {"seconds": time.perf_counter() - start, "is_finished": True, "replaces": False}
        self._write_record(self.record)

    def _open_record(self, overwrite: bool) -> dict[str, dict[str, Any]]:
        if not self.path.exists() and self.folder.exists() and any(self.folder.iterdir()):
            raise FileExistsError(f"{self.folder} holds something else than {self.path.stem}; choose another folder")
        known = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        names = {stage.name for stage in self.stages}
        self._unlisted = {name: entry for name, entry in known.items() if name not in names}
        record: dict[str, dict[str, Any]] = {}
        for stage in self.stages:
            before = record if stage.needs is None else {name: record[name] for name in stage.needs}
            needed = [entry["fingerprint"] for entry in before.values()]
            words = (__version__, *needed, stage.name, *stage.words)
            fingerprint = hashlib.sha256("\0".join(words).encode()).hexdigest()
            entry = known.get(stage.name)
            if entry is None or not entry["is_started"]:
                entry = {"is_started": False, "is_finished": False, "replaces": False, "seconds": 0.0}
            elif entry["fingerprint"] != fingerprint:
                if not overwrite:
                    raise FileExistsError(
                        f"{self.folder} holds {self.path.stem} with other settings (stage {stage.name!r}); choose "
                        "another folder, or pass --overwrite to run the stages anew that differ"
                    )
                entry |= {"is_finished": False, "replaces": True}
            elif stage.output is not None and not stage.output.exists():
                entry["is_finished"] = False
            entry["fingerprint"] = fingerprint
            record[stage.name] = entry
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_record(record)
        return record

    def _write_record(self, record: dict[str, dict[str, Any]]) -> None:
        partial = self.path.with_name(f".{self.path.name}.partial")
        # what later stages of the same folder have done is kept: not all may be known yet
        partial.write_text(json.dumps({**record, **self._unlisted}, indent=1), encoding="utf-8")
        os.replace(partial, self.path)


def _act(stage: Stage, *, overwrite: bool) -> None:
    from selip import cli

    if stage.action is not None:
        stage.action()
        return
    words = [*stage.words, "--overwrite"] if overwrite else list(stage.words)
    print(f"$ {shlex.join(['selip', *words])}", flush=True)
    command = cli.find_command(words)
    result = cli.run(command, words[len(command.words) :])
    if result is not None:
        print(cli.shown(result), flush=True)
