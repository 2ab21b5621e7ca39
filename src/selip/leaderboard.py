"""`selip leaderboard`: benchmarks, submissions and their pages, tied together.

selip leaderboard init benchmark data/studies --tasks retrieval,pairs,probe --pairs data/bids/pairs.tsv
selip leaderboard submit r0.json,r1.json,p0.json,p1.json submissions/mine --benchmark benchmark --system "Mine"
selip leaderboard check submissions/mine --benchmark benchmark
selip leaderboard build benchmark submissions board
selip leaderboard serve board --benchmark benchmark
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selip.model_cards.leaderboard.page import write_leaderboard_pages
from selip.model_cards.leaderboard.tables import BOARD_NAME, read_board, task_tabs
from selip.model_cards.tables.results import read_result
from selip.processing.atomic_files import replacing_folder
from selip.training.leaderboard.benchmark import Benchmark, load_benchmark
from selip.training.leaderboard.benchmark_writer import init_benchmark
from selip.training.leaderboard.board import build_board, check_all, every_metric
from selip.training.leaderboard.checking import CheckedSubmission, check_submission, largest_upload
from selip.training.leaderboard.config import (
    MAX_RUNS,
    LeaderboardBuildConfig,
    LeaderboardCheckConfig,
    LeaderboardInitConfig,
    LeaderboardServeConfig,
    LeaderboardSpaceConfig,
    LeaderboardSubmitConfig,
)
from selip.training.leaderboard.submission import DESCRIPTION_NAME, MAX_DESCRIPTION_BYTES, parse_submission
from selip.training.leaderboard.submitting import make_submission

METRICS_NAME = "metrics.json"


def init_leaderboard(config: LeaderboardInitConfig) -> str:
    """Freeze a benchmark; errors as `init_benchmark`."""
    made = init_benchmark(config)
    cases = ", ".join(f"{len(reference.keys)} cases of {task}" for task, reference in made.references.items())
    return f"{made.name} {made.version}: {cases}\nfingerprint {made.fingerprint}"


def submit(config: LeaderboardSubmitConfig) -> CheckedSubmission:
    """Make a submission of result files; errors as `make_submission`."""
    return make_submission(config, [read_result(path) for path in config.results])


def check(config: LeaderboardCheckConfig) -> CheckedSubmission:
    """Check a submission.

    Raises:
        ValueError: It is refused; the message has all reasons.
    """
    found = check_submission(config.submission, load_benchmark(config.benchmark))
    if not found.is_taken:
        raise ValueError(str(found))
    return found


def build(config: LeaderboardBuildConfig) -> str:
    """Check, recompute, rank and write all pages; the same input gives the same bytes.

    Raises:
        FileExistsError: The folder is there and `overwrite` is off, or it is something else than a leaderboard.
        FileNotFoundError: The benchmark or the submissions are not there.
        ValueError: A file of the benchmark is not the one that was frozen.
    """
    benchmark = load_benchmark(config.benchmark)
    with replacing_folder(config.out, marker=BOARD_NAME, overwrite=config.overwrite) as folder:
        checked = check_all(config.submissions, benchmark)
        board = build_board(
            benchmark, checked, num_samples=config.bootstrap_samples, seed=config.seed, alpha=config.alpha
        )
        _write(folder / BOARD_NAME, board)
        _write(folder / METRICS_NAME, every_metric(checked))
        write_leaderboard_pages(board, folder)
    return _summary(board)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _summary(board: dict[str, Any]) -> str:
    """The first table of every task, and what was refused."""
    lines = [f"{len(board['systems'])} systems, {len(board['refused'])} submissions refused"]
    for tab in task_tabs(board):
        for table in tab.tables[:1]:
            lines += ["", f"{tab.title}, {table.title}: {table.columns[0]}, percent [95 % interval]"]
            lines += [
                f"{row.rank:>3}{'=' if row.tied else ' '} {row.name:<40} {row.cells[0].text}" for row in table.rows
            ]
    for each in board["refused"]:
        lines += ["", f"refused: {each['submission']}", *(f"- {reason}" for reason in each["reasons"])]
    return "\n".join(lines)


def upload_check(benchmark: Benchmark) -> Any:
    """A function that checks uploaded files: (file name, path) pairs in, lines for a person out.

    Files are copied under their plain names into a folder that is removed afterwards; the checker is the same as that
    of `selip leaderboard check`.
    """
    limit = largest_upload(benchmark, MAX_RUNS)
    allowed = {DESCRIPTION_NAME, *(f"{task}.parquet" for task in benchmark.tasks)}

    def check_files(files: Sequence[tuple[str, Path]]) -> str:
        names = [name for name, _ in files]
        if len(set(names)) < len(names) or not set(names) <= allowed:
            return f"refused:\n- expected the files {', '.join(sorted(allowed))}, each once at most, and no other"
        if any(path.stat().st_size > limit for _, path in files):
            return f"refused:\n- expected files of at most {limit >> 20} MiB"
        with tempfile.TemporaryDirectory(prefix="selip-upload-") as folder:
            for name, path in files:
                shutil.copyfile(path, Path(folder) / name)
            return str(check_submission(Path(folder), benchmark, name=_given_id(Path(folder))))

    return check_files


def _given_id(folder: Path) -> str:
    """The id that a description gives itself: an upload has no folder to be named by."""
    path = folder / DESCRIPTION_NAME
    if not path.is_file() or path.stat().st_size > MAX_DESCRIPTION_BYTES:
        return ""
    found, _ = parse_submission(path.read_bytes())
    return "" if found is None else found.id


def serve(config: LeaderboardServeConfig) -> None:
    """Show a leaderboard in the browser until it is stopped.

    Raises:
        FileNotFoundError: The leaderboard or the benchmark is not there.
        ModuleNotFoundError: The extra `space` is not installed.
    """
    from selip.model_cards.leaderboard_app import launch

    launch(
        read_board(config.leaderboard),
        None if config.benchmark is None else upload_check(load_benchmark(config.benchmark)),
        host=config.host,
        port=config.port,
        max_bytes=_upload_limit(config.benchmark),
    )


def _upload_limit(benchmark: Path | None) -> int:
    return 0 if benchmark is None else largest_upload(load_benchmark(benchmark), MAX_RUNS)


def serve_space(folder: Path) -> None:
    """What `app.py` of a Space runs: the leaderboard and benchmark beside it, at the address that a Space needs."""
    serve(LeaderboardServeConfig(folder / "board", folder / "benchmark", host="0.0.0.0"))


def write_space(config: LeaderboardSpaceConfig) -> str:
    """Write a folder that can be pushed as a Space of the Hub.

    Raises:
        FileExistsError: The folder is there and `overwrite` is off, or it is something else than a Space.
        FileNotFoundError: The leaderboard or the benchmark is not there.
    """
    from selip.model_cards.leaderboard_app import space_files

    board = read_board(config.leaderboard)
    benchmark = load_benchmark(config.benchmark)
    if board["benchmark"]["fingerprint"] != benchmark.fingerprint:
        raise ValueError("expected the benchmark that the leaderboard was built on, got another one")
    with replacing_folder(config.out, marker="app.py", overwrite=config.overwrite) as folder:
        for name, content in space_files(config.title, config.requirement).items():
            (folder / name).write_text(content, encoding="utf-8")
        shutil.copytree(config.benchmark, folder / "benchmark")
        (folder / "board").mkdir()
        shutil.copyfile(config.leaderboard / BOARD_NAME, folder / "board" / BOARD_NAME)
    return f"wrote {config.out}: push it as a Space with the SDK gradio"
