"""Who is examined: age, sex and language, and the split that ingest will give.

The split is known before anything is drawn, because it decides which scanners, which combinations of finding, site and
side, and which writer a patient can have. It is the rule of `selip ingest` with its defaults, and it is also written
into `participants.tsv`, which ingest obeys.
"""

from dataclasses import dataclass

from selip.processing.sources.splits import assign_split

from ..streams import Purpose, generator

YOUNGEST, OLDEST = 18, 94
MEAN_AGE, SD_AGE = 56.0, 18.0
"""Age of adults who get a head MRI; ours. UK Biobank and clinical cohorts centre between 50 and 65."""


@dataclass(frozen=True)
class Patient:
    """One patient.

    Args:
        number: number of the patient, from 1.
        age: in years.
        sex: "F" or "M".
        split: "train", "validation" or "test".
        language: "en" or "zh".
    """

    number: int
    age: int
    sex: str
    split: str
    language: str

    @property
    def is_held_out(self) -> bool:
        """Whether the reports are those of the second writer, whom no model trains on."""
        return self.split != "train"


def draw_patient(seed: int, number: int, language: str) -> Patient:
    """Draw a patient.

    Args:
        seed: seed of the run.
        number: number of the patient, from 1.
        language: "en", "zh", or "mixed" for either with equal probability.

    Returns:
        The patient; age and sex do not depend on the language.
    """
    rng = generator(seed, Purpose.PATIENT, number)
    age = int(min(max(rng.normal(MEAN_AGE, SD_AGE), YOUNGEST), OLDEST))
    sex = "FM"[int(rng.integers(2))]
    drawn = ("en", "zh")[int(rng.integers(2))]
    split = assign_split(f"sub-{number:04d}")
    return Patient(number, age, sex, split, drawn if language == "mixed" else language)
