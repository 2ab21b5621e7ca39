"""Volumes, reports and studies: from what lies on disk to what a model reads.

Import the module you need, e.g. `from selip.processing.findings import StructuredReport`. Nothing is imported here, so
that reading a report does not load torch.
"""
