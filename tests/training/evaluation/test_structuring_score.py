"""Scores of findings against the scorer that comes with the gold set, and against exhaustive search."""

import itertools
import json
import random
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selip.processing.findings import Finding, StructuredReport, is_normal
from selip.processing.rules.structurer import READERS, structure_report
from selip.processing.vocabulary import load_terms
from selip.training.evaluation.structuring_score import (
    FIELDS,
    GROUPS,
    FindingScores,
    finding_f1,
    match_findings,
    report_tallies,
)

# Names of our fields in the reference's output.
REFERENCE_FIELDS = {
    "signals": "signals_set_f1",
    "sequences": "sequences_set_f1",
    "morphology": "morphology_set_f1",
    "certainty": "certainty_4_levels",
    "site": "site_exact",
}


def finding(term: str = "lacune", site: str = "thalamus", side: str = "left", **fields: Any) -> Finding:
    return Finding.model_validate({"finding": term, "site": site, "laterality": side, **fields})


def report(findings: list[Finding]) -> StructuredReport:
    return StructuredReport(normal=is_normal(findings), findings=findings)


@pytest.fixture(scope="module")
def reference(test_data: Path) -> SimpleNamespace:
    """The scorer that comes with the gold set."""
    return SimpleNamespace(**runpy.run_path(str(test_data / "reports" / "score_findings.py")))


def gold_rows(test_data: Path, name: str) -> list[dict[str, Any]]:
    lines = (test_data / "reports" / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line]


def gold_report(row: dict[str, Any]) -> StructuredReport:
    findings = [{name: value for name, value in entry.items() if name != "source_span"} for entry in row["findings"]]
    return StructuredReport.model_validate(
        {"normal": row["normal"], "findings": findings, "impression": row["impression"]}
    )


def perturbed(gold: StructuredReport, draw: random.Random) -> StructuredReport:
    """A structurer that drops, repeats, moves and changes findings at random."""
    terms = load_terms()
    entries = []
    for entry in gold.findings:
        for _ in range(draw.choices((0, 1, 2), (1, 7, 2))[0]):
            fields = entry.model_dump()
            for name, values in (
                ("site", [terms.sites[entry.site].parent or entry.site, *draw.sample(list(terms.sites), 1)]),
                ("finding", list(terms.findings)),
                ("laterality", ["left", "right", "none"]),
                ("certainty", ["present", "probable", "possible", "absent"]),
                ("severity", ["none", "mild", "severe"]),
                ("acuity", ["none", "acute"]),
                ("change", ["none", "new"]),
                ("count", ["none", 1, "few"]),
                ("size_mm", [None, 4.0, 21.0, 20.4]),
                ("signals", [[], [{"sequence": "FLAIR", "signal": "hyper"}]]),
                ("morphology", [[], ["round"], ["round", "patchy"]]),
                ("quote", ["", "not in the text", entry.quote]),
            ):
                if draw.random() < 0.12:
                    fields[name] = draw.choice(values)
            entries.append(Finding.model_validate(fields))
    draw.shuffle(entries)
    return report(entries[:96])


def totals(tallies: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in tallies) for name in tallies[0]}


def assert_equals_reference(
    reference: SimpleNamespace, rows: list[dict[str, Any]], predictions: list[StructuredReport | None], tmp_path: Path
) -> None:
    """All scores of the reference's program, over files that it reads itself."""
    (tmp_path / "gold.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    predicted = [
        json.dumps({"id": row["id"], "report": prediction.model_dump()})
        for row, prediction in zip(rows, predictions, strict=True)
        if prediction is not None
    ]
    (tmp_path / "predicted.jsonl").write_text("\n".join(predicted), encoding="utf-8")
    gold, found = reference.load(tmp_path / "gold.jsonl", tmp_path / "predicted.jsonl")
    assigned, _ = reference.assign(gold, found)
    entries = [
        (
            [reference.entry(f) for f in row["findings"]],
            [reference.entry(f) for f in (other or {}).get("findings", [])],
            row,
            other,
        )
        for row, other in zip(gold, assigned, strict=True)
    ]
    expected = reference.summary(entries, boot=0)
    golds = [gold_report(row) for row in rows]
    for row, one, other in zip(rows, golds, predictions, strict=True):
        if other is not None:
            theirs = reference.match(
                [reference.entry(f) for f in row["findings"]],
                [reference.entry(f) for f in other.model_dump()["findings"]],
            )
            assert sorted(match_findings(one.findings, other.findings)) == sorted(theirs), row["id"]

    scores = finding_f1(golds, predictions)
    for name in ("precision", "recall", "f1"):
        assert getattr(scores, name) == pytest.approx(expected["finding"][name])
    total = totals([report_tallies(g, p, r["text"]) for g, p, r in zip(golds, predictions, rows, strict=True)])
    groups = {**expected["by_certainty"], "all": expected["finding"], "without_normal": expected["without_normal"]}
    assert set(groups) == set(GROUPS)
    for group, numbers in groups.items():
        ours = tuple(total[f"{name}/{group}"] for name in ("matched", "gold", "predicted"))
        assert ours == (numbers["tp"], numbers["n_gold"], numbers["n_predicted"])
    for name in FIELDS:
        numbers = expected["fields"][REFERENCE_FIELDS.get(name, name)]
        assert numbers["n"] == total["matched/all"]
        assert total[f"agree/{name}"] == pytest.approx((numbers["value"] or 0) * numbers["n"])
        if name != "site":
            assert total[f"stated/{name}"] == numbers["n_stated"]
            assert total[f"agree_stated/{name}"] == pytest.approx((numbers["where_stated"] or 0) * numbers["n_stated"])
    quotes, normal = expected["quote_verbatim"], expected["normal_accuracy"]
    assert total["quotes_verbatim"] == pytest.approx((quotes["value"] or 0) * quotes["n"])
    assert total["is_normal_right"] == pytest.approx(normal["value"] * len(rows))


@pytest.mark.parametrize("name", ["gold_en.jsonl", "gold_zh.jsonl"])
def test_rules_score_as_by_the_scorer_of_the_gold_set(
    name: str, reference: SimpleNamespace, test_data: Path, tmp_path: Path
) -> None:
    """Every number for the rule structurer is that of the independent program; so is that of no prediction at all."""
    rows = gold_rows(test_data, name)
    predictions = [
        structure_report(row["text"], "", row["language"]) if row["language"] in READERS else None for row in rows
    ]
    assert_equals_reference(reference, rows, predictions, tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_perturbed_gold_scores_as_by_the_scorer_of_the_gold_set(
    seed: int, reference: SimpleNamespace, test_data: Path, tmp_path: Path
) -> None:
    """Every number for gold with random faults (left out, doubled, moved, changed, invalid) is the independent one."""
    draw = random.Random(seed)
    rows = gold_rows(test_data, "gold_en.jsonl") + gold_rows(test_data, "gold_zh.jsonl")
    predictions = [None if draw.random() < 0.1 else perturbed(gold_report(row), draw) for row in rows]
    f1 = finding_f1([gold_report(row) for row in rows], predictions).f1
    assert 0.3 < f1 < 0.95, f"faults too few or too many for a test: F1 {f1}"
    assert_equals_reference(reference, rows, predictions, tmp_path)


def test_gold_against_itself_is_perfect(test_data: Path) -> None:
    """Gold predicts itself with F1 1, all fields agreeing."""
    rows = gold_rows(test_data, "gold_zh.jsonl")
    golds = [gold_report(row) for row in rows]
    assert finding_f1(golds, golds).f1 == 1.0
    total = totals([report_tallies(gold, gold, row["text"]) for gold, row in zip(golds, rows, strict=True)])
    assert all(total[f"agree/{name}"] == total["gold/all"] for name in FIELDS)
    assert total["quotes_verbatim"] == total["gold/all"]


@pytest.mark.parametrize("seed", range(40))
def test_no_pairing_has_more_pairs(seed: int) -> None:
    """Within exact sites, and then with parents, no other pairing of gold and predictions has more pairs."""
    draw = random.Random(seed)
    places = ("temporal lobe", "hippocampus", "cerebral hemisphere")
    gold, predicted = (
        [finding(site=draw.choice(places), side=draw.choice(("left", "right"))) for _ in range(draw.randint(0, 5))]
        for _ in range(2)
    )
    parent = {name: site.parent for name, site in load_terms().sites.items()}
    pairs = match_findings(gold, predicted)
    assert len({pair.gold for pair in pairs}) == len({pair.predicted for pair in pairs}) == len(pairs)

    def most(sites_match: Any, golds: list[Finding], others: list[Finding]) -> int:
        long, short = (golds, others) if len(golds) >= len(others) else (others, golds)
        best = 0
        for order in itertools.permutations(range(len(long)), len(short)):
            made = [(long[n], one) if long is golds else (one, long[n]) for n, one in zip(order, short, strict=True)]
            best = max(best, sum(g.laterality == p.laterality and sites_match(g, p) for g, p in made))
        return best

    exact = [pair for pair in pairs if gold[pair.gold].site == predicted[pair.predicted].site]
    assert len(exact) == most(lambda g, p: g.site == p.site, gold, predicted)
    rest = [one for n, one in enumerate(gold) if n not in {pair.gold for pair in exact}]
    others = [one for n, one in enumerate(predicted) if n not in {pair.predicted for pair in exact}]
    assert len(pairs) - len(exact) == most(lambda g, p: parent[g.site] == p.site, rest, others)


def test_parent_matches_and_child_does_not() -> None:
    """The direct parent of the gold site matches; its child and its grandparent do not."""
    gold = [finding(site="temporal lobe")]
    assert match_findings(gold, [finding(site="cerebral hemisphere")]) == [(0, 0)]
    assert match_findings(gold, [finding(site="hippocampus")]) == []
    assert match_findings(gold, [finding(site="brain")]) == []


def test_hedges_are_one_level_and_denials_another() -> None:
    """Probable matches possible, neither matches present or absent."""
    gold = [finding(certainty="probable")]
    assert match_findings(gold, [finding(certainty="possible")]) == [(0, 0)]
    assert match_findings(gold, [finding(), finding(certainty="absent")]) == []


def test_duplicates_are_extras_and_the_closest_is_paired() -> None:
    """Of two predictions of one gold finding the one with the gold signals is paired, the other is an extra."""
    signals = [{"sequence": "DWI", "signal": "hyper"}]
    gold = [finding(signals=signals)]
    predicted = [finding(), finding(signals=signals)]
    assert match_findings(gold, predicted) == [(0, 1)]
    assert finding_f1([report(gold)], [report(predicted)]) == FindingScores(matched=1, gold=1, predicted=2)


def test_no_report_counts_as_nothing_found() -> None:
    """An invalid prediction costs recall and the normal flag, and is counted; nothing found of nothing is right."""
    gold = report([finding()])
    assert finding_f1([gold, gold], [gold, None]) == FindingScores(matched=1, gold=2, predicted=1)
    tallies = report_tallies(gold, None, "")
    assert (tallies["is_valid"], tallies["is_normal_right"], tallies["gold/all"]) == (0, 0, 1)
    assert FindingScores(0, 0, 0).f1 == 1.0
    with pytest.raises(ValueError, match="argument"):
        finding_f1([gold], [])
