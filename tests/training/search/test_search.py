"""Index and search, with an embedder whose space is known: axes are findings at places."""

import json
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from selip import cli
from selip.processing.findings import StructuredReport, is_abnormal
from selip.processing.findings_table import write_findings
from selip.processing.image_processing_selip import SelipImageProcessor
from selip.processing.rules.structurer import structure_report
from selip.training.search import pictures
from selip.training.search.config import EmbedConfig, IndexConfig, SearchConfig
from selip.training.search.embed import embed, embed_source
from selip.training.search.index import SearchIndex, index_embeddings
from selip.training.search.search import search
from selip.training.search.sources import EmbedSource, SourceSeries, SourceStudy

WIDTH = 512


def direction(words: str) -> np.ndarray:
    """A direction of its own for each text, nearly at right angles to the others."""
    return np.random.default_rng(list(words.encode())).normal(size=WIDTH)


def vector_of(report: StructuredReport, sequence: str = "") -> np.ndarray:
    """Unit vector of the findings of a study, a little of the sequence in it."""
    told = [f"{each.finding} {each.site} {each.laterality}" for each in report.findings if is_abnormal(each)]
    total = sum((direction(words) for words in told or ["normal"]), 0.1 * direction(f"sequence {sequence}"))
    return (total / np.linalg.norm(total)).astype(np.float32)


class KnownEmbedder:
    """Texts as the rules read them; series are those of the studies it was given."""

    def embed_texts(self, texts):
        return np.stack([vector_of(structure_report(text, "")) for text in texts])


class ReportsAsSeries:
    """Series whose voxels are their vectors."""

    def __init__(self, studies):
        self.vectors = {
            (study.study_id, each.series_id): vector_of(study.report, each.sequence)
            for study in studies
            for each in study.series
        }

    def study(self, study_id, series_ids):
        return {name: self.vectors[study_id, name] for name in series_ids}


@pytest.fixture
def archive(memory_studies, tmp_path):
    """60 studies as an index with findings; returns its folder."""
    names = [
        SourceStudy(
            study.study_id,
            None,
            tuple(SourceSeries(study.study_id, each.series_id, each.sequence) for each in study.series),
        )
        for study in memory_studies
    ]
    source = EmbedSource("table", "0" * 64, names, ReportsAsSeries(memory_studies), simulated=True)
    checkpoint = {"name": "known", "sha256": "0" * 64, "folder": str(tmp_path / "known")}
    info = {"format_version": 1, "checkpoint": checkpoint, "processor": {}, "settings": {}, "simulated": True}
    info["source"] = {"kind": "table", "fingerprint": source.fingerprint}
    out = tmp_path / "embeddings.parquet"
    embed_source(np.stack, source, info, EmbedConfig(tmp_path, tmp_path, out))
    write_findings(
        [
            {
                "study_id": study.study_id,
                "report": study.report.model_dump_json(),
                "structurer": "truth",
                "version": "1",
                "valid": True,
                "fallback": "",
            }
            for study in memory_studies
        ],
        tmp_path / "findings.parquet",
    )
    index_embeddings(IndexConfig(out, tmp_path / "index", findings=tmp_path / "findings.parquet"))
    return tmp_path / "index"


def known():
    return KnownEmbedder(), SelipImageProcessor()


def test_text_of_a_finding_ranks_its_study_first(archive, memory_studies):
    """A sentence with the findings of a study, read by the rules, finds a study with those very findings."""
    asked = 0
    for study in memory_studies[:20]:
        told = {(each.finding, each.site, each.laterality) for each in study.report.findings if is_abnormal(each)}
        if not told:
            continue
        text = " ".join(f"There is a {term} in the {side} {site}." for term, site, side in sorted(told))
        best = search(SearchConfig(archive, text=text), known).hits[0]
        found = next(each for each in memory_studies if each.study_id == best.study_id).report.findings
        assert {(each.finding, each.site, each.laterality) for each in found} == told
        asked += 1
    assert asked > 10


def test_results_are_an_argsort_of_the_embeddings(archive, memory_studies):
    """Study to study and sequence to sequence: order, cosines and candidates as NumPy has them, the query left out."""
    index = SearchIndex.open(archive)
    columns, vectors = index.columns, load_file(archive / "vectors.safetensors")["embeddings"]
    study = memory_studies[7]
    own = columns["study_id"] == study.study_id
    sequence = study.series[1].sequence
    of_level = {"study": columns["level"] == "study", "series": columns["sequence"] == sequence}
    for level, of in (("study", None), ("series", sequence)):
        query = vectors[own & of_level[level]][0]
        rows = np.flatnonzero(of_level[level] & ~own)
        order = rows[np.argsort(-(vectors[rows] @ query), kind="stable")][:10]
        result = search(SearchConfig(archive, study=study.study_id, sequence=of))
        assert (result.level, result.candidates) == (level, len(rows))
        assert [(hit.study_id, hit.series_id) for hit in result.hits] == [
            (columns["study_id"][row], columns["series_id"][row]) for row in order
        ]
        assert [hit.cosine for hit in result.hits] == pytest.approx(list(vectors[order] @ query), abs=1e-5)
        assert [hit.rank for hit in result.hits] == list(range(1, 11))


def test_filters_leave_only_what_a_loop_leaves(archive, memory_studies):
    """With a filter all that matches is found and nothing else, best first."""
    expected = {
        study.study_id
        for study in memory_studies
        for each in study.report.findings
        if each.finding == "mass" and each.laterality == "left" and is_abnormal(each)
    }
    assert expected
    config = SearchConfig(archive, text="mass", finding="mass", laterality="left", top=100)
    result = search(config, known)
    assert {hit.study_id for hit in result.hits} == expected
    assert result.filter == "finding mass, laterality left, present"
    cosines = [hit.cosine for hit in result.hits]
    assert cosines == sorted(cosines, reverse=True)
    assert "simulated" in str(result)
    normal = search(SearchConfig(archive, text="mass", normal=True, top=100), known)
    assert {hit.findings for hit in normal.hits} == {"Normal."}


def test_index_keeps_no_words_of_reports(archive, memory_studies, tmp_path):
    """Quotes and impressions stay behind; the structured findings are whole."""
    assert any(study.report.impression for study in memory_studies)
    stored = SearchIndex.open(archive).reports
    for study in memory_studies:
        kept = stored[study.study_id]
        assert kept.impression == []
        assert kept.findings == [each.model_copy(update={"quote": ""}) for each in study.report.findings]


def test_faiss_index_finds_what_exact_search_finds(archive, memory_studies, tmp_path):
    """On a small archive the graph misses nothing; with a filter the search is exact."""
    pytest.importorskip("faiss", reason="needs the extra `search`")
    index_embeddings(
        IndexConfig(
            tmp_path / "embeddings.parquet", tmp_path / "graphs", findings=tmp_path / "findings.parquet", faiss=True
        )
    )
    for changes in ({}, {"level": "series"}, {"finding": "mass"}, {"sequence": memory_studies[3].series[0].sequence}):
        exact = search(SearchConfig(archive, study=memory_studies[3].study_id, top=5, **changes))
        graph = search(SearchConfig(tmp_path / "graphs", study=memory_studies[3].study_id, top=5, **changes))
        assert [hit.cosine for hit in graph.hits] == pytest.approx([hit.cosine for hit in exact.hits], abs=1e-5)
        assert graph.candidates == exact.candidates


def test_wrong_indexes_say_what_to_do(archive, tmp_path, monkeypatch):
    """Existing, missing, damaged; findings or studies of others; FAISS missing before anything is written."""
    embeddings = tmp_path / "embeddings.parquet"
    with pytest.raises(FileExistsError, match="overwrite"):
        index_embeddings(IndexConfig(embeddings, archive))
    with pytest.raises(FileNotFoundError, match="selip embed"):
        index_embeddings(IndexConfig(tmp_path / "gone.parquet", tmp_path / "new"))
    write_findings(
        [{"study_id": "other", "report": '{"normal": true}', "valid": True, "structurer": "", "version": ""}],
        tmp_path / "other.parquet",
    )
    with pytest.raises(ValueError, match="got none"):
        index_embeddings(IndexConfig(embeddings, tmp_path / "new", findings=tmp_path / "other.parquet"))
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ModuleNotFoundError, match=r"selip\[search\]"):
        index_embeddings(IndexConfig(embeddings, tmp_path / "new", faiss=True))
    assert not (tmp_path / "new").exists()
    with pytest.raises(FileNotFoundError, match="selip index"):
        SearchIndex.open(tmp_path / "new")
    (archive / "vectors.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="damaged"):
        SearchIndex.open(archive)
    (archive / "index.json").write_text(json.dumps({"format_version": 99}))
    with pytest.raises(ValueError, match="format_version 1, got 99"):
        SearchIndex.open(archive)


def test_wrong_queries_say_what_to_do(archive, tmp_path):
    """No query or two, an unknown study, sequence or term, nothing that matches, no checkpoint."""
    with pytest.raises(ValueError, match="got none"):
        SearchConfig(archive)
    with pytest.raises(ValueError, match="--text, --study or --image, got text and study"):
        SearchConfig(archive, text="a", study="b")
    with pytest.raises(ValueError, match="words"):
        SearchConfig(archive, text="  ")
    with pytest.raises(ValueError, match="'study-07'; did you mean 'study-"):
        search(SearchConfig(archive, study="study-07"))
    with pytest.raises(ValueError, match="'FLARE'"):
        search(SearchConfig(archive, study="study-007", sequence="FLARE"))
    with pytest.raises(ValueError, match=r"sequence of the index \(T1w, T2w, FLAIR, DWI, ADC\), got 'MRA'"):
        search(SearchConfig(archive, study="study-007", sequence="MRA"))
    with pytest.raises(ValueError, match="did you mean 'hemorrhage'"):
        search(SearchConfig(archive, study="study-007", finding="haemorrhage"))
    with pytest.raises(ValueError, match=r"got none of 60 .* finding aneurysm 0"):
        search(SearchConfig(archive, study="study-007", finding="aneurysm"))
    with pytest.raises(FileNotFoundError, match="--checkpoint"):
        search(SearchConfig(archive, text="mass"))
    index_embeddings(IndexConfig(tmp_path / "embeddings.parquet", tmp_path / "bare"))
    with pytest.raises(ValueError, match=r"--findings or --studies"):
        search(SearchConfig(tmp_path / "bare", study="study-007", finding="mass"))
    assert search(SearchConfig(tmp_path / "bare", study="study-007")).hits[0].findings == ""


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


@pytest.fixture
def coarse_pictures(monkeypatch):
    """Pictures of few voxels: a page of a hundred takes no time."""
    view = {"spatial_size": (48, 56, 16), "spacing_mm": (4.0, 4.0, 10.0), "patch_size": (8, 8, 4)}
    monkeypatch.setattr(pictures, "_viewer", lambda: SelipImageProcessor(**view))


def test_commands_from_files_to_page(
    phantom_studies, small_checkpoints, tmp_path, one_thread, coarse_pictures, capsys
):
    """embed, index and search by the command line: a file finds itself, its page has pictures, wrong ones are told."""
    first, second = small_checkpoints / "first", small_checkpoints / "second"
    out, index = tmp_path / "out.parquet", tmp_path / "index"
    assert run("embed", first, phantom_studies, out) == 0
    assert run("index", out, index, "--studies", phantom_studies) == 0
    file = tmp_path / "files" / "sub-2" / "sub-2_FLAIR.nii.gz"
    page, answer = tmp_path / "page.html", tmp_path / "answer.json"
    assert (
        run("search", index, "--image", file, "--sequence", "FLAIR", "--top", 2, "--html", page, "--json", answer) == 0
    )
    content = json.loads(answer.read_text())
    assert (content["hits"][0]["series_id"], content["candidates"]) == ("sub-2_FLAIR", 4)
    assert content["hits"][0]["cosine"] > 0.99
    assert page.read_text().count("data:image/png;base64,") == 3 + 2 * 3
    assert run("search", index, "--study", "sub-1", "--top", 1, "--html", page, "--overwrite") == 0
    assert page.read_text().count("data:image/png;base64,") == 2 + 2
    gone = tmp_path / "files" / "sub-0" / "sub-0_T1w.nii.gz"
    gone.unlink()
    assert run("search", index, "--text", "mass", "--html", page, "--overwrite", "--checkpoint", first) == 0
    assert "the volume cannot be shown (missing)" in page.read_text()
    capsys.readouterr()
    assert run("search", index, "--text", "mass", "--checkpoint", second) == 2
    assert "got another one" in capsys.readouterr().err
    assert run("search", index, "--study", "sub-1", "--html", page) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run("search", index, "--image", tmp_path / "gone.nii.gz") == 2
    assert "found none" in capsys.readouterr().err


def test_another_studies_table_is_refused(phantom_studies, small_checkpoints, tmp_path, one_thread):
    """An index takes findings and files only from the table that was embedded."""
    config = EmbedConfig(small_checkpoints / "first", phantom_studies, tmp_path / "out.parquet", split="train")
    embed(config)
    info = phantom_studies / "studies.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fingerprint": "1" * 64}))
    with pytest.raises(ValueError, match="is another one"):
        index_embeddings(IndexConfig(config.out, tmp_path / "index", studies=phantom_studies))
    index_embeddings(IndexConfig(config.out, tmp_path / "index"))
    with pytest.raises(ValueError, match="got none but those of the query"):
        search(SearchConfig(tmp_path / "index", study="sub-3"))
