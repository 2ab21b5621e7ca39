"""Prepared volumes, batches, objectives, the training loop and evaluation.

Import the module you need, e.g. `from selip.training.pretrain import pretrain`. Nothing is imported here.
"""
