"""A checkpoint folder is all a user needs: model, processor and their code, loaded where no selip is installed."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

import selip
from selip.model_cards.cards.card import write_card
from selip.model_cards.cards.config import CardConfig
from selip.modeling_selip import (
    SelipConfig,
    SelipForVolumeClassification,
    SelipForVolumeSegmentation,
    SelipModel,
)
from selip.processing.image_processing_selip import SelipImageProcessor
from selip.processing.processing_selip import SelipProcessor
from selip.training.config import NetworkConfig
from selip.training.network import build_model, build_processor

TEXTS = [
    "FLAIR, the left frontal lobe shows a hyperintense edema.",
    "FLAIR, normal head MRI.",
    "FLAIR，在右侧额叶表现为高信号水肿。",
]
NETWORK = NetworkConfig(
    vision={
        "depth": 10,
        "hidden_sizes": (8, 8, 16, 16),
        "stem_kernel_size": (4, 4, 2),
        "stem_stride": (4, 4, 2),
        "stem_pool": False,
        "norm_groups": 4,
        "input_norm": "population",
        "pooling": "position",
        "pooled_size": 16,
    },
    text={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    projection_dim=12,
    vocabulary_size=320,
)
MAX_TEXT_TOKENS = 48

# What a user of a published checkpoint does, in a process where `import selip` fails.
USER_PROGRAM = """
import sys
sys.modules["selip"] = None
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

folder, volume, again, out, *texts = sys.argv[1:]
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
image_processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
for part in (config, model, image_processor, processor):
    assert type(part).__module__.startswith("transformers_modules."), type(part)
batch = processor(images={"FLAIR": volume}, text=texts)
assert torch.equal(image_processor({"FLAIR": volume})["pixel_values"], batch["pixel_values"])
with torch.inference_mode():
    output = model.eval()(**batch)
save_file({"logits_per_image": output.logits_per_image.contiguous(), **batch}, out)
model.save_pretrained(again)
processor.save_pretrained(again)
assert not [name for name in sys.modules if name.startswith("selip.")]
"""

# The same for models with a head: of each the scores of one volume.
HEADS_PROGRAM = """
import sys
sys.modules["selip"] = None
import torch
from safetensors.torch import save_file
from transformers import AutoImageProcessor, AutoModelForImageClassification, AutoModelForSemanticSegmentation

folder, volume, out = sys.argv[1:]
scores = {}
for name, auto in (
    ("classification", AutoModelForImageClassification),
    ("segmentation", AutoModelForSemanticSegmentation),
):
    model = auto.from_pretrained(f"{folder}/{name}", trust_remote_code=True).eval()
    processor = AutoImageProcessor.from_pretrained(f"{folder}/{name}", trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules."), type(model)
    with torch.inference_mode():
        scores[name] = model(**processor({"FLAIR": volume})).logits.contiguous()
save_file(scores, out)
assert not [name for name in sys.modules if name.startswith("selip.")]
"""


@dataclass(frozen=True)
class Checkpoint:
    """A saved model and processor, and what they are in this process."""

    folder: Path
    model: SelipModel
    processor: SelipProcessor


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    torch.manual_seed(3)
    box = {"spatial_size": (40, 48, 12), "spacing_mm": (5.0, 5.0, 12.0)}
    processor = build_processor(NETWORK, box, TEXTS, MAX_TEXT_TOKENS)
    model = build_model(NETWORK, processor, MAX_TEXT_TOKENS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))  # no weight at its start, which loading could restore
    folder = tmp_path_factory.mktemp("hub") / "checkpoint"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Checkpoint(folder, model, processor)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NIfTI file of an oblique ellipsoid with texture, so that no axis and no side is like another."""
    shape, centre = (30, 34, 18), np.array([4.0, -9.0, 21.0])
    c, s = np.cos(0.2), np.sin(0.2)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([-6.0, 6.0, 10.0])
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3] - centre  # (X, Y, Z, 3)
    is_head = np.linalg.norm(points / np.array([72.0, 92.0, 80.0]), axis=-1) < 1
    texture = 400 + 2 * points[..., 0] + points[..., 1] + 300 * (np.linalg.norm(points - 30, axis=-1) < 20)
    path = tmp_path_factory.mktemp("volume") / "flair.nii.gz"
    nib.save(nib.Nifti1Image((is_head * texture).astype(np.float32), affine), path)
    return path


@pytest.fixture(scope="module")
def used_elsewhere(checkpoint: Checkpoint, volume: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what the program of a user left: `out.safetensors`, and the checkpoint saved anew in `again`."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run_elsewhere(
        USER_PROGRAM, folder, checkpoint.folder, volume, folder / "again", folder / "out.safetensors", *TEXTS
    )
    return folder


def run_elsewhere(program: str, folder: Path, *arguments: object) -> None:
    """A program in a process of its own, with a cache of its own; it must succeed."""
    environment = {**os.environ, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-I", "-c", program, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def code_files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}


def auto_maps(folder: Path) -> dict[str, dict[str, Any]]:
    """Every `auto_map` in the JSON files of a folder, by file and place in it."""
    found: dict[str, dict[str, Any]] = {}

    def walk(value: Any, place: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key == "auto_map":
                    found[place] = item
                else:
                    walk(item, f"{place}/{key}")

    for path in sorted(folder.glob("*.json")):
        walk(json.loads(path.read_text(encoding="utf-8")), path.name)
    return found


def test_logits_are_the_same_without_selip(checkpoint: Checkpoint, volume: Path, used_elsewhere: Path) -> None:
    """A file and texts give the same inputs and logits in a process that has only the folder."""
    batch = checkpoint.processor(images={"FLAIR": volume}, text=TEXTS)
    with torch.inference_mode():
        expected = checkpoint.model(**batch).logits_per_image
    assert expected.unique().numel() == len(TEXTS)
    got = load_file(used_elsewhere / "out.safetensors")
    for name, value in batch.items():
        assert torch.equal(got[name], value), name
    torch.testing.assert_close(got["logits_per_image"], expected, rtol=1e-5, atol=1e-5)


def test_saving_elsewhere_loses_nothing(checkpoint: Checkpoint, used_elsewhere: Path) -> None:
    """Whoever tunes the model without selip publishes a folder with the same code, entry points and weights."""
    again = used_elsewhere / "again"
    assert code_files(again) == code_files(checkpoint.folder)
    assert auto_maps(again) == auto_maps(checkpoint.folder)
    weights, expected = (load_file(folder / "model.safetensors") for folder in (again, checkpoint.folder))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


def test_folder_holds_the_shipped_files_and_names_its_classes(checkpoint: Checkpoint, repository: Path) -> None:
    """The code beside the weights is exactly the `*_selip.py` files of the tree, unchanged; each class is named."""
    shipped = [path for part in ("modeling_selip", "processing") for path in (repository / part).rglob("*_selip.py")]
    assert code_files(checkpoint.folder) == {path.name: path.read_text(encoding="utf-8") for path in shipped}
    named: dict[str, set[str]] = {}
    for entries in auto_maps(checkpoint.folder).values():
        for name, target in entries.items():
            named.setdefault(name, set()).add(target)
    assert named["AutoModel"] == {"modeling_selip.SelipModel"}
    assert named["AutoImageProcessor"] == {"image_processing_selip.SelipImageProcessor"}
    assert named["AutoProcessor"] == {"processing_selip.SelipProcessor"}
    assert "configuration_selip.SelipConfig" in named["AutoConfig"]


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": True}], ids=["plain", "trusting"])
def test_registered_package_takes_the_place_of_the_copies(checkpoint: Checkpoint, options: dict[str, bool]) -> None:
    """With selip registered the Auto classes give its own classes, whether or not the copies are trusted."""
    selip.register()
    folder = checkpoint.folder
    assert type(AutoConfig.from_pretrained(folder, **options)) is SelipConfig
    assert type(AutoModel.from_pretrained(folder, **options)) is SelipModel
    assert type(AutoImageProcessor.from_pretrained(folder, **options)) is SelipImageProcessor
    assert type(AutoProcessor.from_pretrained(folder, **options)) is SelipProcessor


def test_heads_are_used_without_selip(checkpoint: Checkpoint, volume: Path, tmp_path: Path) -> None:
    """A head on a checkpoint, saved: the folder names its class alone, and gives the same scores without selip."""
    batch = checkpoint.processor.image_processor({"FLAIR": volume})
    expected, kinds = {}, {"classification": "ImageClassification", "segmentation": "SemanticSegmentation"}
    for name, head in (
        ("classification", SelipForVolumeClassification),
        ("segmentation", SelipForVolumeSegmentation),
    ):
        torch.manual_seed(1)
        model = head.from_pretrained(checkpoint.folder, num_labels=2).eval()
        model.save_pretrained(tmp_path / name)
        checkpoint.processor.image_processor.save_pretrained(tmp_path / name)
        with torch.inference_mode():
            expected[name] = model(**batch).logits
        named = json.loads((tmp_path / name / "config.json").read_text(encoding="utf-8"))["auto_map"]
        assert named == {
            "AutoConfig": "configuration_selip.SelipConfig",
            f"AutoModelFor{kinds[name]}": f"modeling_selip.{head.__name__}",
        }
    run_elsewhere(HEADS_PROGRAM, tmp_path, tmp_path, volume, tmp_path / "scores.safetensors")
    got = load_file(tmp_path / "scores.safetensors")
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [SelipModel, SelipForVolumeClassification, SelipForVolumeSegmentation])
def test_what_a_card_tells_to_type_works(head: type, checkpoint: Checkpoint, volume: Path, tmp_path: Path) -> None:
    """The code of the section Use runs as it stands where selip is missing, for a model and for each head."""
    folder = tmp_path / "checkpoint"
    if head is SelipModel:
        shutil.copytree(checkpoint.folder, folder)
    else:
        head.from_pretrained(checkpoint.folder, num_labels=2).save_pretrained(folder)  # type: ignore[attr-defined]
        checkpoint.processor.image_processor.save_pretrained(folder)
    text = write_card(CardConfig(folder, name=str(folder), datasets=("simulated",))).read_text(encoding="utf-8")
    code = text.partition("## Use")[2].partition("```python\n")[2].partition("```")[0]
    assert code.count(str(folder)) == 2
    shutil.copy(volume, tmp_path / "flair.nii.gz")
    ending = {
        SelipModel: "assert logits.shape == (1, 2)",
        SelipForVolumeClassification: "assert logits.shape == (1, 2)",
        SelipForVolumeSegmentation: "assert mask.shape == (30, 34, 18), mask.shape",
    }[head]
    run_elsewhere(f"import sys\nsys.modules['selip'] = None\n{code}\n{ending}\n", tmp_path)
