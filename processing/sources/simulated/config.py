"""Settings and result of `selip simulate`: what is simulated, where to, with how many processes."""

import os
from dataclasses import dataclass, field

SIMULATOR_VERSIONS = {"simple": 2, "realistic": 1}
"""Raised whenever the same seed would give other voxels or texts of a form; part of what resuming checks."""

LANGUAGES = {"simple": ("en",), "realistic": ("en", "zh", "mixed")}


@dataclass(frozen=True)
class SimulationConfig:
    """What to simulate. Everything but `num_proc`, `preview` and `overwrite` decides the content of the files.

    Args:
        out: folder to create (BIDS layout).
        studies: number of studies, at least 1. A longer run begins with the studies of a shorter one.
        seed: non-negative seed of all random draws.
        num_proc: worker processes; all cores where it is not given. The result does not depend on it.
        form: "simple", few findings and clean images (the demo), or "realistic", which has more of everything.
        language: language of the reports: "en", and in the realistic form also "zh" or "mixed".
        minimal_pairs: also write a partner of every validation and test study with a focal lesion, which differs in
            that lesion only (realistic form).
        preview: also write `preview.png`, a contact sheet of some studies with the lesions outlined.
        overwrite: replace an existing folder (and an unfinished run with other settings).

    Raises:
        ValueError: a value is out of its range.
    """

    out: str
    studies: int = 100
    seed: int = 0
    num_proc: int | None = None
    form: str = "simple"
    language: str = "en"
    minimal_pairs: bool = False
    preview: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not str(self.out):
            raise ValueError("expected a folder to write to, got an empty path; give `out`")
        if self.studies < 1:
            raise ValueError(f"expected at least 1 study, got studies={self.studies}")
        if self.seed < 0:
            raise ValueError(f"expected a seed of 0 or more, got seed={self.seed}")
        if self.num_proc is not None and self.num_proc < 1:
            raise ValueError(f"expected at least 1 process, got num_proc={self.num_proc}; omit it to use all cores")
        if self.form not in SIMULATOR_VERSIONS:
            raise ValueError(f"expected a form of {', '.join(SIMULATOR_VERSIONS)}, got {self.form!r}")
        if self.language not in LANGUAGES[self.form]:
            allowed = ", ".join(LANGUAGES[self.form])
            raise ValueError(f"expected language {allowed} in the {self.form} form, got {self.language!r}")
        if self.minimal_pairs and self.form != "realistic":
            raise ValueError("expected form 'realistic' with minimal_pairs; the simple form has no pairs")

    @property
    def workers(self) -> int:
        """Number of worker processes to use."""
        return self.num_proc or os.cpu_count() or 1

    def content(self) -> dict[str, int | str]:
        """The settings that decide what the files hold; a run is resumed only where they agree."""
        content: dict[str, int | str] = {
            "simulator_version": SIMULATOR_VERSIONS[self.form],
            "studies": self.studies,
            "seed": self.seed,
            "language": self.language,
        }
        if self.form != "simple":
            content |= {"form": self.form, "minimal_pairs": self.minimal_pairs}
        return content


@dataclass(frozen=True)
class SimulationSummary:
    """What one call of `simulate_studies` wrote.

    Args:
        out: the folder.
        studies: studies in it.
        patients: patients in it.
        series: NIfTI series in it (truth maps not counted).
        normal_studies: studies without a lesion.
        findings: number of findings by canonical term.
        minimal_pairs: partners written beside the studies (not counted above).
        resumed: studies that an interrupted run had left whole and that were not made again.
        seconds: wall clock of this call.
    """

    out: str
    studies: int
    patients: int
    series: int
    normal_studies: int
    findings: dict[str, int] = field(default_factory=dict)
    minimal_pairs: int = 0
    resumed: int = 0
    seconds: float = 0.0
