"""Rank texts for a NIfTI file in a process that cannot import selip: what a user of a published checkpoint does.

    python -I fresh_process.py REQUEST.json ANSWER.json

The request holds `checkpoint` (folder), `volume` (file), `sequence` and `texts`; the answer adds `cosines`, one for
each text. The demo starts this file in a process of its own; nothing imports it.
"""

import json
import sys
from pathlib import Path
from typing import Any


def forbid_selip() -> None:
    """Make `import selip` fail from now on in this process, and check that it does.

    Raises:
        RuntimeError: It does not fail.
    """
    sys.modules["selip"] = None  # type: ignore[assignment]  # documented: None stops an import
    try:
        import selip  # noqa: F401
    except ModuleNotFoundError:
        return
    raise RuntimeError("expected `import selip` to fail in this process, it did not")


def rank_texts(checkpoint: str, volume: str, sequence: str, texts: list[str]) -> list[float]:
    """Cosine of a volume with each text, by the code that ships with the checkpoint."""
    import torch
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(checkpoint, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(checkpoint, trust_remote_code=True)
    batch = processor(images={sequence: volume}, text=texts, return_tensors="pt")
    with torch.inference_mode():
        output = model(**batch)
    return (output.image_embeds @ output.text_embeds.T)[0].tolist()  # (1, E) @ (E, P) -> (P,)


def main(request_file: Path, answer_file: Path) -> None:
    """Answer one request."""
    request: dict[str, Any] = json.loads(request_file.read_text(encoding="utf-8"))
    cosines = rank_texts(request["checkpoint"], request["volume"], request["sequence"], request["texts"])
    loaded = sorted(name for name in sys.modules if name.startswith("selip."))
    if loaded:
        raise RuntimeError(f"expected no module of selip in this process, got {', '.join(loaded)}")
    answer_file.write_text(json.dumps(request | {"cosines": cosines}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    forbid_selip()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
