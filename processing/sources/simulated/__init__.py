"""Simulated head MRI studies: images, reports and the truth behind both, on disk in BIDS layout.

Import `SimulationConfig` from `.config` and `simulate_studies` from `.writer`; this file imports nothing, so that help
texts and configuration need no numpy.
"""
