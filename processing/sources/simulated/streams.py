"""Independent random generators by purpose, so that a new draw in one place changes nothing elsewhere."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a generator is used for. The number is part of its seed: never reuse or renumber one."""

    VISITS = 0
    ANATOMY = 1
    POSE = 2
    FINDINGS = 3
    LESIONS = 4
    PROTOCOL = 5
    ACQUISITION = 6
    REPORT = 7
    PATIENT = 8
    SCANNER = 9
    ARTEFACTS = 10
    PAIRS = 11


def generator(seed: int, purpose: Purpose, patient: int, session: int = 0, item: int = 0) -> np.random.Generator:
    """Generator for one purpose of one study.

    Args:
        seed: seed of the run.
        purpose: what is drawn.
        patient: number of the patient, from 1.
        session: number of the session, from 1; 0 for what all sessions of a patient share.
        item: distinguishes several things of one purpose (series, lesions).

    Returns:
        A generator that depends on the arguments only, not on the order of calls or on the process.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(purpose), patient, session, item)))
