"""Damage to the files of an index, as bytes on disk: what the tests of its detection and repair share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROW_BYTES_OF = 4
PART = "vectors-00000.f32"


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Write bytes in the place of others, and keep the size and the inode."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path: Path, offset: int, bits: int = 0x01) -> None:
    """Flip bits of one byte."""
    with open(path, "rb") as file:
        file.seek(offset)
        (byte,) = file.read(1)
    overwrite(path, offset, bytes([byte ^ bits]))


def low_bit(part: Path, at: int, row_bytes: int) -> None:
    flip(part, at)  # of a mantissa: the norm stays 1, only the checksum tells


def no_number(part: Path, at: int, row_bytes: int) -> None:
    overwrite(part, at, np.float32(np.nan).tobytes())


def infinite(part: Path, at: int, row_bytes: int) -> None:
    overwrite(part, at, np.float32(np.inf).tobytes())


def huge(part: Path, at: int, row_bytes: int) -> None:
    overwrite(part, at, np.full(row_bytes // 4, 1e30, dtype="<f4").tobytes())


def zeros(part: Path, at: int, row_bytes: int) -> None:
    overwrite(part, at, bytes(row_bytes))


def random_bytes(part: Path, at: int, row_bytes: int) -> None:
    overwrite(part, at, np.random.default_rng(at).bytes(row_bytes))


ROW_DAMAGES: dict[str, Callable[[Path, int, int], None]] = {
    "a low bit": low_bit,
    "not a number": no_number,
    "infinite": infinite,
    "huge": huge,
    "zeros": zeros,
    "random bytes": random_bytes,
}
"""Damages of one row: functions of the part file, the row's offset and its length."""


def is_open(path: Path) -> bool:
    """Return whether this process has a file open (Linux and macOS list them)."""
    folder = "/dev/fd"
    return any(os.path.realpath(os.path.join(folder, name)) == str(path) for name in os.listdir(folder))
