"""Studies in memory for tests of batches, tables of the real stages, and small checkpoints with phantoms to read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from selip.processing.findings import Finding, StructuredReport
from selip.processing.image_processing_selip import PRESETS
from selip.processing.sources.studies_writer import write_studies
from selip.training.config import (
    AugmentationConfig,
    NetworkConfig,
    OptimizationConfig,
    PretrainConfig,
    PretrainData,
    TrackingConfig,
)
from selip.training.data import Study
from selip.training.network import build_model, build_processor
from selip.training.volumes import SeriesRow

SITES = ("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe", "thalamus", "cerebellum", "insula")
TERMS = ("acute infarct", "hemorrhage", "mass", "cyst", "edema")
SEQUENCES = {"T1w": 1, "T2w": 3, "FLAIR": 4, "DWI": 5, "ADC": 6}
SHAPE = (16, 20, 8)
# A box of the size of a head with few voxels: resampling is most of the time of these tests.
SMALL_BOX = {**PRESETS["tiny"], "spatial_size": (24, 32, 12), "spacing_mm": (8.0, 8.0, 14.0)}
TEXTS = ["FLAIR: left thalamus shows hyperintense mass.", "T1w: right cerebellum shows hypointense mass."]


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
    from selip.processing.structuring import structure_reports
    from selip.training.volumes import prepare_volumes
    from selip.training.volumes_config import PrepareConfig

    folder = tmp_path_factory.mktemp("tables")
    simulate_studies(SimulationConfig(out=str(folder / "bids"), studies=30, seed=5, num_proc=2))
    ingest_bids(IngestConfig(folder / "bids", folder / "studies", fractions=(0.6, 0.2, 0.2)))
    structure_reports(StructureConfig(folder / "studies", folder / "findings.parquet"))
    prepare_volumes(PrepareConfig(folder / "studies", folder / "volumes", num_proc=1))
    return folder


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory):
    """Makes a checkpoint of the `tiny` box with random weights: of (backbone, fields of the tower)."""
    from selip.processing.image_processing_selip import PRESETS
    from selip.training.network import build_model, build_processor

    def make(backbone="resnet", **changes):
        vision = {"pooling": "position", "pooled_size": 16}
        if backbone == "resnet":
            vision |= {"depth": 10, "hidden_sizes": (8, 8), "stem_kernel_size": (4, 4, 2), "stem_stride": (4, 4, 2)}
            vision |= {"stem_pool": False, "stage_strides": ((1, 1, 1), (2, 2, 2)), "norm_groups": 4}
        else:
            vision |= {"width": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        network = NetworkConfig(
            backbone=backbone, vision=vision | changes, text=text, projection_dim=16, vocabulary_size=300
        )
        torch.manual_seed(0)
        processor = build_processor(network, dict(PRESETS["tiny"]), ["left frontal lobe shows mass"], 64)
        model = build_model(network, processor, 64)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        folder = tmp_path_factory.mktemp("checkpoint") / "best"
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def one_thread():
    """For models so small that the threads of torch would only wait for each other, long on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_config(tables, tmp_path, one_thread):
    """Makes the configuration of a run of seconds on those tables, in a folder of its own."""
    vision = {
        "depth": 10,
        "hidden_sizes": [8, 8, 16, 16],
        "stem_kernel_size": [8, 8, 2],
        "stem_stride": [8, 8, 2],
        "stem_pool": False,
        "stage_strides": [[1, 1, 1], [2, 2, 2], [1, 1, 1], [1, 1, 1]],
        "norm_groups": 4,
        "input_norm": "population",
        "input_pool": [1, 1, 2],
        "pooling": "position",
        "pooled_size": 16,
    }
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}

    def make(name="run", *, steps=6, validate_every=3, vision_changes=None, network=None, **optimization):
        model = {"vision": vision | (vision_changes or {}), "text": text, "projection_dim": 16, "vocabulary_size": 400}
        return PretrainConfig(
            output=tmp_path / name,
            data=PretrainData(
                studies=tables / "studies",
                findings=tables / "findings.parquet",
                volumes=tables / "volumes",
                batch_studies=4,
                series_per_study=2,
                text_items=("series", "impression"),
            ),
            model=NetworkConfig(**(model | (network or {}))),
            augmentation=AugmentationConfig(),
            optimization=OptimizationConfig(
                **{"steps": steps, "warmup_steps": 2, "precision": "fp32", **optimization}
            ),
            tracking=TrackingConfig(validate_every=validate_every, log_every=1),
        )

    return make


@pytest.fixture
def text_tower(tmp_path):
    """Folder of a small pretrained text tower with dropout, as a user names one."""
    from transformers import BertConfig, BertModel

    from selip.training.tokenizer import train_tokenizer

    corpus = ["left frontal lobe, hyperintense", "right cerebellum, acute infarct", "右侧额叶"]
    tokenizer = train_tokenizer(corpus, vocabulary_size=320, max_tokens=160)
    torch.manual_seed(7)
    tower = BertModel(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24
        )
    )
    tower.save_pretrained(tmp_path / "tower")
    tokenizer.save_pretrained(tmp_path / "tower")
    return tmp_path / "tower"


CASE_PATIENTS = 40


def _retrieval_cases(generator, skill):
    """Ranks of two series a patient and direction; `skill` is the chance of being found."""
    rows = [
        (direction, patient, sequence)
        for direction in ("image_to_text", "text_to_image")
        for patient in range(CASE_PATIENTS)
        for sequence in ("FLAIR", "T1w")
    ]
    count = len(rows)
    rank = np.where(generator.random(count) < skill, 1, 30)
    return {
        "direction": np.array([row[0] for row in rows], dtype=object),
        "sequence": np.array([row[2] for row in rows], dtype=object),
        "study_id": np.array([f"s{row[1]}" for row in rows], dtype=object),
        "patient_id": np.array([f"p{row[1]}" for row in rows], dtype=object),
        "series_id": np.array([row[2] for row in rows], dtype=object),
        "text": np.array([f"text {row[1]}" for row in rows], dtype=object),
        "is_normal": np.array([row[1] % 5 == 0 for row in rows]),
        "weight": np.ones(count),
        "n_candidates": np.full(count, 40),
        "n_candidates_overall": np.full(count, 80),
        "n_hits": np.ones(count, dtype=int),
        "chance_ndcg": np.full(count, 0.1),
        "blind_rank": np.full(count, 20),
        "rank": rank,
        "rank_overall": rank,
        "ndcg": 1 / rank,
        "ndcg_overall": 1 / rank,
    }


def _pairs_cases(generator, skill):
    """One choice a patient and kind."""
    kinds = ("side", "signal", "size", "removed")
    rows = [(kind, patient) for kind in kinds for patient in range(CASE_PATIENTS)]
    return {
        "direction": np.array(["image_to_text"] * len(rows), dtype=object),
        "kind": np.array([row[0] for row in rows], dtype=object),
        "sequence": np.array(["FLAIR"] * len(rows), dtype=object),
        "study_id": np.array([f"s{row[1]}" for row in rows], dtype=object),
        "partner_id": np.array([f"s{row[1]}-{row[0]}" for row in rows], dtype=object),
        "patient_id": np.array([f"p{row[1]}" for row in rows], dtype=object),
        "margin": np.where(generator.random(len(rows)) < skill, 1.0, -1.0),
    }


def _probe_cases(generator, skill):
    """Two labels for each patient."""
    return {
        "study_id": np.repeat([f"s{number}" for number in range(CASE_PATIENTS)], 2).astype(object),
        "label": np.tile(np.array(["mass", "cyst"], dtype=object), CASE_PATIENTS),
        "patient_id": np.repeat([f"p{number}" for number in range(CASE_PATIENTS)], 2).astype(object),
        "positive": np.arange(2 * CASE_PATIENTS) % 3 == 0,
        "score": (np.arange(2 * CASE_PATIENTS) % 3 == 0) * 3 * skill + generator.normal(size=2 * CASE_PATIENTS),
    }


def _zero_shot_cases(generator, skill):
    """Two labels for each patient, two templates."""
    cases = _probe_cases(generator, skill)
    margin = cases.pop("score") - 1.5 * skill
    return cases | {
        "margin": margin,
        "probability": 1 / (1 + np.exp(-margin)),
        "polarity_margin": margin,
        "side": np.array(["left"] * len(margin), dtype=object),
        "side_margin": np.where(generator.random(len(margin)) < skill, 1.0, -1.0),
        "choices": np.array([""] * len(margin), dtype=object),
        "template_00": margin,
        "template_01": generator.normal(size=len(margin)),
    }


def _segmentation_cases(generator, skill):
    """One study a patient, of which a share given by the skill is marked."""
    true = generator.integers(50, 200, size=CASE_PATIENTS)
    shared = np.round(true * np.clip(skill + generator.normal(0, 0.1, CASE_PATIENTS), 0, 1)).astype(int)
    return {
        "study_id": np.array([f"s{number}" for number in range(CASE_PATIENTS)], dtype=object),
        "patient_id": np.array([f"p{number}" for number in range(CASE_PATIENTS)], dtype=object),
        "voxels_true": true,
        "voxels_predicted": true,
        "voxels_shared": shared,
        "voxel_ml": np.full(CASE_PATIENTS, 0.02),
        "hd95_mm": np.full(CASE_PATIENTS, 5.0),
        "lesions_true": np.ones(CASE_PATIENTS, dtype=int),
        "lesions_found": (shared > 0).astype(int),
        "lesions_false": np.zeros(CASE_PATIENTS, dtype=int),
        "box_voxels_predicted": true,
        "box_voxels_shared": true,
    }


def _detection_cases(generator, skill):
    """One lesion a patient, and one box, which lies on it in a share of patients given by the skill."""
    from selip.training.evaluation.detection import BOX, LESION, STUDY, case_columns

    lesion, elsewhere = np.array([0.0, 0, 0, 10, 10, 10]), np.array([50.0, 0, 0, 60, 10, 10])
    rows = []
    for patient in range(CASE_PATIENTS):
        about = {"study_id": f"s{patient}", "patient_id": f"p{patient}"}
        box = lesion if generator.random() < skill else elsewhere
        rows += [
            {**about, "kind": STUDY},
            {**about, "kind": LESION, "number": 1000, "finding": "mass", "box": lesion},
            {**about, "kind": BOX, "number": 0, "score": float(generator.random()), "box": box},
        ]
    return case_columns(rows)


@pytest.fixture(scope="session")
def case_tables():
    """Makes the tables of one system in a task, one a training seed: of (task, skill, seed, number of tables)."""
    makers = {
        "retrieval": _retrieval_cases,
        "pairs": _pairs_cases,
        "probe": _probe_cases,
        "classification": _probe_cases,
        "segmentation": _segmentation_cases,
        "detection": _detection_cases,
        "zero_shot": _zero_shot_cases,
    }

    def make(task: str, skill: float, seed: int, count: int = 3) -> list:
        generator = np.random.default_rng([seed, len(task)])
        return [makers[task](generator, skill) for _ in range(count)]

    return make


def write_head(path: Path, number: int) -> None:
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
            write_head(tmp_path / "files" / f"sub-{number}" / f"{name}.nii.gz", 2 * number + place)
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
