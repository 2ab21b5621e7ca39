"""Statistics of a volume's intensities, which know nothing of place: what a floor and a baseline are made of."""

import numpy as np
import numpy.typing as npt

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)


def volume_statistics(volume: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Share of air, mean, spread and percentiles of the rest: (3 + 9,)."""
    inside = volume[volume > 0]
    if inside.size == 0:
        return np.zeros(3 + len(PERCENTILES))
    basic = [1 - inside.size / volume.size, inside.mean(), inside.std()]
    return np.array([*basic, *np.percentile(inside, PERCENTILES)], dtype=np.float64)
