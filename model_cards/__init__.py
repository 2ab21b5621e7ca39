"""Pages written from results: cards of models, structurers, data sets and benchmarks, the page of the demo and others.

This package reads JSON and images. It never computes a metric and never imports `selip.training`.
"""
