"""What all tests share: no network, a cache of their own, real data where it is, GPU and Hub tests on request."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports transformers: code of checkpoints is copied into HF_HOME when it is loaded, and a test must
# neither see the copies of another run nor leave its own.
_HF_HOME = tempfile.TemporaryDirectory(prefix="selip-tests-")
os.environ["HF_HOME"] = _HF_HOME.name
if os.environ.get("SELIP_TEST_HUB") != "1":
    os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# The same cases in every run, on machines of any speed, and no files left behind.
settings.register_profile("selip", derandomize=True, deadline=None, database=None)
settings.load_profile("selip")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs an accelerator or the Hub where there is none, saying so."""
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        has_gpu = torch.cuda.is_available()
    for item in items:
        if item.get_closest_marker("gpu") and not has_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, found none"))
        if item.get_closest_marker("hub") and os.environ.get("SELIP_TEST_HUB") != "1":
            item.add_marker(pytest.mark.skip(reason="needs the Hugging Face Hub; set SELIP_TEST_HUB=1"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real head MRI and reports; the test is skipped where it is absent."""
    folder = Path(os.environ.get("SELIP_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs real test data, found none at {folder}; set SELIP_TEST_DATA to its folder")
    return folder
