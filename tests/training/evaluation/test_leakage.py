"""What is on both sides of a split is found, whichever way it got there, and named by study alone."""

import pyarrow as pa
import pytest
from datasets import Dataset

from selip.processing.sources.schema import study_features
from selip.training.evaluation import leakage
from selip.training.evaluation.leakage import count_leaks


def row(study_id, **changes):
    """A study with one series and its own patient, file and text."""
    cell = {"path": changes.pop("path", f"{study_id}.nii.gz"), "bytes": changes.pop("bytes", None)}
    return {
        "study_id": study_id,
        "patient_id": changes.pop("patient_id", f"patient of {study_id}"),
        "split": "test",
        "series": [{"series_id": "1", "sequence": "T1w", "volume": cell, "b_value": None}],
        "report": {"findings": changes.pop("text", f"text of {study_id}"), "impression": ""},
        "language": "en",
        "labels": [],
        "masks": [],
        "reference_findings": "",
        **changes,
    }


def splits(train, test):
    """Both as split data sets, validation empty."""
    names = {"train": train, "validation": [], "test": test}
    columns = {name: {key: [each[key] for each in rows] for key in study_features()} for name, rows in names.items()}
    return {name: Dataset.from_dict(each, features=study_features()) for name, each in columns.items()}


class Table:
    """A volumes table: study id to (split, stored bytes of its series)."""

    def __init__(self, studies):
        self.studies = studies
        self.data = [(study_id, data) for study_id, (_, volumes) in studies.items() for data in volumes]
        self.was_read = []

    def study_ids(self, split=None):
        return [study_id for study_id, (own, _) in self.studies.items() if split in (None, own)]

    def series_of(self, study_id):
        return [Row(number) for number, (owner, _) in enumerate(self.data) if owner == study_id]

    def stored(self, row):
        self.was_read.append(row)
        return pa.py_buffer(self.data[row][1])


class Row:
    """A row by its number."""

    def __init__(self, row):
        self.row = row


def test_clean_splits_pass():
    """Nothing in common but a text, which is counted."""
    shared = {"text": "Normal study."}
    clean = splits([row("a", **shared), row("b")], [row("c", **shared), row("d", **shared), row("e")])
    assert count_leaks(clean, "test", None) == {"texts": 2}
    assert count_leaks(clean, "train", None) == {"texts": 0}


@pytest.mark.parametrize(
    ("what", "shared"),
    [
        ("patients", {"patient_id": "secret name"}),
        ("files", {"path": "secret.nii.gz"}),
        ("files", {"path": None, "bytes": b"voxels"}),
    ],
)
def test_leaks_are_refused_by_study(what, shared):
    """The message says what and how many, with study ids and never a patient or file."""
    leaking = splits([row("a", **shared)], [row("c"), row("d", **shared)])
    with pytest.raises(ValueError, match=rf"expected {what} of split test in no other split, got 1 in both") as error:
        count_leaks(leaking, "test", None)
    assert "(d)" in str(error.value)
    assert "secret" not in str(error.value)


def test_copies_of_prepared_volumes_are_refused():
    """Equal bytes under another name and file; volumes of one length that differ are none."""
    volumes = {"a": ("train", [b"one", b"four"]), "c": ("test", [b"two", b"three"])}
    clean = splits([row("a")], [row("c")])
    assert count_leaks(clean, "test", Table(volumes)) == {"texts": 0}
    volumes["c"] = ("test", [b"two", b"four"])
    with pytest.raises(ValueError, match="expected volumes of split test in no other split, got 1 in both"):
        count_leaks(clean, "test", Table(volumes))


def test_only_embedded_volumes_of_a_shared_length_are_read(monkeypatch):
    """A copy is found among several of its length, in any place of a study; no volume of another length is read."""
    read = []
    digest = leakage._Embedded.digest
    monkeypatch.setattr(leakage._Embedded, "digest", lambda self: read.append(self.study_id) or digest(self))
    train = [row("a", path=None, bytes=b"12345"), row("b", path=None, bytes=b"123")]
    test = [row("c", path=None, bytes=b"1234")]
    assert count_leaks(splits(train, test), "test", None) == {"texts": 0}
    assert read == []
    two = row("d", path=None, bytes=b"1")
    two["series"].append({**two["series"][0], "series_id": "2", "volume": {"path": None, "bytes": b"12345"}})
    test.append(two)
    with pytest.raises(ValueError, match=r"expected files of split test in no other split, got 1 in both"):
        count_leaks(splits(train, test), "test", None)
    assert sorted(read) == ["a", "d"]
