"""The app: a tab a task with parts to choose, a table to sort and intervals, and a tab that checks a submission.

It fetches nothing and reports nothing: no analytics, no share link, fonts of the system, and a policy that forbids
the browser to load anything from elsewhere.
"""

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..leaderboard.tables import Board, Table, TaskTab, headline, how_ranked, task_tabs
from ..templates import render

logger = logging.getLogger(__name__)

# File names and where they are, to lines for a person.
Check = Callable[[Sequence[tuple[str, Path]]], str]

_POLICY = "; ".join(
    [
        "default-src 'self' data: blob:",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'none'",
    ]
)
_WAITING = 8
_SWEEP_SECONDS, _UPLOAD_SECONDS = 60, 600  # uploads that nobody has had checked are swept away


def launch(board: Board, check: Check | None, *, host: str, port: int, max_bytes: int) -> None:
    """Serve the app until it is stopped.

    Args:
        board: As `selip leaderboard build` writes it.
        check: Checks uploaded files; None: the app has no such tab.
        host: Address to listen at.
        port: Port to listen at.
        max_bytes: Largest file that may be uploaded.

    Raises:
        ModuleNotFoundError: The extra `space` is not installed.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # gradio asks itself whether it is up
    logger.info("http://%s:%d/ shows the leaderboard until you press Ctrl-C", host, port)
    with tempfile.TemporaryDirectory(prefix="selip-leaderboard-", ignore_cleanup_errors=True) as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads  # read when components are made
        threading.Thread(target=_sweep, args=(Path(uploads),), daemon=True).start()
        app = build_app(board, check)
        app.queue(default_concurrency_limit=1, max_size=_WAITING, api_open=False).launch(
            server_name=host, server_port=port, **launch_options(max_bytes)
        )


def _sweep(uploads: Path) -> None:
    """Delete what was uploaded and never checked, again and again, while the folder is there."""
    while uploads.is_dir():
        delete_older(uploads, _UPLOAD_SECONDS)
        time.sleep(_SWEEP_SECONDS)


def delete_older(folder: Path, seconds: float) -> None:
    """Delete the files and folders of `folder` that are older than that."""
    for path in folder.iterdir():
        try:
            is_old = time.time() - path.stat().st_mtime > seconds
        except FileNotFoundError:  # checked, and so deleted, in the meantime
            continue
        if is_old and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif is_old:
            path.unlink(missing_ok=True)


def launch_options(max_bytes: int) -> dict[str, Any]:
    """How it is served wherever it is: nothing shared, nothing fetched, uploads limited."""
    gradio = _gradio()
    return {
        "share": False,
        "inbrowser": False,
        "quiet": True,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "pwa": False,
        "run_history": False,
        "footer_links": [],
        "max_file_size": max(max_bytes, 1),
        "theme": gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        "css": _css(),
        "app_kwargs": {"middleware": [_policy_middleware()]},
    }


def build_app(board: Board, check: Check | None) -> Any:
    """The app, not yet served; arguments and errors as for `launch`."""
    gradio = _gradio()
    with gradio.Blocks(analytics_enabled=False, title=f"Leaderboard: {board['benchmark']['name']}") as app:
        gradio.Markdown("# Leaderboard", sanitize_html=True)
        gradio.HTML(render("leaderboard_app/head.html.jinja", {"headline": headline(board), "board": board}))
        with gradio.Tabs():
            for tab in task_tabs(board):
                with gradio.Tab(tab.title, id=tab.id):
                    _task(gradio, tab)
            if check is not None:
                with gradio.Tab("Check a submission", id="check"):
                    _check(gradio, check)
            with gradio.Tab("About", id="about"):
                gradio.HTML(
                    render(
                        "leaderboard_app/about.html.jinja",
                        {"board": board, "rule": how_ranked(board)},
                    )
                )
    return app


def _task(gradio: Any, tab: TaskTab) -> None:
    """One task: what to look at, the table, the intervals."""
    if not tab.tables:
        gradio.HTML("<p>Nobody has handed in scores of this task.</p>")
        return
    table = tab.tables[0]
    by_id = {each.id: each for each in tab.tables}
    choices = [(f"{each.group}: {each.title}" if each.group else each.title, each.id) for each in tab.tables]
    part = gradio.Dropdown(choices, value=table.id, label="Part", elem_id=f"part-{tab.id}")
    first = shown(table)
    about = gradio.HTML(first[0])
    frame = gradio.Dataframe(
        value=first[1],
        headers=headers(table),
        datatype=datatypes(table),
        interactive=False,
        wrap=True,
        column_widths=[*("80px", "200px", "80px", "130px", "150px"), *["130px"] * (len(headers(table)) - 6), "260px"],
        max_height=900,
        label="click a heading to sort",
        elem_id=f"table-{tab.id}",
    )
    chart = gradio.HTML(first[2])
    outputs = [about, frame, chart]
    part.change(lambda chosen: shown(by_id[chosen]), part, outputs, api_visibility="private", show_progress="hidden")


def headers(table: Table) -> list[str]:
    """Headings: numbers stand alone, so that they can be sorted."""
    return ["rank", "system", "runs", table.columns[0], "95 % interval", *table.columns[1:], "behind"]


def datatypes(table: Table) -> list[str]:
    """Kinds of the columns of `headers`."""
    return ["number", "str", "number", "number", "str", *["number"] * (len(table.columns) - 1), "str"]


def shown(table: Table) -> tuple[str, dict[str, Any], str]:
    """What is said of a table, its rows as gradio's data frame takes them, and its chart."""
    rows = []
    for row in table.rows:
        values = [round(cell.value, 1) if cell.text else None for cell in row.cells]
        interval = row.cells[0].text.partition(" ")[2].strip("[]").replace(", ", " to ")
        rows.append([row.rank, row.name, row.runs, values[0], interval, *values[1:], ", ".join(row.behind)])
    chart = f'<div class="board-chart">{table.chart}</div>'
    # sorted as numbers, printed with one digit: 41.0, not 41
    printed = [[f"{value:.1f}" if isinstance(value, float) else value for value in row] for row in rows]
    frame = {"headers": headers(table), "data": rows, "metadata": {"display_value": printed, "styling": None}}
    return render("leaderboard_app/part.html.jinja", {"table": table}), frame, chart


def _check(gradio: Any, check: Check) -> None:
    """Upload, check, and forget."""
    gradio.HTML(
        "<p>Upload <code>submission.json</code> and the tables of a submission. They are checked as "
        "<code>selip leaderboard check</code> does it, on the machine that serves this page, and deleted.</p>"
    )
    # any type: our check says which files it expects, and deletes the others, too
    files = gradio.File(file_count="multiple", label="files of the submission")
    button = gradio.Button("Check", variant="primary", elem_id="check")
    answer = gradio.Textbox(label="what was found", lines=8, interactive=False, elem_id="answer")
    button.click(partial(check_upload, check), files, [answer, files], api_visibility="private", concurrency_limit=1)


def check_upload(check: Check, paths: Sequence[str] | None) -> tuple[str, None]:
    """Check uploaded files and delete them, whatever comes of it; the list of files is emptied."""
    if not paths:
        return "expected files, got none", None
    files = [(Path(path).name, Path(path)) for path in paths]
    try:
        return check(files), None
    finally:
        for _, path in files:
            # each upload has a folder of its own, named by a hash
            shutil.rmtree(path.parent, ignore_errors=True)


def _css() -> str:
    """Charts as on the page, in the colours of the theme."""
    colours = "--ink: var(--body-text-color); --soft: var(--body-text-color); --accent: #1b8ab8; "
    colours += "--line: var(--border-color-primary);"
    charts = f".board-chart {{ {colours} }} .board-chart svg {{ max-width: 900px; }}"
    return render("pages/chart_style.css.jinja", {}).replace("svg {", ".board-chart svg {") + charts


def _policy_middleware() -> Any:
    """Adds the policy to every answer."""
    from starlette.middleware import Middleware

    return Middleware(_Policy)


class _Policy:
    """ASGI middleware that sets headers; bodies pass as they are, streams too."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer"}
                added["x-content-type-options"] = "nosniff"
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in added.items())]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def _gradio() -> Any:
    """Gradio, told before it is imported that it reports nothing.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the app needs gradio: pip install 'selip[space]'") from error
    return gradio
