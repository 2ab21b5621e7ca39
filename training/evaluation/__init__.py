"""Evaluation of checkpoints: pure metrics, and evaluators that return a flat dict."""
