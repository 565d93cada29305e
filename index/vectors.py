"""The part files: rows of little-endian float32 and nothing else, appended to and memory-mapped.

The catalogue says how many rows of each part are committed. Rows after those were left by a writer that was killed;
they are never read and are cut off at the next opening for writing.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.files import FileIdentity, fsync_file, fsync_folder
from index.manifest import IndexDamagedError, damaged

__all__ = [
    "MappedParts",
    "Part",
    "append_rows",
    "check_parts",
    "checked_rows",
    "checksum",
    "fault_of",
    "off_unit",
    "part_name",
    "remove_leftovers",
    "unit_rows",
    "write_part",
]

_PART_NAME = re.compile(r"vectors-\d{5,}\.f32(\.tmp)?")
_UNIT_NORM_TOLERANCE = 1e-3


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
    """The committed rows of an index, memory-mapped, and which of them are removed.

    Args:
        folder: for messages.
        dim: length of each row.
        descriptor: the open folder that the part files are in, whatever is at its path now; not closed here.
    """

    def __init__(self, folder: Path, *, dim: int, descriptor: int) -> None:
        self._folder = folder
        self._descriptor = descriptor
        self._dim = dim
        self._mapped: dict[Part, np.ndarray] = {}
        self._files: dict[Part, FileIdentity] = {}
        self._live: dict[Part, np.ndarray] = {}

    def refresh(self, parts: Sequence[Part], *, removed: Iterable[tuple[int, int]]) -> None:
        """Map the part files that the catalogue names now.

        Args:
            parts: part files by first row.
            removed: stretches of removed rows as (first_row, n_rows), by first row.

        Raises:
            IndexDamagedError: a part is missing or cut short.
        """
        files = dict(zip(parts, self.check(parts), strict=True))
        kept = {part for part in parts if part in self._mapped and self._files[part] == files[part]}
        self._mapped = {part: self._mapped[part] if part in kept else self._map(part) for part in parts}
        self._files = files
        live: dict[Part, np.ndarray] = {}
        for first_row, n_rows in removed:
            part = self._part_of(first_row)
            flags = live.setdefault(part, np.ones(part.n_rows, dtype=bool))
            flags[first_row - part.first_row : first_row - part.first_row + n_rows] = False
        self._live = live

    def check(self, parts: Iterable[Part]) -> list[FileIdentity]:
        """Check that the part files are there and long enough; see `check_parts`."""
        return check_parts(self._folder, parts, dim=self._dim, descriptor=self._descriptor)

    def __iter__(self) -> Iterator[tuple[Part, np.ndarray, np.ndarray | None]]:
        """Yield each part, its rows [shape=(n_rows, dim)] and which of them are live [shape=(n_rows,)] (None: all)."""
        for part, rows in self._mapped.items():
            yield part, rows, self._live.get(part)

    def live_rows(self, n: int) -> np.ndarray:
        """Return the numbers of `n` live rows, evenly spaced over all parts [shape=(min(n, n_live),)]."""
        counts = [part.n_rows if live is None else int(live.sum()) for part, _, live in self]
        positions = np.unique(np.linspace(0, max(sum(counts) - 1, 0), num=min(n, sum(counts)), dtype=np.int64))
        found: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        first = 0
        for (part, _, live), count in zip(self, counts, strict=True):
            inside = positions[(positions >= first) & (positions < first + count)] - first
            found.append(part.first_row + (inside if live is None else np.flatnonzero(live)[inside]))
            first += count
        return np.concatenate(found)

    def stretch(self, first_row: int, *, n_rows: int) -> np.ndarray:
        """Return consecutive rows of one part [shape=(n_rows, dim)], not copied.

        Raises:
            IndexDamagedError: no part holds them all.
        """
        part = self._part_of(first_row)
        if first_row + n_rows > part.end_row:
            raise damaged(self._folder, f"rows {first_row} to {first_row + n_rows - 1} lie in no part file")
        return self._mapped[part][first_row - part.first_row : first_row - part.first_row + n_rows]

    def fault_in(self, first_row: int, *, n_rows: int, expected: int) -> str | None:
        """Return what is wrong with the rows of a track (`fault_of`), None if nothing."""
        try:
            return fault_of(self.stretch(first_row, n_rows=n_rows), expected=expected)
        except IndexDamagedError:
            return "its vectors lie in no part file"

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
        self._mapped, self._files, self._live = {}, {}, {}

    def _map(self, part: Part) -> np.ndarray:
        name = part_name(part.number)
        try:
            with open(os.open(name, os.O_RDONLY, dir_fd=self._descriptor), "rb") as file:
                mapped = np.memmap(file, dtype="<f4", mode="r", shape=(part.n_rows, self._dim))
        except (FileNotFoundError, ValueError):  # since `check_parts`
            raise damaged(self._folder, f"{name} is missing or cut short") from None
        # A plain view: FAISS takes its address, and np.memmap's own bookkeeping slows every slice.
        return np.asarray(mapped)

    def _part_of(self, row: int) -> Part:
        for part in self._mapped:
            if part.first_row <= row < part.end_row:
                return part
        raise damaged(self._folder, f"row {row} lies in no part file")


def checked_rows(name: str, *, spans: np.ndarray, vectors: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Check the rows of a track and return them as they are stored.

    Args:
        name: the track, for the message.
        spans: start and end of each segment [shape=(n, 2)], seconds.
        vectors: one unit vector a segment [shape=(n, dim)], float32.
        dim: length of the vectors of the index.

    Returns:
        spans as float64, vectors as contiguous float32.

    Raises:
        ValueError: a shape, a type or a value is wrong.
    """
    spans = np.asarray(spans, dtype=np.float64)
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        kind = getattr(vectors, "dtype", type(vectors).__name__)
        raise ValueError(f"{name}: vectors must be a float32 array, not {kind}")
    if vectors.ndim != 2 or vectors.shape[1] != dim or len(vectors) == 0:
        raise ValueError(f"{name}: vectors must have shape (n, {dim}) with n of at least 1, not {vectors.shape}")
    if spans.shape != (len(vectors), 2):
        raise ValueError(f"{name}: spans must have shape ({len(vectors)}, 2), one a vector, not {spans.shape}")
    if not (np.isfinite(spans).all() and (spans[:, 0] >= 0).all() and (spans[:, 1] > spans[:, 0]).all()):
        raise ValueError(f"{name}: each span must have 0 <= start < end, in seconds")
    if not np.isfinite(vectors).all():
        raise ValueError(f"{name}: vectors must be finite")
    if (row := off_unit(vectors)) is not None:
        raise ValueError(f"{name}: vectors must have norm 1, and row {row} has {np.linalg.norm(vectors[row]):.4f}")
    return spans, np.ascontiguousarray(vectors, dtype="<f4")


def off_unit(vectors: np.ndarray) -> int | None:
    """Return the first row [shape=(n, dim)] whose norm is not 1 within 0.001 (NaN is not), or None."""
    off = ~unit_rows(vectors)
    return int(np.argmax(off)) if off.any() else None


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Return which rows [shape=(n, dim)] are finite and have norm 1 within 0.001 [shape=(n,)]."""
    with np.errstate(over="ignore", invalid="ignore"):  # damaged rows hold anything
        squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    unit: np.ndarray = np.abs(np.sqrt(squares) - 1.0) <= _UNIT_NORM_TOLERANCE
    return unit


def checksum(rows: np.ndarray) -> int:
    """Return the CRC-32 of the bytes of rows [shape=(n, dim)]."""
    return zlib.crc32(np.ascontiguousarray(rows, dtype="<f4").data)


def fault_of(rows: np.ndarray, *, expected: int) -> str | None:
    """Return what is wrong with the stored rows of a track [shape=(n, dim)], None if nothing.

    Args:
        expected: their checksum in the catalogue.
    """
    if checksum(rows) != expected:
        return "its vectors are not those that were written"
    if off_unit(rows) is not None:
        return "its vectors do not have norm 1"
    return None


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"vectors-{number:05d}.f32"


def check_parts(folder: Path, parts: Iterable[Part], *, dim: int, descriptor: int | None = None) -> list[FileIdentity]:
    """Check that each part file is there and long enough.

    Args:
        folder: of the index.
        parts: as the catalogue names them.
        dim: length of each row.
        descriptor: the open folder to look in; None: the one that is at the path now.

    Returns:
        Which files they are.

    Raises:
        IndexDamagedError: one is not.
    """
    found = []
    for part in parts:
        name = part_name(part.number)
        needed = part.n_rows * dim * 4
        try:
            status = os.stat(folder / name if descriptor is None else name, dir_fd=descriptor)
        except FileNotFoundError:
            raise damaged(folder, f"{name} is missing") from None
        if status.st_size < needed:
            raise damaged(folder, f"{name} is cut short ({status.st_size} bytes of {needed})")
        found.append((status.st_dev, status.st_ino))
    return found


def append_rows(folder: Path, part: Part, vectors: np.ndarray) -> None:
    """Append rows to the committed ones of a part file and wait until they are on disk; make the file if needed.

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
        fsync_file(file.fileno())
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
            fsync_file(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(folder)


def remove_leftovers(folder: Path, parts: Sequence[Part], *, dim: int) -> None:
    """Remove what killed writers left: rows beyond the committed ones, and part files that the catalogue lacks."""
    named = {part_name(part.number) for part in parts}
    for path in folder.iterdir():
        if _PART_NAME.fullmatch(path.name) and path.name not in named:
            path.unlink()
    for part in parts:
        path = folder / part_name(part.number)
        if path.stat().st_size > part.n_rows * dim * 4:
            os.truncate(path, part.n_rows * dim * 4)


def _write_rows(write: Callable[[memoryview], int], vectors: np.ndarray) -> None:
    write(np.ascontiguousarray(vectors, dtype="<f4").data.cast("B"))
