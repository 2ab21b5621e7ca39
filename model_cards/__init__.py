"""Pages written from results: the card of a checkpoint and the page of the demo.

This package reads JSON and images. It never computes a number and never imports `selip.training`.
"""
