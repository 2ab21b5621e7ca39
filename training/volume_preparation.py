"""From one study to rows of the volumes table, and many studies over several processes in order."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from selip.processing.sources.schema import StudyRow

from .volume_shards import CODEC

Prepared = tuple[list[dict[str, Any]], list[dict[str, str]]]
"""Rows of a study, and its quarantined series as {"study_id", "series_id", "reason"}."""


@cache
def image_processor_of(size: str) -> Any:
    """Return the image processor of a size (a key of its `PRESETS`); made once in each process."""
    from selip.processing.image_processing_selip import PRESETS, SelipImageProcessor  # torch: readers do not need it

    preset: dict[str, Any] = PRESETS[size]
    return SelipImageProcessor(**preset)


def prepare_study(study: StudyRow, size: str) -> Prepared:
    """Put the series of one study on the model's grid.

    A series that cannot be used is left out and the others are processed without it. No error leaves this function.

    Args:
        study: Row of the studies table with undecoded volumes.
        size: Name of the study box.

    Returns:
        Rows of the volumes table, and the quarantined series with the reason of each.
    """
    from selip.processing.image_processing_selip import SeriesInput

    inputs = [SeriesInput(item["volume"], item["sequence"], item["series_id"]) for item in study["series"]]
    rows, bad = _attempt(study, inputs, size)
    if not rows:  # either all are bad, or one spoils the study: each is tried alone to find out which
        reason_together = next(iter(bad.values()))
        bad = {}
        for item in inputs:
            bad.update(_attempt(study, [item], size)[1])
        good = [item for item in inputs if item.series_id not in bad]
        if good and bad:
            rows, bad_together = _attempt(study, good, size)
            bad.update(bad_together)
        elif good:  # good alone and bad together: nobody can tell which one is wrong
            bad = {item.series_id: reason_together for item in inputs}
    quarantined = [
        {"study_id": study["study_id"], "series_id": item.series_id, "reason": bad[item.series_id]}
        for item in inputs
        if item.series_id in bad
    ]
    return rows, quarantined


def _attempt(study: StudyRow, inputs: list[Any], size: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Process some series of a study: rows of the table, and the reason by series id of those without a row."""
    from selip.processing.nifti_selip import VolumeError

    try:
        processed = image_processor_of(size).process_study(inputs, study["study_id"], skip_invalid=True)
    except VolumeError as error:
        return [], {item.series_id: error.reason for item in inputs}
    except Exception as error:  # one odd file must not end a run of days; it is counted and shown like any reason
        return [], {item.series_id: f"unexpected-{type(error).__name__}" for item in inputs}
    bad = {inputs[place].series_id: error.reason for place, error in processed.errors}
    return stored_rows(study, [inputs[place] for place in processed.kept], processed), bad


def stored_rows(study: StudyRow, inputs: list[Any], processed: Any) -> list[dict[str, Any]]:
    """Return the rows of a processed study in stored form."""
    from selip.processing.intensity_selip import quantise

    affine = np.asarray(processed.affine, dtype=np.float64)
    counts = np.ascontiguousarray(processed.patch_counts, dtype=np.uint16)
    rows = []
    for index, item in enumerate(inputs):
        volume = np.ascontiguousarray(quantise(np.asarray(processed.volumes[index])))
        rows.append(
            {
                "study_id": study["study_id"],
                "series_id": item.series_id,
                "sequence": item.sequence,
                "sequence_id": int(processed.sequence_ids[index]),
                "split": study["split"],
                "data": pa.compress(volume, codec=CODEC, asbytes=True),
                "shape": list(volume.shape),
                "affine": affine.ravel().tolist(),
                "patch_counts": counts.tobytes(),
                "patch_shape": list(counts.shape),
            }
        )
    return rows


def _start_worker() -> None:
    """One thread a worker, as the processes share the cores already; and no worker outlives the run."""
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """End this worker when the parent is gone: a killed parent cannot tell it, and it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def map_studies(studies: Iterable[StudyRow], size: str, num_proc: int) -> Iterator[Prepared]:
    """Yield `prepare_study` of each study, in their order, with at most a few studies per process under way.

    Raises:
        ChildProcessError: A worker was killed from outside, most often for memory.
    """
    if num_proc == 1:
        yield from (prepare_study(study, size) for study in studies)
        return
    context = multiprocessing.get_context("spawn")  # torch and Arrow threads do not survive a fork
    pool = ProcessPoolExecutor(num_proc, mp_context=context, initializer=_start_worker)
    try:
        waiting: deque[Future[Prepared]] = deque()
        for study in studies:
            waiting.append(pool.submit(prepare_study, study, size))
            if len(waiting) >= 4 * num_proc:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a preparation process was killed, most often for lack of memory; what is finished is kept: "
            "run the same command again, with a smaller --num-proc"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
