"""Free text in NIfTI headers: found and emptied, voxels and geometry untouched, judged by nibabel and gzip."""

import gzip
import io
import zlib

import nibabel
import numpy as np
import pytest

from selip.processing.sources.nifti_header import EXTENSION, FREE_TEXT, GZIP_NAME, free_text_fields, without_free_text

CANARY = b"Zebulon Cnr"


def nifti(*fields: str, extension: bool = False, big_endian: bool = False) -> bytes:
    """A NIfTI-1 file with a canary in some header fields."""
    voxels = np.random.default_rng(0).integers(-900, 900, (5, 6, 7)).astype(np.int16)
    image = nibabel.Nifti1Image(voxels, np.array([[-2.0, 0.1, 0, 9], [0, 2.5, 0, -8], [0, 0, 3, 7], [0, 0, 0, 1]]))
    if big_endian:
        image = nibabel.Nifti1Image(voxels, image.affine, header=image.header.as_byteswapped(">"))
    for name in fields:
        image.header[name] = CANARY[: FREE_TEXT[name][1]]
    if extension:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", CANARY * 40))
    return bytes(image.to_bytes())


def zipped(content: bytes, *, name: str = "", mtime: int = 0) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=buffer, mtime=mtime) as file:
        file.write(content)
    return buffer.getvalue()


def plain(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


@pytest.mark.parametrize("pack", [lambda content: content, zipped], ids=["plain", "gzip"])
@pytest.mark.parametrize("big_endian", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("name", [*FREE_TEXT, EXTENSION])
def test_each_field_is_found_and_emptied(name: str, big_endian: bool, pack) -> None:
    """Of every field: nothing of the canary is left, and nibabel reads the same voxels at the same place."""
    fields = [] if name == EXTENSION else [name]
    content = pack(nifti(*fields, extension=name == EXTENSION, big_endian=big_endian))
    assert free_text_fields(content) == [name]
    cleaned = without_free_text(content)
    assert free_text_fields(cleaned) == []
    assert CANARY[:8] not in plain(cleaned)
    before, after = (nibabel.Nifti1Image.from_bytes(plain(each)) for each in (content, cleaned))
    assert np.array_equal(np.asarray(before.dataobj), np.asarray(after.dataobj))
    assert np.array_equal(before.affine, after.affine)
    assert list(after.header.extensions) == []
    assert after.header.get_zooms() == before.header.get_zooms()


def test_the_header_of_gzip_is_emptied_too() -> None:
    """A file name or a time in the header of gzip goes, and the compressed data stay the same bytes."""
    content = nifti()
    for packed in (zipped(content, name="Zebulon.nii"), zipped(content, mtime=1_600_000_000)):
        assert free_text_fields(packed) == [GZIP_NAME]
        cleaned = without_free_text(packed)
        assert free_text_fields(cleaned) == []
        assert b"Zebulon" not in cleaned
        assert gzip.decompress(cleaned) == content
        assert packed.endswith(cleaned[10:])


def test_all_fields_of_gzip_are_passed_over() -> None:
    """Extra field, name, comment and checksum of a gzip header (RFC 1952), written by hand."""
    body = zipped(nifti())[10:]
    head = b"\x1f\x8b\x08\x1e\x01\x02\x03\x04\x00\x03" + b"\x03\x00abc" + b"name\0note\0"
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    assert without_free_text(head + body)[10:] == body


@pytest.mark.parametrize("content", [nifti(), zipped(nifti())], ids=["plain", "gzip"])
def test_a_clean_file_stays_as_it_is(content: bytes) -> None:
    """The very same bytes."""
    assert without_free_text(content) is content


@pytest.mark.parametrize(
    "content", [b"", b"no nifti at all", bytes(400), zipped(b"x" * 400), b"\x1f\x8b\x08\x00broken!!"]
)
def test_what_is_no_nifti_is_refused(content: bytes) -> None:
    """With the reason."""
    with pytest.raises(ValueError, match="expected a NIfTI-1 file"):
        free_text_fields(content)
