"""What a checkpoint does to its input, row by row for its card: images by its processor, text by its tower."""

from collections.abc import Sequence
from typing import Any

from .checkpoint_facts import Checkpoint


def input_rows(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """Steps and what exactly is done; texts only where the checkpoint reads any."""
    settings = checkpoint.processor
    size, spacing = _joined(settings["spatial_size"], " x "), _joined(settings["spacing_mm"], " x ")
    low_high, window = _joined(settings["percentiles"], " and "), _joined(settings["adc_window"], " to ")
    rows = [
        ("orientation", "RAS+ (right, anterior, superior); oblique slices are resampled, not assumed axial"),
        (
            "grid",
            f"{size} voxels of {spacing} mm, anchored at the vertex, centred on the head; uncovered voxels are air",
        ),
        ("intensity", f"percentiles {low_high} inside the head mask are mapped to 0 and 1, per volume"),
        ("ADC", f"in 10^-6 mm^2/s, unit recognised; {window} is mapped to 0 to 1, no percentiles"),
        ("sequences", ", ".join(settings["sequence_names"])),
        ("absent sequences", "are left out and masked, never filled with zeros"),
    ]
    return rows + _text_rows(checkpoint) if checkpoint.task == "embedding" else rows


def _text_rows(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    facts = checkpoint.environment
    rows = [
        (
            "text",
            "Unicode composed (NFC), every run of white space becomes one space; case, punctuation and full-width "
            "forms stay",
        )
    ]
    if facts.get("max_text_tokens"):
        rows.append(("text length", f"cut to {facts['max_text_tokens']} tokens"))
    kind = (checkpoint.model.get("text_config") or {}).get("model_type")
    tower = facts.get("text_tower") or ("from scratch, tokenizer of its own" if "text_tower" in facts else None)
    parts = [part for part in (kind, tower) if part]
    if facts.get("text_tuning"):
        parts.append(f"tuning: {facts['text_tuning']}")
    if parts:
        rows.append(("text tower", ", ".join(parts)))
    if facts.get("language"):
        rows.append(
            (
                "training texts",
                f"rendered from structured findings, in the language {facts['language']}; a finding whose sentence "
                f"names no sequence goes to: {facts['unnamed']}",
            )
        )
    return rows


def _joined(values: Sequence[Any], between: str) -> str:
    return between.join(map(str, values))
