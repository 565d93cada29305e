"""Paths as bytes, their one-line printing, and files written so that a crash cannot tear them."""

from __future__ import annotations

import fcntl
import os
import unicodedata
from pathlib import Path
from typing import Union

__all__ = [
    "FileIdentity",
    "PathLike",
    "fsync_file",
    "fsync_folder",
    "history_of",
    "identity_of",
    "printable",
    "write_durably",
]

PathLike = Union[bytes, str, "os.PathLike[str]", "os.PathLike[bytes]"]
FileIdentity = tuple[int, int]
"""Device and inode: the same for two names of one file, and for no two files of which one is open."""

# Zero-width joiner: not printable by Python's rule, but it joins many emoji.
_JOINER = "\u200d"


def printable(path: PathLike) -> str:
    r"""Return a path as one line that any terminal can print.

    Bytes that are not in the file system's encoding become `\xNN`; newlines, escape sequences and direction overrides
    become their Python escapes, so that a file name cannot forge a second line or move the cursor. Spaces of every
    kind and the joiner of emoji stay. `encoders.decode.printable_path` follows the same rule.
    """
    return "".join(_escaped(character) for character in os.fsdecode(path))


def identity_of(path: PathLike, *, folder: int | None = None) -> FileIdentity | None:
    """Return which file is at a path, relative to an open folder if one is given; None: there is none."""
    try:
        status = os.stat(path, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def history_of(folder: PathLike) -> tuple[object, ...]:
    """Return what changes whenever a folder is moved or a file in it is made, renamed or removed; (): none is there.

    Links are looked at too: a folder that went and came back is told from one that stayed.
    """
    try:
        link, status = os.lstat(folder), os.stat(folder)
    except OSError:
        return ()
    return link.st_dev, link.st_ino, link.st_ctime_ns, status.st_dev, status.st_ino, status.st_ctime_ns


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape (PEP 383): the raw byte is the low eight bits
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable() or character == _JOINER or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")


def fsync_file(descriptor: int) -> None:
    """Wait until the data of an open file is on the disk itself.

    On macOS `fsync` returns once the data is in the drive's cache, so `F_FULLFSYNC` is used where the file system has
    it.
    """
    full_fsync: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full_fsync is not None:
        try:
            fcntl.fcntl(descriptor, full_fsync)
            return
        except OSError:  # network volumes do not have it
            pass
    os.fsync(descriptor)


def fsync_folder(folder: Path) -> None:
    """Make names created, renamed or removed in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fsync_file(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all: temporary name, fsync, rename, fsync of the folder."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        fsync_file(file.fileno())
    os.replace(temporary, path)
    fsync_folder(path.parent)
