"""Whether the tables of the catalogue agree with each other: each row of each part has one owner and one segment."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from index.catalog import Catalog
from index.files import printable
from index.vectors import part_name

__all__ = ["catalog_problems"]


def catalog_problems(catalog: Catalog) -> list[str]:
    """Check the catalogue; call it inside a transaction.

    Returns:
        One line a problem.
    """
    return _table_problems(catalog) + _row_problems(catalog)


def _table_problems(catalog: Catalog) -> list[str]:
    sql = catalog.connection.execute
    found = [str(row[0]) for row in sql("PRAGMA integrity_check(10)") if row[0] != "ok"]
    counted = sql(
        """SELECT path, n_rows, (SELECT count(*) FROM segments AS s WHERE s.track = t.id
           AND s.row >= t.first_row AND s.row < t.first_row + t.n_rows) AS n
           FROM tracks AS t WHERE n != n_rows"""
    )
    found += [f"{printable(path)} has {n} of {n_rows} segments" for path, n_rows, n in counted]
    n_segments, n_owned = sql("SELECT (SELECT count(*) FROM segments), (SELECT total(n_rows) FROM tracks)").fetchone()
    if n_segments > n_owned:
        found.append(f"{n_segments - int(n_owned)} segments belong to no track")
    (n_bad,) = sql("SELECT count(*) FROM segments WHERE NOT (start_s >= 0 AND end_s > start_s)").fetchone()
    return found + ([f"{n_bad} segments have no valid start and end"] if n_bad else [])


def _row_problems(catalog: Catalog) -> list[str]:
    problems = []
    owned = _owners(catalog)
    current = next(owned, None)
    for part in catalog.parts():
        row = part.first_row
        while current is not None and current[0] < part.end_row:
            first_row, n_rows, owner = current
            if first_row != row:
                problems.append(f"{_shown(owner)}: begins at row {first_row}, where row {row} was expected")
            row = first_row + n_rows
            current = next(owned, None)
        if row != part.end_row:
            problems.append(f"{part_name(part.number)}: its tracks end at row {row} and it ends at row {part.end_row}")
    while current is not None:
        problems.append(f"{_shown(current[2])}: rows from {current[0]} lie in no part file")
        current = next(owned, None)
    return problems


def _owners(catalog: Catalog) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield what owns rows, by first row: (first row, number of rows, path of its track; None: removed rows)."""
    tracks = ((rows.first_row, rows.n_rows, rows.path) for rows in catalog.row_ranges())
    removed = ((first_row, n_rows, None) for first_row, n_rows in catalog.removed())
    return heapq.merge(tracks, removed, key=lambda owner: owner[0])


def _shown(owner: bytes | None) -> str:
    return "a removed stretch" if owner is None else printable(owner)
