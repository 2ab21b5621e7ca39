"""Controls cut the link between image and text and nothing else."""

from dataclasses import dataclass

import numpy as np
import pytest

from selip.training.evaluation.controls import CONTROLS, mapper, under_control
from selip.training.evaluation.embedding import SeriesEmbeddings


@dataclass(frozen=True)
class Name:
    """A series by its ids."""

    study_id: str
    sequence: str
    series_id: str = "1"


class Numbers:
    """A series has the number of its study, a text that of its length; the series of study 3 cannot be had."""

    def embed_series(self, source, names):
        kept = np.array([name.study_id != "3" for name in names])
        embeds = np.array([[float(name.study_id), len(name.sequence)] for name in names], dtype=np.float32)
        return SeriesEmbeddings(embeds[kept], kept, {"missing": int((~kept).sum())})

    def embed_texts(self, texts):
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)


NAMES = [Name(str(number), sequence) for number in range(20) for sequence in ("T1w", "FLAIR")]
TEXTS = ["x" * number for number in range(1, 31)]


@pytest.mark.parametrize("control", CONTROLS)
def test_one_side_is_as_it_was(control):
    """A control of texts leaves series alone, one of images leaves texts alone."""
    plain, cut = Numbers(), under_control(Numbers(), control, 0)
    series = np.array_equal(cut.embed_series(None, NAMES).embeds, plain.embed_series(None, NAMES).embeds)
    texts = np.array_equal(cut.embed_texts(TEXTS), plain.embed_texts(TEXTS))
    assert (series, texts) == ((False, True) if control == "shuffled_images" else (True, False))


def test_no_text_keeps_its_embedding_when_shuffled():
    """The same embeddings, each at another text; another seed, another order."""
    cut = [under_control(Numbers(), "shuffled_text", seed).embed_texts(TEXTS)[:, 0] for seed in (0, 0, 1)]
    lengths = np.arange(1, 31)
    assert (cut[0] != lengths).all()
    assert sorted(cut[0]) == lengths.tolist()
    assert np.array_equal(cut[0], cut[1])
    assert not np.array_equal(cut[0], cut[2])


def test_no_series_keeps_its_embedding_when_shuffled():
    """Each has that of another study, of its own sequence; what cannot be had is as before."""
    found = under_control(Numbers(), "shuffled_images", 0).embed_series(None, NAMES)
    plain = Numbers().embed_series(None, NAMES)
    assert (found.embeds[:, 0] != plain.embeds[:, 0]).all()
    assert np.array_equal(found.embeds[:, 1], plain.embeds[:, 1])
    assert sorted(found.embeds[:, 0]) == sorted(plain.embeds[:, 0])
    assert found.kept.tolist() == plain.kept.tolist()
    assert found.reasons == plain.reasons


def test_empty_texts_are_one():
    """All have the embedding of no words."""
    assert under_control(Numbers(), "empty_text", 0).embed_texts(TEXTS).tolist() == [[0.0, 1.0]] * 30


class Maps(Numbers):
    """A map has the number of the study of the series, times that of the text."""

    scale = 1.0

    def map_series(self, source, names, texts):
        for name, embeds in zip(names, texts, strict=True):
            yield np.stack([np.full((1, 1, 1), float(name.study_id) * embed[0]) for embed in embeds])


def test_maps_come_from_another_series_under_shuffled_images_alone():
    """Each series has the map of one of its sequence in another study, for its own texts; else it is as it was."""
    texts = [np.array([[1.0, 0.0], [2.0, 0.0]], np.float32) * (place + 1) for place in range(len(NAMES))]
    plain = list(Maps().map_series(None, NAMES, texts))
    for control in CONTROLS:
        found = list(under_control(Maps(), control, 0).map_series(None, NAMES, texts))
        of = [each[0, 0, 0, 0] / (place + 1) for place, each in enumerate(found)]
        assert all(each[1] == 2 * each[0] for each in found), "both texts are asked of one series"
        if control == "shuffled_images":
            own = [float(name.study_id) for name in NAMES]
            assert all(a != b for a, b in zip(of, own, strict=True))
            for sequence in ("T1w", "FLAIR"):
                chosen = [place for place, name in enumerate(NAMES) if name.sequence == sequence]
                assert sorted(of[place] for place in chosen) == sorted(own[place] for place in chosen)
        else:
            assert all(np.array_equal(a, b) for a, b in zip(found, plain, strict=True))


def test_what_has_no_maps_is_refused():
    """The error says what was given in the place of a checkpoint, with and without a control."""
    with pytest.raises(ValueError, match="expected a checkpoint, which can be asked for maps, got Numbers"):
        mapper(Numbers())
    with pytest.raises(ValueError, match="got Numbers"):
        under_control(Numbers(), "shuffled_text", 0).map_series(None, NAMES, [])
