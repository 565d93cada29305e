"""Upkeep of an index: rewriting parts without their removed rows, and checking that everything fits."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from index.catalog import Catalog
from index.files import printable
from index.manifest import IndexDamagedError
from index.records import Placed, off_unit
from index.vectors import MappedParts, Part, part_name, write_part

__all__ = ["catalog_problems", "checksum", "compact_part", "size_on_disk", "vector_problems"]


def checksum(rows: np.ndarray) -> int:
    """Return the CRC-32 of the bytes of rows [shape=(n, dim)]."""
    return zlib.crc32(np.ascontiguousarray(rows, dtype="<f4").data)


def compact_part(folder: Path, part: Part, *, catalog: Catalog, parts: MappedParts) -> None:
    """Write a part without its removed rows as a new file and name it in the old one's place.

    It is called inside a write transaction. The old file stays: removing it, once the
    transaction is on disk, is the caller's part.
    """
    places = [place for place in catalog.places() if part.first_row <= place.first_row < part.end_row]
    moves: list[tuple[Placed, int]] = []
    next_row = part.first_row
    for place in places:
        moves.append((place, next_row))
        next_row += place.n_rows
    new = Part(number=catalog.next_part(), first_row=part.first_row, n_rows=next_row - part.first_row)
    if new.n_rows > 0:
        write_part(folder, new.number, (parts.stretch(place.first_row, n_rows=place.n_rows) for place in places))
    catalog.replace_part(part, new, moves)


def catalog_problems(catalog: Catalog) -> list[str]:
    """Check the catalogue inside a read transaction: each row of each part has one owner, and so on.

    Returns:
        What is wrong, one line each.
    """
    owned = [(place.first_row, place.n_rows, printable(place.path)) for place in catalog.places()]
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


def vector_problems(places: Iterable[Placed], *, parts: MappedParts) -> list[str]:
    """Check every vector of some tracks; no transaction is needed, because mapped rows never change.

    Returns:
        What is wrong, one line each.
    """
    problems = []
    for place in places:
        try:
            rows = parts.stretch(place.first_row, n_rows=place.n_rows)
        except IndexDamagedError:
            continue  # told by catalog_problems
        shown = printable(place.path)
        if checksum(rows) != place.checksum:
            problems.append(f"{shown}: its vectors are not those that were written; index this file again")
        elif off_unit(rows) is not None:
            problems.append(f"{shown}: its vectors do not have norm 1; index this file again")
    return problems


def size_on_disk(folder: Path, parts: list[Part], *, names: tuple[str, ...]) -> int:
    """Return the bytes of the part files and of the other files named."""
    return sum(os.stat(folder / name).st_size for name in (*names, *(part_name(part.number) for part in parts)))
