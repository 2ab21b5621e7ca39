"""The result of a structurer: whole, recomputable from its cases, honest about what is invalid or missing."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from selip import cli
from selip.arguments import parse_config
from selip.processing.annotation.gold import GoldReport, gold_row
from selip.processing.findings import Finding, StructuredReport, is_normal
from selip.processing.findings_table import write_findings
from selip.processing.row_files import write_rows
from selip.processing.structurer import ReportText
from selip.training.evaluation import structuring_task
from selip.training.evaluation.result_file import command_line
from selip.training.evaluation.structuring_config import StructuringEvaluateConfig
from selip.training.evaluation.structuring_metrics import ratios, score_reports
from selip.training.evaluation.structuring_task import evaluate_structuring

TEXTS = [
    ("en", "Acute infarct in the left thalamus. No hemorrhage.", "Acute left thalamic infarct."),
    ("en", "The ventricles are normal. Possible meningioma of the right frontal convexity.", ""),
    ("xx", "lorem ipsum", "dolor"),
    ("en", "Normal brain.", "Normal."),
]


def finding(term: str, site: str, side: str = "none", **fields: Any) -> Finding:
    return Finding.model_validate({"finding": term, "site": site, "laterality": side, **fields})


def report(*findings: Finding) -> StructuredReport:
    return StructuredReport(normal=is_normal(list(findings)), findings=list(findings))


GOLD = [
    report(
        finding("acute infarct", "thalamus", "left", acuity="acute", quote="Acute infarct in the left thalamus"),
        finding("hemorrhage", "brain", certainty="absent", quote="No hemorrhage"),
    ),
    report(finding("normal", "ventricles"), finding("meningioma", "meninges", "right", certainty="possible")),
    report(finding("cyst", "pons")),
    report(finding("normal", "brain")),
]


def golds(patients: str = "ppqr", weights: tuple[float, ...] = (1, 1, 1, 1)) -> list[GoldReport]:
    return [
        GoldReport(f"r{n}", ReportText(findings, impression, language), gold, patients[n], weights[n])
        for n, ((language, findings, impression), gold) in enumerate(zip(TEXTS, GOLD, strict=True))
    ]


def write_gold(folder: Path, **changes: Any) -> Path:
    write_rows([gold_row(one) for one in golds(**changes)], folder / "gold.jsonl")
    return folder / "gold.jsonl"


def run(structurer: str | Path, gold: Path, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    out = gold.parent / "result.json"
    config = StructuringEvaluateConfig(str(structurer), gold, "structuring", out=out, overwrite=True, **options)
    evaluate_structuring(config)
    record = json.loads(out.read_text(encoding="utf-8"))
    return record, pq.read_table(gold.parent / record["files"]["cases"]).to_pylist()


def test_scores_can_be_recomputed_from_the_cases(tmp_path: Path) -> None:
    """Every ratio of the result is the ratio of sums of two columns of the per-report table, by language too."""
    record, cases = run("rules", write_gold(tmp_path))
    assert [case["study_id"] for case in cases] == ["r0", "r1", "r2", "r3"]
    for prefix, rows in {
        "": cases,
        **{f"{x}/": [c for c in cases if c["language"] == x] for x in ("en", "xx")},
    }.items():
        for name, ratio in ratios().items():
            above, below = (sum(case[column] for case in rows for column in columns) for columns in ratio)
            expected = above / below if below else None
            assert record["metrics"][prefix + name] == (None if expected is None else pytest.approx(expected)), name
    assert record["n"] == {"patients": 3, "studies": 4, "findings": 6, "studies_en": 3, "studies_xx": 1}
    assert record["invalid"] == {"no rules for the language": 1}
    assert record["metrics"]["valid/share"] == 0.75
    assert record["metrics"]["speed/reports_per_second"] > 0
    assert (record["task"], record["primary_metric"], record["structurer"]["name"]) == (
        "structuring",
        "finding/f1",
        "rules",
    )


def test_intervals_are_those_of_patients_drawn_with_replacement(tmp_path: Path) -> None:
    """Of two patients with F1 0 and 1 the interval is 0 to 1, of one patient with both reports it is a point."""
    tallies = [run("rules", write_gold(tmp_path))[1][n] for n in (0, 2)]
    tallies = [{k: v for k, v in case.items() if isinstance(v, float) and k != "weight"} for case in tallies]
    _, apart = score_reports(tallies, ["a", "b"], bootstrap_samples=500, seed=0)
    _, together = score_reports(tallies, ["a", "a"], bootstrap_samples=500, seed=0)
    draws = np.random.default_rng(0).integers(0, 2, (4000, 2))
    sums = [{k: sum(tallies[i][k] for i in draw) for k in tallies[0]} for draw in draws]
    f1 = [2 * s["matched/all"] / (s["gold/all"] + s["predicted/all"]) for s in sums]
    assert apart["finding/f1"] == pytest.approx(tuple(np.quantile(f1, [0.025, 0.975])))
    assert together["finding/f1"][0] == together["finding/f1"][1]


def test_weights_make_a_score_of_the_corpus(tmp_path: Path) -> None:
    """A report that stands for many counts as often; without weights there is no weighted score."""
    gold = write_gold(tmp_path, weights=(1.0, 1.0, 1.0, 50.0))
    repeated = [*golds(), *[GoldReport(f"more{n}", *_parts(golds()[3])) for n in range(49)]]
    weighted, _ = run("rules", gold)
    write_rows([gold_row(one) for one in repeated], gold)
    plain, _ = run("rules", gold)
    assert "weighted/finding/f1" not in plain["metrics"]
    for name in ratios():
        assert weighted["metrics"][f"weighted/{name}"] == pytest.approx(plain["metrics"][name]), name


def _parts(gold: GoldReport) -> tuple[ReportText, StructuredReport, str]:
    return gold.text, gold.report, gold.patient_id


@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
def test_findings_made_before_are_judged(kind: str, tmp_path: Path) -> None:
    """Gold as predictions is perfect; broken rows, rows marked invalid and missing ones are invalid by reason."""
    rows: list[dict[str, Any]] = [
        {"study_id": one.id, "report": one.report.model_dump_json(), "structurer": "s", "version": "1", "valid": True}
        for one in golds()
    ]
    path = tmp_path / f"made{kind}"

    def write(content: list[dict[str, Any]]) -> None:
        if kind == ".jsonl":
            write_rows(content, path)
        else:
            write_findings(content, path)

    gold = write_gold(tmp_path)
    write([*rows, {**rows[0], "study_id": "other"}])
    record, _ = run(path, gold)
    assert record["metrics"]["finding/f1"] == 1.0
    assert record["confusions"] == []
    assert record["settings"]["unused_predictions"] == 1
    assert record["structurer"] == {"name": "s", "version": "1"}
    assert "speed/reports_per_second" not in record["metrics"]

    write([{**rows[0], "report": '{"normal": "?"}'}, {**rows[1], "valid": False}, rows[3]])
    record, _ = run(path, gold)
    assert record["invalid"] == {"does not follow the schema": 1, "marked invalid": 1, "no prediction": 1}
    assert record["metrics"]["finding/recall"] == pytest.approx(1 / 6)
    assert record["metrics"]["finding/precision"] == 1.0

    write([rows[0], rows[0]])
    with pytest.raises(ValueError, match="r0 again"):
        run(path, gold)
    write([{**rows[0], "study_id": "other"}])
    with pytest.raises(ValueError, match="none of their ids"):
        run(path, gold)


def test_rows_that_fell_back_are_scored_apart(tmp_path: Path) -> None:
    """Scores of each group are those of its reports alone; a report without findings is no fallback."""
    rows = [{"study_id": one.id, "report": one.report.model_dump_json(), "valid": True} for one in golds()]
    empty = report().model_dump_json()
    rows[1] |= {"fallback": "not the schema", "report": empty}
    rows[2] |= {"fallback": "not the schema"}
    rows[3] |= {"fallback": "no rules for this language", "valid": False}
    write_rows(rows, tmp_path / "made.jsonl")
    record, _ = run(tmp_path / "made.jsonl", write_gold(tmp_path))
    metrics = record["metrics"]
    assert record["fallbacks"] == 2
    assert metrics["fallback/finding/recall"] == pytest.approx(1 / 3), "the cyst of three findings"
    assert metrics["own/finding/recall"] == pytest.approx(2 / 3), "two of the first report, none of the last"
    assert metrics["finding/recall"] == pytest.approx(3 / 6)
    write_rows(rows[:1], tmp_path / "made.jsonl")
    record, _ = run(tmp_path / "made.jsonl", tmp_path / "gold.jsonl")
    assert not any(name.startswith("own/") for name in record["metrics"])


def test_true_findings_of_a_studies_table_are_gold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies with true findings are read by split; those without are left out, and a split without any is refused."""
    studies = [
        {
            "study_id": one.id,
            "patient_id": one.patient_id,
            "language": one.text.language,
            "report": {"findings": one.text.findings, "impression": one.text.impression},
            "reference_findings": one.report.model_dump_json() if number else "",
        }
        for number, one in enumerate(golds())
    ]
    monkeypatch.setattr(structuring_task, "iter_studies", lambda path, split: iter(studies if split == "test" else []))
    assert structuring_task.read_gold_reports(tmp_path, "test") == golds()[1:]
    with pytest.raises(ValueError, match="split train"):
        structuring_task.read_gold_reports(tmp_path, "train")


def test_truth_does_not_judge_denials(tmp_path: Path) -> None:
    """Against true findings, denials, normal statements and resolved findings are neither right nor wrong."""
    mass = finding("mass", "pons")
    others = (
        finding("edema", "pons", certainty="absent"),
        finding("normal", "brain"),
        finding("cyst", "pons", change="resolved"),
    )
    kept = structuring_task.abnormal_only(report(mass, *others))
    assert not isinstance(kept, str)
    assert (kept.findings, kept.normal) == ([mass], False)
    assert structuring_task.abnormal_only("empty report") == "empty report"
    record, _ = run("rules", write_gold(tmp_path))
    assert record["settings"]["judged_findings"] == "all"


def test_bad_requests_say_what_to_do(tmp_path: Path) -> None:
    """Unknown structurer, missing files, a result in the way: nothing is written."""
    gold = write_gold(tmp_path)
    with pytest.raises(ValueError, match="expected rules, a folder"):
        run("rulez", gold)
    with pytest.raises(FileNotFoundError, match="none at"):
        run("rules", tmp_path / "no.jsonl")
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "no.parquet", gold)
    (tmp_path / "result.json").write_text("mine")
    config = StructuringEvaluateConfig("rules", gold, "structuring", out=tmp_path / "result.json")
    with pytest.raises(FileExistsError, match="overwrite"):
        evaluate_structuring(config)
    assert (tmp_path / "result.json").read_text() == "mine"
    for changes, message in (({"out": Path("a.txt")}, r"\.json"), ({"html": Path("a.json")}, r"\.html")):
        with pytest.raises(ValueError, match=message):
            StructuringEvaluateConfig("rules", gold, "structuring", **changes)


def test_command_of_the_result_gives_the_same_settings(tmp_path: Path) -> None:
    """The recorded command names the task, so that the command line finds this evaluation, and parses back."""
    config = StructuringEvaluateConfig("rules", tmp_path / "a b.jsonl", "structuring", out=tmp_path / "r.json", seed=3)
    words = command_line(config)
    assert "--task structuring" in words
    command = cli.find_command(["evaluate", "--task=structuring"])
    assert command.run == "selip.judge:judge_structurer"
    assert parse_config(StructuringEvaluateConfig, shlex.split(words)[2:], prog="selip evaluate") == config
    assert cli.find_command(["evaluate", "--task", "pairs"]).run == "selip.report:evaluate_with_page"
    assert cli.find_command(["evaluate", "run", "studies"]).run == "selip.report:evaluate_with_page"


def test_halves_are_the_reports_of_even_and_odd_index(tmp_path: Path) -> None:
    """The halves share no report and are all of them together; a half without reports is refused."""
    gold = write_gold(tmp_path)
    ids = {half: [case["study_id"] for case in run("rules", gold, half=half)[1]] for half in ("even", "odd")}
    assert ids == {"even": ["r0", "r2"], "odd": ["r1", "r3"]}
    write_rows([gold_row(golds()[0])], gold)
    with pytest.raises(ValueError, match="odd half"):
        run("rules", gold, half="odd")


def test_default_place_of_the_result() -> None:
    """In the working folder, named by structurer and data; addresses of servers make no folders."""
    config = StructuringEvaluateConfig("rules", Path("data/gold_en.jsonl"), "structuring")
    assert config.result_path == Path("evaluation/rules-structuring-gold_en.json")
    config = StructuringEvaluateConfig("rules", Path("gold.jsonl"), "structuring", half="odd")
    assert config.result_path.name == "rules-structuring-gold-odd.json"
    config = StructuringEvaluateConfig("http://host:80/v1", Path("gold.jsonl"), "structuring")
    assert config.result_path.parent == Path("evaluation")
