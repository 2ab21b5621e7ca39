"""What `selip similar` takes. Standard library only, so that `--help` stays quick."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .config import SimilarityKind, check_similarity


@dataclass(frozen=True)
class SimilarConfig:
    """`selip similar`: what a similarity calls similar, among the texts of a findings table."""

    findings: Path = field(metadata={"help": "Findings table, as `selip structure` writes it."})
    out: Path = field(metadata={"help": "Page to write (.html); its numbers are put beside it as .json."})
    similarity: SimilarityKind = field(
        default="assignment",
        metadata={
            "help": "The similarity by which examples are ranked. Released and assignment are always shown, embedding "
            "with an encoder, mixed with weights."
        },
    )
    encoder: str | None = field(
        default=None,
        metadata={
            "help": "Text encoder of the similarity embedding, a folder or a Hub id; a SeLIP checkpoint is one too. "
            "Its embeddings are kept beside the page."
        },
    )
    weights: dict | None = field(
        default=None, metadata={"help": "Weights of the similarity mixed, e.g. '{assignment: 0.5, embedding: 0.5}'."}
    )
    sequence: str = field(
        default="FLAIR", metadata={"help": "Texts of which sequence; `study`: of whole studies, with all signals."}
    )
    language: Literal["en", "zh"] = field(default="en", metadata={"help": "Language of the texts."})
    limit: int = field(
        default=8, metadata={"help": "Other texts that may share the target of one (not with released)."}
    )
    samples: int = field(default=8, metadata={"help": "Texts to show with those that are like them."})
    seed: int = field(default=0, metadata={"help": "Seed of which texts are shown and of the batches."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a page of the same name."})

    def __post_init__(self) -> None:
        if self.out.suffix != ".html":
            raise ValueError(f"expected out to end in .html, got {self.out.name}")
        if self.similarity == "embedding" and self.encoder is None:
            raise ValueError("expected an encoder with the similarity embedding, got none")
        if self.weights is not None or self.similarity == "mixed":
            needed = self.encoder if "embedding" in (self.weights or {}) else None  # the page may show both apart
            check_similarity("mixed", needed, self.weights)
        if self.limit < 0 or self.samples < 1:
            raise ValueError(
                f"expected limit of at least 0 and samples of at least 1, got {self.limit} and {self.samples}"
            )
