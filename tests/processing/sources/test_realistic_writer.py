"""Files of the realistic form: splits that ingest obeys, what is written beside the truth, and minimal pairs."""

import csv
import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

nilearn = pytest.importorskip("nilearn", reason="the simulator needs the extra `simulate`")

from selip.processing.findings import StructuredReport  # noqa: E402
from selip.processing.sources.bids import ingest_bids  # noqa: E402
from selip.processing.sources.config import IngestConfig  # noqa: E402
from selip.processing.sources.simulated import writer  # noqa: E402
from selip.processing.sources.simulated.config import SimulationConfig  # noqa: E402
from selip.processing.sources.simulated.writer import simulate_studies  # noqa: E402
from selip.processing.sources.splits import assign_split  # noqa: E402
from selip.processing.sources.studies import iter_studies  # noqa: E402

SEED = 3
STUDIES = 3  # of patients 1 (train), 2 (test, its partner has a lesion less) and 3


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def settings(out: Path, **changed: object) -> SimulationConfig:
    fields = {"studies": STUDIES, "seed": SEED, "num_proc": 1, "form": "realistic", "minimal_pairs": True}
    return SimulationConfig(out=str(out), **{**fields, **changed})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("realistic") / "studies"
    summary = simulate_studies(settings(out))
    assert (summary.studies, summary.minimal_pairs) == (STUDIES, 1)
    return out


def test_two_processes_write_the_same_bytes_as_one(data_set: Path, tmp_path: Path) -> None:
    """Every file, partners and the table of pairs included."""
    simulate_studies(settings(tmp_path / "studies", num_proc=2))
    assert contents(tmp_path / "studies") == contents(data_set)


def test_a_run_that_stops_after_a_partner_continues_to_the_same_bytes(
    data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between the partner and its study, a run started again equals an uninterrupted one."""
    out = tmp_path / "studies"
    write_study = writer.write_study

    def stop_after_partner(study: writer.SimulatedStudy, root: Path) -> None:
        write_study(study, root)
        if study.change:
            raise KeyboardInterrupt

    monkeypatch.setattr(writer, "write_study", stop_after_partner)
    with pytest.raises(KeyboardInterrupt):
        simulate_studies(settings(out))
    monkeypatch.undo()
    assert simulate_studies(settings(out)).resumed == 1
    assert contents(out) == contents(data_set)


def test_pairs_leave_the_studies_as_they_are(data_set: Path, tmp_path: Path) -> None:
    """Without them the studies are the same bytes; only the partner, the table and the settings go."""
    simulate_studies(settings(tmp_path / "studies", minimal_pairs=False))
    plain, paired = contents(tmp_path / "studies"), contents(data_set)
    extra = {name for name in paired if name not in plain}
    assert extra == {name for name in paired if "ses-01removed" in name} | {"pairs.tsv"}
    differing = {name for name in plain if plain[name] != paired[name]}
    assert differing == {"simulation.json", ".bidsignore"}


def test_ingest_takes_the_splits_of_the_simulator_under_any_salt(data_set: Path, tmp_path: Path) -> None:
    """Reference: the rule with its defaults, by which the simulator chose scanner and writer; partners go along."""
    for salt in ("selip", "another"):
        ingest_bids(IngestConfig(data_set, tmp_path / salt, split_salt=salt))
        rows = list(iter_studies(tmp_path / salt))
        assert len(rows) == STUDIES + 1
        for row in rows:
            assert row["split"] == assign_split(row["patient_id"])
        assert {row["split"] for row in rows} == {"train", "test"}
        sequences = {series["sequence"] for row in rows for series in row["series"]}
        assert {"T1c", "SWI"} <= sequences


def test_what_is_beside_the_truth_is_true(data_set: Path) -> None:
    """Split and scanner agree with participants.tsv and sidecars; numbers of findings are in range."""
    with (data_set / "participants.tsv").open() as file:
        participants = {row["participant_id"]: row for row in csv.DictReader(file, delimiter="\t")}
    files = sorted((data_set / "derivatives" / "truth").rglob("*_simulation.json"))
    assert len(files) == STUDIES + 1
    for path in files:
        details = json.loads(path.read_text())
        name = path.name.removesuffix("_simulation.json")
        patient = participants[name.split("_")[0]]
        assert (details["split"], str(details["age"]), details["sex"]) == (
            patient["split"],
            patient["age"],
            patient["sex"],
        )
        truth = StructuredReport.model_validate_json(path.with_name(f"{name}_findings.json").read_text())
        numbers = [*details["held_out_combinations"], *details["report"]["left_out"], *details["report"]["hedged"]]
        numbers += [error["finding"] for error in details["report"]["wrong"]]
        assert all(0 <= number < len(truth.findings) for number in numbers)
        for sidecar in (data_set / name.replace("_", "/", 1)).glob("*/*.json"):
            assert json.loads(sidecar.read_text())["ManufacturersModelName"] == f"simulated {details['scanner']}"
        values = np.unique(nib.load(path.with_name(f"{name}_desc-lesions_dseg.nii.gz")).dataobj)
        assert values.max() <= len(truth.findings)


def test_the_table_of_pairs_names_studies_and_findings(data_set: Path) -> None:
    """Both studies exist, and the partner's truth is the original's without the removed finding and its oedema."""
    with (data_set / "pairs.tsv").open() as file:
        (pair,) = csv.DictReader(file, delimiter="\t")
    assert (pair["original"], pair["partner"], pair["split"]) == ("sub-0002_ses-01", "sub-0002_ses-01removed", "test")

    def findings(study: str) -> Counter[tuple[str, str, str]]:
        folder = data_set / "derivatives" / "truth" / study.replace("_", "/", 1)
        truth = StructuredReport.model_validate_json((folder / f"{study}_findings.json").read_text())
        return Counter((one.finding, one.site, one.laterality) for one in truth.findings)

    gone = findings(pair["original"]) - findings(pair["partner"])
    assert not findings(pair["partner"]) - findings(pair["original"])
    assert (pair["finding"], pair["site"], pair["laterality"]) in gone
    assert {term for term, _, _ in gone} <= {pair["finding"], "edema"}
    assert pair["partner_finding"] == pair["partner_number"] == "n/a"


@pytest.mark.parametrize(
    "wrong",
    [{"form": "other"}, {"form": "simple", "minimal_pairs": True}, {"form": "simple", "language": "zh"}],
    ids=["form", "pairs", "language"],
)
def test_settings_that_do_not_go_together_are_errors(wrong: dict) -> None:
    """An unknown form, and options of the realistic form in the simple one, say what was expected."""
    with pytest.raises(ValueError, match="expected"):
        SimulationConfig(**{"out": "somewhere", **wrong})
