"""A small checkpoint with random weights and phantoms of four patients, for what reads volumes."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from selip.processing.image_processing_selip import PRESETS
from selip.processing.sources.studies import write_studies
from selip.training.config import NetworkConfig
from selip.training.network import build_model, build_processor

# A box of the size of a head with few voxels: resampling is most of the time of these tests.
SMALL_BOX = {**PRESETS["tiny"], "spatial_size": (24, 32, 12), "spacing_mm": (8.0, 8.0, 14.0)}
TEXTS = ["FLAIR: left thalamus shows hyperintense mass.", "T1w: right cerebellum shows hypointense mass."]


def write_phantom(path: Path, number: int) -> None:
    """A head-like ellipsoid with texture, 8 mm voxels."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 28, 22)), indexing="ij"))
    inside = (grid**2).sum(axis=0) < 0.7
    texture = 1 + 0.3 * np.random.default_rng(number).normal(size=inside.shape)
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[:3, 3] = (-96, -112, -88)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image((100 * inside * texture).astype(np.float32), affine).to_filename(path)


@pytest.fixture
def phantom_studies(tmp_path: Path) -> Path:
    """A studies table of four patients with FLAIR and T1w; its files lie in `files`, BIDS names."""
    rows = []
    for number in range(4):
        series = []
        for place, sequence in enumerate(("FLAIR", "T1w")):
            name = f"sub-{number}_{sequence}"
            write_phantom(tmp_path / "files" / f"sub-{number}" / f"{name}.nii.gz", 2 * number + place)
            volume = f"sub-{number}/{name}.nii.gz"
            series.append({"series_id": name, "sequence": sequence, "volume": volume, "b_value": None})
        rows.append(
            {
                "study_id": f"sub-{number}",
                "patient_id": f"sub-{number}",
                "split": "train" if number == 3 else "test",
                "language": "en",
                "series": series,
                "report": {"findings": "", "impression": ""},
                "labels": [],
                "masks": [],
                "reference_findings": "",
            }
        )
    write_studies(rows, tmp_path / "studies", tmp_path / "files")
    return tmp_path / "studies"


@pytest.fixture(scope="session")
def small_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two checkpoints, `first` and `second`, that differ in their random weights."""
    folder = tmp_path_factory.mktemp("checkpoints")
    vision = {"depth": 10, "hidden_sizes": (8, 8, 16, 16), "stem_kernel_size": (4, 4, 2), "stem_stride": (4, 4, 2)}
    # Maps of more than one position: normalising a single one blows rounding errors up.
    vision |= {"stem_pool": False, "stage_strides": ((1, 1, 1), (2, 2, 2), (1, 1, 1), (1, 1, 1))}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    network = NetworkConfig(vision=vision, text=text, projection_dim=16, vocabulary_size=300)
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        processor = build_processor(network, dict(SMALL_BOX), TEXTS, 64)
        build_model(network, processor, 64).save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return folder
