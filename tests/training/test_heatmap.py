"""`selip heatmap`: the map of the model itself, on the grid of the input, wherever its axes point."""

import json

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage

from selip.processing.image_processing_selip import SeriesInput
from selip.processing.sources.studies import iter_studies, load_studies
from selip.training.evaluate import load_checkpoint
from selip.training.evaluation.localization_figures import highest_slices
from selip.training.heatmap import heatmap
from selip.training.heatmap_config import HeatmapConfig

TEXT, OTHER = "FLAIR: left frontal lobe shows mass.", "FLAIR: normal."


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint):
    return make_checkpoint()


@pytest.fixture(scope="module")
def study(tables):
    """A study of the table: its id, and the folder of its files."""
    row = next(iter(iter_studies(load_studies(tables / "studies")["test"])))
    return row["study_id"], (tables / "bids").joinpath(*row["study_id"].split("_"))


def by_hand(checkpoint, file, sequence, texts):
    """Maps (P, gx, gy, gz), cosines (P,) and affine of the box of one file by the model itself."""
    model, processor = load_checkpoint(checkpoint)
    batch = processor(images={sequence: str(file)})
    inputs = processor(text=texts, return_tensors="pt")
    with torch.no_grad():
        embeds = model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
    found = model.compute_similarity_maps(batch["pixel_values"], embeds, sequence_ids=batch["sequence_ids"])
    return found.maps[0, 0].numpy(), found.similarities[0, 0].numpy(), batch["affines"][0, 0].numpy().astype(float)


def test_map_of_a_file_is_that_of_the_model_at_every_place(checkpoint, study, tmp_path, one_thread):
    """Values at voxels of the file are those of the positions around the same place in the scanner, by SciPy."""
    file = next(study[1].rglob("*FLAIR.nii.gz"))
    done = heatmap(HeatmapConfig(checkpoint, file, TEXT, tmp_path / "out", against=OTHER, num_slices=0))
    (series,) = done.series.values()
    image, written = nibabel.load(file), nibabel.load(tmp_path / "out" / series["map"])
    assert written.shape == image.shape
    assert written.get_data_dtype() == np.float32
    np.testing.assert_allclose(written.affine, image.affine, atol=1e-4)
    maps, cosines, box = by_hand(checkpoint, file, "FLAIR", [TEXT, OTHER])
    # volumes are rounded to 8 bits on the way, as in preparation
    assert (series["cosine"], series["cosine_against"]) == pytest.approx(tuple(cosines), abs=5e-3)
    assert series["sum"] == pytest.approx(maps[0].sum() - maps[1].sum(), abs=5e-3)
    index = np.stack(np.meshgrid(*(np.arange(0, size, 5) for size in image.shape), indexing="ij"), -1).reshape(-1, 3)
    places = np.linalg.inv(box) @ np.c_[index @ image.affine[:3, :3].T + image.affine[:3, 3], np.ones(len(index))].T
    size = np.array([72, 88, 24])
    inside = ((places[:3].T > 0) & (size - 1 > places[:3].T)).all(axis=1)
    assert inside.sum() > 1000
    steps = size / maps.shape[1:]
    at = (places[:3] + 0.5) / steps[:, None] - 0.5
    expected = ndimage.map_coordinates(maps[0] - maps[1], at, order=1, mode="nearest")[inside]
    got = np.asarray(written.dataobj)[tuple(index.T)][inside]
    # two interpolations, first on the box and then on the file, round off what is between the positions
    assert np.abs(got - expected).max() < 0.2 * np.abs(expected).max()
    assert np.corrcoef(got, expected)[0, 1] > 0.995


def test_a_file_with_other_axes_has_the_same_map(checkpoint, study, tmp_path, one_thread):
    """Turned to PIR, the map is turned too, and is otherwise as it was."""
    file = next(study[1].rglob("*FLAIR.nii.gz"))
    image = nibabel.load(file)
    axes = [nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt("PIR")]
    image.as_reoriented(nibabel.orientations.ornt_transform(*axes)).to_filename(tmp_path / "turned.nii.gz")
    maps = []
    for name, source in (("straight", file), ("turned", tmp_path / "turned.nii.gz")):
        heatmap(HeatmapConfig(checkpoint, source, TEXT, tmp_path / name, sequence="FLAIR", num_slices=0))
        maps.append(nibabel.load(next((tmp_path / name).glob("*.nii.gz"))))
    assert nibabel.aff2axcodes(maps[1].affine) == ("P", "I", "R")
    straight, turned = (np.asarray(nibabel.as_closest_canonical(each).dataobj) for each in maps)
    np.testing.assert_allclose(turned, straight, atol=0.02 * np.abs(straight).max())


def test_folder_and_table_give_the_same_maps(checkpoint, study, tables, tmp_path, one_thread):
    """All series of a study, each on its own grid, with a picture; the summary names no place of this machine."""
    study_id, folder = study
    of_folder = heatmap(HeatmapConfig(checkpoint, folder, TEXT, tmp_path / "folder"))
    of_table = heatmap(
        HeatmapConfig(checkpoint, tables / "studies", TEXT, tmp_path / "table", study=study_id, num_slices=0)
    )
    assert len(of_folder.series) > 1
    for name, each in of_folder.series.items():
        first, second = (nibabel.load(tmp_path / where / each["map"]) for where in ("folder", "table"))
        assert np.array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))
        assert of_table.series[name]["highest_mm"] == each["highest_mm"]
        assert (tmp_path / "folder" / each["overlay"]).stat().st_size > 10_000
    written = (tmp_path / "folder" / "heatmap.json").read_text()
    assert json.loads(written)["text"] == TEXT
    assert str(tmp_path) not in written
    assert "not a medical device" in str(of_folder)
    with pytest.raises(FileExistsError, match="overwrite"):
        heatmap(HeatmapConfig(checkpoint, folder, TEXT, tmp_path / "folder"))
    with pytest.raises(ValueError, match=r"expected the id of a study .* in --study, got sub-none"):
        heatmap(HeatmapConfig(checkpoint, tables / "studies", TEXT, tmp_path / "x", study="sub-none"))
    with pytest.raises(ValueError, match="--study ID with a studies table"):
        heatmap(HeatmapConfig(checkpoint, folder, TEXT, tmp_path / "x", study=study_id))


def test_rollout_is_for_a_vit(checkpoint, make_checkpoint, study, tmp_path, one_thread):
    """Shares of what is read, at least 0, with no cosine; a ResNet is refused before anything is written."""
    file = next(study[1].rglob("*FLAIR.nii.gz"))
    vit = make_checkpoint("vit", pooling="class")
    done = heatmap(HeatmapConfig(vit, file, TEXT, tmp_path / "vit", method="rollout", num_slices=2))
    (series,) = done.series.values()
    assert series["cosine"] is None
    assert 0 < series["sum"] < 1, "the rest is the class token's own"
    values = np.asarray(nibabel.load(tmp_path / "vit" / series["map"]).dataobj)
    assert values.min() >= 0
    with pytest.raises(ValueError, match="got a ResNet, which has no attention"):
        heatmap(HeatmapConfig(checkpoint, file, TEXT, tmp_path / "resnet", method="rollout"))
    assert not (tmp_path / "resnet").exists()
    with pytest.raises(ValueError, match="no --against with rollout"):
        HeatmapConfig(checkpoint, file, TEXT, tmp_path / "x", method="rollout", against=OTHER)
    with pytest.raises(ValueError, match="expected words in the text"):
        HeatmapConfig(checkpoint, file, " ", tmp_path / "x")


def test_pictured_slices_are_the_highest_and_not_side_by_side():
    """The highest first, then the highest of those three slices away or more; where no head is, none."""
    highest = np.array([-np.inf, 1.0, 5.0, 4.0, 3.0, 2.0, 0.5, 6.0, -np.inf])
    assert highest_slices(highest, 3) == [2, 7]
    assert highest_slices(highest, 1) == [7]


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("ms_long_p20/FLAIR.nii.gz", "FLAIR"),
        ("volunteer_fpg/FLAIR.nii.gz", "FLAIR"),
        ("orientations/T1w_AIL.nii.gz", "T1w"),
    ],
)
def test_map_of_a_real_file_lies_on_its_grid(test_data, checkpoint, tmp_path, name, sequence, one_thread):
    """Oblique and turned real heads: the place that is told is where the map of the file is highest."""
    file = test_data / "head_mri" / name
    config = HeatmapConfig(checkpoint, file, f"{sequence}: left frontal lobe shows mass.", tmp_path, sequence=sequence)
    (series,) = heatmap(config).series.values()
    image, written = nibabel.load(file), nibabel.load(tmp_path / series["map"])
    assert written.shape == image.shape[:3]
    np.testing.assert_allclose(written.affine, image.affine, atol=1e-3)
    values = np.asarray(written.dataobj)
    place = np.linalg.inv(written.affine) @ np.array([*series["highest_mm"], 1.0])
    _, _, box = by_hand(checkpoint, file, sequence, ["mass"])
    processor = load_checkpoint(checkpoint)[1].image_processor
    head = processor.process_study([SeriesInput(str(file), sequence)]).head_mask
    inside = np.asarray(processor.to_native(head, box, like=str(file)).dataobj) > 0
    at_place = ndimage.map_coordinates(values, place[:3, None], order=1, mode="nearest")[0]
    assert at_place > 0.85 * values[inside].max() > 0
