"""Paths as bytes, their one-line printing, and files written so that a crash cannot tear them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Union

__all__ = ["PathLike", "fsync_folder", "printable", "write_durably"]

PathLike = Union[bytes, str, "os.PathLike[str]", "os.PathLike[bytes]"]

# Zero-width joiner: not printable by Python's rule, yet it is what holds many emoji together.
_JOINER = "\u200d"


def printable(path: PathLike) -> str:
    """Return a path as one line that any terminal can print.

    Bytes that are not in the file system's encoding become `\\xNN`; newlines, escape sequences and direction
    overrides become their Python escapes, so that a file name cannot forge a second line or move the cursor.
    """
    return "".join(_shown(character) for character in os.fsdecode(path))


def _shown(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape (PEP 383): the raw byte is the low eight bits
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable() or character == _JOINER:
        return character
    return character.encode("unicode_escape").decode("ascii")


def fsync_folder(folder: Path) -> None:
    """Make names created, renamed or removed in a folder survive a power cut (Windows needs nothing)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all: temporary name, fsync, rename, fsync of the folder."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    fsync_folder(path.parent)
