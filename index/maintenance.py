"""Maintenance of an index: rewriting parts without their removed rows, and checking its files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from index.catalog import Catalog, RowRange
from index.consistency import catalog_problems
from index.files import printable
from index.manifest import IndexDamagedError, replaced
from index.store import Store
from index.vectors import MappedParts, Part, part_name, write_part

__all__ = ["Damage", "check", "compact_part", "size_on_disk"]

# A page of tracks is checked in one read transaction, for which a writer waits: few tracks, and few rows.
_PAGE_TRACKS = 256
_PAGE_ROWS = 1 << 16


@dataclass(frozen=True)
class Damage:
    """Something that is wrong with an index. `str()` is one printable line.

    Attributes:
        reason: what.
        path: of the track whose vectors are damaged; None: it concerns the files or tables of the index.
    """

    reason: str
    path: bytes | None = None

    @property
    def file(self) -> str | None:
        """The path as str."""
        return None if self.path is None else os.fsdecode(self.path)

    def __str__(self) -> str:
        return self.reason if self.path is None else f"{printable(self.path)}: {self.reason}"


def compact_part(folder: Path, part: Part, *, catalog: Catalog, parts: MappedParts) -> None:
    """Write a part without its removed rows as a new file, and name it in the catalogue in the place of the old one.

    Call it inside a write transaction. The old file stays: the caller removes it once the transaction is on disk.
    """
    kept = [rows for rows in catalog.row_ranges() if part.first_row <= rows.first_row < part.end_row]
    moves: list[tuple[RowRange, int]] = []
    next_row = part.first_row
    for rows in kept:
        moves.append((rows, next_row))
        next_row += rows.n_rows
    new = Part(number=catalog.next_part(), first_row=part.first_row, n_rows=next_row - part.first_row)
    if new.n_rows > 0:
        write_part(folder, new.number, (parts.stretch(rows.first_row, n_rows=rows.n_rows) for rows in kept))
    catalog.replace_part(part, new, moves)


def check(store: Store, *, on_progress: Callable[[int, int], None] | None = None) -> Iterator[Damage]:
    """Yield what is wrong with an index as it is found; see `VectorIndex.check`."""
    with store.reading():
        n_replaced = store.n_replaced
        parts = MappedParts(store.path, dim=store.manifest.dim, descriptor=store.descriptor)
        problems = catalog_problems(store.catalog)
        n_rows, last_key = store.catalog.extent()
    yield from map(Damage, problems)
    key, n_done, fault = 0, 0, None
    while key < last_key:  # a track that is added meanwhile is not checked, or a busy writer would keep this going
        with store.reading():
            if store.n_replaced != n_replaced:
                raise replaced(store.path)
            try:
                parts.refresh(store.catalog.parts(), removed=())
            except IndexDamagedError as error:
                store.require_in_place()
                fault = str(error)
                break
            store.require_in_place()
            found, key, n_page = _checked_page(store, parts, after=key)
        parts.clear()  # what stays mapped stays in memory
        yield from found
        if n_page == 0:  # the rest was removed meanwhile
            break
        n_done += n_page
        if on_progress is not None:
            on_progress(n_done, max(n_rows, n_done))
    if fault is not None:
        yield Damage(fault)


def size_on_disk(folder: Path, parts: list[Part], *, names: tuple[str, ...]) -> int:
    """Return the size in bytes of the part files and of other files, given by name."""
    return sum(os.stat(folder / name).st_size for name in (*names, *(part_name(part.number) for part in parts)))


def _checked_page(store: Store, parts: MappedParts, *, after: int) -> tuple[list[Damage], int, int]:
    """Check the tracks after a key; return the damaged ones, the key of the last one checked and how many rows."""
    found: list[Damage] = []
    n_rows = 0
    for rows in store.catalog.row_ranges_after(after, limit=_PAGE_TRACKS):
        after = rows.key
        n_rows += rows.n_rows
        fault = parts.fault_in(rows.first_row, n_rows=rows.n_rows, expected=rows.checksum)
        if fault is not None:
            found.append(Damage(fault, rows.path))
        if n_rows >= _PAGE_ROWS:
            break
    return found, after, n_rows
