"""A small checkpoint with its card, a small studies table, and a stand-in of the Hub that both can be pushed to."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from selip.model_cards.cards.card import write_card
from selip.model_cards.cards.config import CardConfig
from selip.model_cards.publishing import hub as hub_module
from selip.modeling_selip import SelipForVolumeClassification
from selip.processing.findings_table import write_findings
from selip.processing.sources.studies_writer import write_studies
from selip.training.config import NetworkConfig
from selip.training.network import build_model, build_processor

_spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
assert _spec is not None
assert _spec.loader is not None
hub_server = importlib.util.module_from_spec(_spec)
sys.modules["hub_server"] = hub_server  # its dataclasses look their module up
_spec.loader.exec_module(hub_server)

REPO = "my-group/selip-test"
CANARY = "Zebulon Canary"
TEXTS = ["FLAIR, the left frontal lobe shows a hyperintense edema.", "FLAIR, normal head MRI."]
NETWORK = NetworkConfig(
    vision={
        "depth": 10,
        "hidden_sizes": (8, 8),
        "stem_kernel_size": (4, 4, 2),
        "stem_stride": (4, 4, 2),
        "stem_pool": False,
        "stage_strides": ((2, 2, 2), (1, 1, 1)),
        "norm_groups": 4,
        "pooling": "position",
        "pooled_size": 8,
    },
    text={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    projection_dim=12,
    vocabulary_size=320,
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A running stand-in, to which this process may push with the right token."""
    from huggingface_hub import close_session, constants

    with hub_server.hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
        monkeypatch.setattr(hub_module, "_FIRST_WAIT_S", 0.01)
        close_session()
        yield server
        close_session()


@pytest.fixture
def fault() -> type:
    """`Fault` of the stand-in."""
    return hub_server.Fault


@pytest.fixture
def run_elsewhere(tmp_path: Path) -> Callable[..., str]:
    """Runs a program in a process of its own with a cache of its own, against a stand-in; returns what it prints."""

    def run(program: str, server: Any, *arguments: object) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        environment |= {
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(tmp_path / "elsewhere"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": hub_server.TOKEN,
        }
        command = [sys.executable, "-I", "-c", program, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining checkpoint with random weights, its training state and its card; not to be changed."""
    torch.manual_seed(5)
    box = {"spatial_size": (40, 48, 12), "spacing_mm": (5.0, 5.0, 12.0), "patch_size": (8, 8, 4)}
    processor = build_processor(NETWORK, box, TEXTS, 48)
    model = build_model(NETWORK, processor, 48).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("run") / "best"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "training_state.json").write_text(json.dumps({"step": 1, "environment": {}}))
    write_card(CardConfig(folder, name=REPO, datasets=("simulated",)))
    return folder


@pytest.fixture(scope="session")
def head(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classification head on it, with its image processor and card."""
    from selip.processing.image_processing_selip import SelipImageProcessor

    torch.manual_seed(6)
    folder = tmp_path_factory.mktemp("run") / "head"
    SelipForVolumeClassification.from_pretrained(checkpoint, num_labels=3).save_pretrained(folder)
    SelipImageProcessor.from_pretrained(checkpoint).save_pretrained(folder)
    (folder / "training_state.json").write_text(json.dumps({"step": 1, "environment": {}}))
    write_card(CardConfig(folder, name=REPO, datasets=("simulated",)))
    return folder


def finding(quote: str) -> dict[str, Any]:
    """A finding with words of a report in it."""
    return {"finding": "cyst", "site": "pons", "quote": quote}


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Four studies of two splits; a canary stands in a header, in a report and in findings made of it."""
    rows: list[Any] = []
    for number in range(4):
        path = tmp_path / "files" / f"sub-{number}_T1w.nii.gz"
        path.parent.mkdir(exist_ok=True)
        voxels = np.random.default_rng(number).integers(0, 900, (5, 6, 7)).astype(np.int16)
        image = nibabel.Nifti1Image(voxels, np.diag([2.0, 2.5, 3.0, 1.0]))
        if number == 1:
            image.header["descrip"] = CANARY.encode()
            image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", CANARY.encode()))
        nibabel.save(image, path)
        text = f"A cyst of {number + 3} mm in the pons, told to {CANARY} at once."
        truth = {"normal": False, "findings": [finding(text[:20])], "impression": [text]}
        rows.append(
            {
                "study_id": f"s{number}",
                "patient_id": f"p{number}",
                "split": "train" if number < 3 else "test",
                "language": "en",
                "series": [{"series_id": f"s{number}_T1w", "sequence": "T1w", "volume": path, "b_value": None}],
                "report": {"findings": text, "impression": "Cyst."},
                "labels": ["cyst"],
                "masks": [{"name": "lesions", "volume": path}],
                "reference_findings": json.dumps(truth),
            }
        )
    write_studies(rows, tmp_path / "studies", tmp_path / "files")
    return tmp_path / "studies"


@pytest.fixture
def findings(tmp_path: Path) -> Path:
    """Findings of three of them, one not valid."""
    report = json.dumps({"normal": False, "findings": [finding(f"told to {CANARY}")], "impression": [CANARY]})
    shared = {"structurer": "rules", "version": "1", "fallback": ""}
    rows = [
        {"study_id": "s0", "report": report, "valid": True, **shared},
        {"study_id": "s1", "report": "", "valid": False, **shared},
        {"study_id": "s3", "report": report, "valid": True, **shared},
    ]
    write_findings(rows, tmp_path / "findings.parquet")
    return tmp_path / "findings.parquet"
