"""Which structurer a name means. Only a language model of this machine loads torch."""

from pathlib import Path

from selip.processing.structurer import RuleStructurer, Structurer

RULES = "rules"


def structurer_named(
    name: str, *, batch_size: int = 16, model: str | None = None, concurrency: int = 16, timeout_s: float = 120.0
) -> Structurer:
    """The structurer of a name.

    Args:
        name: `rules`; the URL of an OpenAI-compatible server; else the folder or Hub id of a language model.
        batch_size: Reports at once, for a language model of this machine.
        model: Which model of a server; the first that it lists if not given.
        concurrency: Requests at once, for a server.
        timeout_s: Seconds that a server may be silent.

    Raises:
        ValueError: The name means none, or as the structurer that is meant says.
        ConnectionError: A server cannot be reached.
    """
    if name == RULES:
        return RuleStructurer()
    if name.startswith(("http://", "https://")):
        from .server import ServerStructurer

        return ServerStructurer(name, model=model, concurrency=concurrency, timeout_s=timeout_s)
    if not Path(name).is_dir() and name.strip("/").count("/") != 1:
        raise ValueError(f"expected {RULES}, a folder, a Hub id (owner/name) or a URL as the structurer, got {name!r}")
    from .local import load_local_structurer

    return load_local_structurer(name, batch_size=batch_size)
