"""What is installed is what is in the tree, and the public names are there."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import selip

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = {
    "selip": "src/selip",
    "selip/modeling_selip": "modeling_selip",
    "selip/processing": "processing",
    "selip/training": "training",
    "selip/model_cards": "model_cards",
}
NOT_INSTALLED = {".pyc", ".md"}


def tree_files() -> set[str]:
    """Files of the packages, by the name that they have in a wheel."""
    return {
        f"{package}/{path.relative_to(REPOSITORY / folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and path.suffix not in NOT_INSTALLED and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the tracked kinds of files, so that the checkout stays clean."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    for folder in FOLDERS.values():
        shutil.copytree(REPOSITORY / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_wheel_holds_the_files_of_the_tree_and_no_other(wheel: zipfile.ZipFile) -> None:
    """Every module and data file of the folders is in the wheel under selip/, and nothing else is."""
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == tree_files()


def test_wheel_takes_one_top_level_name(wheel: zipfile.ZipFile) -> None:
    """`processing` and `training` must not become import names of their own."""
    assert {name.split("/")[0] for name in wheel.namelist()} == {"selip", f"selip-{selip.__version__}.dist-info"}


def test_wheel_states_version_licence_and_command(wheel: zipfile.ZipFile) -> None:
    """Metadata agree with the package: one version, the licence file, the `selip` command."""
    folder = f"selip-{selip.__version__}.dist-info"
    metadata = wheel.read(f"{folder}/METADATA").decode()
    assert f"Version: {selip.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Apache License" in wheel.read(f"{folder}/licenses/LICENSE").decode()
    assert "selip = selip.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()


def test_wheel_runs_without_the_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """The unpacked wheel alone gives `selip --version` and its data files; the editable install is not seen."""
    wheel.extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "sys.meta_path[:] = [finder for finder in sys.meta_path if 'editable' not in repr(finder).lower()]\n"
        "import selip, selip.cli\n"
        "from importlib import resources\n"
        f"assert selip.__file__.startswith({str(tmp_path)!r}), selip.__file__\n"
        "assert resources.files('selip.model_cards.cards').joinpath('model_card.md.jinja').is_file()\n"
        "assert any(resources.files('selip.processing').joinpath('lexicon').iterdir())\n"
        "sys.exit(selip.cli.main(['--version']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"selip {selip.__version__}\n"


@pytest.mark.parametrize("name", [name for name in selip.__all__ if not name.startswith("_")])
def test_public_names_import(name: str) -> None:
    """Every name of `selip.__all__` is there and is listed by dir()."""
    assert callable(getattr(selip, name))
    assert name in dir(selip)


def test_unknown_public_name_lists_the_known() -> None:
    """A misspelt name is an AttributeError that lists what there is."""
    with pytest.raises(AttributeError, match="SelipModel"):
        _ = selip.SelipModle


def test_first_use_of_a_public_class_registers_the_auto_classes() -> None:
    """`from selip import SelipModel` is enough for the Auto classes to know SeLIP; registering twice is allowed."""
    program = (
        "from selip import SelipModel, register\n"
        "register()\n"
        "from transformers import AutoConfig, AutoModel\n"
        "config = AutoConfig.for_model('selip')\n"
        "assert type(AutoModel.from_config(config)) is SelipModel\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_license_is_the_whole_apache_text() -> None:
    """LICENSE holds the complete licence, not a summary."""
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "9. Accepting Warranty or Additional Liability." in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_constraints_fit_the_requirements() -> None:
    """Every required package has its tested version in constraints.txt, as a plain public version."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {}
    for requirement in tested:
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        assert requirement.url is None
        assert "+" not in specifier.version
        versions[canonicalize_name(requirement.name)] = specifier.version
    for line in requires("selip") or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": "dev"}):
            name = canonicalize_name(requirement.name)
            assert name in versions, f"{name} is required but has no tested version in constraints.txt"
            assert requirement.specifier.contains(versions[name]), f"{name} {versions[name]} is not {requirement}"
