"""Reading volumes: every accepted form gives the same array, every unusable one its documented reason."""

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import nibabel as nib
import numpy as np
import pytest
import torch

from selip.processing.nifti_selip import (
    VOLUME_ERROR_REASONS,
    VolumeError,
    is_volume,
    make_image,
    read_grid,
    read_volume,
)

MAX_VOXELS = 1_000_000
AFFINE = np.array([[-3.0, 0, 0, 40], [0, 3.0, 0, -50], [0, 0, 5.0, -30], [0, 0, 0, 1]])


def read(source: Any, **kwargs: Any) -> tuple[np.ndarray, np.ndarray]:
    return read_volume(source, where="study-1/series-2", max_voxels=MAX_VOXELS, **kwargs)


def reason_of(source: Any, **kwargs: Any) -> str:
    with pytest.raises(VolumeError) as caught:
        read(source, **kwargs)
    assert "study-1/series-2" in str(caught.value), "the message must say where"
    assert caught.value.reason in VOLUME_ERROR_REASONS
    return caught.value.reason


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, (20, 24, 12)).astype(np.int16)


@pytest.fixture
def file(tmp_path: Path, array: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


def test_every_form_gives_the_same_volume(file: Path, array: np.ndarray) -> None:
    """Path, text path, bytes with and without gzip, cells, nibabel, wrapper, array and tensor are one volume."""
    packed = file.read_bytes()
    column = datasets.Dataset.from_dict({"v": [str(file)]}).cast_column("v", datasets.Nifti())
    wrapper = column[0]["v"]
    assert type(wrapper).__name__ == "Nifti1ImageWrapper", "the form that `datasets` decodes to is part of the test"
    forms = [
        file,
        str(file),
        packed,
        gzip.decompress(packed),
        {"bytes": packed, "path": "x.nii.gz"},
        {"bytes": None, "path": str(file)},
        nib.load(file),
        wrapper,
        (array, AFFINE),
        [array, AFFINE.tolist()],
        (torch.from_numpy(array), torch.from_numpy(AFFINE)),
    ]
    for form in forms:
        assert is_volume(form)
        values, affine = read(form)
        assert values.dtype == np.float32
        assert affine.dtype == np.float64
        np.testing.assert_array_equal(values, array)
        np.testing.assert_allclose(affine, AFFINE)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "<u2", "<i4", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
def test_data_types_and_byte_orders(tmp_path: Path, dtype: str, image_class: type) -> None:
    """Every real data type in either byte order, NIfTI-1 and NIfTI-2, reads as its numbers."""
    values = np.random.default_rng(1).integers(0, 200, (12, 14, 10))
    image = image_class(values.astype(dtype), AFFINE)
    image.set_data_dtype(np.dtype(dtype))
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(read(tmp_path / "a.nii")[0], values.astype(np.float32))


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    """Stored integers become the values they stand for."""
    values = np.arange(12 * 12 * 12).reshape(12, 12, 12) % 50
    image = nib.Nifti1Image(values.astype(np.int16), AFFINE)
    image.header.set_slope_inter(2.0, -4096.0)
    nib.save(image, tmp_path / "a.nii.gz")
    raw = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    raw[112:120] = struct.pack("<ff", 0.25, -7.0)  # scl_slope and scl_inter, NIfTI-1 standard
    stored = np.frombuffer(bytes(raw[352:]), "<i2").reshape(12, 12, 12, order="F")
    np.testing.assert_allclose(read(bytes(raw))[0], stored * 0.25 - 7.0)


@pytest.mark.parametrize("shape", [(20, 24, 12, 1), (20, 24, 12, 1, 1)])
def test_trailing_axes_of_one_are_dropped(array: np.ndarray, shape: tuple[int, ...]) -> None:
    """A single frame stored as 4D is that frame."""
    np.testing.assert_array_equal(read(nib.Nifti1Image(array.reshape(shape), AFFINE))[0], array)


def test_one_slice_is_a_volume_one_voxel_deep(array: np.ndarray) -> None:
    """Decision: 2D data with a sound affine are accepted; what is missing is thickness, and the affine has it."""
    one = array[:, :, :1]
    for form in (nib.Nifti1Image(one, AFFINE), (one[:, :, 0], AFFINE)):
        values, affine = read(form)
        np.testing.assert_array_equal(values, one)
        np.testing.assert_allclose(affine, AFFINE)


def test_qform_is_used_where_the_sform_is_not_set(tmp_path: Path, array: np.ndarray) -> None:
    """Many exporters write only the qform; it is as good."""
    image = nib.Nifti1Image(array, None)
    image.set_qform(AFFINE, code=1)
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "q.nii")
    np.testing.assert_allclose(read(tmp_path / "q.nii")[1], AFFINE, atol=1e-4)


def test_missing_file() -> None:
    """A path with nothing there, also below a file."""
    assert reason_of("/nowhere/a.nii.gz") == "missing"
    assert reason_of({"bytes": None, "path": "/nowhere/a.nii.gz"}) == "missing"


def test_empty_file_and_no_voxels(tmp_path: Path) -> None:
    """No bytes, or an axis of length 0."""
    (tmp_path / "e.nii.gz").touch()
    assert reason_of(tmp_path / "e.nii.gz") == "empty"
    assert reason_of(b"") == "empty"
    assert reason_of((np.zeros((8, 0, 8)), AFFINE)) == "empty"
    assert reason_of(nib.Nifti1Image(np.zeros((8, 8, 0), np.float32), AFFINE)) == "empty"


def test_not_a_nifti(tmp_path: Path) -> None:
    """Text with the right suffix, a folder, bytes of something else, and Analyze, which knows no left and right."""
    for name in ("t.nii", "t.nii.gz"):
        (tmp_path / name).write_text("no image " * 100)
        assert reason_of(tmp_path / name) == "unreadable"
    assert reason_of(tmp_path) == "unreadable"
    assert reason_of(b"no image " * 100) == "unreadable"
    analyze = nib.AnalyzeImage(np.arange(1000.0).astype(np.float32).reshape(10, 10, 10), np.diag([9.0, 9, 9, 1]))
    assert reason_of(analyze) == "unreadable"


def test_truncated_files(file: Path, tmp_path: Path, array: np.ndarray) -> None:
    """Compressed or not, cut in the voxels or in the header; as file and as bytes."""
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "b.nii")
    for source in (file, tmp_path / "b.nii"):
        whole = source.read_bytes()
        cut = source.with_name("cut-" + source.name)
        cut.write_bytes(whole[: int(len(whole) * 0.7)])
        assert reason_of(cut) == "truncated"
        assert reason_of(cut.read_bytes()) == "truncated"
    head = file.with_name("head.nii.gz")
    head.write_bytes(file.read_bytes()[:60])
    assert reason_of(head) in ("truncated", "unreadable")


def test_damaged_gzip(file: Path) -> None:
    """Bytes changed inside the compressed stream are an error, not noise, wherever the stream still decodes."""
    whole = file.read_bytes()
    damaged = file.with_name("damaged.nii.gz")
    for place in (0.3, 0.5, 0.9):
        raw = bytearray(whole)
        start = int(len(raw) * place)
        raw[start : start + 20] = bytes(20)
        damaged.write_bytes(bytes(raw))
        assert reason_of(damaged) == "unreadable"
        assert reason_of(bytes(raw)) == "unreadable"


def test_real_4d_is_refused(array: np.ndarray) -> None:
    """Several frames: the caller must choose one."""
    with pytest.raises(VolumeError, match=r"select one frame") as caught:
        read(nib.Nifti1Image(np.stack([array] * 3, axis=-1), AFFINE))
    assert caught.value.reason == "not-3d"
    assert reason_of((np.zeros(5), AFFINE)) == "not-3d"


def test_colour_and_complex_are_refused(array: np.ndarray) -> None:
    """A voxel must be one real number."""
    rgb = np.zeros((20, 24, 12), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert reason_of(nib.Nifti1Image(rgb, AFFINE)) == "rgb"
    assert reason_of((array.astype(np.complex64), AFFINE)) == "rgb"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_no_numbers(array: np.ndarray, bad: float) -> None:
    """One NaN, infinity, or number beyond float32 anywhere is found."""
    values = array.astype(np.float64)
    values[3, 4, 5] = bad
    assert reason_of((values, AFFINE)) == "nonfinite"


def test_constant_volume(array: np.ndarray) -> None:
    """No image; but an empty mask may be read as such when asked for."""
    flat = np.full_like(array, 7)
    assert reason_of((flat, AFFINE)) == "constant"
    np.testing.assert_array_equal(read((flat, AFFINE), allow_constant=True)[0], flat)


def changed(**entries: float) -> np.ndarray:
    affine = AFFINE.copy()
    for key, value in entries.items():
        affine[int(key[1]), int(key[2])] = value
    return affine


@pytest.mark.parametrize(
    "affine",
    [
        changed(a03=np.nan),
        changed(a00=np.inf),
        changed(a00=0.0),
        changed(a22=0.0),
        changed(a00=0.0, a10=3.0),  # two axes along one line
        changed(a01=-30.0),  # sheared by 84 degrees
        changed(a30=1.0),
        AFFINE * [[0.001], [0.001], [0.001], [1]],  # metres
        AFFINE * [[1000], [1000], [1000], [1]],  # micrometres
        np.zeros((4, 4)),
        np.eye(3),
    ],
)
def test_broken_affines(array: np.ndarray, affine: np.ndarray) -> None:
    """Singular, sheared, non-finite, of zero spacing, or in another unit than millimetres."""
    with pytest.raises((VolumeError, TypeError)) as caught:
        read((array, affine))
    if affine.shape == (4, 4):
        assert caught.value.reason == "affine"


def test_gantry_tilt_is_no_broken_affine(array: np.ndarray) -> None:
    """A shear of 25 degrees, as a tilted gantry makes it, is real."""
    tilted = AFFINE @ np.array([[1, 0, 0, 0], [0, 1, 5 * np.tan(np.deg2rad(25)) / 3, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(read((array, tilted))[1], tilted)


def test_unknown_orientation_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    """Decision: with both form codes 0 left and right are a guess, and a guessed side is worse than an error."""
    image = nib.Nifti1Image(array, None)
    nib.save(image, tmp_path / "u.nii")
    assert reason_of(tmp_path / "u.nii") == "affine"
    assert reason_of(image) == "affine"


def test_singular_sform_in_a_file(tmp_path: Path, array: np.ndarray) -> None:
    """An sform of zeros whose code claims it is valid."""
    image = nib.Nifti1Image(array, AFFINE)
    image.header["srow_x"] = image.header["srow_y"] = image.header["srow_z"] = 0
    image.header["sform_code"] = 1
    raw = bytearray(image.to_bytes())
    raw[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    (tmp_path / "s.nii").write_bytes(bytes(raw))
    assert reason_of(tmp_path / "s.nii") == "affine"


def huge_file(path: Path, shape: tuple[int, int, int]) -> Path:
    """A small file whose header promises `shape` float64 voxels."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape(shape)
    header.set_sform(AFFINE, code=1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    data = header.binaryblock + bytes(4 + 4096)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["h.nii", "h.nii.gz"])
def test_huge_dimensions_are_refused_before_allocation(tmp_path: Path, name: str) -> None:
    """The header alone decides: reading 32767^3 voxels, 281 TB, would fail or take the machine down."""
    path = huge_file(tmp_path / name, (32767, 32767, 32767))
    assert reason_of(path) == "too-large"
    assert reason_of(path.read_bytes()) == "too-large"
    assert reason_of((np.broadcast_to(np.float32(1), (2000, 2000, 2000)), AFFINE)) == "too-large"


@pytest.mark.parametrize("name", ["l.nii", "l.nii.gz"])
def test_lying_header_is_found_before_allocation(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the limit, but the file cannot hold what its header promises: no voxel is read."""
    path = huge_file(tmp_path / name, (200, 200, 20))
    monkeypatch.setattr(nib.arrayproxy.ArrayProxy, "__array__", lambda *_: pytest.fail("voxels were read"))
    assert reason_of(path) == "truncated"
    assert reason_of(path.read_bytes()) == "truncated"


def test_not_a_volume_at_all() -> None:
    """A wrong type is the caller's mistake and lists what is accepted."""
    with pytest.raises(TypeError, match=r"nibabel image.*got int"):
        read(3)


def test_error_crosses_processes() -> None:
    """Reason, message and place survive pickling, as a preparation with several processes needs."""
    error = pickle.loads(pickle.dumps(VolumeError("units", "expected x", "study-1")))
    assert (error.reason, error.where, str(error)) == ("units", "study-1", "expected x (in study-1)")


def test_images_are_written_on_their_grid(tmp_path: Path, array: np.ndarray) -> None:
    """What `make_image` writes, nibabel and `read_grid` read back with the same voxels and affine."""
    nib.save(make_image(array, AFFINE), tmp_path / "w.nii.gz")
    shape, affine = read_grid(tmp_path / "w.nii.gz", where="w")
    assert shape == array.shape
    np.testing.assert_allclose(affine, AFFINE)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "w.nii.gz").dataobj), array)


def test_messages_name_no_values_of_the_header(tmp_path: Path, array: np.ndarray) -> None:
    """Text fields of a header may hold a patient's name; no error message repeats them."""
    image = nib.Nifti1Image(np.stack([array] * 2, axis=-1), AFFINE)
    image.header["descrip"] = b"DOE^JANE"
    nib.save(image, tmp_path / "n.nii.gz")
    with pytest.raises(VolumeError) as caught:
        read(tmp_path / "n.nii.gz")
    assert "DOE" not in str(caught.value)


def test_make_head_is_readable(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """The phantom of the other tests is a volume by these rules."""
    values, _ = read_volume(make_head(), where="phantom", max_voxels=10_000_000)
    assert values.max() > 500
