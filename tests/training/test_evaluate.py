"""`selip evaluate` from files to result, on a small checkpoint with random weights and a few phantoms."""

import json
import shlex
import sys
from dataclasses import replace

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from selip.arguments import parse_config
from selip.processing.image_processing_selip import PRESETS
from selip.processing.sources.studies import iter_studies, load_studies
from selip.processing.sources.studies_writer import write_studies
from selip.report import missing_with_page
from selip.training import evaluate as evaluate_module
from selip.training import missing
from selip.training.config import NetworkConfig
from selip.training.evaluate import evaluate, load_checkpoint, result_path
from selip.training.evaluation.config import EvaluateConfig, MissingConfig
from selip.training.evaluation.embedding import embed_series
from selip.training.evaluation.gallery import build_gallery
from selip.training.evaluation.leakage import count_leaks
from selip.training.evaluation.provenance import is_simulated
from selip.training.evaluation.result_file import command_line
from selip.training.evaluation.series_source import NiftiSeries, PreparedSeries
from selip.training.network import build_model, build_processor
from selip.training.volume_preparation import image_processor_of
from selip.training.volumes import VolumesTable, prepare_volumes
from selip.training.volumes_config import PrepareConfig

# A box of the size of a head with few voxels: resampling is most of the time of these tests.
SMALL_BOX = {**PRESETS["tiny"], "spatial_size": (24, 32, 12), "spacing_mm": (8.0, 8.0, 14.0)}
SITES = ("frontal lobe", "cerebellum", "thalamus")


def write_phantom(path, number):
    """A head-like ellipsoid with texture, 8 mm voxels."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 28, 22)), indexing="ij"))
    inside = (grid**2).sum(axis=0) < 0.7
    texture = 1 + 0.3 * np.random.default_rng(number).normal(size=inside.shape)
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[:3, 3] = (-96, -112, -88)
    nibabel.Nifti1Image((100 * inside * texture).astype(np.float32), affine).to_filename(path)


def study_rows(folder):
    """Eight patients with FLAIR and T1w, one in four normal, one lesion mask each."""
    for number in range(8):
        signals = [{"sequence": "FLAIR", "signal": "hyper"}, {"sequence": "T1w", "signal": "hypo"}]
        side = ("left", "right")[number % 2]
        finding = {"finding": "mass", "site": SITES[number % 3], "laterality": side, "signals": signals}
        series = []
        for place, sequence in enumerate(("FLAIR", "T1w")):
            path = folder / f"{number}-{sequence}.nii.gz"
            write_phantom(path, 2 * number + place)
            series.append({"series_id": sequence, "sequence": sequence, "volume": path.name, "b_value": None})
        findings = [] if number % 4 == 0 else [finding]
        yield {
            "study_id": f"study-{number}",
            "patient_id": f"patient-{number}",
            "split": "test",
            "language": "en",
            "series": series,
            "report": {"findings": "", "impression": ""},
            "labels": [],
            "masks": [{"name": "lesions", "volume": f"{number}-FLAIR.nii.gz"}] if findings else [],
            "reference_findings": json.dumps({"normal": not findings, "findings": findings, "impression": []}),
        }


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A studies table."""
    folder = tmp_path_factory.mktemp("files")
    write_studies(study_rows(folder), folder / "studies", folder)
    return folder / "studies"


@pytest.fixture(scope="module")
def volumes(studies):
    """Its volumes table, at the box of the checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", SMALL_BOX)
        image_processor_of.cache_clear()
        prepare_volumes(PrepareConfig(studies=studies, out=studies.parent / "volumes", size="tiny", num_proc=1))
        image_processor_of.cache_clear()
    return studies.parent / "volumes"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, studies):
    """A checkpoint of a small network with random weights."""
    folder = tmp_path_factory.mktemp("run") / "best"
    texts = [text.text for text in build_gallery(iter_studies(studies)).texts]
    vision = {"depth": 10, "hidden_sizes": (8, 8, 16, 16), "stem_kernel_size": (4, 4, 2), "stem_stride": (4, 4, 2)}
    # Maps of more than one position: normalising a single one blows rounding errors up.
    vision |= {"stem_pool": False, "stage_strides": ((1, 1, 1), (2, 2, 2), (1, 1, 1), (1, 1, 1))}
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    network = NetworkConfig(vision=vision, text=small, projection_dim=16, vocabulary_size=300)
    torch.manual_seed(0)
    processor = build_processor(network, dict(SMALL_BOX), texts, 64)
    build_model(network, processor, 64).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def config_of(checkpoint, studies, out, **changes):
    """Settings with few replicates, no pictures, and embeddings of their own."""
    values = {"bootstrap_samples": 50, "num_figure_cases": 0, "out": out, "embeddings": out.with_suffix("")}
    return EvaluateConfig(checkpoint, studies, **(values | changes))


def test_result_file_is_whole_and_can_be_recomputed(checkpoint, studies, volumes, tmp_path):
    """The JSON holds what produced it, its metrics follow from the case table, pictures stand beside it."""
    out = tmp_path / "new" / "result.json"
    record = evaluate(config_of(checkpoint, studies, out, volumes=volumes, num_figure_cases=2))
    written = json.loads(out.read_text())
    assert written["metrics"] == record["metrics"]
    assert written["n"] == {"patients": 8, "studies": 8, "series": 16, "texts": 12}
    assert written["data"]["reference_findings"] == {"truth": 8}
    assert len(written["checkpoint"]["sha256"]) == 64
    assert written["simulated"] is False
    files = {path.name for path in out.parent.iterdir() if path.is_file()}
    assert files == {"result.json", *written["files"].values()}
    assert set(written["files"]) == {"cases", "recall", "examples"}

    cases = pq.read_table(out.parent / written["files"]["cases"]).to_pandas()
    forward = cases[cases["direction"] == "image_to_text"]
    assert set(forward["study_id"]) == {f"study-{number}" for number in range(8)}
    assert sorted(forward.loc[forward["sequence"] == "study", "study_id"]) == [f"study-{n}" for n in range(8)]
    mine = forward[forward["sequence"] != "study"]
    recall = np.average(mine["rank"] <= 5, weights=mine["weight"])
    assert written["metrics"][written["primary_metric"]] == pytest.approx(recall)
    low, high = written["intervals"][written["primary_metric"]]
    assert low <= recall <= high
    assert f"{100 * recall:.1f}" in str(record)


def test_existing_result_is_kept_unless_told(checkpoint, studies, volumes, tmp_path):
    """The second run refuses before any work, `overwrite` replaces, and the numbers are the same."""
    out = tmp_path / "result.json"
    config = config_of(checkpoint, studies, out, volumes=volumes)
    first = evaluate(config)
    with pytest.raises(FileExistsError, match="overwrite"):
        evaluate(config)
    second = evaluate(replace(config, overwrite=True))
    assert first["metrics"] == second["metrics"]
    assert first["intervals"] == second["intervals"]


def test_volumes_table_and_nifti_files_give_the_same_result(checkpoint, studies, volumes, tmp_path):
    """Reading prepared volumes or the files themselves is the same evaluation; another data set's table is refused."""
    from_table = evaluate(config_of(checkpoint, studies, tmp_path / "a.json", volumes=volumes))
    from_files = evaluate(config_of(checkpoint, studies, tmp_path / "b.json"))
    assert from_table["metrics"] == from_files["metrics"]

    model_box, table_box = load_checkpoint(checkpoint)[1].image_processor, VolumesTable(volumes)
    model_box.spacing_mm = (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="spacing_mm"):
        PreparedSeries(table_box, model_box)

    other = tmp_path / "other"
    other.mkdir()
    write_studies(list(study_rows(other))[:3], other / "studies", other)
    with pytest.raises(ValueError, match="another studies table"):
        evaluate(config_of(checkpoint, other / "studies", tmp_path / "c.json", volumes=volumes))


def test_series_embeddings_are_those_of_the_whole_model(checkpoint, studies):
    """Each embedding equals `series_embeds` of a plain forward pass over the whole study, whatever the batch size."""
    model, processor = load_checkpoint(checkpoint)
    dataset = load_studies(studies)["test"].select(range(3))
    gallery = build_gallery(iter_studies(dataset))
    source = NiftiSeries(dataset, processor.image_processor)
    got = embed_series(model, source, gallery.images, batch_size=4, progress=False)
    assert got.kept.all()
    row = next(iter_studies(dataset))
    inputs = processor(
        images=[{"sequence": s["sequence"], "volume": s["volume"]["path"]} for s in row["series"]], text="x"
    )
    with torch.inference_mode():
        expected = model(**inputs).series_embeds[0].numpy()
    assert got.embeds[:2] == pytest.approx(expected, abs=2e-2), "8-bit rounding"
    alone = embed_series(model, source, gallery.images, batch_size=1, progress=False)
    assert alone.embeds == pytest.approx(got.embeds, abs=1e-5)


def test_unusable_series_are_counted_and_left_out(checkpoint, tmp_path):
    """A truncated file costs its series and nothing else, and the result says so."""
    write_studies(study_rows(tmp_path), tmp_path / "studies", tmp_path)
    broken = tmp_path / "3-T1w.nii.gz"
    broken.write_bytes(broken.read_bytes()[:200])
    record = evaluate(config_of(checkpoint, tmp_path / "studies", tmp_path / "result.json"))
    assert record["n"]["series"] == 15
    assert record["n"]["texts"] == 12
    assert [count for reason, count in record["skipped"].items() if reason.startswith("unusable volume")] == [1]


def test_sequences_are_hidden_as_if_they_were_not_there(checkpoint, studies, volumes, tmp_path):
    """Results of the sequences shown are those of the whole evaluation, and no other series takes part."""
    whole = evaluate(config_of(checkpoint, studies, tmp_path / "all.json", volumes=volumes))
    shown = evaluate(config_of(checkpoint, studies, tmp_path / "t1w.json", volumes=volumes, sequences=("T1w",)))
    assert (whole["n"]["series"], shown["n"]["series"]) == (16, 8)
    assert shown["settings"]["sequences"] == ["T1w"]
    name = "T1w/image_to_text/recall@5"
    assert shown["metrics"][name] == whole["metrics"][name] == shown["metrics"][whole["primary_metric"]]
    with pytest.raises(ValueError, match="expected a sequence name of"):
        evaluate(config_of(checkpoint, studies, tmp_path / "x.json", sequences=("T3w",)))


def test_missing_sequences_are_evaluated_set_by_set(checkpoint, studies, volumes, tmp_path, monkeypatch):
    """Every set is what `--sequences` gives; a second run computes nothing again; too few studies make no set.

    All sets have the same studies, which are searched for leaks once; a single evaluation always is.
    """
    searched = []
    monkeypatch.setattr(evaluate_module, "count_leaks", lambda *of: searched.append(of) or count_leaks(*of))
    monkeypatch.setattr(missing, "MIN_STUDIES", 8)
    config = MissingConfig(checkpoint, studies, tmp_path / "missing", task="retrieval", volumes=volumes)
    config = replace(config, bootstrap_samples=20, embeddings=tmp_path / "embeddings")
    record = missing_with_page(replace(config, html=tmp_path / "missing.html"))
    assert len(searched) == 1
    assert "--html" not in record["command"]
    assert "all but FLAIR" in (tmp_path / "missing.html").read_text(encoding="utf-8")
    names = [series["sequence"] for series in next(iter_studies(studies))["series"]]
    titles = [each["title"] for each in record["sets"]]
    assert sorted(titles) == sorted(["all", *(f"{n} only" for n in names), *(f"all but {n}" for n in names)])
    headline = record["headline"]
    assert headline == "study/image_to_text/recall@5"
    assert record["compared"] == [
        headline,
        "study/image_to_text/recall@1",
        "study/image_to_text/recall@10",
        "study_abnormal/image_to_text/recall@5",
    ]
    for each in record["sets"]:
        sequences = () if each["sequences"] == "all" else tuple(each["sequences"])
        alone = evaluate(config_of(checkpoint, studies, tmp_path / "alone.json", sequences=sequences, overwrite=True))
        assert each["metrics"][headline] == alone["metrics"][headline]
        assert f"{each['title']:<24}" in str(record)
    assert len(searched) == 1 + len(record["sets"])
    assert (tmp_path / "missing" / "missing.png").stat().st_size > 5_000
    with pytest.raises(FileExistsError, match="overwrite"):
        missing.evaluate_missing(config)
    monkeypatch.setattr(missing, "evaluate", None)  # every result is there
    monkeypatch.setattr(missing, "leaks_of", None)
    again = missing.evaluate_missing(replace(config, overwrite=True))
    assert again["sets"] == record["sets"]


def test_missing_sequences_are_probed_by_the_linear_probe_alone(tmp_path, monkeypatch):
    """What stands beside it would be computed again for every set; no other task is asked for it."""
    asked = []
    monkeypatch.setattr(missing, "evaluate", lambda request, leaks: asked.append(request) or {})
    for task in ("probe", "retrieval"):
        config = MissingConfig(tmp_path, tmp_path, tmp_path / "missing", task=task)
        missing._evaluated(config, missing.ShownSet("T1w only", ("T1w",)), dict)
    assert [each.probe_extent for each in asked] == ["linear", "quick"]


def test_sets_need_studies_that_have_them():
    """DWI and ADC are read together; a sequence of few studies stands with the others only."""
    sets = missing.shown_sets({"FLAIR": 90, "DWI": 80, "ADC": 80, "SWI": 3})
    assert [each.title for each in sets] == [
        "all",
        *(f"{name} only" for name in ("FLAIR", "DWI", "ADC", "DWI + ADC")),
        *(f"all but {name}" for name in ("FLAIR", "DWI", "ADC")),
    ]
    assert sets[-1].sequences == ("FLAIR", "DWI", "SWI")
    with pytest.raises(ValueError, match="two sequences or more, got T1w alone"):
        missing.shown_sets({"T1w": 40})
    with pytest.raises(ValueError, match=r"at least 20 studies have, the most frequent, T1w, has 19"):
        missing.shown_sets({"T1w": 19, "FLAIR": 5})


def test_a_control_is_named_in_the_result(checkpoint, studies, volumes, tmp_path):
    """Its file has a name of its own, its settings say what was cut, and all texts being one finds nothing."""
    config = config_of(checkpoint, studies, tmp_path / "a.json", volumes=volumes, control="empty_text")
    record = evaluate(config)
    assert record["settings"]["control"] == "empty_text"
    assert record["metrics"]["within_sequence/image_to_text/recall@1"] == 0, "ties count against the model"
    assert result_path(replace(config, out=None)).name == "best-retrieval-test-empty_text.json"
    with pytest.raises(ValueError, match="a probe, which reads no text"):
        replace(config, task="probe")


def test_bad_requests_say_what_to_do(checkpoint, studies, tmp_path, monkeypatch):
    """Empty split, missing checkpoint parts, missing extra, wrong option values."""
    with pytest.raises(ValueError, match="split train"):
        evaluate(config_of(checkpoint, studies, tmp_path / "r.json", split="train"))
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        evaluate(config_of(tmp_path, studies, tmp_path / "r.json"))
    (tmp_path / "half").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "half" / name).write_bytes((checkpoint / name).read_bytes())
    with pytest.raises(FileNotFoundError, match="no processor"):
        evaluate(config_of(tmp_path / "half", studies, tmp_path / "r.json"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"selip\[plots\]"):
        evaluate(config_of(checkpoint, studies, tmp_path / "r.json", num_figure_cases=1))
    with pytest.raises(ValueError, match="batch_size"):
        config_of(checkpoint, studies, tmp_path / "r.json", batch_size=0)
    with pytest.raises(ValueError, match=r"\.json"):
        config_of(checkpoint, studies, tmp_path / "r.txt")
    assert not (tmp_path / "r.json").exists()


def test_recorded_command_gives_the_same_settings(tmp_path):
    """The command line in the result parses back into the configuration."""
    config = EvaluateConfig(tmp_path / "a b", tmp_path, out=tmp_path / "r.json", seed=3, overwrite=True, split="train")
    words = shlex.split(command_line(config))
    assert words[:2] == ["selip", "evaluate"]
    assert parse_config(EvaluateConfig, words[2:], prog="selip evaluate") == config


def test_default_place_of_the_result(tmp_path):
    """Beside the checkpoint's folder, so that pushing the checkpoint does not push it, named by task and split."""
    config = EvaluateConfig(tmp_path / "run" / "best", tmp_path)
    assert result_path(config) == (tmp_path / "run" / "evaluation" / "best-retrieval-test.json").resolve()


def test_simulated_studies_are_called_so(tmp_path):
    """By the table's own word, else by the generator of the data set that it refers to."""
    table = tmp_path / "table"
    table.mkdir()
    info = {"root": "../bids", "root_absolute": str(tmp_path / "bids")}
    (table / "studies.json").write_text(json.dumps(info))
    assert not is_simulated(table)
    (tmp_path / "bids").mkdir()
    description = {"GeneratedBy": [{"Name": "selip simulate"}]}
    (tmp_path / "bids" / "dataset_description.json").write_text(json.dumps(description))
    assert is_simulated(table)
    (table / "studies.json").write_text(json.dumps(info | {"simulated": False}))
    assert not is_simulated(table)
