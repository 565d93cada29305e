"""Check that the tables of the catalogue agree, so that each row has one owner and one segment; make them agree."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from index.catalog import Catalog, RowRange
from index.files import printable
from index.vectors import Part, part_name

__all__ = ["catalog_problems", "make_consistent", "table_faults"]


def catalog_problems(catalog: Catalog) -> list[str]:
    """Check the catalogue; call it inside a transaction.

    Returns:
        One line a problem.
    """
    faults = table_faults(catalog)
    return faults or _table_problems(catalog) + _row_problems(catalog)


def table_faults(catalog: Catalog) -> list[str]:
    """Return what SQLite finds wrong with its own structures, one line each; call it inside a transaction."""
    rows = catalog.connection.execute("PRAGMA main.integrity_check(10)")
    return [" ".join(str(row[0]).split()) for row in rows if row[0] != "ok"]


def make_consistent(catalog: Catalog) -> list[str]:
    """Make the tables agree, where the structures of SQLite are sound; call it inside a write transaction.

    The records of tracks and segments are kept where they agree; the list of removed rows is made again from them. A
    track whose records contradict others is taken out: its file is then new to the next build.

    Returns:
        One line for each track that was taken out.
    """
    sql = catalog.connection.execute
    parts = catalog.parts()
    kept, spoiled = _sorted_out(catalog, parts)
    for rows in spoiled:
        catalog.entries.forget(rows.key)
        sql("DELETE FROM tracks WHERE id = ?", (rows.key,))
    sql(
        """DELETE FROM segments WHERE NOT EXISTS (SELECT 1 FROM tracks AS t WHERE t.id = segments.track
           AND segments.row >= t.first_row AND segments.row < t.first_row + t.n_rows)"""
    )
    sql("DELETE FROM removed")
    catalog.connection.executemany("INSERT INTO removed VALUES (?, ?)", _gaps(kept, parts))
    return [f"{printable(rows.path)}: its record was damaged; the next build adds the file again" for rows in spoiled]


def _sorted_out(catalog: Catalog, parts: list[Part]) -> tuple[list[RowRange], list[RowRange]]:
    """Return the tracks whose records agree with each other, by first row, and the others."""
    sql = """SELECT count(*) FROM segments WHERE track = ? AND row >= ? AND row < ?
             AND start_s >= 0 AND end_s > start_s"""
    kept: list[RowRange] = []
    spoiled: list[RowRange] = []
    for rows in list(catalog.row_ranges()):
        (n_segments,) = catalog.connection.execute(sql, (rows.key, rows.first_row, rows.end_row)).fetchone()
        is_apart = not kept or rows.first_row >= kept[-1].end_row
        is_in_part = any(part.first_row <= rows.first_row and rows.end_row <= part.end_row for part in parts)
        (kept if n_segments == rows.n_rows > 0 and is_apart and is_in_part else spoiled).append(rows)
    return kept, spoiled


def _gaps(tracks: list[RowRange], parts: list[Part]) -> list[tuple[int, int]]:
    """Return the stretches of rows (first row, number of rows) of the parts that no track has."""
    gaps = []
    position = 0
    for part in parts:
        row = part.first_row
        while position < len(tracks) and tracks[position].first_row < part.end_row:
            if tracks[position].first_row > row:
                gaps.append((row, tracks[position].first_row - row))
            row = tracks[position].end_row
            position += 1
        if row < part.end_row:
            gaps.append((row, part.end_row - row))
    return gaps


def _table_problems(catalog: Catalog) -> list[str]:
    sql = catalog.connection.execute
    counted = sql(
        """SELECT path, n_rows, (SELECT count(*) FROM segments AS s WHERE s.track = t.id
           AND s.row >= t.first_row AND s.row < t.first_row + t.n_rows) AS n
           FROM tracks AS t WHERE n != n_rows"""
    )
    found = [f"{printable(path)} has {n} of {n_rows} segments" for path, n_rows, n in counted]
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
