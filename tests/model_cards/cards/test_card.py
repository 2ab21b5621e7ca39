"""Cards say what files and tables say and nothing else, the Hub's library reads them, and no patient is in them."""

import json
import re
from pathlib import Path
from typing import Any

import datasets
import nibabel
import numpy as np
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, parse_eval_result_entries

from selip.model_cards.cards.card import write_card
from selip.model_cards.cards.config import CardConfig
from selip.model_cards.cards.data_facts import data_rows
from selip.model_cards.cards.results import card_tables, read_card_result
from selip.model_cards.cards.shown_commands import shown_command
from selip.processing.findings_table import write_findings
from selip.processing.sources.config import ExportConfig
from selip.processing.sources.data_statement import data_statement
from selip.processing.sources.parquet import export_parquet
from selip.processing.sources.studies_writer import write_studies

# Nothing of these may come out anywhere.
CANARIES = ("Mustermann", "Erika", "1964", "grape-like", "MRN4711", "secret-ward")
WEIGHTS = b"weights"
RESULT: dict[str, Any] = {
    "task": "retrieval",
    "primary_metric": "within_sequence/image_to_text/recall@5",
    "greater_is_better": True,
    "metrics": {
        "within_sequence/image_to_text/recall@1": 0.125,
        "within_sequence/image_to_text/recall@5": 0.5,
        "within_sequence/image_to_text/recall@10": 0.75,
        "within_sequence/image_to_text/chance_recall@5": 0.05,
        "within_sequence/image_to_text/blind_recall@5": 0.1,
        "within_sequence/image_to_text/median_rank": 4.5,
        "within_sequence/image_to_text/n_candidates": 80.0,
        "within_sequence/image_to_text/n_queries": 300.0,
    },
    "intervals": {"within_sequence/image_to_text/recall@5": [0.4, 0.6]},
    "n": {"patients": 70, "studies": 90, "series": 300, "texts": 250},
    "simulated": False,
    "data": {"split": "test", "studies_fingerprint": "f" * 64},
    "command": "selip evaluate /home/Erika/secret-ward/best Mustermann/studies --pairs=/a/MRN4711.tsv --seed 3",
    "environment": {"date": "2026-11-27T22:13:31+00:00", "git_commit": "abcdef0123456789"},
    "files": {"recall": "Mustermann.recall.png"},
}
ZERO_SHOT: dict[str, Any] = {
    **RESULT,
    "task": "zero_shot",
    "primary_metric": "macro/auroc",
    "metrics": {
        "macro/auroc": 0.7,
        "mass/auroc": 0.65,
        "mass/polarity": 0.6,
        "mass/n_positive": 12.0,
        "mass/p": 0.01,
        "all/laterality": 0.5,
        "templates/00/auroc": 0.6,
    },
    "intervals": {"macro/auroc": [0.6, 0.8], "mass/auroc": [0.5, None], "mass/polarity": [0.5, 0.7],
                  "all/laterality": [0.4, 0.6]},
    "n": {"patients": 70, "studies": 90, "labels": 3},
    "settings": {"protocol": "simulated", "protocol_sha256": "0123456789abcdef"},
    "files": {},
}  # fmt: skip
SEGMENTATION: dict[str, Any] = {
    **RESULT,
    "task": "segmentation",
    "primary_metric": "dice",
    "metrics": {"dice": 0.5, "hd95_mm": 12.25},
    "intervals": {"dice": [0.4, 0.6], "hd95_mm": [10.0, 14.0]},
    "files": {},
}
MISSING: dict[str, Any] = {
    "task": "missing: probe",
    "headline": "mean/auroc",
    "simulated": True,
    "sets": [
        {"title": "all", "n": {"studies": 9, "patients": 8}, "metrics": {"mean/auroc": 0.8},
         "intervals": {"mean/auroc": [0.7, 0.9]}},
        {"title": "all but FLAIR", "n": {"studies": 7, "patients": 6}, "metrics": {"mean/auroc": 0.6},
         "intervals": {}},
    ],
    "command": "selip missing a/best b/studies c --task probe",
}  # fmt: skip
COMPARISON: dict[str, Any] = {
    "task": "retrieval",
    "primary_metric": "within_sequence/image_to_text/recall@5",
    "simulated": False,
    "n": {"patients": 70},
    "systems": {"first": [{"sha256": "a" * 64}], "second": [{"sha256": "b" * 64}]},
    "values": {
        "first": {"within_sequence/image_to_text/recall@5": {"value": 0.5}},
        "second": {"within_sequence/image_to_text/recall@5": {"value": 0.4}},
    },
    "differences": {"within_sequence/image_to_text/recall@5": {"value": 0.1, "low": -0.05, "high": 0.25}},
    "command": "selip compare x/one.json y/two.json --seed 1",
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"projection_dim": 128, "architectures": ["SelipModel"]}))
    image_processor = {
        "spatial_size": [72, 88, 24],
        "spacing_mm": [2.5, 2.5, 6.0],
        "percentiles": [0.5, 99.5],
        "adc_window": [0.0, 3000.0],
        "sequence_names": ["unknown", "T1w", "FLAIR"],
    }
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": image_processor}))
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    environment = {
        "objective": "selip", "git_commit": None, "batch_studies": 32, "processes": 2, "series_per_study": 1,
        "negatives_at_most": 31, "micro_batch": 4, "micro_batches_per_process": 4, "optimizer": "AdamW",
        "learning_rate_vision": 0.002, "learning_rate_text": 0.001, "weight_decay": 0.05, "warmup_steps": 50,
        "decay": "cosine", "steps": 400, "max_text_tokens": 160, "normal_rate": 0.05,
    }  # fmt: skip
    state = {"step": 300, "seconds": 120.0, "environment": environment}
    (folder / "training_state.json").write_text(json.dumps(state))
    return folder


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Studies and findings tables of three patients, whose reports and file names are full of canaries."""
    root = tmp_path / "Mustermann" / "1964"
    root.mkdir(parents=True)
    rows: list[Any] = []
    for number in range(4):
        series = []
        for sequence in ("T1w", "FLAIR")[: 1 + number % 2]:
            path = root / f"Erika-{number}_{sequence}.nii.gz"
            voxels = np.random.default_rng(number).integers(0, 99, (4, 5, 6)).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
            about = {"Manufacturer": "SIEMENS Erika", "MagneticFieldStrength": 3, "StationName": "secret-ward"}
            path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(about))
            series.append({"series_id": sequence, "sequence": sequence, "volume": str(path), "b_value": None})
        rows.append(
            {
                "study_id": f"MRN4711-{number}",
                "patient_id": f"Mustermann{number // 2}",
                "split": "train" if number < 3 else "test",
                "language": "en",
                "series": series,
                "report": {"findings": f"Erika has a grape-like mass {number}.", "impression": "Since 1964."},
                "labels": [],
                "masks": [],
                "reference_findings": "",
            }
        )
    rows[3]["patient_id"] = "Mustermann9"
    rows[2]["patient_id"] = "Mustermann1"
    write_studies(rows, tmp_path / "studies", root)
    empty = {"findings": [], "impression": []}
    write_findings(
        [
            {
                "study_id": f"MRN4711-{number}",
                "report": json.dumps({"normal": number == 0, **empty}),
                "structurer": "/home/Erika/rules",
                "version": "0.5",
                "valid": True,
                "fallback": "asked for grape-like" if number == 1 else "",
            }
            for number in range(4)
        ],
        tmp_path / "findings.parquet",
    )
    return tmp_path / "studies", tmp_path / "findings.parquet"


def written(path: Path, record: dict[str, Any]) -> Path:
    path.write_text(json.dumps(record))
    return path


def assert_no_canary(folder: Path) -> None:
    """No canary in the text or the name of any file of a folder."""
    for path in folder.rglob("*"):
        content = path.name + (path.read_bytes().decode("utf-8", "replace") if path.is_file() else "")
        assert not [canary for canary in CANARIES if canary in content], path.name


def test_statement_counts_what_the_tables_hold(tables: tuple[Path, Path]) -> None:
    """Counts of the training split, by hand; makers and field strengths in words of ours."""
    studies, findings = tables
    found = data_statement(studies, findings, scanners=True)
    assert (found["studies"], found["patients"], found["series"]) == (3, 2, 4)
    assert found["sequences"] == {"T1w": 3, "FLAIR": 1}
    assert found["languages"] == {"en": 3}
    assert (found["with_findings"], found["normal"], found["fallbacks"]) == (3, 1, 1)
    assert found["structurers"] == {"rules 0.5": 3}
    assert (found["makers"], found["field_strengths_t"]) == ({"Siemens": 3}, {"3": 3})
    assert found["simulated"] is False
    only = data_statement(studies, study_ids={"MRN4711-1"})
    assert (only["studies"], only["series"]) == (1, 2)
    with pytest.raises(ValueError, match="splits validation"):
        data_statement(studies, splits=("validation",))


def test_scanners_are_said_to_be_of_more_studies_than_a_run_used(tables: tuple[Path, Path]) -> None:
    """Scanners are counted over the split; a run that left studies out does not claim theirs."""
    counted = data_statement(*tables, scanners=True)
    assert dict(data_rows(counted))["scanners, in studies"] == "Siemens 3; 3 T 3"
    part = dict(data_rows({**counted, "studies": 2}))
    assert part["scanners, in studies of the training split, of which the run used a part"] == "Siemens 3; 3 T 3"


def test_nothing_of_a_patient_reaches_a_card(checkpoint: Path, tables: tuple[Path, Path], tmp_path: Path) -> None:
    """Texts, names, ids, dates and paths are in tables, commands and file names, and in no file beside the weights."""
    results = (
        written(tmp_path / "Mustermann.json", RESULT),
        written(tmp_path / "missing.json", {**MISSING, "command": "selip missing Erika/best 1964 Mustermann"}),
        written(
            tmp_path / "cmp.json",
            {
                **COMPARISON,
                "systems": {name: [{"name": "Erika"}] for name in ("first", "second")},
                "command": "selip compare Erika.json Mustermann.json",
            },
        ),
    )
    (tmp_path / "Mustermann.recall.png").write_bytes(b"picture")
    for datasets_ in (("hospital=cc-by-nc-4.0",), ("openneuro",)):
        write_card(
            CardConfig(
                checkpoint,
                name="org/model",
                studies=tables[0],
                findings=tables[1],
                datasets=datasets_,
                results=results,
                benchmark_dataset="org/bench",
                overwrite=True,
            )
        )
        assert_no_canary(checkpoint)
    text = (checkpoint / "README.md").read_text()
    assert "selip evaluate CHECKPOINT STUDIES --pairs PAIRS --seed 3" in text
    assert "| findings read by (studies) | rules 0.5 (3) |" in text


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("selip evaluate /a/b /c --task probe", "selip evaluate CHECKPOINT STUDIES --task probe"),
        ("selip evaluate best s --volumes v --seed=4", "selip evaluate CHECKPOINT STUDIES --volumes VOLUMES --seed 4"),
        ("selip evaluate a b --protocol /x/erika.yaml", "selip evaluate CHECKPOINT STUDIES --protocol PROTOCOL"),
        ("selip evaluate a b --protocol simulated", "selip evaluate CHECKPOINT STUDIES --protocol simulated"),
        ("selip evaluate x y --task structuring", "selip evaluate STRUCTURER GOLD --task structuring"),
        ("selip missing 'a b' c d --task probe", "selip missing CHECKPOINT STUDIES FOLDER --task probe"),
        ("selip compare a.json b.json --overwrite", "selip compare FIRST.json SECOND.json --overwrite"),
        ("selip elsewhere Erika --name Erika", "selip --name NAME"),
        ("rm -rf /home/erika", "selip ..."),
    ],
)  # fmt: skip
def test_commands_show_choices_and_no_places(command: str, shown: str) -> None:
    """Words that may be paths or names become what they stand for; numbers and choices stay."""
    assert shown_command(command) == shown


def test_card_has_valid_metadata_and_the_exact_preprocessing(checkpoint: Path, tmp_path: Path) -> None:
    """The Hub's library reads the head; a reader finds grid, window, batch, numbers, that it is no medical device."""
    result = written(tmp_path / "retrieval.json", {**RESULT, "simulated": True})
    card = write_card(CardConfig(checkpoint, name="org/model", datasets=("simulated",), results=(result,)))
    text = card.read_text()
    data = ModelCard.load(card).data
    assert (data.license, data.library_name) == ("apache-2.0", "transformers")
    assert data.pipeline_tag == "zero-shot-image-classification"
    for part in (
        "Not a medical device",
        'AutoModel.from_pretrained("org/model", trust_remote_code=True)',
        "72 x 88 x 24 voxels of 2.5 x 2.5 x 6.0 mm",
        "0.0 to 3000.0",
        "| text length | cut to 160 tokens |",
        "| within sequence | 300 | 12.5 | 50.0 | 40.0 to 60.0 | 5.0 | 10.0 | 75.0 | 4.5 | 80 |",
        "90 simulated studies of 70 patients",
        "| effective batch | 32 studies over 2 process(es), 1 series of each |",
        "| negatives of a text | at most 31, gathered",
        "| micro-batches | 4 of 4 studies a process (GradCache) |",
        "| objective | selip |",
        "| steps of this checkpoint | 300 of 400 |",
        "Louis Collins",
    ):
        assert part in text
    assert "git commit" not in text  # unknown facts are left out, not shown as None
    assert "None" not in text


def test_model_index_comes_back_from_the_card(checkpoint: Path, tmp_path: Path) -> None:
    """Values on the scale 0 to 1 with n and interval; a control or hidden sequences make no entry."""
    results = (
        written(tmp_path / "a.json", RESULT),
        written(tmp_path / "b.json", ZERO_SHOT),
        written(tmp_path / "c.json", {**RESULT, "settings": {"control": "empty_text", "sequences": "all"}}),
        written(tmp_path / "d.json", {**RESULT, "settings": {"control": "none", "sequences": ["T1w"]}}),
        written(tmp_path / "e.json", MISSING),
    )
    card = write_card(CardConfig(checkpoint, name="org/model", datasets=("simulated",), results=results))
    found = ModelCard.load(card).data.eval_results
    assert [(each.metric_type, each.metric_value, each.task_type) for each in found] == [
        ("recall@5", 0.5, "retrieval"),
        ("auroc", 0.7, "zero-shot-image-classification"),
    ]
    assert found[0].metric_args == {"interval_95": [0.4, 0.6], "n": RESULT["n"]}
    assert (found[0].dataset_type, found[0].dataset_split) == ("local", "test")
    assert not (checkpoint / ".eval_results").exists()
    text = card.read_text()
    assert "### Retrieval, test split, control empty text" in text
    assert "### Retrieval, test split, shown T1w only" in text


def test_entries_of_a_benchmark_come_back(checkpoint: Path, tmp_path: Path) -> None:
    """`.eval_results/NAME.yaml` by the Hub's own reader: ids, values, day, and what the number is."""
    results = (written(tmp_path / "a.json", RESULT), written(tmp_path / "b.json", ZERO_SHOT))
    config = CardConfig(
        checkpoint,
        datasets=("simulated",),
        results=results,
        benchmark_dataset="org/bench",
        benchmark_tasks=("zero_shot=abnormality",),
    )
    write_card(config)
    content = yaml.safe_load((checkpoint / ".eval_results" / "bench.yaml").read_text())
    entries = parse_eval_result_entries(content)
    assert [(entry.dataset_id, entry.task_id, entry.value, entry.date) for entry in entries] == [
        ("org/bench", "retrieval", 0.5, "2026-11-27"),
        ("org/bench", "abnormality", 0.7, "2026-11-27"),
    ]
    assert entries[0].notes == (
        "within_sequence/image_to_text/recall@5; scale 0 to 1, higher is better; 95 % interval 0.400 to 0.600 over "
        "patients; n = 90 studies of 70 patients"
    )
    twice = CardConfig(
        checkpoint, datasets=("simulated",), results=results[:1] * 2, benchmark_dataset="org/b", overwrite=True
    )
    with pytest.raises(ValueError, match="expected one result for each task"):
        write_card(twice)


def test_results_of_any_kind_make_tables(tmp_path: Path) -> None:
    """By label with numbers of cases, by hidden sequence, of two systems, in the metric's own unit."""
    table = card_tables(read_card_result(written(tmp_path / "z.json", ZERO_SHOT)))[0]
    assert table.header == ("", "auroc", "auprc", "polarity", "laterality", "with it")
    assert table.rows == (
        ("macro", "70.0 (60.0 to 80.0)", "", "", "", ""),
        ("mass", "65.0", "", "60.0 (50.0 to 70.0)", "", "12"),
        ("all", "", "", "", "50.0 (40.0 to 60.0)", ""),
    )
    assert table.title == "Zero-shot, test split"
    assert "protocol simulated (0123456789ab)" in table.subtitle
    table = card_tables(read_card_result(written(tmp_path / "m.json", MISSING)))[0]
    assert table.rows == (("all", "80.0 (70.0 to 90.0)", "9", "8"), ("all but FLAIR", "60.0", "7", "6"))
    table = card_tables(read_card_result(written(tmp_path / "c.json", COMPARISON)))[0]
    assert table.rows == (("within sequence/image to text/recall@5", "50.0", "40.0", "+10.0 (-5.0 to +25.0)"),)
    assert "another training" in table.note
    table = card_tables(read_card_result(written(tmp_path / "s.json", SEGMENTATION)))[0]
    assert table.rows == (("dice", "50.0 (40.0 to 60.0)", "%"), ("hd95 mm", "12.2 (10.0 to 14.0)", "mm"))


def test_results_of_another_checkpoint_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    """A result names the weights that it is of; a comparison must have them as one of its systems."""
    for record in ({**RESULT, "checkpoint": {"sha256": "a" * 64}}, COMPARISON):
        result = written(tmp_path / "r.json", record)
        if record is COMPARISON:
            card_tables(read_card_result(result))
        with pytest.raises(ValueError, match=r"r\.json is the result of another checkpoint"):
            write_card(CardConfig(checkpoint, datasets=("simulated",), results=(result,)))
    assert not (checkpoint / "README.md").exists()


def test_licence_is_that_of_the_data(checkpoint: Path, tables: tuple[Path, Path]) -> None:
    """Non-commercial data gives a non-commercial card; unknown data and data that is called simulated are refused."""
    card = write_card(CardConfig(checkpoint, datasets=("mr-rate",)))
    assert ModelCard.load(card).data.license == "cc-by-nc-sa-4.0"
    assert "Non-commercial use only" in card.read_text()
    with pytest.raises(ValueError, match="got none; name each of them"):
        write_card(CardConfig(checkpoint, overwrite=True))
    with pytest.raises(ValueError, match="unknown data set 'hospital'"):
        write_card(CardConfig(checkpoint, datasets=("hospital",), overwrite=True))
    with pytest.raises(ValueError, match="studies that are not simulated"):
        write_card(CardConfig(checkpoint, datasets=("simulated",), studies=tables[0], overwrite=True))
    card = write_card(CardConfig(checkpoint, datasets=("ward=Agreement 7=https://a.org/7",), overwrite=True))
    data = ModelCard.load(card).data
    assert (data.license, data.license_name, data.license_link) == ("other", "Agreement 7", "https://a.org/7")


def test_plots_stand_beside_the_card_unless_the_data_is_gated(checkpoint: Path, tmp_path: Path) -> None:
    """Every picture that the card links is there; of gated data there is none, and the card says so."""
    result = written(tmp_path / "r.json", {**RESULT, "files": {"recall": "r.recall.png", "cases": "r.parquet"}})
    (tmp_path / "r.recall.png").write_bytes(b"picture")
    text = write_card(CardConfig(checkpoint, datasets=("mr-rate",), results=(result,))).read_text()
    assert "Plots are left out" in text
    assert not (checkpoint / "figures").exists()
    text = write_card(CardConfig(checkpoint, datasets=("ixi",), results=(result,), overwrite=True)).read_text()
    links = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert links == ["figures/1-retrieval-recall.png"]
    assert (checkpoint / links[0]).read_bytes() == b"picture"


def test_card_replaces_another_only_when_told(checkpoint: Path) -> None:
    """A README that is there stays, unless --overwrite."""
    (checkpoint / "README.md").write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite"):
        write_card(CardConfig(checkpoint, datasets=("simulated",)))
    assert (checkpoint / "README.md").read_text() == "mine"
    write_card(CardConfig(checkpoint, datasets=("simulated",), overwrite=True))
    assert "Not a medical device" in (checkpoint / "README.md").read_text()


def test_card_of_nothing_says_so(tmp_path: Path) -> None:
    """A folder that is none of the kinds, or is not there, is refused with what was expected."""
    with pytest.raises(ValueError, match=r"expected a checkpoint \(config\.json\)"):
        write_card(CardConfig(tmp_path, datasets=("simulated",)))
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        write_card(CardConfig(tmp_path / "gone", datasets=("simulated",)))


def test_card_of_an_export_keeps_it_readable(tables: tuple[Path, Path], tmp_path: Path) -> None:
    """Plain `load_dataset` reads the same rows after the card was written; the Hub's library reads its head."""
    export = tmp_path / "export"
    export_parquet(ExportConfig(tables[0], export))
    before = DatasetCard.load(export / "README.md", ignore_metadata_errors=True).data.to_dict()["configs"]
    config = CardConfig(export, name="org/heads", datasets=("ward=cc-by-nc-4.0",), findings=tables[1])
    card = write_card(config)  # the mark of the export is no card
    data = DatasetCard.load(card).data
    assert data.to_dict()["configs"] == before
    assert (data.license, data.language, data.size_categories) == ("cc-by-nc-4.0", ["en"], "n<1K")
    assert data.dataset_info["splits"][0]["num_examples"] == 3
    loaded = datasets.load_dataset(str(export), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 3, "test": 1}
    streamed = datasets.load_dataset(str(export), split="train", streaming=True)
    assert [row["study_id"] for row in streamed] == loaded["train"]["study_id"][:]
    text = card.read_text()
    assert "4 studies of 3 patients" in text
    assert "T1w 4, FLAIR 2; 6 in all" in text
    assert not [canary for canary in CANARIES if canary in text]
    with pytest.raises(FileExistsError, match="overwrite"):
        write_card(config)


def test_card_of_a_benchmark_names_tasks_and_frozen_protocols(tables: tuple[Path, Path], tmp_path: Path) -> None:
    """`eval.yaml` holds id, config and split of each task; protocols are copied and fingerprinted."""
    export, protocol = tmp_path / "export", tmp_path / "five.yaml"
    export_parquet(ExportConfig(tables[0], export))
    protocol.write_text("name: five\n")
    settings: dict[str, Any] = {"kind": "benchmark", "name": "org/heads", "datasets": ("ward=cc-by-4.0",)}
    with pytest.raises(ValueError, match="--benchmark-tasks of retrieval"):
        write_card(CardConfig(export, **settings))
    with pytest.raises(ValueError, match="--protocols"):
        write_card(CardConfig(export, benchmark_tasks=("zero_shot",), **settings))
    tasks = ("retrieval", "zero_shot")
    card = write_card(CardConfig(export, benchmark_tasks=tasks, protocols=(protocol,), **settings))
    content = yaml.safe_load((export / "eval.yaml").read_text())
    assert content["evaluation_framework"] == "selip"
    assert content["tasks"] == [{"id": task, "config": "default", "split": "test"} for task in tasks]
    text = card.read_text()
    assert (export / "protocols" / "five.yaml").read_text() == "name: five\n"
    assert "| `protocols/five.yaml` | `" in text
    assert "recall@5 within the sequence" in text
    assert "benchmark" in DatasetCard.load(card).data.tags
    write_card(CardConfig(export, datasets=("ward=cc-by-4.0",), overwrite=True))  # recognised by its eval.yaml
    assert yaml.safe_load((export / "eval.yaml").read_text())["tasks"] == content["tasks"]
