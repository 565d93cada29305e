"""Entries of cue sheets: the parts of a file that are tracks of their own, and the sheets that name them.

An entry has no vectors: its segments are those rows of the file whose middle lies in it (`stretches`).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from index.files import PathLike

__all__ = ["EMBEDDED", "ENTRY_TABLES", "Entry", "EntryTables", "Sheet", "storable", "stretches"]

EMBEDDED = b""
"""The path of the sheet that lies in the tags of the file itself."""

ENTRY_TABLES = (
    """CREATE TABLE sheets (
        path BLOB PRIMARY KEY, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, problem TEXT
    ) WITHOUT ROWID""",
    """CREATE TABLE entries (
        track INTEGER NOT NULL, sheet BLOB NOT NULL, number INTEGER NOT NULL, start_s REAL NOT NULL,
        end_s REAL NOT NULL, title TEXT, artist TEXT, album TEXT, PRIMARY KEY (track, sheet, number)
    ) WITHOUT ROWID""",
    "CREATE INDEX entries_sheet ON entries (sheet)",
)


@dataclass(frozen=True)
class Entry:
    """A part of a file that a cue sheet names.

    Attributes:
        number: as the sheet has it.
        start_s, end_s: seconds from the start of the file.
        title, artist, album: None where the sheet has none.
    """

    number: int
    start_s: float
    end_s: float
    title: str | None = None
    artist: str | None = None
    album: str | None = None

    def __post_init__(self) -> None:
        for name in ("title", "artist", "album"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else storable(value))


@dataclass(frozen=True)
class Sheet:
    """A cue sheet as it was read: its file, size and time, and what is wrong with it in one line, or None."""

    path: bytes
    size_bytes: int
    mtime_ns: int
    problem: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fsencode(self.path))
        if self.problem is not None:
            object.__setattr__(self, "problem", storable(" ".join(self.problem.split())))


def storable(text: str) -> str:
    """Return a text that UTF-8 can hold: lone surrogates become "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def stretches(entries: Sequence[Entry], middles_s: np.ndarray) -> list[tuple[Entry | None, int, int]]:
    """Divide the segments of a file among its entries.

    Args:
        entries: by start.
        middles_s: of the segments, ascending [shape=(n,)], seconds.

    Returns:
        (entry, first segment, end segment) for each stretch that has segments, in order; None where no entry is.
    """
    edges = [0]
    owners: list[Entry | None] = []
    for entry in entries:
        first, end = np.searchsorted(middles_s, (entry.start_s, entry.end_s)).tolist()
        first = max(first, edges[-1])
        if first > edges[-1]:
            owners.append(None)
            edges.append(first)
        if end > first:
            owners.append(entry)
            edges.append(end)
    if edges[-1] < len(middles_s):
        owners.append(None)
        edges.append(len(middles_s))
    return [(owner, *span) for owner, span in zip(owners, pairwise(edges), strict=True)]


class EntryTables:
    """The tables of sheets and entries in the catalogue; an older catalogue has none, and then there are none."""

    def __init__(self, connection: sqlite3.Connection, *, exist: bool) -> None:
        self._connection = connection
        self._exist = exist

    def exist(self) -> bool:
        """Return whether any file has entries."""
        return self._exist and self._connection.execute("SELECT 1 FROM entries LIMIT 1").fetchone() is not None

    def of(self, keys: Iterable[int]) -> dict[int, list[Entry]]:
        """Return track key -> entries by start; those of a sheet beside the file go before those in its tags."""
        if not self._exist:
            return {}
        sql = """SELECT track, sheet, number, start_s, end_s, title, artist, album FROM entries
            WHERE track IN (SELECT value FROM json_each(?)) ORDER BY track, sheet = x'', sheet, start_s, number"""
        found: dict[int, tuple[bytes, list[Entry]]] = {}
        for key, sheet, *values in self._connection.execute(sql, (json.dumps(sorted(keys)),)):
            chosen, entries = found.setdefault(key, (sheet, []))
            if sheet == chosen:
                entries.append(Entry(*values))
        return {key: entries for key, (_, entries) in found.items()}

    def embedded(self) -> dict[int, list[Entry]]:
        """Return track key -> the entries that the file's own tags give it, by start."""
        if not self._exist:
            return {}
        sql = """SELECT track, number, start_s, end_s, title, artist, album FROM entries
            WHERE sheet = x'' ORDER BY track, start_s, number"""
        found: dict[int, list[Entry]] = {}
        for key, *values in self._connection.execute(sql):
            found.setdefault(key, []).append(Entry(*values))
        return found

    def unused(self) -> list[tuple[bytes, bytes, bytes]]:
        """Return (sheet, file, the sheet that is used instead) where several sheets beside it divide one file."""
        if not self._exist:
            return []
        sql = """SELECT DISTINCT sheet, path, (SELECT min(sheet) FROM entries WHERE track = e.track AND sheet != x'')
            AS used FROM entries AS e JOIN tracks AS t ON t.id = track WHERE sheet != x'' AND sheet != used
            ORDER BY sheet, path"""
        return self._connection.execute(sql).fetchall()

    def count(self) -> int:
        """Return the number of entries of all files, those of the chosen sheets only."""
        if not self._exist:
            return 0
        keys = [key for (key,) in self._connection.execute("SELECT DISTINCT track FROM entries")]
        return sum(map(len, self.of(keys).values()))

    def sheets(self) -> list[Sheet]:
        """Return the sheets that were read, by path."""
        if not self._exist:
            return []
        sql = "SELECT path, size_bytes, mtime_ns, problem FROM sheets ORDER BY path"
        return [Sheet(*row) for row in self._connection.execute(sql)]

    def set_sheet(self, sheet: Sheet, entries: Mapping[int, Sequence[Entry]]) -> None:
        """Replace a sheet and all that it says; `entries` are by track key."""
        self.remove_sheet(sheet.path)
        row = (sheet.path, sheet.size_bytes, sheet.mtime_ns, sheet.problem)
        self._connection.execute("INSERT INTO sheets VALUES (?, ?, ?, ?)", row)
        for key, of_track in entries.items():
            self._insert(key, sheet.path, of_track)

    def set_embedded(self, key: int, entries: Sequence[Entry]) -> None:
        """Replace the entries that the tags of a file give it."""
        self._connection.execute("DELETE FROM entries WHERE track = ? AND sheet = x''", (key,))
        self._insert(key, EMBEDDED, entries)

    def remove_sheet(self, path: PathLike) -> None:
        """Remove a sheet and its entries, if it is there."""
        self._connection.execute("DELETE FROM entries WHERE sheet = ?", (os.fsencode(path),))
        self._connection.execute("DELETE FROM sheets WHERE path = ?", (os.fsencode(path),))

    def forget(self, key: int) -> None:
        """Remove the entries of a track, and forget that the sheets that gave them were read, so that they will be."""
        if self._exist:
            sql = "DELETE FROM sheets WHERE path IN (SELECT sheet FROM entries WHERE track = ?)"
            self._connection.execute(sql, (key,))
            self._connection.execute("DELETE FROM entries WHERE track = ?", (key,))

    def _insert(self, key: int, sheet: bytes, entries: Sequence[Entry]) -> None:
        rows = ((key, sheet, e.number, e.start_s, e.end_s, e.title, e.artist, e.album) for e in entries)
        self._connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
