"""Embeddings on disk: what was put in comes out, nothing is computed twice, and an interruption costs little."""

from dataclasses import dataclass

import numpy as np
import pytest

from selip.training.evaluation import embedding
from selip.training.evaluation.embedding import CheckpointEmbedder
from selip.training.evaluation.embedding_store import ROWS_PER_FILE, EmbeddingStore, store_folder
from selip.training.evaluation.series_source import BoxedSeries


@dataclass(frozen=True)
class Name:
    """A series by its ids."""

    study_id: str
    series_id: str


class Source:
    """Volumes that hold the number of their study; series "broken" cannot be had."""

    def study(self, study_id, series_ids):
        volume = np.full((2, 2, 2), float(study_id), dtype=np.float32)
        series = BoxedSeries(volume, 1, np.eye(4), np.ones((1, 1, 1), dtype=bool))
        return {name: "unusable volume (test)" if name == "broken" else series for name in series_ids}


NAMES = [Name(str(number), series) for number in range(300) for series in ("T1w", "FLAIR")]


@pytest.fixture
def embedder(tmp_path, monkeypatch):
    """Makes embedders on one folder, whose model gives the study's number, and counts what the model was asked for."""
    asked = []

    def features(model, series):
        asked.extend(float(each.volume[0, 0, 0]) for each in series)
        if model == "fails at the end" and len(asked) > 400:
            raise KeyboardInterrupt
        return np.array([[each.volume[0, 0, 0], 1] for each in series], dtype=np.float32)

    monkeypatch.setattr(embedding, "image_features", features)

    def make(model="works"):
        asked.clear()
        return CheckpointEmbedder(model, None, 16, EmbeddingStore(tmp_path / "store")), asked

    return make


def test_series_are_embedded_once(embedder, tmp_path):
    """The second evaluation, of these and more, asks the model for the new ones only, and gives the same vectors."""
    first, asked = embedder()
    some = first.embed_series(Source(), NAMES[:100])
    assert len(asked) == 100
    second, asked = embedder()
    again = second.embed_series(Source(), NAMES[:120])
    assert sorted(asked) == [float(name.study_id) for name in NAMES[100:120]]
    assert np.array_equal(again.embeds[:100], some.embeds)
    assert np.array_equal(again.embeds[:, 0], [float(name.study_id) for name in NAMES[:120]])
    assert again.kept.all()


def test_interrupted_evaluation_goes_on(embedder):
    """Nothing that the model gave before it was stopped is asked for again."""
    stopped, asked = embedder("fails at the end")
    with pytest.raises(KeyboardInterrupt):
        stopped.embed_series(Source(), NAMES)
    given = len(asked) - 16
    assert given > ROWS_PER_FILE
    other, asked = embedder()
    found = other.embed_series(Source(), NAMES)
    assert len(asked) == len(NAMES) - given
    assert np.array_equal(found.embeds[:, 0], [float(name.study_id) for name in NAMES])


def test_what_cannot_be_had_is_counted_every_time(embedder):
    """A reason is not kept: the file may be there next time."""
    names = [Name("1", "T1w"), Name("1", "broken"), Name("2", "broken")]
    for _ in range(2):
        found = embedder()[0].embed_series(Source(), names)
        assert found.kept.tolist() == [True, False, False]
        assert found.reasons == {"unusable volume (test)": 2}
        assert found.embeds.tolist() == [[1, 1]]
    with pytest.raises(ValueError, match="at least one usable series"):
        embedder()[0].embed_series(Source(), names[1:])


def test_folders_differ_where_origins_do(tmp_path):
    """Any value of the origin; the order of its names is none of it."""
    folder = store_folder(tmp_path, checkpoint="a", device="cpu")
    assert folder == store_folder(tmp_path, device="cpu", checkpoint="a")
    assert (
        len({folder, store_folder(tmp_path, checkpoint="b", device="cpu"), store_folder(tmp_path, checkpoint="a")})
        == 3
    )


def test_a_damaged_file_is_named(tmp_path):
    """With what to do about it."""
    store = EmbeddingStore(tmp_path / "store")
    with store.writing():
        store.add([("1", "T1w")], np.ones((1, 3), dtype=np.float32))
    (path,) = (tmp_path / "store").iterdir()
    assert EmbeddingStore(tmp_path / "store")["1", "T1w"].tolist() == [1, 1, 1]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"remove .*store and evaluate again"):
        EmbeddingStore(tmp_path / "store")
