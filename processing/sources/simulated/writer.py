"""Simulated studies on disk: BIDS files, reports and truth, made in parallel, resumable and written atomically.

A run builds `OUT.partial` beside OUT and renames it when everything is there. A study appears in it by two renames,
its truth first, so a study whose images are there is whole, and an interrupted run continues where it stopped.
"""

import gzip
import json
import logging
import shutil
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from .anatomy import Template, load_template
from .config import SIMULATOR_VERSION, SimulationConfig, SimulationSummary
from .streams import Purpose, generator
from .study import SimulatedStudy, simulate_study

SECOND_VISIT_RATE = 0.1
"""Part of the patients with two studies."""

BIDS_VERSION = "1.10.0"
SETTINGS_FILE = "simulation.json"
TRUTH_FOLDER = Path("derivatives") / "truth"
WORK_FOLDER = ".work"
BIDS_FOLDERS = {"T1w": "anat", "T2w": "anat", "FLAIR": "anat", "DWI": "dwi", "ADC": "dwi"}
BIDS_SUFFIXES = {"T1w": "T1w", "T2w": "T2w", "FLAIR": "FLAIR", "DWI": "dwi", "ADC": "ADC"}

logger = logging.getLogger(__name__)


def simulate_studies(config: SimulationConfig) -> SimulationSummary:
    """Simulate studies and write them as a BIDS data set.

    Args:
        config: what to make and where. An interrupted run with the same settings is continued.

    Returns:
        Counts of what is in the folder.

    Raises:
        FileExistsError: the folder exists, or an unfinished run with other settings does, and `overwrite` is off.
        ImportError: the extra `simulate` is not installed.

    Example:
        >>> simulate_studies(SimulationConfig(out="studies", studies=4))  # doctest: +SKIP
    """
    start = time.perf_counter()
    out = Path(config.out)
    partial = _open_partial(config, out)
    visits = list_visits(config.seed, config.studies)
    waiting = [visit for visit in visits if not _study_folder(partial, *visit).is_dir()]
    if waiting:
        _make_studies(config, partial, waiting)
    _write_data_set_files(partial, visits)
    if config.preview:
        from .preview import write_preview

        write_preview(partial, [_study_name(*visit) for visit in visits], partial / "preview.png")
    shutil.rmtree(partial / WORK_FOLDER, ignore_errors=True)
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
    summary = _summarize(out, visits, resumed=len(visits) - len(waiting), seconds=time.perf_counter() - start)
    logger.info("wrote %d simulated studies of %d patients to %s", summary.studies, summary.patients, out)
    return summary


def list_visits(seed: int, studies: int) -> list[tuple[int, int]]:
    """Patients and sessions of a run.

    Args:
        seed: seed of the run.
        studies: number of studies.

    Returns:
        (patient, session) of each study, both from 1; a longer list begins with a shorter one of the same seed.
    """
    visits: list[tuple[int, int]] = []
    patient = 0
    while len(visits) < studies:
        patient += 1
        sessions = 2 if generator(seed, Purpose.VISITS, patient).random() < SECOND_VISIT_RATE else 1
        visits += [(patient, session) for session in range(1, sessions + 1)]
    return visits[:studies]


def _open_partial(config: SimulationConfig, out: Path) -> Path:
    """The folder to build in: new, or left by an interrupted run with the same settings."""
    if out.exists() and not config.overwrite:
        raise FileExistsError(f"{out} exists; choose another folder, delete it, or set overwrite")
    partial = out.with_name(out.name + ".partial")
    settings = partial / SETTINGS_FILE
    if partial.exists():
        found = json.loads(settings.read_text()) if settings.exists() else None
        if found == config.content():
            shutil.rmtree(partial / WORK_FOLDER, ignore_errors=True)
            return partial
        if not config.overwrite:
            raise FileExistsError(
                f"{partial} holds an unfinished run with the settings {found}, not {config.content()}; "
                "run with those settings to continue it, delete it, or set overwrite"
            )
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    settings.write_text(json.dumps(config.content(), indent=2) + "\n")
    return partial


def _make_studies(config: SimulationConfig, partial: Path, visits: list[tuple[int, int]]) -> None:
    """Make and write the studies, in this process or in several; the bar shows on a terminal only."""
    template = load_template()
    jobs = [(str(partial), config.seed, patient, session) for patient, session in visits]
    workers = min(config.workers, len(jobs))
    with tqdm(total=len(jobs), unit="study", desc="simulate", disable=None) as bar:
        if workers == 1:
            for job in jobs:
                _write_job(template, job)
                bar.update()
            return
        # Workers are spawned, not forked: forking a process that holds threads (torch, BLAS) can hang.
        with ProcessPoolExecutor(workers, get_context("spawn"), _keep_template, (template,)) as pool:
            for _ in pool.map(_write_job_of_worker, jobs):
                bar.update()


_worker_template: list[Template] = []


def _keep_template(template: Template) -> None:
    _worker_template[:] = [template]


def _write_job_of_worker(job: tuple[str, int, int, int]) -> None:
    _write_job(_worker_template[0], job)


def _write_job(template: Template, job: tuple[str, int, int, int]) -> None:
    folder, seed, patient, session = job
    write_study(simulate_study(template, seed, patient, session), Path(folder))


def write_study(study: SimulatedStudy, root: Path) -> None:
    """Write one study so that it appears whole or not at all.

    Args:
        study: the study.
        root: root of the BIDS data set.
    """
    work = root / WORK_FOLDER / _study_name(study.patient, study.session)
    shutil.rmtree(work, ignore_errors=True)
    raw, truth = work / "raw", work / "truth"
    _write_raw(study, raw)
    _write_truth(study, truth)
    target = _study_folder(root, study.patient, study.session)
    truth_target = root / TRUTH_FOLDER / target.relative_to(root)
    shutil.rmtree(truth_target, ignore_errors=True)
    for folder in (truth_target, target):
        folder.parent.mkdir(parents=True, exist_ok=True)
    truth.rename(truth_target)
    raw.rename(target)
    work.rmdir()


def _write_raw(study: SimulatedStudy, folder: Path) -> None:
    name = _study_name(study.patient, study.session)
    for series in study.series:
        path = folder / BIDS_FOLDERS[series.sequence] / f"{name}_{BIDS_SUFFIXES[series.sequence]}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_nifti(series.data, series.affine, path)
        _write_json(series.sidecar, path.with_name(path.name.replace(".nii.gz", ".json")))
    (folder / f"{name}_report.txt").write_text(study.report.text, encoding="utf-8")


def _write_truth(study: SimulatedStudy, folder: Path) -> None:
    folder.mkdir(parents=True)
    name = _study_name(study.patient, study.session)
    _write_json(study.truth.model_dump(mode="json"), folder / f"{name}_findings.json")
    _write_json(list(study.labels), folder / f"{name}_labels.json")
    _write_nifti(study.label_map, study.label_affine, folder / f"{name}_desc-lesions_dseg.nii.gz")


def _write_nifti(data: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Write a NIfTI-1 file whose bytes depend on its content only (gzip without time stamp)."""
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def _write_json(content: object, path: Path) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _study_name(patient: int, session: int) -> str:
    return f"sub-{patient:04d}_ses-{session:02d}"


def _study_folder(root: Path, patient: int, session: int) -> Path:
    return root / f"sub-{patient:04d}" / f"ses-{session:02d}"


def _write_data_set_files(root: Path, visits: list[tuple[int, int]]) -> None:
    """Files that BIDS asks for at the root, of the raw data and of the truth."""
    generated_by = [{"Name": "selip simulate", "Version": str(SIMULATOR_VERSION)}]
    description = {
        "Name": "Simulated head MRI studies",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": generated_by,
    }
    truth = {**description, "Name": "Truth of simulated head MRI studies", "DatasetType": "derivative"}
    _write_json(description, root / "dataset_description.json")
    _write_json(truth, root / TRUTH_FOLDER / "dataset_description.json")
    # Reports are no BIDS file type, the trace-weighted image has no gradient table, and settings lie at the root.
    (root / ".bidsignore").write_text(f"*_report.txt\n*_ADC.*\n{SETTINGS_FILE}\npreview.png\n")
    patients = sorted({patient for patient, _ in visits})
    lines = ["participant_id", *(f"sub-{patient:04d}" for patient in patients)]
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")


def _summarize(root: Path, visits: list[tuple[int, int]], *, resumed: int, seconds: float) -> SimulationSummary:
    """Count what lies in the folder, from the files themselves."""
    findings: Counter[str] = Counter()
    series = normal = 0
    for visit in visits:
        folder = _study_folder(root, *visit)
        truth = root / TRUTH_FOLDER / folder.relative_to(root) / f"{_study_name(*visit)}_findings.json"
        report = json.loads(truth.read_text())
        normal += report["normal"]
        findings.update(finding["finding"] for finding in report["findings"])
        series += sum(1 for _ in folder.glob("*/*.nii.gz"))
    return SimulationSummary(
        out=str(root),
        studies=len(visits),
        patients=len({patient for patient, _ in visits}),
        series=series,
        normal_studies=normal,
        findings=dict(sorted(findings.items())),
        resumed=resumed,
        seconds=round(seconds, 1),
    )
