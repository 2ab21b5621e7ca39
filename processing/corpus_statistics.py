"""What the recommended similarity knows of the training reports: how rare a finding is, and what chance gives."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .statements import Statement


@dataclass(frozen=True)
class CorpusStatistics:
    """Measured once, from the training split, and stored with a run, so that a resumed run has the same.

    Attributes:
        num_studies: studies counted.
        counts: in how many of them a (finding term, site) is stated.
        chance: mean similarity of random texts of two studies, in [0, 1).
    """

    num_studies: int
    counts: Mapping[tuple[str, str], int]
    chance: float = 0.0

    def weight(self, said: Statement) -> float:
        """Smoothed inverse document frequency (Sparck Jones 1972) in (0, 1]: 1 for what no training report states."""
        count = self.counts.get((said.term, said.site), 0)
        rarest = 1.0 + math.log(1 + self.num_studies)
        return (rarest - math.log(1 + count)) / rarest

    def save(self, path: Path) -> None:
        """Writes the statistics as JSON; the file appears whole."""
        counts = [[*place, count] for place, count in sorted(self.counts.items())]
        content = {"num_studies": self.num_studies, "chance": self.chance, "counts": counts}
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> "CorpusStatistics":
        """Reads what `save` wrote.

        Raises:
            ValueError: the file holds something else.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            counts = {(term, site): int(count) for term, site, count in content["counts"]}
            return cls(int(content["num_studies"]), counts, float(content["chance"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"expected similarity statistics (num_studies, counts, chance) in {path}, got something else; remove "
                "the file to measure them anew"
            ) from error
