"""`selip embed`: the numbers of the model itself, resumed bit for bit, whatever the source."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModel

import selip
from selip.processing.image_processing_selip import SelipImageProcessor
from selip.processing.intensity_selip import dequantise, quantise
from selip.training.search import embed as embed_module
from selip.training.search.config import EmbedConfig
from selip.training.search.embed import embed
from selip.training.search.embeddings_file import read_embeddings


@pytest.fixture(autouse=True)
def _quick(one_thread, monkeypatch):
    monkeypatch.setattr(embed_module, "CHUNK_STUDIES", 2)


def by_hand(checkpoint: Path, study: dict[str, Path]) -> np.ndarray:
    """(S, E): a study on its box, in 8 bits as volumes are kept, each series through `AutoModel` alone."""
    selip.register()
    model = AutoModel.from_pretrained(checkpoint).eval()
    batch = SelipImageProcessor.from_pretrained(checkpoint)(study)
    embeds = []
    for place in range(len(study)):
        volume = torch.from_numpy(dequantise(quantise(batch["pixel_values"][0, place].numpy())))
        with torch.inference_mode():
            output = model.get_image_features(
                pixel_values=volume[None, None],
                sequence_ids=batch["sequence_ids"][:, place : place + 1],
                patch_mask=batch["patch_mask"][:, place : place + 1],
            )
        embeds.append(output.pooler_output[0].numpy())
    return np.stack(embeds)


def test_embeddings_are_those_of_the_model_called_by_hand(phantom_studies, small_checkpoints, tmp_path):
    """Each series row equals AutoModel on that series, each study row their mean at unit length."""
    checkpoint, out = small_checkpoints / "first", tmp_path / "out.parquet"
    summary = embed(EmbedConfig(checkpoint, phantom_studies, out, batch_size=3))
    assert (summary.series, summary.studies, summary.quarantined) == (8, 4, {})
    embeddings = read_embeddings(out)
    rows = embeddings.rows.to_pylist()
    assert [row["study_id"] for row in rows if row["level"] == "study"] == ["sub-3", "sub-0", "sub-1", "sub-2"]
    for number in range(4):
        files = tmp_path / "files" / f"sub-{number}"
        study = {name: files / f"sub-{number}_{name}.nii.gz" for name in ("FLAIR", "T1w")}
        expected = by_hand(checkpoint, study)
        own = [place for place, row in enumerate(rows) if row["study_id"] == f"sub-{number}"]
        assert [rows[place]["sequence"] for place in own] == ["FLAIR", "T1w", None]
        assert embeddings.vectors[own[:2]] == pytest.approx(expected, abs=1e-5)
        mean = expected.mean(axis=0)
        assert embeddings.vectors[own[2]] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    table = pq.read_table(out)
    assert pa.types.is_fixed_size_list(table.schema.field("embedding").type)
    assert embeddings.info["n"] == {"series": 8, "studies": 4}
    assert len(embeddings.info["checkpoint"]["sha256"]) == 64


def test_file_and_folder_give_the_rows_of_the_table(phantom_studies, small_checkpoints, tmp_path):
    """The folder of a study gives the rows of that study in the table; a file is a study of one series."""
    checkpoint = small_checkpoints / "first"
    embed(EmbedConfig(checkpoint, phantom_studies, tmp_path / "all.parquet", split="train"))
    embed(EmbedConfig(checkpoint, tmp_path / "files" / "sub-3", tmp_path / "folder.parquet"))
    table, folder = (read_embeddings(tmp_path / f"{name}.parquet") for name in ("all", "folder"))
    assert folder.rows == table.rows
    assert np.array_equal(folder.vectors, table.vectors)

    file = tmp_path / "files" / "sub-3" / "sub-3_FLAIR.nii.gz"
    embed(EmbedConfig(checkpoint, file, tmp_path / "file.parquet", sequence="T2w"))
    found = read_embeddings(tmp_path / "file.parquet")
    assert [(row["level"], row["sequence"]) for row in found.rows.to_pylist()] == [("series", "T2w"), ("study", None)]
    assert found.vectors[0] == pytest.approx(by_hand(checkpoint, {"T2w": file})[0], abs=1e-5)


def test_interrupted_run_ends_with_the_same_bytes(phantom_studies, small_checkpoints, tmp_path, monkeypatch):
    """A run that dies in its second chunk goes on with it, embeds the first no more, and writes the same file."""
    checkpoint = small_checkpoints / "first"
    config = EmbedConfig(checkpoint, phantom_studies, tmp_path / "out.parquet", batch_size=3)
    embed(config)
    whole = config.out.read_bytes()
    config.out.unlink()

    calls = []
    features = embed_module.image_features

    def dying(model, series):
        calls.append(len(series))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return features(model, series)

    monkeypatch.setattr(embed_module, "image_features", dying)
    with pytest.raises(KeyboardInterrupt):
        embed(config)
    assert not config.out.exists()
    with pytest.raises(ValueError, match="differ in settings"):
        embed(replace(config, batch_size=4))
    calls.append(0)
    embed(config)
    assert config.out.read_bytes() == whole
    assert calls == [3, 1, 3, 0, 3, 1], "two batches a chunk, the first chunk once"
    assert not [path for path in tmp_path.iterdir() if "parts" in path.name or "partial" in path.name]


def test_unreadable_series_are_quarantined_by_reason(phantom_studies, small_checkpoints, tmp_path):
    """A damaged file costs its series, a study of damaged files its rows; all are listed and counted."""
    for name in ("sub-0/sub-0_T1w", "sub-1/sub-1_T1w", "sub-1/sub-1_FLAIR"):
        path = tmp_path / "files" / f"{name}.nii.gz"
        path.write_bytes(path.read_bytes()[:300])
    out = tmp_path / "out.parquet"
    summary = embed(EmbedConfig(small_checkpoints / "first", phantom_studies, out))
    assert (summary.series, summary.studies, summary.without_series) == (5, 3, 1)
    assert sum(summary.quarantined.values()) == 3
    info = read_embeddings(out).info
    named = {(item["study_id"], item["series_id"]) for item in info["quarantined"]}
    assert named == {("sub-0", "sub-0_T1w"), ("sub-1", "sub-1_T1w"), ("sub-1", "sub-1_FLAIR")}
    assert "quarantined 3 series" in str(summary)

    for path in (tmp_path / "files" / "sub-2").iterdir():
        path.write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match="got none"):
        embed(EmbedConfig(small_checkpoints / "first", tmp_path / "files" / "sub-2", tmp_path / "none.parquet"))
    assert not (tmp_path / "none.parquet").exists()


def test_wrong_requests_say_what_to_do(phantom_studies, small_checkpoints, tmp_path):
    """Missing things, a checkpoint without processor, options of another kind of source, existing outputs."""
    first, out = small_checkpoints / "first", tmp_path / "out.parquet"
    with pytest.raises(FileNotFoundError, match="found nothing"):
        embed(EmbedConfig(first, tmp_path / "gone.nii.gz", out))
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(first / name, bare / name)
    with pytest.raises(FileNotFoundError, match="no processor"):
        embed(EmbedConfig(bare, phantom_studies, out))
    with pytest.raises(ValueError, match="no --sequence with a studies table"):
        embed(EmbedConfig(first, phantom_studies, out, sequence="FLAIR"))
    with pytest.raises(ValueError, match="no --volumes with the folder"):
        embed(EmbedConfig(first, tmp_path / "files" / "sub-0", out, volumes=tmp_path))
    with pytest.raises(ValueError, match="split validation"):
        embed(EmbedConfig(first, phantom_studies, out, split="validation"))
    out.write_bytes(b"")
    with pytest.raises(FileExistsError, match="overwrite"):
        embed(EmbedConfig(first, phantom_studies, out))
    with pytest.raises(ValueError, match="no readable Parquet"):
        read_embeddings(out)
    pq.write_table(pa.table({"a": [1]}), out)
    with pytest.raises(ValueError, match="another table"):
        read_embeddings(out)
    with pytest.raises(ValueError, match=r"\.parquet"):
        EmbedConfig(first, phantom_studies, tmp_path / "out.csv")
