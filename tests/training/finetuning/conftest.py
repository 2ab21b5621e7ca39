"""Phantom studies whose lesions are plain to see, a small pretraining checkpoint, and fine-tuning runs of seconds."""

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from selip.processing.image_processing_selip import PRESETS
from selip.processing.sources.studies_writer import write_studies
from selip.training.config import AugmentationConfig, NetworkConfig, TrackingConfig
from selip.training.finetuning.config import FinetuneConfig, FinetuneData, FinetuneOptimization, HeadConfig
from selip.training.network import build_model, build_processor
from selip.training.volume_preparation import image_processor_of
from selip.training.volumes import prepare_volumes
from selip.training.volumes_config import PrepareConfig

# A box of the size of a head with few voxels: resampling is most of the time of these tests.
BOX = {**PRESETS["tiny"], "spatial_size": (24, 32, 12), "spacing_mm": (8.0, 8.0, 14.0)}
SPLITS = ["train"] * 14 + ["validation"] * 5 + ["test"] * 6
RADIUS_MM = 30.0


def write_phantom(folder: Path, number: int) -> dict:
    """A head-like ellipsoid with texture, 8 mm voxels; two studies in three have a ball that FLAIR shows bright."""
    generator = np.random.default_rng(number)
    shape = (24, 28, 22)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    inside = (grid**2).sum(axis=0) < 0.7
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[:3, 3] = (-96, -112, -88)
    places_mm = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * 8.0 + affine[:3, 3]
    side = 1 if number % 2 else -1
    centre = np.array([side * 40.0, generator.uniform(-30, 30), generator.uniform(-20, 20)])
    lesion = (np.linalg.norm(places_mm - centre, axis=-1) < RADIUS_MM) & inside & (number % 3 != 0)
    series = []
    for sequence, factor in (("FLAIR", 2.0), ("T1w", 0.4)):
        volume = 100 * inside * (1 + 0.1 * generator.normal(size=shape)) * np.where(lesion, factor, 1.0)
        path = folder / f"{number}-{sequence}.nii.gz"
        nibabel.Nifti1Image(volume.astype(np.float32), affine).to_filename(path)
        series.append({"series_id": sequence, "sequence": sequence, "volume": path.name, "b_value": None})
    mask = folder / f"{number}-mask.nii.gz"
    nibabel.Nifti1Image(lesion.astype(np.uint8), affine).to_filename(mask)
    is_late = number % 4 == 3
    return {
        "study_id": f"study-{number:02d}",
        "patient_id": f"patient-{number}",
        "split": SPLITS[number],
        "language": "en",
        "series": series[:1] if number == 1 else series,  # one study lacks a sequence
        "report": {"findings": "", "impression": ""},
        "labels": (["mass"] if lesion.any() else []) + (["late"] if is_late else []),
        "masks": [{"name": "lesions", "volume": mask.name}],
        "reference_findings": "",
    }


@dataclass(frozen=True)
class Phantoms:
    """Folders of the tables and of a pretraining checkpoint with random weights."""

    files: Path
    studies: Path
    volumes: Path
    checkpoint: Path


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Phantoms:
    folder = tmp_path_factory.mktemp("phantoms")
    write_studies([write_phantom(folder, number) for number in range(len(SPLITS))], folder / "studies", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", BOX)
        image_processor_of.cache_clear()
        prepare_volumes(PrepareConfig(studies=folder / "studies", out=folder / "volumes", size="tiny", num_proc=1))
        image_processor_of.cache_clear()
    vision = {"depth": 10, "hidden_sizes": (8, 16), "stem_kernel_size": (2, 2, 1), "stem_stride": (2, 2, 1)}
    vision |= {"stem_pool": False, "stage_strides": ((1, 1, 1), (2, 2, 2)), "norm_groups": 4}
    vision |= {"pooling": "position", "pooled_size": 16, "input_norm": "population"}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    network = NetworkConfig(vision=vision, text=text, projection_dim=16, vocabulary_size=300)
    torch.manual_seed(0)
    processor = build_processor(network, dict(BOX), ["left frontal lobe, mass"], 64)
    model = build_model(network, processor, 64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))  # no weight at its start, which a new model has too
        for sequence_id in (1, 4):
            model.vision_model.population.fit(sequence_id, torch.rand(4, *BOX["spatial_size"]))
    model.save_pretrained(folder / "best")
    processor.save_pretrained(folder / "best")
    return Phantoms(folder, folder / "studies", folder / "volumes", folder / "best")


def config_for(phantoms: Phantoms, output: Path, task: str, *, steps=6, validate_every=3, data=None, **changes):
    """A run of seconds; `changes` are those of `HeadConfig`, `FinetuneOptimization` and `FinetuneConfig`."""
    model = {name: changes.pop(name) for name in ("weights", "tuning", "checkpoint") if name in changes}
    whole = {name: changes.pop(name) for name in ("augmentation", "overwrite") if name in changes}
    patience = changes.pop("patience", None)
    tables = {"studies": phantoms.studies, "volumes": phantoms.volumes, "batch_studies": 4}
    return FinetuneConfig(
        output=output,
        task=task,
        data=FinetuneData(**(tables | (data or {}))),
        model=HeadConfig(**{"checkpoint": phantoms.checkpoint, "decoder_width": 8, **model}),
        augmentation=whole.pop("augmentation", AugmentationConfig()),
        optimization=FinetuneOptimization(**{"steps": steps, "warmup_steps": 2, "precision": "fp32", **changes}),
        tracking=TrackingConfig(validate_every=validate_every, log_every=1, patience=patience),
        **whole,
    )


@pytest.fixture
def make_run(phantoms, tmp_path, one_thread):
    """Makes the configuration of a run, in a folder of its own: of (name, task, changes)."""

    def make(name, task, **changes):
        return config_for(phantoms, tmp_path / name, task, **changes)

    return make


@pytest.fixture(scope="session")
def segmentation_run(phantoms, tmp_path_factory):
    """A segmentation that was trained until it had learned to see the lesions of the phantoms."""
    from selip.training.finetuning.run import finetune

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = config_for(
        phantoms,
        tmp_path_factory.mktemp("segmentation") / "run",
        "segmentation",
        steps=45,
        validate_every=15,
        learning_rate=3e-3,
        learning_rate_head=1e-2,
        augmentation=AugmentationConfig(max_shift_mm=8.0),
    )
    summary = finetune(config)
    torch.set_num_threads(threads)
    return config, summary
