"""Files: the same for any number of processes, whole or absent, resumable, and consistent with their truth."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

nilearn = pytest.importorskip("nilearn", reason="the simulator needs the extra `simulate`")

from selip.processing.findings import StructuredReport  # noqa: E402
from selip.processing.sources.simulated import writer  # noqa: E402
from selip.processing.sources.simulated.config import SimulationConfig  # noqa: E402
from selip.processing.sources.simulated.preview import write_preview  # noqa: E402
from selip.processing.sources.simulated.writer import list_visits, simulate_studies  # noqa: E402

STUDIES = 4
SEED = 21


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "studies"
    simulate_studies(SimulationConfig(out=str(out), studies=STUDIES, seed=SEED, num_proc=1))
    return out


def truth_files(root: Path, suffix: str) -> list[Path]:
    return sorted((root / "derivatives" / "truth").rglob(f"*{suffix}"))


def test_two_processes_write_the_same_bytes_as_one(data_set: Path, tmp_path: Path) -> None:
    """Every file, compressed images included, is equal byte for byte."""
    out = tmp_path / "studies"
    simulate_studies(SimulationConfig(out=str(out), studies=STUDIES, seed=SEED, num_proc=2))
    assert contents(out) == contents(data_set)


def test_another_seed_gives_other_studies(data_set: Path, tmp_path: Path) -> None:
    """No image, report or truth map of the first study is shared between seeds."""
    out = tmp_path / "studies"
    simulate_studies(SimulationConfig(out=str(out), studies=1, seed=SEED + 1, num_proc=1))
    mine, other = contents(out), contents(data_set)
    shared = [name for name in mine if name in other and name.endswith((".nii.gz", "_report.txt", "_findings.json"))]
    assert shared
    assert all(mine[name] != other[name] for name in shared)


def test_interrupted_run_continues_to_the_same_bytes(
    data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stops in its third study, resumed with the same settings, equals an uninterrupted one."""
    out = tmp_path / "studies"
    config = SimulationConfig(out=str(out), studies=STUDIES, seed=SEED, num_proc=1)
    write_truth, calls = writer._write_truth, []

    def stop_at_third(study: object, name: str, folder: Path) -> None:
        calls.append(folder)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write_truth(study, name, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "_write_truth", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        simulate_studies(config)
    monkeypatch.undo()
    assert not out.exists()
    with pytest.raises(FileExistsError, match="unfinished run"):
        simulate_studies(SimulationConfig(out=str(out), studies=STUDIES, seed=SEED + 5, num_proc=1))
    summary = simulate_studies(config)
    assert summary.resumed == 2
    assert contents(out) == contents(data_set)
    assert not out.with_name("studies.partial").exists()


def test_existing_folder_is_refused(data_set: Path) -> None:
    """A finished data set is not replaced unless asked, and stays as it was."""
    before = contents(data_set)
    with pytest.raises(FileExistsError, match="overwrite"):
        simulate_studies(SimulationConfig(out=str(data_set), studies=1))
    assert contents(data_set) == before


def test_truth_is_consistent_with_itself(data_set: Path) -> None:
    """Labels, label map and findings name the same lesions; a normal study has an empty map."""
    files = truth_files(data_set, "_findings.json")
    assert len(files) == STUDIES
    for path in files:
        report = StructuredReport.model_validate_json(path.read_text())
        stem = str(path).removesuffix("_findings.json")
        label_map = nib.load(f"{stem}_desc-lesions_dseg.nii.gz")
        values = set(np.unique(np.asarray(label_map.dataobj)).tolist()) - {0}
        assert values == set(range(1, len(report.findings) + 1))
        assert report.normal == (not report.findings)
        labels = json.loads(Path(f"{stem}_labels.json").read_text())
        assert labels == list(dict.fromkeys(finding.finding for finding in report.findings))
        assert "".join(nib.aff2axcodes(label_map.affine)) == "RAS"


def test_lesion_lies_on_the_stated_side_of_the_head_in_the_image(data_set: Path) -> None:
    """Reference: the middle of the head at the lesion's height and depth, measured on an image of the study."""
    checked = 0
    for path in truth_files(data_set, "_findings.json"):
        report = StructuredReport.model_validate_json(path.read_text())
        name = path.name.removesuffix("_findings.json")
        label_map = nib.load(path.with_name(f"{name}_desc-lesions_dseg.nii.gz"))
        labels = np.asarray(label_map.dataobj)
        image = nib.load(next((data_set / name.replace("_", "/")).glob("*/*.nii.gz")))
        voxels = np.asarray(image.dataobj, dtype=float).reshape(-1)
        index = np.indices(image.shape).reshape(3, -1)
        points = image.affine[:3, :3] @ index + image.affine[:3, 3:]
        points = points[:, voxels > 0.3 * np.quantile(voxels, 0.95)]
        for number, finding in enumerate(report.findings, start=1):
            if finding.laterality not in ("left", "right"):
                continue
            lesion = label_map.affine[:3, :3] @ np.argwhere(labels == number).mean(axis=0) + label_map.affine[:3, 3]
            near = (np.abs(points[1] - lesion[1]) < 8.0) & (np.abs(points[2] - lesion[2]) < 8.0)
            middle = 0.5 * (np.quantile(points[0, near], 0.01) + np.quantile(points[0, near], 0.99))
            assert (lesion[0] > middle) == (finding.laterality == "right"), finding.site
            checked += 1
    assert checked >= 2


def test_longer_run_begins_with_the_shorter_one() -> None:
    """The list of visits only grows, and about a tenth of the patients come twice."""
    assert list_visits(1, 300)[:40] == list_visits(1, 40)
    visits = list_visits(1, 1000)
    assert sum(session == 2 for _, session in visits) / max(patient for patient, _ in visits) == pytest.approx(
        0.1, abs=0.03
    )


@pytest.mark.parametrize(
    "wrong",
    [{"studies": 0}, {"seed": -1}, {"num_proc": 0}, {"language": "xx"}, {"out": ""}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_wrong_settings_are_errors(wrong: dict) -> None:
    """Each setting out of its range raises with a message that names what was expected."""
    with pytest.raises(ValueError, match="expected"):
        SimulationConfig(**{"out": "somewhere", **wrong})


def test_preview_shows_heads_and_outlined_lesions(data_set: Path, tmp_path: Path) -> None:
    """The contact sheet is a picture with bright (head) and dark (air) parts and coloured outlines."""
    pytest.importorskip("matplotlib", reason="the preview needs the extra `plots`")
    image = pytest.importorskip("PIL.Image")
    names = sorted(path.name.removesuffix("_findings.json") for path in truth_files(data_set, "_findings.json"))
    write_preview(data_set, names, tmp_path / "preview.png")
    pixels = np.asarray(image.open(tmp_path / "preview.png").convert("RGB")).astype(int)
    assert (pixels.max(axis=2) < 20).mean() > 0.3
    assert (pixels.min(axis=2) > 60).mean() > 0.1
    assert ((pixels[..., 0] > 180) & (pixels[..., 2] < 60)).any()
