"""The files of one index, opened together: manifest, catalogue, mapped part files and the writer's lock.

Transactions, and the state of the catalogue that the part files are mapped for, are handled here; what is read and
written in them is the matter of `index.vector_index`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from index.catalog import Catalog, RowRange
from index.files import fsync_folder, printable
from index.lock import WriterLock
from index.manifest import IndexMissingError, Manifest, read_manifest, write_manifest
from index.vectors import MappedParts, check_parts, remove_leftovers

__all__ = ["Store"]


class Store:
    """The open files of an index; `create` or `open` makes one. Threads may share it: transactions exclude each other.

    Attributes:
        path: the folder.
        manifest: which encoder made the index.
        catalog: to be used inside `reading` or `writing`.
        parts: mapped by `refresh`.
        read_only: whether writing is refused.
        guard: held during each transaction.
    """

    def __init__(self, path: Path, *, manifest: Manifest, catalog: Catalog, lock: WriterLock | None) -> None:
        self.path = path
        self.manifest = manifest
        self.catalog = catalog
        self.parts = MappedParts(path, dim=manifest.dim)
        self.read_only = lock is None
        self.guard = threading.RLock()
        self._lock = lock
        self._state: tuple[int, int, int] | None = None
        self._sound: dict[RowRange, bool] = {}  # tracks whose rows were checked in this state
        self._closed = False

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> Store:
        """Make an empty index and open it for writing; `VectorIndex.create` says what it raises."""
        _require_vacant(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = WriterLock(folder)
        try:
            _require_vacant(folder)
            catalog = Catalog.make(folder, manifest)
            try:
                write_manifest(folder, manifest)
                fsync_folder(folder.absolute().parent)
            except BaseException:
                catalog.close()
                raise
        except BaseException:
            lock.release()
            raise
        return cls(folder, manifest=manifest, catalog=catalog, lock=lock)

    @classmethod
    def open(cls, folder: Path, *, encoder: str | None, read_only: bool) -> Store:
        """Open an index; `VectorIndex.open` says what it raises."""
        manifest = read_manifest(folder)
        manifest.require_encoder(encoder, path=folder)
        catalog = _open_catalog(folder, manifest, read_only=True)
        if read_only:
            return cls(folder, manifest=manifest, catalog=catalog, lock=None)
        catalog.close()
        lock = WriterLock(folder)
        try:
            catalog = _open_catalog(folder, manifest, read_only=False)
            if catalog.is_old:
                with catalog.writing():
                    catalog.migrate()
            with catalog.reading():
                remove_leftovers(folder, catalog.parts(), dim=manifest.dim)
        except BaseException:
            lock.release()
            raise
        return cls(folder, manifest=manifest, catalog=catalog, lock=lock)

    def close(self) -> None:
        """Close the files and give up the right to write. Safe to repeat."""
        with self.guard:
            if self._closed:
                return
            self._closed = True
            self.parts.clear()
            self.catalog.close()
            if self._lock is not None:
                self._lock.release()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Open a read transaction; it may be nested."""
        with self.guard:
            self._require_open()
            with self.catalog.reading():
                yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Open a write transaction."""
        with self.guard:
            self._require_open()
            if self.read_only:
                raise PermissionError(
                    f"the index at {printable(self.path)} is open read-only: open it with read_only=False"
                )
            with self.catalog.writing():
                yield

    def refresh(self) -> None:
        """Map the rows that the catalogue names now; inside a transaction."""
        parts = self.catalog.parts()
        # Every time: reading a memory-mapped file past its end kills the process.
        check_parts(self.path, parts, dim=self.manifest.dim)
        state = self.catalog.state()
        if state != self._state:
            self.parts.refresh(parts, removed=self.catalog.removed())
            self._sound = {}
            self._state = state

    def is_sound(self, rows: RowRange) -> bool:
        """Return whether the rows of a track are those that were written; after `refresh`, in its transaction.

        The rows are read once in each state of the catalogue.
        """
        if rows not in self._sound:
            fault = self.parts.fault_in(rows.first_row, n_rows=rows.n_rows, expected=rows.checksum)
            self._sound[rows] = fault is None
        return self._sound[rows]

    def known_damaged(self) -> list[bytes]:
        """Return the paths of the tracks for which `is_sound` was false since the catalogue last changed, sorted."""
        with self.guard:
            return sorted(rows.path for rows, is_sound in self._sound.items() if not is_sound)

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"the index at {printable(self.path)} is closed")


def _open_catalog(folder: Path, manifest: Manifest, *, read_only: bool) -> Catalog:
    """Open the catalogue, having checked that it and the part files fit together."""
    catalog = Catalog(folder, read_only=read_only)
    try:
        with catalog.reading():
            catalog.require(manifest)
            check_parts(folder, catalog.parts(), dim=manifest.dim)
    except BaseException:
        catalog.close()
        raise
    return catalog


def _require_vacant(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{printable(folder)} is a file: give the folder of an index, or a new name")
    try:
        read_manifest(folder)
    except IndexMissingError:
        return
    raise FileExistsError(f"an index is already at {printable(folder)}: open it, or remove that folder first")
