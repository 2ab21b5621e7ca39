"""Makes the next batches while the current one is computed."""

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch.utils.data import DataLoader, Dataset


class _Steps(Dataset):
    """Batches by step number, as a map-style dataset for worker processes."""

    def __init__(self, make: Callable[[int], Any], start: int, stop: int):
        self.make, self.start, self.stop = make, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> Any:
        return self.make(self.start + index)


def prefetch(make: Callable[[int], Any], start: int, stop: int, *, num_workers: int, depth: int = 2) -> Generator[Any]:
    """`make(step)` for each step, in order, made ahead of time.

    Args:
        make: batch of a step; a pure function of the step.
        start: first step.
        stop: one after the last.
        num_workers: processes; 0 = one thread, which is enough where decoding is cheap and torch computes without the
            GIL.
        depth: batches made ahead.
    """
    if num_workers > 0:
        yield from DataLoader(
            _Steps(make, start, stop), batch_size=None, num_workers=num_workers, prefetch_factor=depth
        )
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = [pool.submit(make, step) for step in range(start, min(start + depth, stop))]
        for step in range(start, stop):
            batch = waiting.pop(0).result()
            if step + depth < stop:
                waiting.append(pool.submit(make, step + depth))
            yield batch


class WaitClock:
    """Time spent waiting for batches and time in all, over the steps since the last reading."""

    def __init__(self) -> None:
        self.waited, self.started = 0.0, time.perf_counter()

    def watch(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches, with the wait for each one counted."""
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.waited += time.perf_counter() - start
            yield batch

    def read(self) -> tuple[float, float]:
        """(seconds, share of them spent waiting) since the last reading."""
        now = time.perf_counter()
        seconds, waited = now - self.started, self.waited
        self.waited, self.started = 0.0, now
        return seconds, waited / max(seconds, 1e-9)
