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

from ..bids_layout import BIDS_VERSION, FILE_NAMES, TRUTH_FOLDER, study_folder
from . import contrast
from .anatomy import Template, load_template
from .config import SIMULATOR_VERSIONS, SimulationConfig, SimulationSummary
from .realistic import scanners
from .realistic.details import HeadTemplate, load_head_template
from .realistic.patient import draw_patient
from .realistic.study import draw_visit, make_studies
from .streams import Purpose, generator
from .study import SimulatedStudy, simulate_study

SECOND_VISIT_RATE = 0.1
"""Part of the patients with two studies."""

SETTINGS_FILE = "simulation.json"
PAIRS_FILE = "pairs.tsv"
WORK_FOLDER = ".work"
DETAIL_NAMES = ("folds", "ventricle_mm", "push", "vein", "artery")
"""Arrays that the template of the realistic form has beside those of the simple one."""

REALISTIC_ROWS = 20
"""Rows of the preview of the realistic form, which has more kinds of findings to show."""

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
    waiting = [visit for visit in visits if not study_folder(partial, _study_name(*visit)).is_dir()]
    if waiting:
        _make_studies(config, partial, waiting)
    _write_data_set_files(config, partial, visits)
    pairs = write_pairs(partial) if config.minimal_pairs else 0
    if config.preview:
        _write_preview(config, partial, [_study_name(*visit) for visit in visits])
    shutil.rmtree(partial / WORK_FOLDER, ignore_errors=True)
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
    summary = _summarize(
        out, visits, pairs=pairs, resumed=len(visits) - len(waiting), seconds=time.perf_counter() - start
    )
    logger.info("wrote %d simulated studies of %d patients to %s", summary.studies, summary.patients, out)
    return summary


def _write_preview(config: SimulationConfig, root: Path, names: list[str]) -> None:
    from .preview import MOST_ROWS, write_preview

    if config.form == "simple":
        write_preview(root, names, root / "preview.png", contrast.SEQUENCES, MOST_ROWS)
    else:
        write_preview(root, names, root / "preview.png", scanners.SEQUENCES, REALISTIC_ROWS)


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
    template = load_template() if config.form == "simple" else load_head_template()
    jobs = [(partial, config, patient, session) for patient, session in visits]
    workers = min(config.workers, len(jobs))
    with tqdm(total=len(jobs), unit="study", desc="simulate", disable=None) as bar:
        if workers == 1:
            for job in jobs:
                _write_job(template, job)
                bar.update()
            return
        # Workers are spawned, not forked: forking a process that holds threads (torch, BLAS) can hang.
        path = partial / WORK_FOLDER / "template.npz"
        path.parent.mkdir(exist_ok=True)
        _save_template(template, path)
        with ProcessPoolExecutor(workers, get_context("spawn"), _keep_template, (path,)) as pool:
            for _ in pool.map(_write_job_of_worker, jobs):
                bar.update()


AnyTemplate = Template | HeadTemplate
Job = tuple[Path, SimulationConfig, int, int]
_worker_template: list[AnyTemplate] = []


def _save_template(template: AnyTemplate, path: Path) -> None:
    """Write a template for the workers; sent to them as an argument it would hang the run if one of them died."""
    base = template.base if isinstance(template, HeadTemplate) else template
    details = {name: getattr(template, name) for name in DETAIL_NAMES} if isinstance(template, HeadTemplate) else {}
    np.savez(path, channels=base.channels, origin_mm=np.array(base.origin_mm), **details)


def _keep_template(path: Path) -> None:
    """Read what `_save_template` wrote, once a worker."""
    with np.load(path) as arrays:
        x, y, z = (float(value) for value in arrays["origin_mm"])
        base = Template(arrays["channels"], (x, y, z))
        is_plain = "folds" not in arrays
        template = base if is_plain else HeadTemplate(base, **{name: arrays[name] for name in DETAIL_NAMES})
    _worker_template[:] = [template]


def _write_job_of_worker(job: Job) -> None:
    _write_job(_worker_template[0], job)


def _write_job(template: AnyTemplate, job: Job) -> None:
    folder, config, patient, session = job
    if isinstance(template, HeadTemplate):
        visit = draw_visit(config.seed, patient, session, config.language)
        studies = make_studies(template, visit, config.seed, with_partner=config.minimal_pairs)
    else:
        studies = (simulate_study(template, config.seed, patient, session),)
    for study in reversed(studies):  # a partner first: once the study is there, all of it is
        write_study(study, folder)


def write_study(study: SimulatedStudy, root: Path) -> None:
    """Write one study so that it appears whole or not at all.

    Args:
        study: the study.
        root: root of the BIDS data set.
    """
    name = f"{study.patient_id}_{study.session_id}"
    work = root / WORK_FOLDER / name
    shutil.rmtree(work, ignore_errors=True)
    raw, truth = work / "raw", work / "truth"
    _write_raw(study, name, raw)
    _write_truth(study, name, truth)
    target = study_folder(root, name)
    truth_target = study_folder(root / TRUTH_FOLDER, name)
    shutil.rmtree(truth_target, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)  # a partner whose study was not reached
    for folder in (truth_target, target):
        folder.parent.mkdir(parents=True, exist_ok=True)
    truth.rename(truth_target)
    raw.rename(target)
    work.rmdir()


def _write_raw(study: SimulatedStudy, name: str, folder: Path) -> None:
    for series in study.series:
        path = folder / (FILE_NAMES[series.sequence].format(name) + ".nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_nifti(series.data, series.affine, path)
        _write_json(series.sidecar, path.with_name(path.name.replace(".nii.gz", ".json")))
    (folder / f"{name}_report.txt").write_text(study.report.text, encoding="utf-8")


def _write_truth(study: SimulatedStudy, name: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    _write_json(study.truth.model_dump(mode="json"), folder / f"{name}_findings.json")
    _write_json(list(study.labels), folder / f"{name}_labels.json")
    if study.details is not None:
        _write_json(study.details, folder / f"{name}_simulation.json")
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


def _write_data_set_files(config: SimulationConfig, root: Path, visits: list[tuple[int, int]]) -> None:
    """Files that BIDS asks for at the root, of the raw data and of the truth."""
    generated_by = [{"Name": "selip simulate", "Version": str(SIMULATOR_VERSIONS[config.form])}]
    description = {
        "Name": "Simulated head MRI studies",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": generated_by,
    }
    truth = {**description, "Name": "Truth of simulated head MRI studies", "DatasetType": "derivative"}
    _write_json(description, root / "dataset_description.json")
    _write_json(truth, root / TRUTH_FOLDER / "dataset_description.json")
    extra = f"{PAIRS_FILE}\n" if config.minimal_pairs else ""
    # Reports are no BIDS file type, the trace-weighted image has no gradient table, and settings lie at the root.
    (root / ".bidsignore").write_text(f"*_report.txt\n*_ADC.*\n{SETTINGS_FILE}\npreview.png\n" + extra)
    patients = sorted({patient for patient, _ in visits})
    if config.form == "simple":
        lines = ["participant_id", *(f"sub-{patient:04d}" for patient in patients)]
    else:
        drawn = [draw_patient(config.seed, patient, config.language) for patient in patients]
        lines = ["participant_id\tage\tsex\tsplit"]
        lines += [f"sub-{patient.number:04d}\t{patient.age}\t{patient.sex}\t{patient.split}" for patient in drawn]
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")


def write_pairs(root: Path) -> int:
    """Write the table of minimal pairs from the truth of the partners.

    Args:
        root: root of the data set.

    Returns:
        Number of pairs.
    """
    fields = ("finding", "site", "laterality", "size_mm")
    header = ["original", "partner", "split", "change", "number", "partner_number"]
    lines = ["\t".join(header + [f"{side}{name}" for side in ("", "partner_") for name in fields])]
    for path in sorted((root / TRUTH_FOLDER).glob("sub-*/ses-*/*_simulation.json")):
        details = json.loads(path.read_text(encoding="utf-8"))
        if "pair" not in details:
            continue
        pair, partner = details["pair"], path.name.removesuffix("_simulation.json")
        cells = [pair["original"], partner, details["split"], pair["change"]]
        numbers = (pair["finding"], pair["partner_finding"])
        cells += ["n/a" if number is None else str(number) for number in numbers]
        for study, number in zip((pair["original"], partner), numbers, strict=True):
            truth = json.loads((study_folder(root / TRUTH_FOLDER, study) / f"{study}_findings.json").read_text())
            finding = truth["findings"][number] if number is not None else {}
            cells += [str(finding.get(name, "n/a")) for name in fields]
        lines.append("\t".join(cells))
    (root / PAIRS_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines) - 1


def _summarize(
    root: Path, visits: list[tuple[int, int]], *, pairs: int, resumed: int, seconds: float
) -> SimulationSummary:
    """Count what lies in the folder, from the files themselves."""
    findings: Counter[str] = Counter()
    series = normal = 0
    for visit in visits:
        name = _study_name(*visit)
        report = json.loads((study_folder(root / TRUTH_FOLDER, name) / f"{name}_findings.json").read_text())
        normal += report["normal"]
        findings.update(finding["finding"] for finding in report["findings"])
        series += sum(1 for _ in study_folder(root, name).glob("*/*.nii.gz"))
    return SimulationSummary(
        out=str(root),
        studies=len(visits),
        patients=len({patient for patient, _ in visits}),
        series=series,
        normal_studies=normal,
        findings=dict(sorted(findings.items())),
        minimal_pairs=pairs,
        resumed=resumed,
        seconds=round(seconds, 1),
    )
