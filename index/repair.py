"""Mend the files of an index, so that it can be opened; what their vectors were is found out afterwards.

Nothing here knows the music. The tables of the catalogue are made to agree (`index.consistency`). A part file that is
missing or cut short gets zeros in the place of what it has lost: the tracks concerned then fail their checksum as any
damaged track does, keep their record, and can be embedded again.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from index.catalog import CATALOG_NAME, Catalog
from index.consistency import catalog_problems, make_consistent
from index.files import PathLike, fsync_file, fsync_folder
from index.lock import WriterLock
from index.manifest import IndexDamagedError, Manifest, beyond_repair, read_manifest
from index.vectors import Part, part_name

__all__ = ["mend_files"]

# What is copied from a damaged catalogue: table -> which of its records; None: the table is dispensable.
_TABLES = {
    "parts": "typeof(first_row) = 'integer' AND typeof(n_rows) = 'integer' AND n_rows > 0",
    "tracks": """typeof(path) = 'blob' AND typeof(content_hash) = 'text' AND typeof(duration_s) = 'real'
                 AND typeof(first_row) = 'integer' AND typeof(n_rows) = 'integer' AND typeof(checksum) = 'integer'""",
    "segments": "typeof(start_s) = 'real' AND typeof(end_s) = 'real'",
    "skipped": None,
    "sheets": None,
    "entries": None,
}


def mend_files(path: PathLike) -> list[str]:
    """Mend the files of an index. Whoever interrupts it can run it again.

    Args:
        path: the folder.

    Returns:
        What was done, one line each; empty if nothing was wrong.

    Raises:
        IndexMissingError: no index is there.
        IndexMismatchError: a newer Earmark made it.
        IndexDamagedError: what is left does not suffice; the message says so and what to do.
        IndexBusyError: another process is writing.
    """
    folder = Path(os.fsdecode(path))
    manifest = read_manifest(folder)
    lock = WriterLock(folder)
    try:
        done, parts = _mend_catalog(folder, manifest)
        done += [_extend(folder, part, dim=manifest.dim) for part in parts]
    finally:
        lock.release()
    return [line for line in done if line]


def _mend_catalog(folder: Path, manifest: Manifest) -> tuple[list[str], list[Part]]:
    """Make the catalogue sound; return what was done, and the part files."""
    try:
        catalog = Catalog(folder, read_only=False)
        try:
            with catalog.reading():
                catalog.require(manifest)
            parts = _parts_if_sound(catalog)
            if parts is not None:
                return [], parts
            done = [f"{CATALOG_NAME} was damaged: it was made again from its records"]
            with tempfile.TemporaryDirectory(prefix="repair-", dir=folder) as made:
                lost = _make_again(folder / CATALOG_NAME, Path(made), manifest)
                os.replace(Path(made, CATALOG_NAME), folder / CATALOG_NAME)
                fsync_folder(folder)
        finally:
            catalog.close()
        with closing(Catalog(folder, read_only=True)) as catalog, catalog.reading():
            return done + lost, catalog.parts()
    except IndexDamagedError as error:
        raise beyond_repair(folder, error.reason) from error
    except (sqlite3.IntegrityError, TypeError) as error:
        raise beyond_repair(folder, f"the records in {CATALOG_NAME} are not what was written ({error})") from error


def _parts_if_sound(catalog: Catalog) -> list[Part] | None:
    """Return the part files; None if something is wrong with the catalogue."""
    try:
        with catalog.reading():
            return None if catalog_problems(catalog) else catalog.parts()
    except (IndexDamagedError, TypeError):
        return None


def _make_again(damaged: Path, made: Path, manifest: Manifest) -> list[str]:
    """Make a catalogue in an empty folder from the records of a damaged one.

    Only tables are read, not the search trees beside them. Of skipped files and cue sheets, what cannot be read is left
    out: the next build finds it again.

    Returns:
        One line for each thing that was left out.
    """
    with closing(Catalog.make(made, manifest)) as catalog:
        sql = catalog.connection.execute
        sql("ATTACH ? AS damaged", (f"{damaged.absolute().as_uri()}?mode=ro",))
        # First, because a transaction in which a table could not be read cannot be committed.
        unread = {table for table, needed in _TABLES.items() if needed is None and not _is_readable(catalog, table)}
        with catalog.writing():
            for table, needed in _TABLES.items():
                old = {row[1] for row in sql(f"PRAGMA damaged.table_info({table})")}  # of an older Earmark, perhaps
                columns = ", ".join(row[1] for row in sql(f"PRAGMA main.table_info({table})") if row[1] in old)
                if columns and table not in unread:
                    source = f"SELECT {columns} FROM damaged.{table} NOT INDEXED WHERE {needed or 'true'}"  # noqa: S608
                    sql(f"INSERT OR IGNORE INTO main.{table} ({columns}) {source}")
            sql(
                """UPDATE meta SET value = max((SELECT coalesce(max(number), -1) + 1 FROM main.parts),
                   (SELECT CAST(value AS INTEGER) FROM damaged.meta WHERE name = 'next_part'))
                   WHERE name = 'next_part'"""
            )
            left_out = [
                f"{CATALOG_NAME}: its table of {table} is lost; the next build makes it again" for table in unread
            ]
            left_out += make_consistent(catalog)
            problems = catalog_problems(catalog)
            if problems:
                raise beyond_repair(damaged.parent, f"{CATALOG_NAME}: {problems[0]}")
        sql("DETACH damaged")
    return left_out


def _is_readable(catalog: Catalog, table: str) -> bool:
    """Return whether SQLite can read all records of a table of the damaged catalogue."""
    try:
        for _ in catalog.connection.execute(f"SELECT * FROM damaged.{table} NOT INDEXED"):  # noqa: S608
            pass
    except sqlite3.DatabaseError:
        return False
    return True


def _extend(folder: Path, part: Part, *, dim: int) -> str:
    """Give a part file the size that the catalogue says; return what was done, "" if it had it."""
    path = folder / part_name(part.number)
    needed = part.n_rows * dim * 4
    was_there = path.exists()
    size = path.stat().st_size if was_there else 0
    if was_there and size >= needed:
        return ""
    with open(path, "ab") as file:
        file.truncate(needed)  # the file system keeps no blocks of zeros
        fsync_file(file.fileno())
    if not was_there:
        fsync_folder(folder)
    n_lost = part.n_rows - size // (dim * 4)
    return f"{path.name} {'was cut short' if was_there else 'was missing'}: the vectors of {n_lost} segments are lost"
