"""The part files: rows of little-endian float32 and nothing else, appended to and memory-mapped.

The catalogue says how many rows of each part count. Rows beyond are what a killed writer left behind; they
are never read and are cut off at the next opening for writing.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.files import fsync_folder
from index.manifest import damaged

__all__ = ["MappedParts", "Part", "append_rows", "check_parts", "part_name", "remove_leftovers", "write_part"]

_PART_NAME = re.compile(r"vectors-\d{5,}\.f32(\.tmp)?")


@dataclass(frozen=True)
class Part:
    """A part file: its number, and the stretch of the index's rows that it holds."""

    number: int
    first_row: int
    n_rows: int

    @property
    def end_row(self) -> int:
        """One past its last row."""
        return self.first_row + self.n_rows


class MappedParts:
    """The committed rows of an index, memory-mapped, and which of them are removed."""

    def __init__(self, folder: Path, *, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self._mapped: dict[Part, np.ndarray] = {}
        self._live_bits: dict[Part, np.ndarray] = {}

    def refresh(self, parts: Sequence[Part], *, removed: Iterable[tuple[int, int]]) -> None:
        """Map what the catalogue names now.

        Args:
            parts: part files by first row.
            removed: stretches of removed rows as (first_row, n_rows), by first row.

        Raises:
            IndexDamagedError: a part is missing or cut short.
        """
        check_parts(self._folder, parts, dim=self._dim)
        self._mapped = {part: self._mapped[part] if part in self._mapped else self._map(part) for part in parts}
        live: dict[Part, np.ndarray] = {}
        for first_row, n_rows in removed:
            part = self._part_of(first_row)
            flags = live.setdefault(part, np.ones(part.n_rows, dtype=bool))
            flags[first_row - part.first_row : first_row - part.first_row + n_rows] = False
        self._live_bits = {part: np.packbits(flags, bitorder="little") for part, flags in live.items()}

    def __iter__(self) -> Iterator[tuple[Part, np.ndarray, np.ndarray | None]]:
        """Yield each part, its rows [shape=(n_rows, dim)], and a bit for each live row (None: all are)."""
        for part, rows in self._mapped.items():
            yield part, rows, self._live_bits.get(part)

    def stretch(self, first_row: int, *, n_rows: int) -> np.ndarray:
        """Return consecutive rows of one part [shape=(n_rows, dim)], not copied.

        Raises:
            IndexDamagedError: no part holds them all.
        """
        part = self._part_of(first_row)
        if first_row + n_rows > part.end_row:
            raise damaged(self._folder, f"rows {first_row} to {first_row + n_rows - 1} lie in no part file")
        return self._mapped[part][first_row - part.first_row : first_row - part.first_row + n_rows]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return a copy of any rows, in the order given [shape=(len(rows), dim)].

        Raises:
            IndexError: no part holds one of them.
        """
        taken = np.empty((len(rows), self._dim), dtype=np.float32)
        found = np.zeros(len(rows), dtype=bool)
        for part, mapped in self._mapped.items():
            inside = (rows >= part.first_row) & (rows < part.end_row)
            taken[inside] = mapped[rows[inside] - part.first_row]
            found |= inside
        if not found.all():
            raise IndexError(f"row {rows[~found][0]} is not in the index")
        return taken

    def clear(self) -> None:
        """Unmap everything."""
        self._mapped, self._live_bits = {}, {}

    def _map(self, part: Part) -> np.ndarray:
        path = self._folder / part_name(part.number)
        # A plain view: FAISS takes its address, and np.memmap's own bookkeeping slows every slice.
        return np.asarray(np.memmap(path, dtype="<f4", mode="r", shape=(part.n_rows, self._dim)))

    def _part_of(self, row: int) -> Part:
        for part in self._mapped:
            if part.first_row <= row < part.end_row:
                return part
        raise damaged(self._folder, f"row {row} lies in no part file")


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"vectors-{number:05d}.f32"


def check_parts(folder: Path, parts: Iterable[Part], *, dim: int) -> None:
    """Check that each part file is there and long enough.

    Raises:
        IndexDamagedError: it is not.
    """
    for part in parts:
        name = part_name(part.number)
        needed = part.n_rows * dim * 4
        try:
            size = os.stat(folder / name).st_size
        except FileNotFoundError:
            raise damaged(folder, f"{name} is missing") from None
        if size < needed:
            raise damaged(folder, f"{name} is cut short ({size} bytes of {needed})")


def append_rows(folder: Path, part: Part, vectors: np.ndarray) -> None:
    """Put rows behind the committed ones of a part file, made if need be, and wait until they are on disk.

    Args:
        part: as the catalogue names it (a new part has no rows yet); what lies beyond is lost.
        vectors: [shape=(n, dim)] float32.

    Raises:
        IndexDamagedError: committed rows are missing.
    """
    if part.n_rows > 0:
        check_parts(folder, [part], dim=vectors.shape[1])
    path = folder / part_name(part.number)
    committed = part.n_rows * vectors.shape[1] * 4
    with open(path, "r+b" if path.exists() else "x+b") as file:
        if os.fstat(file.fileno()).st_size > committed:
            file.truncate(committed)
        file.seek(committed)
        _write_rows(file.write, vectors)
        file.flush()
        os.fsync(file.fileno())
    if part.n_rows == 0:
        fsync_folder(folder)


def write_part(folder: Path, number: int, blocks: Iterable[np.ndarray]) -> None:
    """Write a whole part file under a temporary name, wait until it is on disk, and give it its name."""
    path = folder / part_name(number)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            for block in blocks:
                _write_rows(file.write, block)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(folder)


def remove_leftovers(folder: Path, parts: Sequence[Part], *, dim: int) -> None:
    """Remove what killed writers left: rows beyond the committed ones, and part files that nobody names."""
    named = {part_name(part.number) for part in parts}
    for path in folder.iterdir():
        if _PART_NAME.fullmatch(path.name) and path.name not in named:
            _unlink(path)
    for part in parts:
        path = folder / part_name(part.number)
        if path.stat().st_size > part.n_rows * dim * 4:
            os.truncate(path, part.n_rows * dim * 4)


def _write_rows(write: Callable[[memoryview], int], vectors: np.ndarray) -> None:
    write(np.ascontiguousarray(vectors, dtype="<f4").data.cast("B"))


def _unlink(path: Path) -> None:
    # On Windows a reader may still have it mapped; the next opening for writing removes it then.
    with contextlib.suppress(PermissionError):
        path.unlink()
