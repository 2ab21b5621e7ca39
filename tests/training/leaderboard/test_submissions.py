"""Submissions: what is taken gives the metrics of the evaluation, what is hostile is refused with its reason."""

import json
import os
import shutil
import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selip.model_cards.tables.results import read_result
from selip.training.leaderboard import table_reading
from selip.training.leaderboard.checking import check_submission
from selip.training.leaderboard.config import LeaderboardSubmitConfig
from selip.training.leaderboard.submission import parse_submission
from selip.training.leaderboard.submitting import make_submission

MARKUP = "<script>alert(1)</script>"


@pytest.fixture
def spoilt(honest, tmp_path):
    """A copy of a good submission."""
    shutil.copytree(honest, tmp_path / "honest")
    return tmp_path / "honest"


@pytest.fixture
def probe_alone(spoilt):
    """The same with the table of one task."""
    for path in spoilt.glob("*.parquet"):
        if path.stem != "probe":
            path.unlink()
    return spoilt


def described(folder, **changes):
    """Change fields of `submission.json`."""
    path = folder / "submission.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_table(folder, task, change):
    """Change the table of a task."""
    path = folder / f"{task}.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def replaced(table, name, values):
    """The table with another column of this name."""
    return table.set_column(table.schema.get_field_index(name), name, values)


def refused(folder, benchmark, *words):
    """Check that a submission is refused with these words, and that no reason repeats what was hostile."""
    found = check_submission(folder, benchmark)
    assert not found.is_taken
    assert not found.points
    text = str(found)
    for each in words:
        assert each in text, text
    assert not {"<", ">", "\u202e", "\x1b"} & set(text)
    assert "evil" not in text
    assert len(text) < 3000
    return text


@pytest.mark.parametrize("task", ["retrieval", "pairs", "probe", "zero_shot"])
def test_recomputed_metrics_are_those_of_the_evaluation(benchmark, make_results, honest, task):
    """From scores and the benchmark's truth alone come the values that `selip evaluate` wrote, run by run."""
    found = check_submission(honest, benchmark)
    assert found.is_taken, str(found)
    for run, path in enumerate(make_results("honest", 0.5, 2, (task,))):
        written = read_result(path)["metrics"]
        points = found.points[task][run]
        known = {name: value for name, value in written.items() if name in points and value is not None}
        assert len(known) > 10 or task == "pairs"
        assert set(written) - set(points) == set(found.self_reported.get(task, {}))
        for name, value in known.items():
            assert points[name] == pytest.approx(value, abs=1e-12), name


def test_what_cannot_be_recomputed_is_listed_apart(benchmark, make_one, tmp_path):
    """Ranks without scores, and p values that only the evaluation had, are self-reported; nothing else is."""
    found = make_one(tmp_path, "ranks-only", 0.4, 1, ("retrieval", "zero_shot"), scores=False)
    assert set(found.points) == {"zero_shot"}
    assert "within_sequence/image_to_text/recall@5" in found.self_reported["retrieval"]
    assert {name.rpartition("/")[2] for name in found.self_reported["zero_shot"]} == {"p", "p_holm"}
    assert not (tmp_path / "ranks-only" / "retrieval.parquet").exists()


def test_a_retrieval_of_another_gallery_is_refused(benchmark, make_results, tmp_path):
    """Scores in another order of texts would be read wrongly, so the gallery must be the same."""
    paths = make_results("honest", 0.5, 1, ("retrieval",))
    record = read_result(paths[0])
    record["settings"]["gallery_fingerprint"] = "0" * 64
    config = LeaderboardSubmitConfig(paths, tmp_path / "other", benchmark.folder, system="x")
    with pytest.raises(ValueError, match="gallery"):
        make_submission(config, [record])
    assert not (tmp_path / "other").exists()


def test_all_reasons_are_listed_at_once(benchmark, spoilt):
    """One check tells everything that is wrong."""
    described(spoilt, system=MARKUP, licence="../evil", runs=0)
    text = refused(spoilt, benchmark, "system: ", "licence: ", "runs: ")
    assert text.count("\n- ") >= 3


# -- descriptions -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("system", MARKUP),
        ("system", "../../etc/passwd"),
        ("system", "evil/name"),
        ("system", ""),
        ("system", "a" * 65),
        ("system", "S\u0435lip"),  # a Cyrillic letter
        ("system", "name\n# heading"),
        ("id", "../honest"),
        ("id", "other"),
        ("organisation", MARKUP),
        ("organisation", "evil\u202etxt"),
        ("organisation", "zero\u200bwidth evil"),
        ("organisation", "\x1b[31mevil"),
        ("organisation", unicodedata.normalize("NFD", "Universität évil")),
        ("description", "a" * 301),
        ("description", "evil ` code"),
        ("link", "javascript:alert(1)"),
        ("link", "http://evil.example"),
        ("link", "https://evil.example/\"onmouseover=alert(1)"),
        ("link", "https://evil@good.example"),
        ("licence", MARKUP),
        ("date", "yesterday"),
        ("date", "2026-02-31"),
        ("trained_on", ["evil"]),
        ("runs", 11),
        ("runs", "2"),
        ("runs", True),
        ("format_version", 2),
        ("benchmark", {"name": "small", "version": "1.0", "fingerprint": "0" * 64}),
        ("benchmark", {"name": MARKUP, "version": "1.0", "fingerprint": "evil"}),
        ("reported", {"probe": {"mean/auroc": [0.5]}}),  # of two runs
        ("reported", {"probe": {MARKUP: [0.5, 0.5]}}),
        ("reported", {"probe": {"mean/auroc": [1e300, 0.5]}}),
        ("self_reported", {"probe": {"mean/auroc": "evil"}}),
        ("self_reported", {"probe": {"mean/auroc": 0.99}}),  # could be computed
        ("evil", "unknown field"),
    ],
)  # fmt: skip
def test_hostile_descriptions_are_refused(benchmark, probe_alone, field, value):
    """Markup, path names, look-alikes, direction marks, control characters, wrong kinds and unknown fields."""
    described(probe_alone, **{field: value})
    refused(probe_alone, benchmark)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "JSON"),
        (b"\xff\xfe evil", "JSON"),
        (b"[" * 200_000, "JSON"),
        (b'{"system": "a", "system": "evil"}', "each key once"),
        (b'{"runs": NaN}', "finite"),
        (b'{"runs": ' + b"9" * 5000 + b"}", "digits"),
        (b'"evil"', "object"),
        (b" " * ((4 << 20) + 1), "at most"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, ""),
    ],
)
def test_hostile_json_is_refused(content, words):
    """Not JSON, too deep, too large, keys twice, numbers that are none."""
    found, reasons = parse_submission(content)
    assert found is None
    assert reasons
    assert words in " ".join(reasons)
    assert "evil" not in " ".join(reasons)


# -- files ------------------------------------------------------------------------------------------------------------
def test_only_plain_files_of_known_names_are_taken(benchmark, spoilt, tmp_path):
    """Links, folders, pickles and other names are refused, and so is a folder full of files."""
    (spoilt / "evil.pkl").write_bytes(b"cos\nsystem\n")
    (spoilt / "evil").mkdir()
    (tmp_path / "secret.json").write_text("evil")
    (spoilt / "probe.parquet").unlink()
    os.symlink(tmp_path / "secret.json", spoilt / "probe.parquet")
    refused(spoilt, benchmark, "2 links, folders or devices", "1 more")
    for number in range(60):
        (spoilt / f"{number}").write_text("")
    refused(spoilt, benchmark, "more than 50")


def test_a_link_instead_of_a_folder_is_refused(benchmark, honest, tmp_path):
    """The folder itself is no link either, and the description no fifo that never ends."""
    os.symlink(honest, tmp_path / "honest")
    refused(tmp_path / "honest", benchmark, "a link or nothing")
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / "submission.json")
    refused(tmp_path / "fifo", benchmark, "devices")


def test_an_empty_submission_is_refused(benchmark, spoilt):
    """A description alone ranks nothing."""
    for path in spoilt.glob("*.parquet"):
        path.unlink()
    described(spoilt, reported={}, self_reported={})
    refused(spoilt, benchmark, "at least one task")


# -- tables -----------------------------------------------------------------------------------------------------------
def _duplicated(table):
    return pa.concat_tables([table.slice(0, table.num_rows - 1), table.slice(0, 1)])


def _unknown_study(table):
    ids = table["study_id"].to_pylist()
    return replaced(table, "study_id", pa.array(["evil<script>", *ids[1:]]))


def _scored(value):
    def change(table):
        scores = table["score"].to_numpy().copy()
        scores[3] = value
        return replaced(table, "score", pa.array(scores))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.slice(1), "rows, got"),
        (lambda table: pa.concat_tables([table, table]), "rows, got"),
        (_duplicated, "repeat a case"),
        (_unknown_study, "ids that the benchmark does not have"),
        (lambda table: replaced(table, "run", pa.array([7] * table.num_rows)), "a run that is not 0 ... 1"),
        (_scored(float("nan")), "finite"),
        (_scored(float("inf")), "finite"),
        (_scored(1e30), "outside"),
        (lambda table: table.append_column("positive", pa.array([True] * table.num_rows)), "no other, got 1 more"),
        (lambda table: table.append_column("evil", pa.array(["<script>"] * table.num_rows)), "no other, got 1 more"),
        (lambda table: table.drop_columns(["label"]), "missing columns: label"),
        (lambda table: replaced(table, "score", pa.array(["evil"] * table.num_rows)), "another type"),
        (lambda table: replaced(table, "score", pa.array([[0.5] * 99] * table.num_rows)), "another type"),
        (lambda table: replaced(table, "study_id", pa.array([b"evil"] * table.num_rows)), "another type"),
        (lambda table: replaced(table, "score", pa.array([None] * table.num_rows, pa.float64())), "finite"),
    ],
)  # fmt: skip
def test_hostile_tables_are_refused(benchmark, probe_alone, change, words):
    """Ids that are missing, repeated or made up, truth brought along, wrong kinds, scores that are no numbers."""
    with_table(probe_alone, "probe", change)
    refused(probe_alone, benchmark, "probe.parquet", words)


def test_scores_of_a_retrieval_are_those_of_the_whole_gallery(benchmark, spoilt):
    """Rows of another length, also where the sum is right, and scores that are not finite."""

    def moved(table):
        rows = table["scores"].to_pylist()
        rows[0], rows[1] = [*rows[0], 1.0], rows[1][:-1]
        return replaced(table, "scores", pa.array(rows, pa.list_(pa.float32())))

    honest = pq.read_table(spoilt / "retrieval.parquet")
    with_table(spoilt, "retrieval", moved)
    refused(spoilt, benchmark, "every text of the gallery")
    rows = honest["scores"].to_pylist()
    rows[0][0] = float("nan")
    pq.write_table(replaced(honest, "scores", pa.array(rows, pa.list_(pa.float32()))), spoilt / "retrieval.parquet")
    refused(spoilt, benchmark, "finite")


def test_files_that_are_no_parquet_or_too_large_are_refused(benchmark, probe_alone):
    """Garbage, a cut file, and one larger than any honest one: by size, before it is read."""
    path = probe_alone / "probe.parquet"
    whole = path.read_bytes()
    for content in (b"", b"evil" * 100, whole[: len(whole) // 2], b"PAR1" + b"\0" * 100 + b"PAR1"):
        path.write_bytes(content)
        refused(probe_alone, benchmark, "probe.parquet: ")
    with path.open("wb") as file:
        file.truncate(10 << 30)  # sparse: 10 GB that take no space
    refused(probe_alone, benchmark, "bytes, got 10737418240")


def test_files_that_unpack_to_gigabytes_are_refused(benchmark, spoilt):
    """A few kilobytes that hold one long text many times, or very long lists, in rows of the right number."""
    path = spoilt / "probe.parquet"
    table = pq.read_table(path)
    encoded = pa.DictionaryArray.from_arrays(pa.array([0] * table.num_rows, pa.int8()), pa.array(["x" * (100 << 10)]))
    pq.write_table(
        pa.table({**{name: table[name] for name in ("run", "label", "score")}, "study_id": encoded}).cast(
            pa.schema(
                [
                    ("run", pa.int8()),
                    ("label", pa.string()),
                    ("score", pa.float64()),
                    ("study_id", pa.dictionary(pa.int8(), pa.string())),
                ]
            )
        ),
        path,
        store_schema=False,
        compression="zstd",
    )
    assert path.stat().st_size < 1 << 20
    assert pq.read_schema(path).field("study_id").type == pa.string()
    refused(spoilt, benchmark, "probe.parquet: column study_id: expected ids of at most 512 bytes")
    shutil.copy(spoilt / "retrieval.parquet", path.with_name("good"))
    table = pq.read_table(path.with_name("good"))
    path.with_name("good").unlink()
    lists = pa.ListArray.from_arrays(
        pa.array(np.linspace(0, 50_000_000, table.num_rows + 1).astype(np.int32)),
        pa.array(np.zeros(50_000_000, dtype=np.float32)),
    )
    pq.write_table(replaced(table, "scores", lists), spoilt / "retrieval.parquet", compression="zstd")
    assert (spoilt / "retrieval.parquet").stat().st_size < 1 << 20
    refused(spoilt, benchmark, "retrieval.parquet: expected at most", "values in a column")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits the memory of a process")
def test_reading_ends_at_its_memory_limit(benchmark, probe_alone, monkeypatch):
    """Whatever metadata say: a process that takes more than it may is ended, and the check goes on."""
    monkeypatch.setattr(table_reading, "_BASE_MEMORY", 100 << 20)
    refused(probe_alone, benchmark, "probe.parquet: ")


def test_forged_metrics_are_refused(benchmark, probe_alone):
    """A reported value that its scores do not give is named, with what they give."""
    content = json.loads((probe_alone / "submission.json").read_text())
    honest = content["reported"]["probe"]["mean/auroc"][1]
    content["reported"]["probe"]["mean/auroc"][1] = 0.99
    (probe_alone / "submission.json").write_text(json.dumps(content))
    refused(probe_alone, benchmark, "probe: reported values are not those", f"mean/auroc of run 1 is {honest:.4f}")


def test_forged_choices_are_refused(benchmark, spoilt):
    """All choices right is nothing that one score of series and text can give once some were wrong."""

    def change(table):
        margins = np.abs(table["margin"].to_numpy())
        return replaced(table, "margin", pa.array(margins))

    with_table(spoilt, "pairs", change)
    described(spoilt, reported={})
    refused(spoilt, benchmark, "contradict one another")


def test_truth_cannot_be_brought_along(benchmark, probe_alone):
    """Scores of other cases in place of their own change the metrics, and nothing else does: rows in any order do."""
    before = check_submission(probe_alone, benchmark).points["probe"]
    order = np.random.default_rng(0).permutation(pq.read_table(probe_alone / "probe.parquet").num_rows)
    with_table(probe_alone, "probe", lambda table: table.take(pa.array(order)))
    assert check_submission(probe_alone, benchmark).points["probe"] == before
    described(probe_alone, reported={})
    with_table(probe_alone, "probe", lambda table: replaced(table, "score", pa.array(-table["score"].to_numpy())))
    after = check_submission(probe_alone, benchmark).points["probe"]
    assert after[0]["mean/auroc"] == pytest.approx(1 - before[0]["mean/auroc"])
