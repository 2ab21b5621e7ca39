"""The files that make a folder a Space of the Hub."""

import yaml

GRADIO_VERSION = "6.31.0"
_APP = '''"""Serve the leaderboard in this folder."""

from pathlib import Path

from selip.leaderboard import serve_space

serve_space(Path(__file__).parent)
'''


def space_files(title: str, requirement: str) -> dict[str, str]:
    """Content by name of app.py, requirements.txt and README.md.

    Args:
        title: Title of the Space.
        requirement: Line that installs selip with its extra `space`.
    """
    head = {
        "title": title,
        "sdk": "gradio",
        "sdk_version": GRADIO_VERSION,
        "python_version": "3.11",
        "app_file": "app.py",
        "pinned": False,
        "license": "apache-2.0",
    }
    readme = [
        "---",
        yaml.safe_dump(head, sort_keys=False).rstrip(),
        "---",
        f"# {title}",
        "",
        "Built by `selip leaderboard build` and written by `selip leaderboard space`; `board/` holds the results,",
        "`benchmark/` what submissions are checked against. Not a medical device.",
        "",
    ]
    return {"app.py": _APP, "requirements.txt": f"{requirement}\n", "README.md": "\n".join(readme)}
