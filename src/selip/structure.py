"""`selip structure`: the structurer that a request names, and the run with it."""

from selip.processing.sources.config import StructureConfig
from selip.processing.structuring import StructuringSummary, structure_reports
from selip.training.structuring.choice import structurer_named


def structure(config: StructureConfig) -> StructuringSummary:
    """Structure reports with the structurer that `config.structurer` names."""
    structurer = structurer_named(
        config.structurer,
        base=config.base,
        batch_size=config.batch_size,
        model=config.model,
        concurrency=config.concurrency,
        timeout_s=config.timeout_s,
    )
    return structure_reports(config, structurer)
