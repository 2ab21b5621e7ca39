"""What goes wrong in a scan: motion, air beside the skull base, pulsation. Each is a function of an image.

Mechanisms after Zaitsev et al., J Magn Reson Imaging 2015;42:887-901 (motion), Jezzard and Balaban, Magn Reson Med
1995;34:65-73 (distortion of echo planar images along the phase direction), and Bernstein, King and Zhou 2004.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from ..streams import Purpose, generator
from .scanners import Scanner

# Template mm next to which air distorts, and how far it reaches.
AIR_POCKETS = (((0.0, 45.0, -34.0), 16.0), ((52.0, -24.0, -38.0), 14.0), ((-52.0, -24.0, -38.0), 14.0))


@dataclass(frozen=True)
class Artefacts:
    """Artefacts of one scan, 0 where there is none.

    Args:
        motion_mm: amplitude of motion along the phase direction.
        motion_cycles: cycles of the motion over the acquisition.
        dropout: part of the signal next to air that a gradient echo or echo planar image loses.
        pulsation: strength of the ghosts of vessels, relative to the vessels.
        inflow: signal of moving fluid in FLAIR, relative to the brain.
    """

    motion_mm: float = 0.0
    motion_cycles: float = 0.0
    dropout: float = 0.0
    pulsation: float = 0.0
    inflow: float = 0.0

    @property
    def words(self) -> tuple[str, ...]:
        """The artefacts that a reader would mention."""
        named = (("motion", self.motion_mm >= 0.6), ("flow", self.pulsation >= 0.25 or self.inflow >= 0.8))
        return tuple(name for name, is_visible in named if is_visible)


def draw_artefacts(scanner: Scanner, sequence: str, seed: int, patient: int, session: int, item: int) -> Artefacts:
    """Artefacts of one scan.

    Args:
        scanner: the scanner.
        sequence: the sequence.
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.
        item: number of the scan in its study.
    """
    rng = generator(seed, Purpose.ARTEFACTS, patient, session, item)
    moves, strength, cycles, pulse, flows, inflow = rng.random(6)
    motion_mm = 0.3 + 0.9 * strength if moves < scanner.motion_rate else 0.0
    is_echo_planar = sequence in ("DWI", "ADC")
    return Artefacts(
        motion_mm=0.0 if is_echo_planar else float(motion_mm),
        motion_cycles=float(2.0 + 6.0 * cycles),
        dropout=0.75 if sequence == "SWI" else 0.5 if is_echo_planar else 0.0,
        pulsation=float(0.15 + 0.3 * pulse) if sequence in ("T1c", "T2w") and flows < 0.25 else 0.0,
        inflow=float(0.4 + 0.8 * inflow) if sequence == "FLAIR" and flows < 0.35 else 0.0,
    )


def limited_k_space(volume: np.ndarray, kept: float, artefacts: Artefacts) -> np.ndarray:
    """Keep the centre of k-space along the second axis, tapered; motion turns the phase of its lines.

    A shift during the acquisition multiplies each line by a phase; a periodic one makes ghosts, as
    breathing and tremor do.

    Args:
        volume: image, phase direction second.
        kept: part of k-space that is acquired.
        artefacts: of this scan; the motion is along the second axis, in voxels of about 2 mm.
    """
    spectrum = fft.rfft(volume, axis=1)
    frequency = np.linspace(0.0, 1.0, spectrum.shape[1], dtype=np.float32)
    window = np.clip((kept - frequency) / 0.08 + 0.5, 0.0, 1.0).astype(np.complex64)
    if artefacts.motion_mm:
        shift = 0.5 * artefacts.motion_mm * np.sin(2.0 * np.pi * artefacts.motion_cycles * frequency)
        shift += 0.25 * artefacts.motion_mm * np.sign(np.sin(2.0 * np.pi * 17.0 * artefacts.motion_cycles * frequency))
        window = window * np.exp(-1j * np.pi * frequency * shift).astype(np.complex64)
    return fft.irfft(spectrum * window[None, :, None], n=volume.shape[1], axis=1)


def next_to_air(template_mm: np.ndarray) -> np.ndarray:
    """How much air disturbs the field at template coordinates (3, ...), 0 to about 1."""
    result = np.zeros(template_mm.shape[1:], dtype=np.float32)
    for centre, reach_mm in AIR_POCKETS:
        square = sum((template_mm[i] - np.float32(centre[i])) ** 2 for i in range(3))
        result += np.exp(-square / np.float32(2.0 * reach_mm**2))
    return result


def distorted(volume: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Shift an image along its second axis, voxel by voxel, and pile up its signal where the shift converges.

    Args:
        volume: image (x, y, z).
        shift: shift in voxels, of the same shape, smooth.
    """
    position = np.arange(volume.shape[1], dtype=np.float32)[None, :, None] + shift
    low = np.clip(np.floor(position).astype(np.int32), 0, volume.shape[1] - 2)
    weight = np.clip(position - low, 0.0, 1.0)
    moved = np.take_along_axis(volume, low, 1) * (1.0 - weight) + np.take_along_axis(volume, low + 1, 1) * weight
    return moved * np.clip(1.0 + np.gradient(shift, axis=1), 0.3, 2.0)


def with_ghosts(volume: np.ndarray, source: np.ndarray, strength: float, period: int) -> np.ndarray:
    """Add ghosts of pulsating vessels, alternating in sign and fading, along the second axis.

    Args:
        volume: image.
        source: signal of the vessels in it.
        strength: of the first ghost, relative to the source.
        period: distance of the ghosts in voxels.
    """
    result = volume
    for number in (1, 2, 3):
        for way in (1, -1):
            ghost = np.roll(source, way * number * period, axis=1)
            result = result + ghost * np.float32(strength * (-1.0) ** (number + 1) / number)
    return result
