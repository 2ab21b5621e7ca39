"""Metrics as functions of the table of cases, so that whoever holds that table can compute every one of them again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .bootstrap import percentile_interval

Cases = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class CaseMetrics:
    """What a table of cases gives.

    Attributes:
        points: Value by name.
        replicates: Value in every draw of patients, (num_samples,), by name; a metric without one has no interval.
    """

    points: dict[str, float]
    replicates: dict[str, npt.NDArray[np.float64]]

    def intervals(self, confidence: float) -> dict[str, tuple[float, float]]:
        """Lower and upper end of every metric that has replicates."""
        if not self.replicates:
            return {}
        low, high = percentile_interval(np.column_stack(list(self.replicates.values())), confidence)
        return {name: (float(low[i]), float(high[i])) for i, name in enumerate(self.replicates)}
