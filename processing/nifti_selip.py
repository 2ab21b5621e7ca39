"""Reading and writing of volumes: the only file of the processor that touches nibabel.

Every way in ends in one form: a float32 array with axes (x, y, z) as stored and the float64 affine that takes voxel
indices to scanner millimetres (RAS+). Whatever cannot be brought to that form is a `VolumeError` with a reason from a
fixed set, so that a preparation run can count what it skipped.
"""

import gzip
import io
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

try:
    import nibabel as nib
except ImportError:  # arrays with an affine still work; a file then says what to install
    nib = None  # type: ignore[assignment]  # the usual form of an optional import

VOLUME_ERROR_REASONS = (
    "missing",
    "unreadable",
    "truncated",
    "empty",
    "not-3d",
    "rgb",
    "nonfinite",
    "constant",
    "affine",
    "too-large",
    "units",
)

MIN_SPACING_MM, MAX_SPACING_MM = 0.02, 100.0
"""Voxel sizes outside are a wrong unit or a broken header: 7 T research reaches 0.1 mm, localisers 20 mm."""
MIN_EXTENT_MM, MAX_EXTENT_MM = 30.0, 1000.0
"""Largest side of a volume. Less than 30 mm is no head (metres stored as millimetres), more than 1 m is no scanner."""
MIN_CELL_VOLUME = 0.5
"""Volume spanned by the three unit axes, 1 for right angles. A gantry tilt of 30 degrees leaves 0.87."""
MAX_GZIP_RATIO = 1032
"""Largest compression deflate can reach; a header that promises more than this times the file's size is lying."""

CHECKSUM_REACH = 65536
"""Bytes read beyond the voxels of a compressed file, to reach its checksum."""


class VolumeError(ValueError):
    """A volume that cannot be used.

    Attributes:
        reason: One of `VOLUME_ERROR_REASONS`.
        message: What was expected and what came.
        where: Path or study/series id the message names.
    """

    def __init__(self, reason: str, message: str, where: str = "") -> None:
        if reason not in VOLUME_ERROR_REASONS:
            raise KeyError(f"expected a reason of {VOLUME_ERROR_REASONS}, got {reason!r}")
        super().__init__(f"{message} (in {where})" if where else message)
        self.reason = reason
        self.message = message
        self.where = where

    def located(self, where: str) -> "VolumeError":
        """Return the same error with the place it is about; used where a volume has no name yet."""
        return VolumeError(self.reason, self.message, where)

    def __reduce__(self) -> tuple:
        """Rebuild from the attributes, so that the error crosses process boundaries."""
        return VolumeError, (self.reason, self.message, self.where)


def is_volume(value: Any) -> bool:
    """Tell whether a value is one of the forms `read_volume` accepts (a path need not exist)."""
    if isinstance(value, (str, os.PathLike, bytes)) or hasattr(value, "dataobj"):
        return True
    if isinstance(value, Mapping):
        return len(value) > 0 and set(value) <= {"bytes", "path"}
    return isinstance(value, (tuple, list)) and len(value) == 2 and hasattr(value[0], "shape") and _is_4x4(value[1])


def _is_4x4(value: Any) -> bool:
    try:
        return np.shape(value) == (4, 4)
    except ValueError:  # ragged nested lists have no shape
        return False


def read_volume(
    source: Any, *, where: str, max_voxels: int, allow_constant: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Read one volume.

    Args:
        source: Path (str or Path), NIfTI bytes, nibabel image (also the wrapper that `datasets` decodes to),
            `datasets` NIfTI cell `{"bytes", "path"}`, or tuple (array, affine).
        where: Path or study/series id for error messages.
        max_voxels: Largest number of voxels to accept; checked on the header, before anything is allocated.
        allow_constant: Accept a volume of one single value, as an empty lesion mask is.

    Returns:
        array: float32 (x, y, z) in stored axis order, scl_slope and scl_inter applied. Trailing axes of length one are
            dropped; a 2D slice is a volume one voxel deep.
        affine: float64 (4, 4), voxel index -> scanner mm, RAS+ (the sform if its code is set, else the qform).

    Raises:
        VolumeError: With one of the reasons missing, unreadable, truncated, empty, not-3d, rgb, nonfinite, constant,
            affine, too-large. An image whose sform and qform codes are both 0 is an `affine` error: its left and
            right are unknown.
    """
    if isinstance(source, (tuple, list)) and is_volume(source):
        data, affine = source
        data = np.asarray(data)
        shape = _spatial_shape(data.shape, data.dtype, where, max_voxels)
        affine = _check_affine(affine, shape, where)
        array = _to_float32(data)
    else:
        image, capacity = _open_image(source, where)
        shape = _spatial_shape(image.shape, image.get_data_dtype(), where, max_voxels)
        affine = _check_affine(image.affine, shape, where)
        _check_capacity(image, capacity, where)
        array = _read_array(image, where)
    array = array.reshape(shape, order="A")  # drops trailing axes of one without a copy
    _check_values(array, where, allow_constant)
    return array, affine


def read_grid(like: Any, *, where: str) -> tuple[tuple[int, int, int], np.ndarray]:
    """Read only the grid of a volume, no voxel: the shape (x, y, z) and the affine float64 (4, 4).

    Args:
        like: As `source` of `read_volume`; of an image with more axes the first three are taken.
        where: Path or id for error messages.

    Raises:
        VolumeError: As `read_volume`, for the reasons that concern header and affine.
    """
    if isinstance(like, (tuple, list)) and is_volume(like):
        shape, affine = np.shape(like[0]), like[1]
    else:
        image, _ = _open_image(like, where)
        shape, affine = image.shape, image.affine
    full = (*shape[:3], *(1,) * (3 - len(shape)))
    if math.prod(full) == 0:
        raise VolumeError("empty", f"expected voxels, got shape {tuple(shape)}", where)
    return (full[0], full[1], full[2]), _check_affine(affine, full, where)


def make_image(array: np.ndarray, affine: np.ndarray) -> Any:
    """Wrap an array (x, y, z) and its affine (voxel -> scanner mm, RAS+) as nibabel `Nifti1Image`.

    Raises:
        ImportError: nibabel is not installed.
    """
    _require_nibabel()
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)  # 1 = scanner coordinates, as the box is defined in them
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    return image


def _require_nibabel() -> None:
    if nib is None:
        raise ImportError("reading and writing NIfTI needs nibabel: pip install nibabel; or pass (array, affine)")


def _open_image(source: Any, where: str) -> tuple[Any, int | None]:
    """Return a nibabel image whose header is read and whose voxels are not, and how many bytes its file can hold."""
    _require_nibabel()
    if isinstance(source, Mapping):
        unknown = set(source) - {"bytes", "path"}
        if unknown:
            raise TypeError(f"expected a NIfTI cell with the keys bytes and path, got also {sorted(unknown)}")
        source = source["bytes"] if source.get("bytes") is not None else source.get("path")
    capacity: int | None = None
    if isinstance(source, (bytes, bytearray)):
        image, capacity = _open_bytes(bytes(source), where)
    elif isinstance(source, (str, os.PathLike)):
        image, capacity = _open_path(Path(source), where)
    else:
        image = getattr(source, "nifti_image", source)  # `datasets` wraps in a class that breaks nibabel's functions
    if not hasattr(image, "dataobj"):
        raise TypeError(
            "expected a volume: path, nibabel image, NIfTI bytes, {'bytes', 'path'} or (array, affine); "
            f"got {type(source).__name__}" + (f" (in {where})" if where else "")
        )
    return _checked_image(image, where), capacity


def _open_path(path: Path, where: str) -> tuple[Any, int | None]:
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise VolumeError("missing", f"expected a NIfTI file, found nothing at {path}", where) from None
    except OSError as error:
        raise VolumeError("unreadable", f"cannot read {path}: {error.strerror}", where) from error
    if path.is_dir():
        raise VolumeError("unreadable", f"expected a NIfTI file, {path} is a folder", where)
    if size == 0:
        raise VolumeError("empty", "expected a NIfTI file, got 0 bytes", where)
    try:
        image = nib.load(path)
    except EOFError as error:
        raise VolumeError("truncated", "the file ends inside its header; copy it again", where) from error
    except Exception as error:  # nibabel raises many kinds on a broken header
        raise VolumeError("unreadable", f"expected a NIfTI file: {type(error).__name__}", where) from error
    capacities = {".nii": size, ".gz": size * MAX_GZIP_RATIO}
    return image, capacities.get(path.suffix)  # the voxels of a .hdr lie in another file


def _open_bytes(data: bytes, where: str) -> tuple[Any, int]:
    if not data:
        raise VolumeError("empty", "expected NIfTI bytes, got none", where)
    is_gzip = data[:2] == b"\x1f\x8b"
    for image_class in (nib.Nifti1Image, nib.Nifti2Image):
        stream: Any = io.BytesIO(data)
        if is_gzip:  # a stream, so that no more is unpacked than the header asks for
            stream = gzip.GzipFile(fileobj=stream)
        try:
            image = image_class.from_stream(stream)
        except EOFError as error:
            raise VolumeError("truncated", "the bytes end inside the header", where) from error
        except Exception:  # wrong magic for this version, or no NIfTI at all
            continue
        return image, len(data) * (MAX_GZIP_RATIO if is_gzip else 1)
    raise VolumeError("unreadable", "expected the bytes of a NIfTI file", where)


def _checked_image(image: Any, where: str) -> Any:
    if not isinstance(image, nib.Nifti1Pair):  # Nifti1Image and NIfTI-2 derive from it; Analyze has no left and right
        raise VolumeError(
            "unreadable", f"expected a NIfTI image, got {type(image).__name__}; convert it to NIfTI first", where
        )
    if int(image.header["sform_code"]) == 0 and int(image.header["qform_code"]) == 0:
        raise VolumeError(
            "affine",
            "sform and qform codes are both 0, so left and right are unknown; "
            "set the orientation or pass (array, affine)",
            where,
        )
    return image


def _check_capacity(image: Any, capacity: int | None, where: str) -> None:
    """Refuse a file that cannot hold what its header promises, before memory for it is allocated."""
    promised = math.prod(int(n) for n in image.shape) * image.get_data_dtype().itemsize
    if capacity is not None and promised > capacity:
        raise VolumeError("truncated", f"the header promises {promised} bytes of voxels, the file is shorter", where)


def _spatial_shape(shape: tuple[int, ...], dtype: np.dtype, where: str, max_voxels: int) -> tuple[int, int, int]:
    shape = tuple(int(n) for n in shape)
    if dtype.fields is not None or dtype.kind not in "buif":
        raise VolumeError(
            "rgb", f"expected one real number per voxel, got {dtype}; convert colour or complex images", where
        )
    if any(n <= 0 for n in shape) or not shape:
        raise VolumeError("empty", f"expected voxels, got shape {shape}", where)
    full = shape
    while len(full) > 3 and full[-1] == 1:
        full = full[:-1]
    if len(full) == 2:
        full = (*full, 1)
    if len(full) != 3:
        raise VolumeError("not-3d", f"expected a 3D volume, got shape {shape}; select one frame", where)
    if math.prod(full) > max_voxels:
        raise VolumeError("too-large", f"expected at most {max_voxels} voxels, got shape {shape}", where)
    return full


def _check_affine(affine: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Return the affine as float64 (4, 4), or say what is wrong with it."""
    if affine is None or np.shape(affine) != (4, 4):
        raise VolumeError("affine", f"expected a 4 x 4 affine, got shape {np.shape(affine)}", where)
    matrix = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise VolumeError("affine", "expected a finite affine whose last row is 0 0 0 1", where)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if spacing.min() < MIN_SPACING_MM or spacing.max() > MAX_SPACING_MM:
        raise VolumeError(
            "affine",
            f"expected voxels of {MIN_SPACING_MM} to {MAX_SPACING_MM} mm, got {np.round(spacing, 6).tolist()} mm",
            where,
        )
    cell = abs(np.linalg.det(matrix[:3, :3] / spacing))
    if cell < MIN_CELL_VOLUME:
        raise VolumeError("affine", f"expected axes near right angles, got a shear (cell volume {cell:.3f})", where)
    extent = float((spacing * np.asarray(shape)).max())
    if not MIN_EXTENT_MM <= extent <= MAX_EXTENT_MM:
        raise VolumeError(
            "affine",
            f"expected a largest side of {MIN_EXTENT_MM:g} to {MAX_EXTENT_MM:g} mm, got {extent:g}; is the unit mm?",
            where,
        )
    return matrix


def _read_array(image: Any, where: str) -> np.ndarray:
    """Read the voxels as float32, and every kind of damage on the way as the error it is."""
    try:
        return _verified_array(image)
    except EOFError as error:
        raise VolumeError("truncated", "the compressed data end too early; copy the file again", where) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise VolumeError("unreadable", "the compressed data are damaged; copy the file again", where) from error
    except (OSError, ValueError) as error:  # nibabel: fewer bytes than the header promises
        message = f"cannot read the voxels, {type(error).__name__}; copy the file again"
        raise VolumeError("truncated", message, where) from error


def _verified_array(image: Any) -> np.ndarray:
    """Read voxels, and of compressed ones the end of the stream too: nibabel stops before the checksum is compared."""
    path = image.get_filename()
    if path and str(path).endswith(".nii.gz") and nib.is_proxy(image.dataobj):
        with gzip.open(path, "rb") as stream:
            return _array_to_the_end(type(image).from_stream(stream), stream)
    return _array_to_the_end(image, image.file_map["image"].fileobj)


def _array_to_the_end(image: Any, stream: Any) -> np.ndarray:
    with np.errstate(over="ignore"):  # what overflows float32 becomes inf and is reported as nonfinite
        array = np.asarray(image.dataobj, dtype=np.float32)
    if isinstance(stream, gzip.GzipFile):
        stream.read(CHECKSUM_REACH)
    return array


def _to_float32(data: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(data, dtype=np.float32)


def _check_values(array: np.ndarray, where: str, allow_constant: bool) -> None:
    low, high = float(array.min()), float(array.max())  # NaN and infinities survive min and max, no mask is allocated
    if not (math.isfinite(low) and math.isfinite(high)):
        message = "expected finite values, got NaN or infinity; set them to 0 if they are air"
        raise VolumeError("nonfinite", message, where)
    if low == high and not allow_constant:
        raise VolumeError("constant", f"expected an image, every voxel is {low:g}", where)
