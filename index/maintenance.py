"""Maintenance of an index: rewriting parts without their removed rows, and checking its files."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from index.catalog import Catalog, RowRange
from index.files import printable
from index.manifest import IndexDamagedError
from index.vectors import MappedParts, Part, off_unit, part_name, write_part

__all__ = ["catalog_problems", "checksum", "compact_part", "size_on_disk", "vector_problems"]


def checksum(rows: np.ndarray) -> int:
    """Return the CRC-32 of the bytes of rows [shape=(n, dim)]."""
    return zlib.crc32(np.ascontiguousarray(rows, dtype="<f4").data)


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


def catalog_problems(catalog: Catalog) -> list[str]:
    """Check, inside a read transaction, that each row of each part has one owner and that the tables agree.

    Returns:
        One line a problem.
    """
    owned = [(rows.first_row, rows.n_rows, printable(rows.path)) for rows in catalog.row_ranges()]
    owned += [(first_row, n_rows, "a removed stretch") for first_row, n_rows in catalog.removed()]
    owned.sort()
    problems = catalog.inconsistencies()
    position = 0
    for part in catalog.parts():
        row = part.first_row
        while position < len(owned) and owned[position][0] < part.end_row:
            first_row, n_rows, owner = owned[position]
            if first_row != row:
                problems.append(f"{owner}: begins at row {first_row}, where row {row} was expected")
            row = first_row + n_rows
            position += 1
        if row != part.end_row:
            problems.append(f"{part_name(part.number)}: its tracks end at row {row} and it ends at row {part.end_row}")
    problems += [f"{owner}: rows from {first_row} lie in no part file" for first_row, _, owner in owned[position:]]
    return problems


def vector_problems(ranges: Iterable[RowRange], *, parts: MappedParts) -> list[str]:
    """Check every vector of some tracks; no transaction is needed, because mapped rows never change.

    Returns:
        One line a problem.
    """
    problems = []
    for track in ranges:
        try:
            vectors = parts.stretch(track.first_row, n_rows=track.n_rows)
        except IndexDamagedError:
            continue  # `catalog_problems` reports it
        shown = printable(track.path)
        if checksum(vectors) != track.checksum:
            problems.append(f"{shown}: its vectors are not those that were written; index this file again")
        elif off_unit(vectors) is not None:
            problems.append(f"{shown}: its vectors do not have norm 1; index this file again")
    return problems


def size_on_disk(folder: Path, parts: list[Part], *, names: tuple[str, ...]) -> int:
    """Return the size in bytes of the part files and of other files, given by name."""
    return sum(os.stat(folder / name).st_size for name in (*names, *(part_name(part.number) for part in parts)))
