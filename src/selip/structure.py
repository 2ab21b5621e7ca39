"""`selip structure`: which structurer a request means, and the run with it."""

from selip.processing.sources.config import StructureConfig
from selip.processing.structurer import RuleStructurer, Structurer
from selip.processing.structuring import StructuringSummary, structure_reports


def structure(config: StructureConfig) -> StructuringSummary:
    """Structure reports with the structurer that `config.structurer` names."""
    return structure_reports(config, choose_structurer(config))


def choose_structurer(config: StructureConfig) -> Structurer:
    """The rules, a server, or a language model of this machine; only the last loads torch.

    Raises:
        ValueError: As the structurer that is asked says.
    """
    if config.structurer == "rules":
        return RuleStructurer()
    if config.structurer.startswith(("http://", "https://")):
        from selip.training.structuring.server import ServerStructurer

        return ServerStructurer(
            config.structurer, model=config.model, concurrency=config.concurrency, timeout_s=config.timeout_s
        )
    from selip.training.structuring.local import load_local_structurer

    return load_local_structurer(config.structurer, batch_size=config.batch_size)
