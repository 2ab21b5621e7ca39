"""From tissue to signal: relaxation times, proton density and diffusion, through the signal equations.

Numbers are for 3 T. Sources, by tissue (mean values, rounded):
- white and grey matter T1, T2: Wansapura et al., J Magn Reson Imaging 1999;9:531-538. Proton density relative to
  fluid: Abbas et al., Magn Reson Med 2014;72:1735-1745 (about 0.70 and 0.82). ADC: Helenius et al., AJNR
  2002;23:194-199.
- cerebrospinal fluid: T1 near 4 s, T2 of 1.5 s and more, free diffusion of water at body temperature about 3.0e-3
  mm2/s (Helenius et al. 2002; Mills, J Phys Chem 1973;77:685-688).
- fat, marrow: de Bazelaire et al., Radiology 2004;230:652-659; the longer apparent T2 of fat in fast spin echo:
  Henkelman et al., J Magn Reson Imaging 1994;4:533-540. Muscle: Stanisz et al., Magn Reson Med 2005;54:507-512.
- cortical bone: T2 under 1 ms, no signal in any of these sequences.
- blood, plexus, iron-rich nuclei and mucosa, for the realistic form only. Blood T1 and venous T2: Lu et al., Magn
  Reson Med 2004;52:679-682 and 2012;67:42-49; the short T2 of arteries stands for their flow void. Dephasing of veins
  is ours, high enough to be dark on SWI; that of the pallidum: Langkammer et al., Radiology 2010;257:455-462. Uptake
  is ours.
"""

from dataclasses import dataclass

import numpy as np

SEQUENCES = ("T1w", "T2w", "FLAIR", "DWI", "ADC")
"""Sequences that are simulated, in order of acquisition."""


@dataclass(frozen=True)
class Tissue:
    """MR properties of one tissue.

    Args:
        t1_ms: longitudinal relaxation time.
        t2_ms: transverse relaxation time.
        density: proton density relative to water, 0 to 1.
        adc: apparent diffusion coefficient in 10^-6 mm^2/s.
        dephasing: decay rate that a gradient echo sees on top of 1 / T2, in 1/s at 3 T.
        uptake: concentration of contrast agent after injection, in mmol/l.
    """

    t1_ms: float
    t2_ms: float
    density: float
    adc: float
    dephasing: float = 0.0
    uptake: float = 0.0


TISSUE_PROPERTIES: dict[str, Tissue] = {
    "white matter": Tissue(840.0, 80.0, 0.70, 750.0),
    "grey matter": Tissue(1330.0, 110.0, 0.82, 850.0),
    "csf": Tissue(4000.0, 1500.0, 1.00, 3000.0),
    "bone": Tissue(1000.0, 0.5, 0.20, 200.0),
    "marrow": Tissue(580.0, 60.0, 0.60, 300.0),
    "fat": Tissue(380.0, 100.0, 0.90, 100.0),
    "muscle": Tissue(1410.0, 45.0, 0.75, 1300.0, uptake=0.15),
    "vein": Tissue(1600.0, 30.0, 0.80, 2500.0, dephasing=90.0, uptake=2.5),
    "artery": Tissue(1600.0, 7.0, 0.80, 2500.0, uptake=2.5),
    "choroid plexus": Tissue(1600.0, 180.0, 0.90, 1900.0, uptake=1.5),
    "iron-rich grey matter": Tissue(1000.0, 62.0, 0.75, 750.0, dephasing=25.0),
    "mucosa": Tissue(1800.0, 140.0, 0.85, 1700.0, uptake=1.2),
}

FAT_SUPPRESSION = 0.08
"""Part of the fat and marrow signal that is left in diffusion imaging, which is always fat suppressed."""

B_VALUE = 1000.0
"""Diffusion weighting of DWI in s/mm^2."""

FLUID_T1_MS = 3000.0
"""T1 above which a tissue counts as fluid."""

RELAXIVITY = 4.5
"""Longitudinal relaxivity of gadolinium chelates in blood at 37 degrees, l/(mmol s): 3.6 to 5 at 1.5 and 3 T for most
(Rohrer et al., Invest Radiol 2005;40:715-724)."""


@dataclass(frozen=True)
class Timing:
    """Timing of one scan.

    Args:
        tr_ms: repetition time.
        te_ms: echo time.
        ti_ms: inversion time, None where there is no inversion pulse.
        b_value: diffusion weighting in s/mm^2.
        is_fat_suppressed: fat and marrow give hardly any signal.
        flip_deg: flip angle of a spoiled gradient echo, None for a spin echo.
        is_enhanced: contrast agent has been given.
        field_t: field strength in tesla.
    """

    tr_ms: float
    te_ms: float
    ti_ms: float | None = None
    b_value: float = 0.0
    is_fat_suppressed: bool = False
    flip_deg: float | None = None
    is_enhanced: bool = False
    field_t: float = 3.0


def draw_timing(sequence: str, rng: np.random.Generator) -> Timing:
    """Protocol of one scan: clinical values at 3 T, varied by about 10 % as sites differ.

    Args:
        sequence: one of `SEQUENCES`.
        rng: generator of this scan.

    Returns:
        Repetition, echo and inversion time, and b-value.
    """
    vary = rng.uniform(0.92, 1.08, size=3)
    if sequence == "T1w":
        return Timing(tr_ms=540.0 * vary[0], te_ms=9.0 * vary[1])
    if sequence == "T2w":
        return Timing(tr_ms=4500.0 * vary[0], te_ms=95.0 * vary[1])
    if sequence == "FLAIR":
        tr_ms = 9000.0 * vary[0]
        # Inversion time at which fluid is nulled, within the accuracy of a protocol.
        t1_ms = TISSUE_PROPERTIES["csf"].t1_ms
        null_ms = t1_ms * (np.log(2.0) - np.log1p(np.exp(-tr_ms / t1_ms)))
        return Timing(tr_ms=tr_ms, te_ms=110.0 * vary[1], ti_ms=null_ms * (1.0 + 0.25 * (vary[2] - 1.0)))
    return Timing(tr_ms=6000.0 * vary[0], te_ms=90.0 * vary[1], b_value=B_VALUE, is_fat_suppressed=True)


def signal(tissue: Tissue, timing: Timing) -> float:
    """Signal of a tissue (Bernstein, King and Zhou, Handbook of MRI Pulse Sequences, 2004).

    Spin echo: PD (1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2) exp(-b ADC), the first bracket without inversion being
    1 - exp(-TR/T1). Spoiled gradient echo: PD sin(a) (1 - exp(-TR/T1)) / (1 - cos(a) exp(-TR/T1)) exp(-TE R2*).

    Args:
        tissue: the tissue.
        timing: the scan.

    Returns:
        Magnitude relative to the equilibrium signal of water, 0 to 1.
    """
    t1_ms = _t1_ms(tissue, timing)
    recovery = 1.0 - np.exp(-timing.tr_ms / t1_ms)
    if timing.flip_deg is not None:
        flip = np.deg2rad(timing.flip_deg)
        recovery *= np.sin(flip) / (1.0 - np.cos(flip) * np.exp(-timing.tr_ms / t1_ms))
        dephasing = tissue.dephasing * timing.field_t / 3.0  # it grows with the field
        return float(tissue.density * recovery * np.exp(-timing.te_ms * (1.0 / tissue.t2_ms + 1e-3 * dephasing)))
    if timing.ti_ms is not None:
        recovery = 1.0 - 2.0 * np.exp(-timing.ti_ms / t1_ms) + np.exp(-timing.tr_ms / t1_ms)
    decay = np.exp(-timing.te_ms / tissue.t2_ms - timing.b_value * 1e-6 * tissue.adc)
    return float(abs(tissue.density * recovery * decay))


def _t1_ms(tissue: Tissue, timing: Timing) -> float:
    """T1 at the field of the scan, and shortened by contrast agent where that was given.

    Field: T1 of tissue grows about with its cube root (Bottomley et al., Med Phys 1984;11:425-448), that of fluid does
    not. Agent: 1/T1 grows by relaxivity times concentration.
    """
    t1_ms = tissue.t1_ms
    if timing.field_t != 3.0 and t1_ms < FLUID_T1_MS:
        t1_ms *= (timing.field_t / 3.0) ** (1.0 / 3.0)
    if timing.is_enhanced and tissue.uptake:
        t1_ms = 1.0 / (1.0 / t1_ms + 1e-3 * RELAXIVITY * tissue.uptake)
    return t1_ms


def head_signals(timing: Timing) -> dict[str, float]:
    """Signal of each tissue of the head in one scan, with fat suppressed where the scan does that.

    Args:
        timing: the scan.

    Returns:
        Signal by tissue name, in the order of `TISSUE_PROPERTIES`.
    """
    values = {name: signal(tissue, timing) for name, tissue in TISSUE_PROPERTIES.items()}
    if timing.is_fat_suppressed:
        values["fat"] *= FAT_SUPPRESSION
        values["marrow"] *= FAT_SUPPRESSION
    return values
