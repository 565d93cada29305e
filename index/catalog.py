"""The catalogue: tracks, their segments and rows, and skipped files, in SQLite; the one source of truth.

A row of a part file exists for searches only once it is named here. Methods of `Catalog` are called inside one of its
transactions, so that several of them see one state.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from index.entries import ENTRY_TABLES, EntryTables, storable
from index.files import FileIdentity, PathLike, printable
from index.manifest import IndexMismatchError, Manifest, beyond_repair
from index.sqlite import Database
from index.vectors import Part

__all__ = ["CATALOG_NAME", "Catalog", "RowRange", "Segment", "Skipped", "Track"]

CATALOG_NAME = "catalog.sqlite3"

_APPLICATION_ID = 0x4561726D  # "Earm"
_SCHEMA_VERSION = 4
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE parts (number INTEGER PRIMARY KEY, first_row INTEGER NOT NULL UNIQUE, n_rows INTEGER NOT NULL);
CREATE TABLE tracks (
    id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    content_hash TEXT NOT NULL, duration_s REAL NOT NULL,
    title TEXT, artist TEXT, album TEXT, genre TEXT, year TEXT, note TEXT, audio_hash TEXT, cue_sheet TEXT,
    declared_s REAL,
    first_row INTEGER NOT NULL UNIQUE, n_rows INTEGER NOT NULL CHECK (n_rows > 0), checksum INTEGER NOT NULL
);
CREATE INDEX tracks_content ON tracks (content_hash);
CREATE INDEX tracks_audio ON tracks (audio_hash);
CREATE TABLE segments (
    row INTEGER PRIMARY KEY, track INTEGER NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL
);
CREATE TABLE removed (first_row INTEGER PRIMARY KEY, n_rows INTEGER NOT NULL);
CREATE TABLE skipped (
    path BLOB PRIMARY KEY, reason TEXT NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    n_tries INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""
_ALL_TABLES = (*_SCHEMA.split(";"), *ENTRY_TABLES)
# What turns a catalogue of a version into one of the next.
_MIGRATIONS = {
    1: ("ALTER TABLE tracks ADD COLUMN note TEXT",),
    2: ("ALTER TABLE skipped ADD COLUMN n_tries INTEGER NOT NULL DEFAULT 0",),
    3: (
        "ALTER TABLE tracks ADD COLUMN audio_hash TEXT",
        "ALTER TABLE tracks ADD COLUMN cue_sheet TEXT",
        "ALTER TABLE tracks ADD COLUMN declared_s REAL",
        "CREATE INDEX tracks_audio ON tracks (audio_hash)",
        *ENTRY_TABLES,
    ),
}
# Statements are literals throughout, so that none is ever glued from data. A reader may not migrate, so it selects by
# the version that it finds.
_SELECT_TRACK = {
    1: """SELECT path, size_bytes, mtime_ns, content_hash, duration_s, title, artist, album, genre, year, NULL,
        NULL, NULL, NULL, id FROM tracks """,
    2: """SELECT path, size_bytes, mtime_ns, content_hash, duration_s, title, artist, album, genre, year, note,
        NULL, NULL, NULL, id FROM tracks """,
    4: """SELECT path, size_bytes, mtime_ns, content_hash, duration_s, title, artist, album, genre, year, note,
        audio_hash, cue_sheet, declared_s, id FROM tracks """,
}
# How many tracks are indexed in part, and how many declare another length than theirs.
_COUNT_FAULTS = {
    1: "SELECT 0, 0",
    2: "SELECT count(note), 0 FROM tracks",
    4: "SELECT count(note), count(declared_s) FROM tracks",
}
_SELECT_TRACK[3] = _SELECT_TRACK[2]
_COUNT_FAULTS[3] = _COUNT_FAULTS[2]
_INSERT_TRACK = """INSERT INTO tracks (path, size_bytes, mtime_ns, content_hash, duration_s, title, artist,
    album, genre, year, note, audio_hash, cue_sheet, declared_s, first_row, n_rows, checksum)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_UPDATE_TRACK = """UPDATE tracks SET path = ?, size_bytes = ?, mtime_ns = ?, content_hash = ?, duration_s = ?,
    title = ?, artist = ?, album = ?, genre = ?, year = ?, note = ?, audio_hash = ?, cue_sheet = ?,
    declared_s = ? WHERE id = ?"""
_SELECT_SKIPPED = {
    2: "SELECT path, reason, size_bytes, mtime_ns, 0 FROM skipped ",
    3: "SELECT path, reason, size_bytes, mtime_ns, n_tries FROM skipped ",
}
_SELECT_SKIPPED[1] = _SELECT_SKIPPED[2]
_SELECT_SKIPPED[4] = _SELECT_SKIPPED[3]
_SELECT_RANGE = "SELECT id, path, first_row, n_rows, checksum FROM tracks "


@dataclass(frozen=True)
class Track:
    """A file, its content and its metadata.

    Attributes:
        path: bytes of `os.fsencode`; a str or Path given is encoded so.
        size_bytes, mtime_ns: of the file when it was read.
        content_hash: hexadecimal digest of its content.
        duration_s: true duration.
        title, artist, album, genre, year: from its tags, None where unknown. Lone surrogates become "?".
        note: why its segments do not cover all of it; None: they do.
        audio_hash: hexadecimal digest of its audio without its tags; None in a record of an older Earmark.
        cue_sheet: the text of the cue sheet in its tags.
        declared_s: the duration that its header declares, where that is wrong by more than 1%.

    Raises:
        ValueError: the duration is negative or not finite.
    """

    path: bytes
    size_bytes: int
    mtime_ns: int
    content_hash: str
    duration_s: float
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    genre: str | None = None
    year: str | None = None
    note: str | None = None
    audio_hash: str | None = None
    cue_sheet: str | None = None
    declared_s: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fsencode(self.path))
        if not (math.isfinite(self.duration_s) and self.duration_s >= 0):
            raise ValueError(
                f"{printable(self.path)}: duration_s must be finite and not negative, not {self.duration_s}"
            )
        for name in ("title", "artist", "album", "genre", "year", "note", "cue_sheet"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else storable(str(value)))

    @property
    def file(self) -> str:
        """The path as str, for `open()`."""
        return os.fsdecode(self.path)


@dataclass(frozen=True)
class Segment:
    """The unit of search: a part of a track, in seconds from the start of the file."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Skipped:
    """A file that could not be indexed.

    Attributes:
        path: bytes of `os.fsencode`.
        reason: why, in one line.
        size_bytes, mtime_ns: of the file when it was tried.
        n_tries: 0 where only another content can help. Otherwise how often it has failed in a row, and the next try may
            succeed.
    """

    path: bytes
    reason: str
    size_bytes: int
    mtime_ns: int
    n_tries: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fsencode(self.path))
        object.__setattr__(self, "reason", storable(" ".join(self.reason.split())))


@dataclass(frozen=True)
class RowRange:
    """The rows of a track, which are consecutive and in one part file.

    Attributes:
        key: of the track in the catalogue.
        path: of the track.
        first_row, n_rows: where its vectors are.
        checksum: CRC-32 of their bytes.
    """

    key: int
    path: bytes
    first_row: int
    n_rows: int
    checksum: int

    @property
    def end_row(self) -> int:
        """One past its last row."""
        return self.first_row + self.n_rows


class Catalog:
    """The catalogue of one index.

    Raises:
        IndexDamagedError: the file is missing, unreadable, or no catalogue.
        IndexMismatchError: it was made by a newer Earmark.
    """

    def __init__(self, folder: Path, *, read_only: bool, create: bool = False) -> None:
        self._folder = folder
        self._version = _SCHEMA_VERSION
        self._database = Database(folder / CATALOG_NAME, read_only=read_only, create=create)

    @classmethod
    def make(cls, folder: Path, manifest: Manifest) -> Catalog:
        """Make an empty catalogue, or take over the empty one of a creation that was cut short."""
        catalog = cls(folder, read_only=False, create=True)
        try:
            with catalog.writing():
                if catalog._sql("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                    for statement in _ALL_TABLES:
                        catalog._sql(statement)
                    catalog._sql(f"PRAGMA application_id = {_APPLICATION_ID}")
                    catalog._sql(f"PRAGMA user_version = {_SCHEMA_VERSION}")
                elif catalog._pragma("application_id") != _APPLICATION_ID or catalog.parts():
                    raise beyond_repair(folder, f"it has a {CATALOG_NAME} in use but no manifest")
                for item in (("encoder", manifest.encoder), ("dim", manifest.dim), ("next_part", 0)):
                    catalog._sql("INSERT OR REPLACE INTO meta VALUES (?, ?)", item)
        except BaseException:
            catalog.close()
            raise
        return catalog

    def require(self, manifest: Manifest) -> None:
        """Check that this is a catalogue, of a known version, of the index that the manifest describes."""
        if self._pragma("application_id") != _APPLICATION_ID:
            raise beyond_repair(self._folder, f"{CATALOG_NAME} is not a catalogue of Earmark")
        version = self._pragma("user_version")
        if version > _SCHEMA_VERSION:
            raise IndexMismatchError(
                f"the index at {printable(self._folder)} has catalogue version {version} and this "
                f"Earmark reads version {_SCHEMA_VERSION}: upgrade Earmark"
            )
        self._version = version
        if (self._meta("encoder"), self._meta("dim")) != (manifest.encoder, manifest.dim):
            raise beyond_repair(self._folder, f"{CATALOG_NAME} and the manifest do not belong together")

    @property
    def is_old(self) -> bool:
        """Whether an older Earmark made the tables; `migrate` brings them up to date."""
        return self._version < _SCHEMA_VERSION

    def migrate(self) -> None:
        """Bring the tables to the current version, one version after the other, in a write transaction."""
        for version in range(self._version, _SCHEMA_VERSION):
            for statement in _MIGRATIONS[version]:
                self._sql(statement)
        self._sql(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        self._version = _SCHEMA_VERSION

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Open a read transaction: all that is read inside belongs to one committed state."""
        with self._database.reading():
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Open a write transaction: on leaving, it is on disk, or after an exception none of it is."""
        with self._database.writing():
            yield

    def state(self) -> tuple[int, int, int]:
        """Return a token that changes whenever the content may have changed."""
        return self._database.state()

    @property
    def identity(self) -> FileIdentity | None:
        """Which file this is the content of."""
        return self._database.identity

    def take_over(self, other: Catalog) -> None:
        """Close the file, and take the open one of another catalogue, which must not be used any more."""
        self._database.close()
        self._database, self._version = other._database, other._version

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # Tracks and skipped files

    def track(self, path: PathLike) -> Track | None:
        """Return the track at a path."""
        row = self._sql(_SELECT_TRACK[self._version] + "WHERE path = ?", (os.fsencode(path),)).fetchone()
        return None if row is None else Track(*row[:-1])

    def tracks(self) -> list[Track]:
        """Return all tracks, by path."""
        return [Track(*row[:-1]) for row in self._sql(_SELECT_TRACK[self._version] + "ORDER BY path")]

    def find_content(self, content_hash: str) -> list[Track]:
        """Return the tracks whose file has this content, by path."""
        sql = _SELECT_TRACK[self._version] + "WHERE content_hash = ? ORDER BY path"
        return [Track(*row[:-1]) for row in self._sql(sql, (content_hash,))]

    def find_audio(self, audio_hash: str) -> list[Track]:
        """Return the tracks with this audio, whatever their tags, by path."""
        if self._version < 4:
            return []
        sql = _SELECT_TRACK[self._version] + "WHERE audio_hash = ? ORDER BY path"
        return [Track(*row[:-1]) for row in self._sql(sql, (audio_hash,))]

    def embedded_sheets(self) -> list[tuple[int, bytes, float, str]]:
        """Return (key, path, duration in seconds, text) of the tracks with a cue sheet in their tags, by path."""
        if self._version < 4:
            return []
        sql = "SELECT id, path, duration_s, cue_sheet FROM tracks WHERE cue_sheet IS NOT NULL ORDER BY path"
        return self._sql(sql).fetchall()

    @property
    def entries(self) -> EntryTables:
        """The entries of cue sheets; call its methods inside a transaction, too."""
        return EntryTables(self.connection, exist=self._version >= 4)

    def skipped(self) -> list[Skipped]:
        """Return all skipped files, by path."""
        return [Skipped(*row) for row in self._sql(_SELECT_SKIPPED[self._version] + "ORDER BY path")]

    def skipped_at(self, path: PathLike) -> Skipped | None:
        """Return the skipped file at a path."""
        row = self._sql(_SELECT_SKIPPED[self._version] + "WHERE path = ?", (os.fsencode(path),)).fetchone()
        return None if row is None else Skipped(*row)

    def segments(self, rows: RowRange) -> list[Segment]:
        """Return the segments of a track, in the order of its rows."""
        sql = "SELECT start_s, end_s FROM segments WHERE row >= ? AND row < ? ORDER BY row"
        return [Segment(*row) for row in self._sql(sql, (rows.first_row, rows.end_row))]

    def row_range(self, path: PathLike) -> RowRange | None:
        """Return the rows of the track at a path."""
        row = self._sql(_SELECT_RANGE + "WHERE path = ?", (os.fsencode(path),)).fetchone()
        return None if row is None else RowRange(*row)

    def row_ranges(self) -> Iterator[RowRange]:
        """Yield the rows of all tracks, by first row."""
        return (RowRange(*row) for row in self._sql(_SELECT_RANGE + "ORDER BY first_row"))

    def row_ranges_after(self, key: int, *, limit: int) -> list[RowRange]:
        """Return the rows of the next tracks after a key, by key; a track keeps its key when its rows move."""
        return [RowRange(*row) for row in self._sql(_SELECT_RANGE + "WHERE id > ? ORDER BY id LIMIT ?", (key, limit))]

    def upsert(self, track: Track, *, spans: np.ndarray, first_row: int, checksum: int) -> None:
        """Insert a track with its rows, in the place of the track or skipped file at its path.

        Args:
            spans: start and end of each segment [shape=(n, 2)], seconds.
            first_row: its first row; the others follow.
            checksum: CRC-32 of the bytes of its rows.
        """
        self.delete(track.path)
        cursor = self._sql(_INSERT_TRACK, (*astuple(track), first_row, len(spans), checksum))
        rows = ((first_row + i, cursor.lastrowid, start, end) for i, (start, end) in enumerate(spans.tolist()))
        self.connection.executemany("INSERT INTO segments VALUES (?, ?, ?, ?)", rows)

    def update(self, path: PathLike, track: Track) -> bool:
        """Replace all but the rows of the track at a path, its path too; return False if none is there."""
        rows = self.row_range(path)
        if rows is None:
            return False
        if track.path != rows.path:
            self.delete(track.path)
            self.entries.forget(rows.key)
        self._sql("DELETE FROM skipped WHERE path = ?", (track.path,))
        if track.cue_sheet is None:
            self.entries.set_embedded(rows.key, ())
        self._sql(_UPDATE_TRACK, (*astuple(track), rows.key))
        return True

    def delete(self, path: PathLike) -> bool:
        """Delete the track or the skipped file at a path; return False if there is none."""
        n_skipped = self._sql("DELETE FROM skipped WHERE path = ?", (os.fsencode(path),)).rowcount
        rows = self.row_range(path)
        if rows is None:
            return n_skipped > 0
        self._sql("DELETE FROM segments WHERE row >= ? AND row < ?", (rows.first_row, rows.end_row))
        self.entries.forget(rows.key)
        self._sql("DELETE FROM tracks WHERE id = ?", (rows.key,))
        self._sql("INSERT INTO removed VALUES (?, ?)", (rows.first_row, rows.n_rows))
        return True

    def skip(self, skipped: Skipped) -> None:
        """Insert a file that cannot be indexed; in the place of the track at its path, unless another try may help."""
        if not skipped.n_tries:
            self.delete(skipped.path)
        self._sql("INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?, ?)", astuple(skipped))

    # Rows

    def parts(self) -> list[Part]:
        """Return the part files, by first row."""
        return [Part(*row) for row in self._sql("SELECT number, first_row, n_rows FROM parts ORDER BY first_row")]

    def extent(self) -> tuple[int, int]:
        """Return how many rows the tracks have, and the largest key of a track."""
        sql = "SELECT coalesce(sum(n_rows), 0), coalesce(max(id), 0) FROM tracks"
        extent: tuple[int, int] = self._sql(sql).fetchone()
        return extent

    def removed(self) -> list[tuple[int, int]]:
        """Return the stretches of rows that no track owns, as (first_row, n_rows), by first row."""
        return self._sql("SELECT first_row, n_rows FROM removed ORDER BY first_row").fetchall()

    def next_part(self) -> int:
        """Return a number that no part file has had; it is used up by `set_part`."""
        return int(str(self._meta("next_part")))

    def set_part(self, part: Part) -> None:
        """Name a part file, or its new number of rows."""
        self._sql("INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", (part.number, part.first_row, part.n_rows))
        self._sql("UPDATE meta SET value = max(value, ?) WHERE name = 'next_part'", (part.number + 1,))

    def replace_part(self, old: Part, new: Part, moves: Iterable[tuple[RowRange, int]]) -> None:
        """Name the compacted copy of a part file in its rows.

        Args:
            old, new: the part files; a new one without rows is not named.
            moves: each track of the old part, by row, with its first row in the new one.
        """
        for old_range, first_row in moves:
            # Through negative numbers, so that no row meets another one that has not moved yet.
            sql = "UPDATE segments SET row = ? - row WHERE row >= ? AND row < ?"
            shift = old_range.first_row - first_row
            self._sql(sql, (shift - 1, old_range.first_row, old_range.end_row))
            self._sql("UPDATE tracks SET first_row = ? WHERE id = ?", (first_row, old_range.key))
        self._sql("UPDATE segments SET row = -1 - row WHERE row < 0")
        stretch = (old.first_row, old.first_row + old.n_rows)
        self._sql("DELETE FROM removed WHERE first_row >= ? AND first_row < ?", stretch)
        self._sql("DELETE FROM parts WHERE number = ?", (old.number,))
        if new.n_rows > 0:
            self.set_part(new)

    def owner_of(self, row: int) -> RowRange | None:
        """Return the rows of the track that owns a row, or None."""
        found = self._sql(_SELECT_RANGE + "WHERE first_row <= ? ORDER BY first_row DESC LIMIT 1", (row,)).fetchone()
        owner = None if found is None else RowRange(*found)
        return owner if owner is not None and row < owner.end_row else None

    def segments_at(self, rows: list[int]) -> dict[int, Segment]:
        """Return row -> segment."""
        sql = "SELECT row, start_s, end_s FROM segments WHERE row IN (SELECT value FROM json_each(?))"
        return {row: Segment(start_s, end_s) for row, start_s, end_s in self._sql(sql, (json.dumps(rows),))}

    def tracks_of(self, keys: list[int]) -> dict[int, Track]:
        """Return key -> track."""
        where = "WHERE id IN (SELECT value FROM json_each(?))"
        found = self._sql(_SELECT_TRACK[self._version] + where, (json.dumps(keys),))
        return {row[-1]: Track(*row[:-1]) for row in found}

    def totals(self) -> tuple[int, int, int, int, int, int, float]:
        """Return totals of the index.

        Returns:
            The numbers of tracks, of partial and misdeclared ones, of segments, skipped files and removed rows, and the
            total duration in seconds.
        """
        sql = """SELECT (SELECT count(*) FROM tracks), (SELECT count(*) FROM segments),
                 (SELECT count(*) FROM skipped),
                 (SELECT coalesce(sum(n_rows), 0) FROM removed), (SELECT total(duration_s) FROM tracks)"""
        n_tracks, *others = self._sql(sql).fetchone()
        n_partial, n_misdeclared = self._sql(_COUNT_FAULTS[self._version]).fetchone()
        totals: tuple[int, int, int, int, int, int, float] = (n_tracks, n_partial, n_misdeclared, *others)
        return totals

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection in use, for checks and repairs of the tables inside a transaction. Do not keep it."""
        return self._database.connection

    def _sql(self, statement: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        return self.connection.execute(statement, parameters)

    def _pragma(self, name: str) -> int:
        return int(self._sql(f"PRAGMA {name}").fetchone()[0])

    def _meta(self, name: str) -> object:
        row = self._sql("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]
