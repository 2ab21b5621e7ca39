"""Studies with findings and volumes in memory, for tests of batches that need no file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from selip.processing.findings import Finding, StructuredReport
from selip.training.data import Study
from selip.training.volumes import SeriesRow

SITES = ("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe", "thalamus", "cerebellum", "insula")
TERMS = ("acute infarct", "hemorrhage", "mass", "cyst", "edema")
SEQUENCES = {"T1w": 1, "T2w": 3, "FLAIR": 4, "DWI": 5, "ADC": 6}
SHAPE = (16, 20, 8)


@dataclass
class MemoryTable:
    """The part of a volumes table that batches read: volumes of known content (row number, dark right half)."""

    rows: int
    processor_config: dict

    def patch_counts(self, row: int) -> np.ndarray:
        """Patches of 4 x 4 x 2 voxels; those of the first layer in x hold no head, the next one head voxel."""
        counts = np.full((4, 5, 4), 32, dtype=np.uint16)
        counts[0], counts[1] = 0, 1
        return counts

    def head_patches(self, rows: Sequence[int]) -> np.ndarray:
        return np.stack([self.patch_counts(row) > 0 for row in rows])

    def read(self, row: int) -> np.ndarray:
        volume = np.full(SHAPE, row % 200 + 40, dtype=np.uint8)
        volume[SHAPE[0] // 2 :] //= 2
        return volume


@pytest.fixture
def memory_table() -> MemoryTable:
    return MemoryTable(
        rows=10_000, processor_config={"spatial_size": SHAPE, "spacing_mm": (8.0, 8.0, 12.0), "patch_size": (4, 4, 2)}
    )


def make_study(number: int) -> Study:
    """Study of one or two findings (every fifth is normal) with three series."""
    generator = np.random.default_rng(number)
    findings = [
        Finding(
            finding=TERMS[generator.integers(len(TERMS))],
            site=SITES[generator.integers(len(SITES))],
            laterality=("left", "right")[generator.integers(2)],
            certainty="present",
        )
        for _ in range(1 + number % 2)
    ]
    is_normal = number % 5 == 0
    report = StructuredReport(
        normal=is_normal,
        findings=[] if is_normal else findings,
        impression=["Normal MRI."]
        if is_normal
        else [f"{finding.finding}, {finding.laterality}" for finding in findings],
    )
    names = list(SEQUENCES)
    chosen = [names[place] for place in sorted(generator.permutation(len(names))[:3])]
    series = tuple(
        SeriesRow(10 * number + place, f"s{place}", name, SEQUENCES[name]) for place, name in enumerate(chosen)
    )
    return Study(f"study-{number:03d}", series, report, written=f"Written report {number}, on the left.")


@pytest.fixture
def memory_studies() -> list[Study]:
    return [make_study(number) for number in range(60)]


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """Studies, findings and volumes tables of 30 simulated studies, made by the real stages."""
    pytest.importorskip("nilearn", reason="simulated studies need the extra `simulate`")
    from selip.processing.sources.bids import ingest_bids
    from selip.processing.sources.config import IngestConfig, StructureConfig
    from selip.processing.sources.simulated.config import SimulationConfig
    from selip.processing.sources.simulated.writer import simulate_studies
    from selip.processing.structurer import structure_studies
    from selip.training.config import PrepareConfig
    from selip.training.volumes import prepare_volumes

    folder = tmp_path_factory.mktemp("tables")
    simulate_studies(SimulationConfig(out=str(folder / "bids"), studies=30, seed=5, num_proc=2))
    ingest_bids(IngestConfig(folder / "bids", folder / "studies", fractions=(0.6, 0.2, 0.2)))
    structure_studies(StructureConfig(folder / "studies", folder / "findings.parquet"))
    prepare_volumes(PrepareConfig(folder / "studies", folder / "volumes", num_proc=1))
    return folder
