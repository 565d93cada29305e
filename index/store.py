"""The files of one index, opened together: manifest, catalogue, mapped part files and the writer's lock.

Transactions, the state of the catalogue that the part files are mapped for, and the replacement of the whole folder are
handled here; what is read and written in them is the matter of `index.vector_index`.

An index is replaced by renaming folders, by changing a symbolic link, or by removing it and building it again. The
catalogue that is open then differs from the one at its path. A reader looks at that when a transaction begins, opens
the new files, and looks again when the rows are mapped: catalogue and rows are of one index. What looks damaged while
files are being exchanged is looked at again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from index.catalog import CATALOG_NAME, Catalog, RowRange
from index.consistency import table_faults
from index.files import fsync_folder, history_of, identity_of, printable
from index.lock import WriterLock
from index.manifest import (
    IndexDamagedError,
    IndexMissingError,
    IndexReplacedError,
    Manifest,
    damaged,
    read_manifest,
    replaced,
    write_manifest,
)
from index.vectors import MappedParts, check_parts, remove_leftovers

__all__ = ["Store"]

_T = TypeVar("_T")
# For so long a folder must be as it was before a fault in it is one; for so long a reader waits for a new index.
_SETTLED_S = 0.1
_REPLACED_WITHIN_S = 1.0
_POLLED_S = 0.005


class _Exchanged(IndexReplacedError):
    """Another index has taken the place of one that was just being opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(replaced(folder)))


class Store:
    """The open files of an index; `create` or `open` makes one. Threads may share it: transactions exclude each other.

    Attributes:
        path: the folder.
        manifest: which encoder made the index.
        catalog: to be used inside `reading` or `writing`.
        descriptor: of the folder that the catalogue is in, whatever is at its path now.
        parts: mapped by `refresh`.
        read_only: whether writing is refused.
        guard: held during each transaction.
        n_replaced: how often another index has taken the place of the open one.
    """

    def __init__(self, path: Path, *, manifest: Manifest, catalog: Catalog, lock: WriterLock | None) -> None:
        self.path = path
        self.manifest = manifest
        self.catalog = catalog
        self.descriptor = _open_folder(path, catalog)
        self.parts = MappedParts(path, dim=manifest.dim, descriptor=self.descriptor)
        self.read_only = lock is None
        self.guard = threading.RLock()
        self.n_replaced = 0
        self._lock = lock
        self._identity = catalog.identity
        self._is_reading = False
        self._state: tuple[object, ...] | None = None
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

        def open_to_read() -> Store:
            manifest = read_manifest(folder)
            manifest.require_encoder(encoder, path=folder)
            return cls(folder, manifest=manifest, catalog=_open_catalog(folder, manifest, read_only=True), lock=None)

        store = _once_settled(folder, open_to_read)
        if read_only:
            return store
        manifest = store.manifest
        store.close()
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
            os.close(self.descriptor)
            if self._lock is not None:
                self._lock.release()

    @contextmanager
    def reading(self, *, rows: bool = False) -> Iterator[None]:
        """Open a read transaction; it may be nested.

        Args:
            rows: map the rows that the catalogue names now.

        Raises:
            IndexReplacedError: another index, which this one cannot follow, or none, is at the path.
        """
        with self.guard:
            self._require_open()
            if self._is_reading:
                if rows:
                    self.refresh()
                    self.require_in_place()
                yield
                return
            with ExitStack() as transaction:
                self._begin(transaction, rows=rows)
                self._is_reading = True
                try:
                    yield
                except (TypeError, ValueError) as error:
                    self._blame_catalog(error)
                    raise
                finally:
                    self._is_reading = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Open a write transaction."""
        with self.guard:
            self._require_open()
            if self.read_only:
                raise PermissionError(
                    f"the index at {printable(self.path)} is open read-only: open it with read_only=False"
                )
            self.require_in_place()
            try:
                with self.catalog.writing():
                    yield
                    self.require_in_place()
            except (OSError, IndexDamagedError) as error:
                if self._is_in_place():
                    raise
                raise replaced(self.path) from error

    def require_in_place(self) -> None:
        """Raise IndexReplacedError if the open catalogue is not the one that is at its path now."""
        if not self._is_in_place():
            raise replaced(self.path)

    def refresh(self) -> None:
        """Map the rows that the catalogue names now; inside a transaction."""
        parts = self.catalog.parts()
        # Every time: reading a memory-mapped file past its end kills the process.
        files = self.parts.check(parts)
        state = (*self.catalog.state(), *files)
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

    def _begin(self, transaction: ExitStack, *, rows: bool) -> None:
        """Begin a read transaction in the index that is at the path."""
        began_s = time.monotonic()
        while True:
            before = history_of(self.path)
            try:
                self._follow()
                transaction.enter_context(self.catalog.reading())
                if rows:
                    self.refresh()
                if self._is_in_place():
                    return
                fault: Exception = replaced(self.path)
            except (IndexDamagedError, OSError, _Exchanged) as error:
                fault = error
            transaction.close()
            is_late = time.monotonic() > began_s + _REPLACED_WITHIN_S
            if self._is_in_place():
                if is_late or _is_settled(self.path, before):
                    raise fault
            elif is_late:
                raise replaced(self.path) from fault
            time.sleep(_POLLED_S)

    def _blame_catalog(self, error: Exception) -> None:
        """Raise IndexDamagedError if an error comes from records that are not what was written."""
        if isinstance(error, IndexDamagedError):
            return
        faults = table_faults(self.catalog)
        if faults:
            raise damaged(self.path, f"{CATALOG_NAME}: {faults[0]}") from error

    def _is_in_place(self) -> bool:
        return self.catalog.identity == self._identity == identity_of(self.path / CATALOG_NAME)

    def _follow(self) -> None:
        """Open the files of the index that has taken the place of the open one, if there is one."""
        if self._is_in_place():
            return
        if not self.read_only:
            raise replaced(self.path)
        manifest = read_manifest(self.path)
        if (manifest.encoder, manifest.dim) != (self.manifest.encoder, self.manifest.dim):
            raise replaced(self.path, f"by one that model {manifest.encoder_name} made")
        catalog = _open_catalog(self.path, manifest, read_only=True)
        descriptor = _open_folder(self.path, catalog)
        self.parts.clear()
        os.close(self.descriptor)
        self.catalog.take_over(catalog)
        self.descriptor = descriptor
        self.parts = MappedParts(self.path, dim=manifest.dim, descriptor=descriptor)
        self._sound, self._state = {}, None
        self.manifest, self._identity = manifest, self.catalog.identity
        self.n_replaced += 1

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"the index at {printable(self.path)} is closed")


def _once_settled(folder: Path, attempt: Callable[[], _T]) -> _T:
    """Return the result of an attempt; repeat it if it finds damage while the folder is being replaced."""
    began_s = time.monotonic()
    while True:
        before = history_of(folder)
        try:
            return attempt()
        except IndexMissingError:
            raise
        except (IndexDamagedError, OSError, _Exchanged):
            if time.monotonic() > began_s + _REPLACED_WITHIN_S or _is_settled(folder, before):
                raise


def _is_settled(folder: Path, before: tuple[object, ...]) -> bool:
    """Wait a moment; return whether nothing has happened to a folder since its history was noted."""
    until_s = time.monotonic() + _SETTLED_S
    while history_of(folder) == before:
        if time.monotonic() > until_s:
            return True
        time.sleep(_POLLED_S)
    return False


def _open_folder(folder: Path, catalog: Catalog) -> int:
    """Return a descriptor of the folder that an open catalogue is in; close the catalogue if it has gone from there."""
    try:
        descriptor = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
        if identity_of(CATALOG_NAME, folder=descriptor) == catalog.identity:
            return descriptor
        os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        pass
    catalog.close()
    raise _Exchanged(folder)


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
