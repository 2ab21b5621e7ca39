"""What a reader must know before believing the numbers of an evaluation."""

from collections.abc import Iterable, Mapping
from typing import Any

# With fewer studies of a label its interval is too narrow (docs/zero_shot.md).
FEW_POSITIVES = 10
MISSING_CAVEAT = (
    "A set of sequences is evaluated on the studies that have one of them, so the rows are not all of the same "
    "studies. Differences in single cells have no interval: those of labels with few studies come and go by chance."
)


def caveats(record: Mapping[str, Any]) -> Iterable[str]:
    """Sentences on what the numbers of a result file do not say."""
    settings, data = record.get("settings", {}), record.get("data", {})
    yield from data_caveats(record)
    if settings.get("control", "none") != "none":
        yield (
            f"Control {settings['control']}: the link between picture and text was cut on purpose. What is above "
            "chance here is not what they have in common."
        )
    if settings.get("sequences", "all") != "all":
        yield f"Studies were shown with {', '.join(settings['sequences'])} alone, as if they had no other sequence."
    samples = settings.get("bootstrap_samples", 0)
    if samples:
        kind = settings.get("interval", "bootstrap")
        yield f"Intervals: {kind}, {samples:,} draws. They hold for this test set and this one training."
    else:
        yield "There are no intervals: nothing tells chance from difference here."
    few = [name.rpartition("/")[0] for name, count in record["metrics"].items() if _is_few(name, count)]
    if few:
        yield f"Fewer than {FEW_POSITIVES} studies have: {', '.join(few)}. Their intervals are too narrow."
    if data.get("texts_in_other_splits"):
        yield f"{data['texts_in_other_splits']} reports of these studies stand word for word in another split too."
    sources = data.get("reference_findings", {})
    if sources.get("findings_table"):
        yield (
            f"What is right comes from a structurer, not from readers, for {sources['findings_table']} studies: its "
            "mistakes count as truth here."
        )
    if "probability" in settings:
        yield f"Probabilities are not calibrated ({settings['probability']})."


def data_caveats(record: Mapping[str, Any]) -> Iterable[str]:
    """What the studies alone already say against the numbers."""
    if record.get("simulated"):
        yield "The studies are simulated. The numbers say nothing of how the model does on patients."
    if record.get("data", {}).get("split") == "train":
        yield "These are the studies that the model learnt from. The numbers say nothing of new ones."


def _is_few(name: str, count: float | None) -> bool:
    return name.endswith("/n_positive") and count is not None and count < FEW_POSITIVES
