"""Which structurer a name means. Only a language model of this machine loads torch."""

from pathlib import Path

from selip.processing.structurer import RuleStructurer, Structurer

RULES = "rules"


def structurer_named(
    name: str,
    *,
    base: str | None = None,
    batch_size: int = 16,
    model: str | None = None,
    concurrency: int = 16,
    timeout_s: float = 120.0,
) -> Structurer:
    """The structurer of a name.

    Args:
        name: `rules`; the URL of an OpenAI-compatible server; else the folder or Hub id of a language model.
        base: Folder or Hub id of the base of an adapter; what the adapter names if not given.
        batch_size: Reports at once, for a language model of this machine.
        model: Which model of a server; the first that it lists if not given.
        concurrency: Requests at once, for a server.
        timeout_s: Seconds that a server may be silent.

    Raises:
        FileNotFoundError: The model, or the base of an adapter, is not there.
        ValueError: The name means none, has no base, or as the structurer that is meant says.
        ConnectionError: A server cannot be reached.
    """
    is_server = name.startswith(("http://", "https://"))
    if base is not None and (name == RULES or is_server):
        raise ValueError(f"expected base with an adapter alone, {name} has none; leave --base out")
    if name == RULES:
        return RuleStructurer()
    if is_server:
        from .server import ServerStructurer

        return ServerStructurer(name, model=model, concurrency=concurrency, timeout_s=timeout_s)
    if not Path(name).is_dir() and name.strip("/").count("/") != 1:
        raise ValueError(f"expected {RULES}, a folder, a Hub id (owner/name) or a URL as the structurer, got {name!r}")
    from .local import load_local_structurer

    return load_local_structurer(name, base=base, batch_size=batch_size)
