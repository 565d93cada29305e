"""Cue sheets of an index: which were read, and the entries that they give to tracks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from index.catalog import Catalog
from index.entries import Entry, Sheet
from index.files import PathLike, printable

__all__ = ["CueSheets", "EmbeddedSheet"]


@dataclass(frozen=True)
class EmbeddedSheet:
    """The cue sheet in the tags of a track, and the entries that the index has of it."""

    path: bytes
    duration_s: float
    text: str
    entries: tuple[Entry, ...]


class CueSheets:
    """What an index knows of cue sheets; `VectorIndex.cue_sheets`. Each method is one transaction."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        reading: Callable[[], AbstractContextManager[None]],
        writing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._catalog = catalog
        self._reading = reading
        self._writing = writing

    def entries(self, path: PathLike) -> list[Entry]:
        """Return the entries of the track at a path by start, [] if it has none; KeyError if no track is there."""
        with self._reading():
            key = self._key(path)
            return self._catalog.entries.of([key]).get(key, [])

    def count(self) -> int:
        """Return the number of entries of all tracks."""
        with self._reading():
            return self._catalog.entries.count()

    def sheets(self) -> list[Sheet]:
        """Return the sheets that were read, by path; those in the tags of files are not among them."""
        with self._reading():
            return self._catalog.entries.sheets()

    def unused(self) -> list[tuple[bytes, bytes, bytes]]:
        """Return (sheet, file, the sheet used instead) where several sheets divide one file: the first by name is."""
        with self._reading():
            return self._catalog.entries.unused()

    def embedded(self) -> list[EmbeddedSheet]:
        """Return the sheets in the tags of tracks, by path."""
        with self._reading():
            entries = self._catalog.entries.embedded()
            return [
                EmbeddedSheet(path, duration_s, text, tuple(entries.get(key, ())))
                for key, path, duration_s, text in self._catalog.embedded_sheets()
            ]

    def set_sheet(self, sheet: Sheet, entries: Mapping[bytes, Sequence[Entry]]) -> None:
        """Record a sheet and its entries, by the path of the track, in the place of what it said before.

        Raises:
            KeyError: no track is at a path.
        """
        with self._writing():
            self._catalog.entries.set_sheet(sheet, {self._key(path): found for path, found in entries.items()})

    def set_embedded(self, path: PathLike, entries: Sequence[Entry]) -> None:
        """Record the entries of the sheet in the tags of a track; KeyError if no track is there."""
        with self._writing():
            self._catalog.entries.set_embedded(self._key(path), entries)

    def remove_sheet(self, path: PathLike) -> None:
        """Remove a sheet and its entries."""
        with self._writing():
            self._catalog.entries.remove_sheet(path)

    def _key(self, path: PathLike) -> int:
        rows = self._catalog.row_range(os.fsencode(path))
        if rows is None:
            raise KeyError(printable(path))
        return rows.key
