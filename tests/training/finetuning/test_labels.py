"""Labels from tables: what is known, what is not, and what can be learned."""

import numpy as np
import pytest

from selip.training.finetuning.labels import choose_names, labels_of_table, read_labels, sided


def test_cells_are_one_zero_or_unknown(tmp_path):
    """An empty cell and a study that is not in the file are unknown; the studies table knows all labels."""
    file = tmp_path / "labels.csv"
    file.write_text("study_id,mass,edema\na,1,0\nb,,1.0\nc,false,\n")
    labels = read_labels(file)
    assert labels.names == ("mass", "edema")
    values = labels.matrix(["a", "b", "c", "z"], ["edema", "mass"])
    assert values.tolist() == [[0, 1], [1, -100], [-100, 0], [-100, -100]]
    of_table = labels_of_table([{"study_id": "a", "labels": ["mass"]}, {"study_id": "b", "labels": []}])
    assert of_table.matrix(["a", "b"], ["mass", "edema"]).tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,mass\na,1\n", "expected a study_id, got none; columns are id, mass"),
        ("study_id\na\n", "got no label"),
        ("study_id,mass\na,1\na,0\n", "each study once, got a again"),
        ("study_id,mass\na,maybe\n", "row 1: expected 1, 0 or nothing for 'mass', got 'maybe'"),
    ],
)
def test_wrong_table_says_what_is_wrong(tmp_path, text, message):
    """Each kind of mistake is a ValueError that names the place."""
    file = tmp_path / "labels.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_labels(file)


def test_labels_are_learned_if_enough_have_and_lack_them():
    """Five of a kind without being told; named ones need one of a kind; an unknown name is refused."""
    rows = [{"study_id": str(n), "labels": ["many"] * (n < 6) + ["few"] * (n < 2) + ["all"]} for n in range(12)]
    labels, ids = labels_of_table(rows), [row["study_id"] for row in rows]
    assert choose_names(labels, ids, ()) == ("many",)
    assert choose_names(labels, ids, ("few", "many")) == ("few", "many")
    with pytest.raises(ValueError, match="one kind only for all"):
        choose_names(labels, ids, ("few", "all"))
    with pytest.raises(ValueError, match="expected labels of all, few, many, got 'moss'"):
        choose_names(labels, ids, ("moss",))
    with pytest.raises(ValueError, match="got none among 3 labels of 4 studies"):
        choose_names(labels, ids[:4], ())


def test_labels_with_a_side_are_told():
    """Words for sides in both languages, not letters within words."""
    names = ["left thalamus", "cleft", "at right frontal lobe", "右侧额叶", "bright", "R MCA infarct"]
    assert sided(names) == ["left thalamus", "at right frontal lobe", "右侧额叶", "R MCA infarct"]
    assert not sided(["mass"])
    assert np.isfinite(labels_of_table([]).matrix([], ["x"])).all()
