"""The page of what is called similar: its numbers are those of training, and it shows no word of a report."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selip.processing.assignment_similarity import assignment_similarity, measure_statistics
from selip.processing.laterality import swap_laterality
from selip.processing.rendering import series_text
from selip.processing.similarity import released_similarity
from selip.similar import show_similar
from selip.training.similarity_config import SimilarConfig
from selip.training.similarity_report import similarity_report

SECRET = "words of a report"


@pytest.fixture
def reports(memory_studies):
    """Reports by study, each finding with a quote."""
    marked = {}
    for study in memory_studies:
        findings = [finding.model_copy(update={"quote": SECRET}) for finding in study.report.findings]
        marked[study.study_id] = study.report.model_copy(update={"findings": findings, "impression": [SECRET]})
    return marked


def findings_file(reports, folder):
    rows = [{"study_id": name, "report": each.model_dump_json(), "valid": True} for name, each in reports.items()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "findings.parquet")
    return folder / "findings.parquet"


@pytest.fixture
def findings_table(reports, tmp_path):
    return findings_file(reports, tmp_path)


def config(**values):
    return SimilarConfig(**{"findings": Path("findings.parquet"), "out": Path("page.html"), **values})


@pytest.mark.parametrize("similarity", ["assignment", "released"])
def test_numbers_are_those_of_the_similarity(reports, tmp_path, similarity):
    """Shares, ranks and values equal those of the matrix between the different texts of the sequence."""
    report = similarity_report(reports, config(out=tmp_path / "a.html", similarity=similarity, samples=5, limit=3))
    spoken = [text for each in reports.values() if (text := series_text(each, "FLAIR", "en")) is not None]
    texts = list({text.text: text for text in spoken}.values())
    statistics = measure_statistics([[text] for text in spoken])
    matrices = {
        "assignment": assignment_similarity(texts, texts, statistics),
        "released": released_similarity(texts, "en"),
    }
    assert report["num_texts"] == len(texts)
    assert report["num_with_text"] == len(spoken)
    pairs = ~np.eye(len(texts), dtype=bool)
    for name, matrix in matrices.items():
        found = report["distributions"][name]
        assert found["share_above_zero"] == pytest.approx((matrix[pairs] > 0).mean())
        assert sum(found["share_of_pairs"]) == pytest.approx(found["share_above_zero"])
    sided = [text for text in texts if swap_laterality(text).text != text.text]
    assert report["mirrored"]["num_texts"] == len(sided) < len(texts)
    for name, pairs in {
        "assignment": lambda a, b: assignment_similarity([a], [b], statistics),
        "released": lambda a, b: released_similarity([a], "en", [b]),
    }.items():
        mean = np.mean([pairs(text, swap_laterality(text)).item() for text in sided])
        assert report["mirrored"]["mean"][name] == pytest.approx(mean, abs=1e-6)
    for name, matrix in matrices.items():
        shares = []
        for row, text in enumerate(texts):
            if not text.normal:
                other = texts[max((j for j in range(len(texts)) if j != row), key=lambda j: matrix[row, j])]
                told, also = (
                    {(s.term, s.site, s.laterality) for s in t.statements if not s.is_denied} for t in (text, other)
                )
                shares.append(len(told & also) / len(told | also))
        assert report["in_common"][name] == pytest.approx(np.mean(shares))
    place = {text.text: number for number, text in enumerate(texts)}
    assert len(report["examples"]) == 6
    assert texts[place[report["examples"][-1]["text"]]].normal
    for example in report["examples"]:
        own = matrices[similarity][place[example["text"]]]
        others = np.delete(own, place[example["text"]])
        assert example["num_similar"] == (others > 0).sum()
        assert example["text"] not in [row["text"] for row in example["rows"]]
        for row in example["rows"]:
            assert row[similarity] == pytest.approx(np.sort(others)[::-1][row["rank"] - 1])
            assert all(
                row[name] == pytest.approx(matrices[name][place[example["text"]], place[row["text"]]])
                for name in matrices
            )
            assert (row["where"] == "not similar") == (row[similarity] == 0)


def test_embedding_and_mixed_stand_beside_the_others(reports, text_tower, tmp_path):
    """With an encoder and weights the same report shows four similarities; embeddings are kept beside the page."""
    weights = {"assignment": 0.25, "embedding": 0.75}
    for similarity in ("embedding", "mixed"):
        shown = config(
            out=tmp_path / "page.html", similarity=similarity, encoder=str(text_tower), weights=weights, limit=2
        )
        report = similarity_report(reports, shown)
        assert list(report["distributions"]) == ["assignment", "released", "embedding", "mixed"]
        assert set(report["chance"]) == {"assignment", "embedding"}
        scores = [row[similarity] for example in report["examples"] for row in example["rows"]]
        assert scores
        for example in report["examples"]:
            ranked = [row[similarity] for row in example["rows"]]
            assert ranked == sorted(ranked, reverse=True)
            for row in example["rows"]:
                mean = sum(weight * row[name] for name, weight in weights.items())
                assert row["mixed"] == pytest.approx(mean, abs=1e-6)
        for name in ("embedding", "mixed"):
            assert max(row["most_links"] for row in report["targets"][name]) == 2
    assert len(list(tmp_path.glob("text_embeddings-*.safetensors"))) == 1
    page = show_similar(config(findings=findings_file(reports, tmp_path), out=tmp_path / "a.html", weights=None)).page
    assert "embedding" not in page.read_text()
    for fields in ({"similarity": "embedding"}, {"similarity": "mixed"}, {"weights": {"embedding": 1.0}}):
        with pytest.raises(ValueError, match=r"encoder|weights"):
            config(**fields)


def test_batches_keep_the_limit(reports):
    """Soft targets by assignment never have more links than the limit; the released similarity has no limit."""
    report = similarity_report(reports, config(limit=2))
    assert report["targets"]["assignment"]
    assert max(row["most_links"] for row in report["targets"]["assignment"]) == 2
    assert max(row["most_links"] for row in report["targets"]["released"]) > 2
    for row in report["targets"]["assignment"]:
        assert 1 < row["effective_targets"] <= 3


def test_the_page_stands_alone_and_quotes_no_report(findings_table, tmp_path):
    """The page holds every example and no word of a report; it is not replaced without being told."""
    wanted = config(findings=findings_table, out=tmp_path / "page.html", sequence="study")
    summary = show_similar(wanted)
    page, numbers = summary.page.read_text(), summary.numbers.read_text()
    assert SECRET not in page + numbers
    assert "http" not in page
    for example in json.loads(numbers)["examples"]:
        assert example["text"] in page
    assert page.count("<svg") == 2
    with pytest.raises(FileExistsError, match=r"page\.html"):
        show_similar(wanted)
    with pytest.raises(ValueError, match="SWI"):
        similarity_report({}, config(sequence="SWI"))
    with pytest.raises(ValueError, match="html"):
        config(out=tmp_path / "page.txt")
