"""`selip publish` on real checkpoints: what is staged, what is refused, and what a user gets from the Hub."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from selip.model_cards.publishing.config import PublishConfig
from selip.model_cards.publishing.fresh_process import outputs_of, read_reference
from selip.model_cards.publishing.publish import publish
from selip.model_cards.publishing.verification import PublishError

REPO = "my-group/selip-test"
LOADED = "loads without selip, strictly, with the stored outputs"

# What a user does: download by name, without selip, and compare with the stored outputs.
USER_PROGRAM = """
import sys
sys.modules["selip"] = None
import json
import torch
from huggingface_hub import hf_hub_download
from safetensors import safe_open
from transformers import AutoModel, AutoProcessor

name = sys.argv[1]
model = AutoModel.from_pretrained(name, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
with safe_open(hf_hub_download(name, "reference_outputs.safetensors"), "pt") as file:
    about, stored = json.loads(file.metadata()["about"]), {key: file.get_tensor(key) for key in file.keys()}
study = {about["sequence"]: (stored["volume"].numpy(), stored["affine"].numpy())}
with torch.inference_mode():
    logits = model(**processor(images=study, text=about["texts"])).logits_per_image
assert torch.allclose(logits.flatten(), stored["output.logits_per_image"], atol=1e-3), logits
print(type(model).__module__.split(".")[0])
"""


def config_of(folder: Path, out: Path, **changed: Any) -> PublishConfig:
    return PublishConfig(folder, REPO, trained_on=("simulated",), dry_run=True, out=out / "staged", **changed)


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that may be changed."""
    return Path(shutil.copytree(checkpoint, tmp_path / "best"))


def test_dry_run_leaves_exactly_what_goes(checkpoint: Path, tmp_path: Path) -> None:
    """Copies of the model's files, unchanged, with a licence and reference outputs; the run's state stays."""
    published = publish(config_of(checkpoint, tmp_path))
    staged = {path.name: path.read_bytes() for path in published.folder.iterdir()}
    source = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    assert staged.keys() == (source.keys() - {"training_state.json"}) | {"LICENSE", "reference_outputs.safetensors"}
    assert all(staged[name] == content for name, content in source.items() if name in staged)
    assert published.pushed is None
    assert "Apache License" in staged["LICENSE"].decode()


def test_reference_outputs_are_those_of_the_model(checkpoint: Path, tmp_path: Path) -> None:
    """The stored outputs are what the package's own classes give for the stored input, the same in each run."""
    import selip

    first = publish(config_of(checkpoint, tmp_path)).folder / "reference_outputs.safetensors"
    tensors, about = read_reference(first)
    model, processor = selip.SelipModel.from_pretrained(checkpoint), selip.SelipProcessor.from_pretrained(checkpoint)
    expected = outputs_of({"model": model, "processor": processor}, tensors, about)
    for name, value in expected.items():
        torch.testing.assert_close(tensors[f"output.{name}"], value)
    assert expected["logits_per_image"].unique().numel() == len(about["texts"])
    content = first.read_bytes()
    assert publish(config_of(checkpoint, tmp_path)).folder.joinpath(first.name).read_bytes() == content


def test_a_head_is_published(head: Path, tmp_path: Path) -> None:
    """A head has no text part: its image processor and scores are verified."""
    folder = publish(config_of(head, tmp_path)).folder
    tensors, _ = read_reference(folder / "reference_outputs.safetensors")
    assert tensors["output.logits"].shape == (3,)
    assert not (folder / "tokenizer.json").exists()


def test_everything_that_is_wrong_is_told_at_once(copied: Path, tmp_path: Path) -> None:
    """A path in the card, a report's words, a weight too many and a name in the vocabulary: four checks, one error."""
    card = copied / "README.md"
    card.write_text(card.read_text() + "\nMade by /home/jo/run.sh for Dr. Canary\n")
    weights = load_file(copied / "model.safetensors")
    save_file({**weights, "extra.weight": torch.ones(2)}, copied / "model.safetensors", metadata={"format": "pt"})
    tokenizer = json.loads((copied / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["zebulon"] = len(tokenizer["model"]["vocab"])
    (copied / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "names.txt").write_text("Zebulon Smith\n")
    with pytest.raises(PublishError) as raised:
        publish(config_of(copied, tmp_path, forbid=(tmp_path / "names.txt",)))
    assert set(raised.value.problems) >= {
        "no path of this machine",
        "nothing with the form of a person's data",
        "no forbidden string",
        LOADED,
    }
    assert "unexpected keys: extra.weight" in str(raised.value)
    assert not any(word in str(raised.value) for word in ("Canary", "ebulon", "/home/jo"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda weights: weights.pop("logit_scale"), "missing"),
        (lambda weights: weights.update(logit_scale=torch.ones(3)), "shape|mismatched"),
        (lambda weights: weights.update(logit_scale=torch.tensor([float("inf")])), "not finite"),
    ],
    ids=["missing", "misshapen", "infinite"],
)
def test_weights_that_do_not_fit_are_refused(
    copied: Path, tmp_path: Path, change: Callable[[dict], Any], expected: str
) -> None:
    """A weight that is missing, of another shape or not finite."""
    weights = load_file(copied / "model.safetensors")
    change(weights)
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PublishError, match=expected):
        publish(config_of(copied, tmp_path))


def test_code_that_computes_something_else_is_refused(copied: Path, tmp_path: Path) -> None:
    """The code in the folder is what users run: where it gives other outputs than the package, it does not go."""
    code = copied / "text_selip.py"
    code.write_text(code.read_text() + "\n\ndef normalize_text(text):\n    return 'the same'\n")
    with pytest.raises(PublishError, match="differs from that with it"):
        publish(config_of(copied, tmp_path))


def test_code_that_needs_selip_is_refused(copied: Path, tmp_path: Path) -> None:
    """An import of selip in shipped code works here and fails there."""
    code = copied / "modeling_selip.py"
    code.write_text(code.read_text().replace("import math", "import math\nimport selip", 1) + "\nimport selip\n")
    with pytest.raises(PublishError, match="selip"):
        publish(config_of(copied, tmp_path))


def test_the_licence_follows_the_data(checkpoint: Path, tmp_path: Path) -> None:
    """A card of another licence than the data asks for, unnamed data and unknown data are refused."""
    config = config_of(checkpoint, tmp_path)
    with pytest.raises(PublishError, match=r"the terms of mr-rate ask for 'cc-by-nc-sa-4\.0'"):
        publish(PublishConfig(checkpoint, REPO, trained_on=("mr-rate",), dry_run=True, out=config.out))
    with pytest.raises(ValueError, match="expected --trained-on"):
        publish(PublishConfig(checkpoint, REPO, dry_run=True, out=config.out))
    with pytest.raises(ValueError, match="unknown data set 'hospital'"):
        publish(PublishConfig(checkpoint, REPO, trained_on=("hospital",), dry_run=True, out=config.out))


def test_a_folder_of_something_else_is_not_replaced(checkpoint: Path, tmp_path: Path) -> None:
    """Staging replaces what staging made; a file that somebody added makes it refuse, until it is told to."""
    staged = publish(config_of(checkpoint, tmp_path)).folder
    publish(config_of(checkpoint, tmp_path))
    (staged / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        publish(config_of(checkpoint, tmp_path))
    publish(config_of(checkpoint, tmp_path, overwrite=True))
    assert not (staged / "mine.txt").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "no folder"), ({}, "config.json"), ({"config.json": '{"model_type": "bert"}'}, "an unknown kind")],
)
def test_what_is_no_checkpoint_is_told(tmp_path: Path, content: dict[str, str] | None, expected: str) -> None:
    """No folder, an empty one, and a model of another kind."""
    if content is not None:
        (tmp_path / "best").mkdir()
        for name, text in content.items():
            (tmp_path / "best" / name).write_text(text)
    with pytest.raises((FileNotFoundError, ValueError), match=expected):
        publish(config_of(tmp_path / "best", tmp_path))


def test_a_run_folder_names_the_checkpoint_in_it(checkpoint: Path, tmp_path: Path) -> None:
    """Who gives the folder of a run is told which folder is meant."""
    with pytest.raises(FileNotFoundError, match=r"did you mean .*best"):
        publish(config_of(checkpoint.parent, tmp_path))


@pytest.mark.parametrize("name", ["alone", "a/b/c", "a b/c", "/a", "a/"])
def test_a_wrong_repository_name_is_refused(name: str) -> None:
    """Before anything is done."""
    with pytest.raises(ValueError, match="expected OWNER/NAME"):
        PublishConfig(Path("x"), name)


def test_a_pushed_model_is_loaded_by_name_without_selip(
    checkpoint: Path, tmp_path: Path, hub: Any, run_elsewhere: Callable[..., str]
) -> None:
    """From staging to the Hub to a process that has only the name: the stored outputs come out."""
    config = PublishConfig(checkpoint, REPO, trained_on=("simulated",), out=tmp_path / "staged")
    published = publish(config)
    assert published.pushed is not None
    assert hub.files(REPO) == {path.name: path.read_bytes() for path in published.folder.iterdir()}
    assert run_elsewhere(USER_PROGRAM, hub, REPO).strip() == "transformers_modules"


def test_links_and_what_is_no_text_are_named_and_nothing_is_staged(copied: Path, tmp_path: Path) -> None:
    """A link in the place of a file, and a card of bytes; each is told with its name."""
    config = copied / "config.json"
    config.rename(copied / "other.json")
    config.symlink_to("other.json")
    with pytest.raises(ValueError, match=r"got links: config\.json"):
        publish(config_of(copied, tmp_path))
    config.unlink()
    (copied / "other.json").rename(config)
    (copied / "README.md").write_bytes(b"\x80\x04")
    with pytest.raises(ValueError, match=r"expected text in README\.md"):
        publish(config_of(copied, tmp_path))
    assert not (tmp_path / "staged").exists()
