"""The install script: which torch it asks for, what it reuses, and that it never deletes what it did not make."""

import importlib.util
import json
import sys
import urllib.error
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "install.py"


@pytest.fixture
def install(tmp_path: Path) -> ModuleType:
    """The script as a module that works on an empty folder instead of the checkout."""
    spec = importlib.util.spec_from_file_location("install_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ROOT = str(tmp_path)  # type: ignore[attr-defined]
    module.VENV = str(tmp_path / ".venv")  # type: ignore[attr-defined]
    module.STAMP = str(tmp_path / ".venv" / "selip-install.json")  # type: ignore[attr-defined]
    module.VENV_PYTHON = str(tmp_path / ".venv" / "bin" / "python")  # type: ignore[attr-defined]
    for name in module.INPUTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return module


def test_unreachable_cpu_index_is_no_error(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the index of CPU builds does not answer, the plain index is used and nothing fails."""
    monkeypatch.setattr(install, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(sys, "platform", "linux")
    for error in (urllib.error.URLError("no route"), TimeoutError("slow"), ConnectionResetError("reset")):

        def refuse(url: str, timeout: float, error: Exception = error) -> None:
            assert timeout <= 3
            raise error

        monkeypatch.setattr(install.urllib.request, "urlopen", refuse)
        assert install.torch_index() == []


@pytest.mark.parametrize(("platform", "has_gpu"), [("linux", True), ("darwin", False)])
def test_cpu_index_is_for_linux_without_gpu_alone(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, platform: str, has_gpu: bool
) -> None:
    """With an NVIDIA GPU, and on macOS, the index of CPU builds is not even asked."""
    monkeypatch.setattr(install, "has_nvidia_gpu", lambda: has_gpu)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(install.urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked the index"))
    assert install.torch_index() == []


def test_environment_of_other_origin_is_moved_aside(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A .venv without our stamp keeps its files under another name; one of ours is replaced."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "theirs.txt").write_text("keep")
    monkeypatch.setattr(install, "output_of", lambda command: "pip")
    install.make_venv(sys.executable)
    kept = list(tmp_path.glob(".venv.old-*/theirs.txt"))
    assert [path.read_text() for path in kept] == ["keep"]
    assert json.loads(Path(install.STAMP).read_text())["state"] == "installing"
    install.make_venv(sys.executable)
    assert len(list(tmp_path.glob(".venv.old-*"))) == 1


def test_stale_or_broken_environment_is_not_reused(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Up to date means: finished, from these very inputs, and running this checkout. Each alone is not enough."""
    own = tmp_path / "src" / "selip" / "__init__.py"
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(install, "output_of", lambda command: str(own))
    assert not install.is_up_to_date()  # no stamp
    install.write_stamp("installing")
    assert not install.is_up_to_date()  # interrupted
    install.write_stamp("finished")
    assert install.is_up_to_date()
    monkeypatch.setattr(install, "output_of", lambda command: None)
    assert not install.is_up_to_date()  # its Python does not run
    monkeypatch.setattr(install, "output_of", lambda command: "/elsewhere/selip/__init__.py")
    assert not install.is_up_to_date()  # the checkout was copied or moved
    monkeypatch.setattr(install, "output_of", lambda command: str(own))
    (tmp_path / "constraints.txt").write_text("torch==0")
    assert not install.is_up_to_date()  # other versions are wanted


def test_too_old_python_says_what_to_install(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Python 3.11 the error names the package to install and how to name an interpreter."""
    monkeypatch.setattr(install, "output_of", lambda command: "3.9")
    with pytest.raises(install.InstallError, match="apt-get install python3") as error:
        install.find_python()
    assert "PYTHON=" in str(error.value)
