"""Ids that lead nowhere without a key."""

import hashlib
import os
import secrets
from pathlib import Path

# No digits, which look like the number of a record, and no vowels, so that none is a word.
_LETTERS = "bcdfghjkmnpqrstvwxz"


def pseudonym(key: bytes, value: str, length: int) -> str:
    """Letters that stand for an id, the same whenever the key is; without the key they lead nowhere."""
    number = int.from_bytes(hashlib.blake2b(value.encode(), key=key, digest_size=16).digest(), "big")
    letters = []
    for _ in range(length):
        number, rest = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[rest])
    return "".join(letters)


def read_or_make_key(path: Path) -> bytes:
    """The secret of the pseudonyms, 32 bytes; made where there is none.

    Raises:
        ValueError: The file holds something else.
    """
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError(f"{path}: expected 64 hexadecimal digits; bring back the key that was there")
    return key
