"""The processor as a whole: options, texts, and the way through a folder to a process that knows no selip."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from selip.processing.image_processing_selip import SelipImageProcessor
from selip.processing.processing_selip import SelipProcessor

WORDS = ["[PAD]", "[UNK]", "FLAIR", "left", "frontal", "lesion", ",", "."]


@pytest.fixture(scope="module")
def processor() -> SelipProcessor:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    return SelipProcessor(SelipImageProcessor(spatial_size=(40, 48, 12), spacing_mm=(5.0, 5.0, 12.0)), fast)


@pytest.fixture(scope="module")
def head(make_head: Callable[..., nib.Nifti1Image]) -> nib.Nifti1Image:
    return make_head((4.0, 4.0, 4.0))


def test_images_and_text_in_one_call(processor: SelipProcessor, head: nib.Nifti1Image) -> None:
    """Each part gives what it gives alone; texts are normalised and padded, nothing else is added."""
    batch = processor(images={"FLAIR": head}, text=["FLAIR,\n  left   lesion.", "frontal"])
    assert set(batch) == {*processor.image_processor.model_input_names, "input_ids", "attention_mask"}
    assert torch.equal(batch["pixel_values"], processor.image_processor({"FLAIR": head})["pixel_values"])
    assert batch["input_ids"].tolist() == [[2, 6, 3, 5, 7], [4, 0, 0, 0, 0]]
    assert batch["attention_mask"].sum(1).tolist() == [5, 1]
    assert set(processor(text="left")) == {"input_ids", "attention_mask"}


def test_options_reach_their_part(processor: SelipProcessor, head: nib.Nifti1Image) -> None:
    """Settings go to the image processor and options to the tokenizer, by name; an unknown one is an error."""
    batch = processor({"T1w": head}, "left frontal lesion", spatial_size=(8, 8, 4), padding="max_length", max_length=9)
    assert batch["pixel_values"].shape[2:] == (8, 8, 4)
    assert batch["input_ids"].shape == (1, 9)
    for options in ({"spatialsize": (8, 8, 4)}, {"do_resize": True}):
        with pytest.raises(TypeError, match=next(iter(options))):
            processor({"T1w": head}, "left", **options)
    with pytest.raises(ValueError, match="images, text or both"):
        processor()
    with pytest.raises(TypeError, match="NoneType"):
        processor(text=["left", None])
    assert isinstance(processor({"T1w": head}, "left", return_tensors="np")["input_ids"], np.ndarray)


SCRIPT = """
import sys, torch
assert "selip" not in sys.modules
try:
    import selip
except ImportError:
    pass
else:
    raise SystemExit("selip is importable, so the test would be vacuous")
from transformers import AutoImageProcessor, AutoProcessor
folder, volume, out = sys.argv[1:]
image_processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
again = folder + "-again"
processor.save_pretrained(again)
third = AutoProcessor.from_pretrained(again, trust_remote_code=True)
text = "FLAIR, left lesion ."
study = [{"volume": volume, "sequence": "FLAIR"}]
try:
    processor(images="/nowhere.nii.gz")
except ValueError as error:
    assert error.reason == "missing"
torch.save([dict(image_processor(study)), dict(processor(images=study, text=text)),
            dict(third(images=study, text=text))], out)
"""


def test_folder_loads_without_selip(processor: SelipProcessor, head: nib.Nifti1Image, tmp_path: Path) -> None:
    """Saved with its code, loaded by the Auto classes in a process without the package, saved and loaded once more:
    equal tensors each time, and nothing of the settings is lost."""
    folder, volume, out = tmp_path / "checkpoint", tmp_path / "flair.nii.gz", tmp_path / "out.pt"
    nib.save(head, volume)
    SelipImageProcessor.register_for_auto_class()
    SelipProcessor.register_for_auto_class()
    processor.save_pretrained(folder)
    saved = json.loads((folder / "processor_config.json").read_text())
    assert saved["image_processor"]["spatial_size"] == [40, 48, 12]
    # -S keeps the installed package out: an editable install is a .pth file, which only `site` reads
    packages = [p for p in sys.path if p.endswith("site-packages")]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": os.pathsep.join(packages)}
    code = HIDE_SELIP + SCRIPT
    command = [sys.executable, "-S", "-c", code, str(folder), str(volume), str(out)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    expected = processor(images={"FLAIR": volume}, text="FLAIR, left lesion .")
    batches = torch.load(out, weights_only=True)
    for batch in batches:
        for key, value in batch.items():
            assert torch.equal(value, expected[key]), key
    assert "input_ids" in batches[1]


HIDE_SELIP = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == "selip" or name.startswith("selip."):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
"""
