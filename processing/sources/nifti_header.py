"""Free text in the headers of NIfTI-1 files: where names, dates and comments of a scanner end up, found and emptied.

Bytes in, bytes out; voxels are never touched. The layout is that of nifti1.h (348 bytes, then extensions up to
`vox_offset`).
"""

import gzip
import struct
import zlib

# name of the field: first byte and length
FREE_TEXT = {
    "data_type": (4, 10),
    "db_name": (14, 18),
    "descrip": (148, 80),
    "aux_file": (228, 24),
    "intent_name": (328, 16),
}
EXTENSION = "extension"
GZIP_NAME = "gzip file name or time"
_HEADER_BYTES = 348
_VOX_OFFSET_AT = 108
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_TEXT_FLAGS = 0b11100  # extra field, file name, comment


def free_text_fields(content: bytes) -> list[str]:
    """Names of the header fields of a NIfTI-1 file (plain or gzip) that hold anything.

    Besides the fields of `FREE_TEXT`: `extension`, blocks after the header (DICOM headers are stored there), and
    `gzip file name or time`, which gzip keeps in a header of its own.

    Raises:
        ValueError: It is no NIfTI-1 file.
    """
    found = []
    if content[:2] == _GZIP_MAGIC and (content[3] & _GZIP_TEXT_FLAGS or any(content[4:8])):
        found.append(GZIP_NAME)
    header = _start_of(content, _HEADER_BYTES + 4)
    _byte_order(header)
    found += [name for name, (start, size) in FREE_TEXT.items() if header[start : start + size].strip(b"\0 ")]
    if header[_HEADER_BYTES : _HEADER_BYTES + 1].strip(b"\0"):
        found.append(EXTENSION)
    return found


def without_free_text(content: bytes) -> bytes:
    """A NIfTI-1 file with those fields emptied; the same bytes where none holds anything.

    Extensions are overwritten by zeros, so that voxels stay where the header says.

    Raises:
        ValueError: It is no NIfTI-1 file.
    """
    found = free_text_fields(content)
    if not found:
        return content
    if found == [GZIP_NAME]:
        return _without_gzip_text(content)
    is_gzip = content[:2] == _GZIP_MAGIC
    data = bytearray(gzip.decompress(content) if is_gzip else content)
    (offset,) = struct.unpack_from(f"{_byte_order(bytes(data[:4]))}f", data, _VOX_OFFSET_AT)
    for start, size in FREE_TEXT.values():
        data[start : start + size] = bytes(size)
    end = max(int(offset), _HEADER_BYTES + 4)
    data[_HEADER_BYTES:end] = bytes(end - _HEADER_BYTES)
    return gzip.compress(bytes(data), compresslevel=6, mtime=0) if is_gzip else bytes(data)


def _without_gzip_text(content: bytes) -> bytes:
    """The same compressed data behind a gzip header (RFC 1952) of ten bytes, without time, name, comment or extras."""
    flags, end = content[3], 10
    if flags & 0b100:
        end += 2 + int.from_bytes(content[end : end + 2], "little")
    for flag in (0b1000, 0b10000):  # file name, comment
        if flags & flag:
            end = content.index(b"\0", end) + 1
    if flags & 0b10:  # checksum of the header
        end += 2
    return content[:3] + bytes(5) + content[8:10] + content[end:]


def _start_of(content: bytes, size: int) -> bytes:
    if content[:2] != _GZIP_MAGIC:
        return content[:size]
    try:
        return zlib.decompressobj(wbits=31).decompress(content[: 64 * size], size)
    except zlib.error as error:
        raise ValueError(f"expected a NIfTI-1 file, got gzip that cannot be read ({error})") from None


def _byte_order(header: bytes) -> str:
    for order in "<>":
        if len(header) >= 4 and struct.unpack_from(f"{order}i", header)[0] == _HEADER_BYTES:
            return order
    raise ValueError("expected a NIfTI-1 file, got another header (sizeof_hdr is not 348)")
