"""A leaderboard as a Gradio app: on this machine by one command, or as a Space of the Hub."""

from .app import build_app, launch
from .space import space_files

__all__ = ["build_app", "launch", "space_files"]
