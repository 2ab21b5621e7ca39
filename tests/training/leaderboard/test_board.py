"""The leaderboard as data: values of parts by hand, refusals listed, the same bytes twice, better systems first."""

import json
import shutil

import numpy as np
import pytest

from selip.leaderboard import build, upload_check, write_space
from selip.training.evaluation.gallery import STUDY
from selip.training.leaderboard.benchmark import Benchmark, load_benchmark
from selip.training.leaderboard.board import build_board, check_all
from selip.training.leaderboard.checking import check_submission
from selip.training.leaderboard.config import LeaderboardBuildConfig, LeaderboardSpaceConfig


@pytest.fixture(scope="module")
def submissions(make_one, tmp_path_factory):
    """Three systems, one of them twice under another name, one of ranks alone, and one that is refused."""
    folder = tmp_path_factory.mktemp("submissions")
    make_one(folder, "good", 0.8, 2, organisation="A | B", description="*the* [good](x) one", system="Good (v1.0)")
    make_one(folder, "poor", 0.1, 1)
    make_one(folder, "ranks", 0.9, 1, ("retrieval",), scores=False)
    shutil.copytree(folder / "good", folder / "twin")
    path = folder / "twin" / "submission.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id": "twin", "system": "Twin"}))
    (folder / "EVIL <b>").mkdir()
    return folder


@pytest.fixture(scope="module")
def checked(submissions, benchmark):
    return check_all(submissions, benchmark)


@pytest.fixture(scope="module")
def board(checked, benchmark):
    return build_board(benchmark, checked, num_samples=200)


def rows_of(board, task, subset="all"):
    """Rows of one table by system."""
    tables = {each["id"]: each for each in board["tasks"]}[task]["subsets"]
    return {row["system"]: row for row in {each["id"]: each for each in tables}[subset]["rows"]}


@pytest.mark.parametrize("task", ["retrieval", "pairs", "probe", "zero_shot"])
def test_better_systems_stand_before_worse_ones_and_copies_share_a_rank(board, task):
    """Known skill: the good one and its copy are first with one value, the poor one is behind both."""
    rows = rows_of(board, task)
    assert set(rows) == {"good", "poor", "twin"}
    assert (rows["good"]["rank"], rows["twin"]["rank"]) == (1, 1)
    assert rows["good"]["cells"] == rows["twin"]["cells"]
    column = next(iter(rows["good"]["cells"]))
    if task != "zero_shot":  # vectors of prompts say nothing of series here
        assert rows["poor"]["cells"][column]["value"] < rows["good"]["cells"][column]["value"]
    if task == "retrieval":
        assert rows["poor"]["rank"] == 3
        assert rows["poor"]["behind"] == ["good", "twin"]
    assert len(rows["good"]["cells"][column]["by_run"]) == 2


def test_values_of_parts_are_those_of_their_cases(board, checked, benchmark):
    """By hand from the tables of cases: a sequence, a finding, abnormal studies; means over runs."""
    runs = checked["good"].cases["retrieval"]
    images = {(image.study_id, image.series_id): image for image in benchmark.references["retrieval"].images}

    def recall(keeps):
        found = []
        for cases in runs:
            hits = [
                cases["rank"][row] <= 5
                for row in range(len(cases["rank"]))
                if cases["direction"][row] == "image_to_text"
                and keeps(images[cases["study_id"][row], cases["series_id"][row]])
            ]
            found.append(np.mean(hits))
        return pytest.approx(np.mean(found), abs=1e-6)

    def value(subset):
        return rows_of(board, "retrieval", subset)["good"]["cells"]["series_to_report_recall@5"]["value"]

    assert value("all") == recall(lambda image: image.sequence != STUDY)
    assert value("sequence:FLAIR") == recall(lambda image: image.sequence == "FLAIR")
    assert value("studies-abnormal") == recall(lambda image: image.sequence == STUDY and image.findings)
    assert value("finding:mass") == recall(
        lambda image: image.sequence != STUDY and any(finding == "mass" for finding, _, _ in image.findings)
    )
    points = [each["within_sequence/image_to_text/recall@5"] for each in checked["good"].points["retrieval"]]
    assert value("all") == pytest.approx(np.mean(points), abs=1e-6)


@pytest.mark.parametrize(("task", "metric"), [("probe", "mean/auroc"), ("zero_shot", "macro/auroc")])
def test_headlines_are_the_recomputed_metrics(board, checked, task, metric):
    """The first value of a task is the mean over runs of its metric."""
    expected = np.mean([each[metric] for each in checked["good"].points[task]])
    assert rows_of(board, task)["good"]["cells"]["auroc"]["value"] == pytest.approx(expected, abs=1e-6)


def test_refused_and_self_reported_stand_apart(board):
    """Ranks alone are in no table; what is refused is named by number if its name is not plain."""
    assert {each["system"] for each in board["self_reported"]} == {"good", "poor", "ranks", "twin"}
    assert all(each["task"] in ("retrieval", "zero_shot", "probe") for each in board["self_reported"])
    [refused] = board["refused"]
    assert refused["submission"] == "number 1"
    assert refused["reasons"] == ["expected submission.json, got none"]
    assert "EVIL" not in json.dumps(board)


def test_same_input_gives_the_same_bytes(submissions, benchmark, tmp_path):
    """Twice the same files, whatever folder the submissions lie in; an existing folder is kept unless told."""
    copy = tmp_path / "copy"
    shutil.copytree(submissions, copy)
    outs = [tmp_path / "one", tmp_path / "two"]
    for folder, out in zip((submissions, copy), outs, strict=True):
        build(LeaderboardBuildConfig(benchmark.folder, folder, out, bootstrap_samples=100))
    names = sorted(path.name for path in outs[0].iterdir())
    assert names == ["index.html", "leaderboard.json", "leaderboard.md", "metrics.json"]
    for name in names:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name
    with pytest.raises(FileExistsError, match="overwrite"):
        build(LeaderboardBuildConfig(benchmark.folder, copy, outs[0]))
    metrics = json.loads((outs[0] / "metrics.json").read_text())
    points = check_submission(submissions / "poor", benchmark).points["probe"][0]
    assert metrics["poor"]["probe"]["mean/auroc"]["value"] == pytest.approx(points["mean/auroc"], abs=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "one", "two"]


def test_markdown_shows_words_of_others_as_words(submissions, benchmark, tmp_path):
    """Bars, stars and links of a description are no markup, so a row has as many cells as its heading."""
    build(LeaderboardBuildConfig(benchmark.folder, submissions, tmp_path / "out", bootstrap_samples=100))
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert r"A \| B" in text
    assert r"\*the\* \[good\]\(x\) one" in text
    for block in text.split("\n\n"):
        lines = [line.replace(r"\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, block


def test_a_space_holds_the_board_and_its_benchmark(submissions, benchmark, tmp_path):
    """Everything that `app.py` reads is in the folder; a board of another benchmark is refused."""
    build(LeaderboardBuildConfig(benchmark.folder, submissions, tmp_path / "board", bootstrap_samples=100))
    config = LeaderboardSpaceConfig(tmp_path / "board", benchmark.folder, tmp_path / "space")
    write_space(config)
    names = sorted(path.name for path in (tmp_path / "space").iterdir())
    assert names == ["README.md", "app.py", "benchmark", "board", "requirements.txt"]
    assert load_benchmark(tmp_path / "space" / "benchmark").fingerprint == benchmark.fingerprint
    assert (tmp_path / "space" / "board" / "leaderboard.json").is_file()
    board = json.loads((tmp_path / "board" / "leaderboard.json").read_text())
    board["benchmark"]["fingerprint"] = "0" * 64
    (tmp_path / "board" / "leaderboard.json").write_text(json.dumps(board))
    with pytest.raises(ValueError, match="another one"):
        write_space(LeaderboardSpaceConfig(tmp_path / "board", benchmark.folder, tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_uploads_are_checked_as_folders_are(submissions, benchmark, tmp_path):
    """The same answer as the command's; other names, names twice, paths and too large files are refused unread."""
    check = upload_check(benchmark)
    files = [(path.name, path) for path in sorted((submissions / "poor").iterdir())]
    assert check(files) == str(check_submission(submissions / "poor", benchmark))
    assert check(files).startswith("taken: poor")
    for names in (["evil.pkl"], ["../submission.json"], ["submission.json", "submission.json"]):
        answer = check([(name, files[-1][1]) for name in names])
        assert answer.startswith("refused:\n- expected the files")
        assert "evil" not in answer
    huge = tmp_path / "probe.parquet"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    assert "at most" in check([("probe.parquet", huge)])
    assert check([("probe.parquet", files[0][1])]).startswith("refused:\n- expected submission.json")


def test_a_board_without_systems_is_a_board(benchmark, tmp_path):
    """An empty folder of submissions gives pages that say so."""
    board = build_board(Benchmark(benchmark.folder, benchmark.info), {}, num_samples=100)
    assert board["systems"] == {}
    assert all(task["subsets"] == [] for task in board["tasks"])
    (tmp_path / "none").mkdir()
    build(LeaderboardBuildConfig(benchmark.folder, tmp_path / "none", tmp_path / "out"))
    assert "Nobody has handed in scores" in (tmp_path / "out" / "index.html").read_text()
