"""`selip similar`: what the soft targets of training call similar, as one page to look at."""

import json
from dataclasses import dataclass
from pathlib import Path

from selip.model_cards.pages.similarity_page import write_similarity_page
from selip.processing.findings_table import load_findings
from selip.training.similarity_config import SimilarConfig
from selip.training.similarity_report import similarity_report


@dataclass(frozen=True)
class SimilarSummary:
    """Where to look."""

    page: Path
    numbers: Path
    texts: int

    def __str__(self) -> str:
        return f"{self.texts} different texts compared\n  page     {self.page}\n  numbers  {self.numbers}"


def show_similar(config: SimilarConfig) -> SimilarSummary:
    """Write the page and its numbers.

    Raises:
        FileExistsError: The page is there and `overwrite` is off.
        ValueError: The findings give fewer than two different texts of the sequence.
    """
    numbers = config.out.with_suffix(".json")
    if config.out.exists() and not config.overwrite:
        raise FileExistsError(f"{config.out} exists; choose another name or pass --overwrite")
    report = similarity_report(load_findings(config.findings), config)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    numbers.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_similarity_page(report, config.out)
    return SimilarSummary(config.out, numbers, report["num_compared"])
