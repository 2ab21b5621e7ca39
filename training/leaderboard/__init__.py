"""Leaderboards: frozen benchmarks, submissions that are checked, and systems ranked by paired differences."""
