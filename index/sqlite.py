"""The SQLite file of the catalogue: opening, locking, recovery, and errors that say what to do.

The rollback journal is used, not write-ahead logging: a reader of a WAL database creates files beside it, so
that an index in a read-only folder could not be opened. Readers therefore hold a shared lock for the length
of one search at most.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from index.files import FileIdentity, history_of, identity_of, printable
from index.manifest import beyond_repair, damaged

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

__all__ = ["Database"]

_LOCK_WAIT_S = 30.0
_COPY_TRIES = 10
_FileState = tuple[int, int, int]


class Database:
    """One connection to a SQLite file, with read and write transactions as context managers.

    A reader alters nothing on disk, not even after a writer was killed in the middle of a commit: the journal it left
    is then rolled back in a private copy, which is used until a writer has repaired the original.
    """

    def __init__(self, path: Path, *, read_only: bool, create: bool = False) -> None:
        self._path = path
        self._journal = path.with_name(path.name + "-journal")
        self._read_only = read_only
        self._copy_folder: TemporaryDirectory[str] | None = None
        self._copied_journal: _FileState | None = None
        self._n_connections = 0
        self._identity: FileIdentity | None = None
        if not create and not path.is_file():
            raise beyond_repair(path.parent, f"{path.name} is missing")
        with self._translated_errors():
            self._connection = self._connect_in_place("ro" if read_only else "rwc" if create else "rw")

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection in use. Do not keep it: a reader may have to change it."""
        return self._connection

    @property
    def identity(self) -> FileIdentity | None:
        """Which file the connection is of, or the private copy was made of, whatever is at its path now."""
        return self._identity

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Open a read transaction: all that is read inside belongs to one committed state; it may be nested."""
        nested = self._connection.in_transaction
        if nested:
            yield self._connection
            return
        with self._translated_errors():
            self._begin_reading()
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction: on leaving, it is on disk, or after an exception none of it is."""
        with self._translated_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def state(self) -> tuple[int, int, int]:
        """Return a token that changes whenever the content may have changed; call it inside a transaction."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return self._n_connections, version, self._connection.total_changes

    def close(self) -> None:
        """Close the connection and drop the private copy, if there is one."""
        self._connection.close()
        if self._copy_folder is not None:
            self._copy_folder.cleanup()
            self._copy_folder = None

    def _connect_in_place(self, mode: str) -> sqlite3.Connection:
        """Connect to the file at the path, and note which file that is."""
        for n_more in reversed(range(_COPY_TRIES)):
            before, history = identity_of(self._path), history_of(self._path.parent)
            connection = self._connect(self._path, mode)  # which opens the file
            self._identity = identity_of(self._path)
            if mode == "rwc" or (self._identity == before and history == history_of(self._path.parent)):
                return connection
            if self._identity == before and not n_more:  # a busy writer makes and removes its journal all the time
                return connection
            connection.close()
        raise TimeoutError(f"{printable(self._path)} keeps changing: try again later")

    def _connect(self, path: Path, mode: str) -> sqlite3.Connection:
        # Every use is under the lock of the VectorIndex, so threads may share the connection.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_LOCK_WAIT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        self._n_connections += 1
        # EXTRA also syncs the folder when the journal is removed: without it a power cut may undo the last
        # commit.
        connection.execute("PRAGMA query_only = ON" if self._read_only else "PRAGMA synchronous = EXTRA")
        connection.execute("PRAGMA fullfsync = ON")  # macOS only: see `index.files.fsync_file`
        return connection

    def _begin_reading(self) -> None:
        if self._copy_folder is not None and _state_of(self._journal) != self._copied_journal:
            self._reconnect()  # a writer has been there since the copy was made
        for _ in range(_COPY_TRIES):
            self._connection.execute("BEGIN")
            try:
                self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
                return
            except sqlite3.OperationalError as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                # "attempt to write a readonly database": a killed writer's journal must be rolled back first.
                if not self._read_only or "readonly" not in str(error):
                    raise
            self._recover_in_copy()
        raise TimeoutError(f"{printable(self._path)} keeps changing: try again when its writer has ended")

    def _recover_in_copy(self) -> None:
        # Here, because a search seldom needs them and they are slow to import.
        import shutil
        import tempfile

        journal = _state_of(self._journal)
        before, copied = _state_of(self._path), identity_of(self._path)
        folder = tempfile.TemporaryDirectory(prefix="earmark-")
        copy = Path(folder.name, self._path.name)
        try:
            shutil.copyfile(self._path, copy)
            shutil.copyfile(self._journal, copy.with_name(self._journal.name))
        except FileNotFoundError:
            journal = None  # a writer has rolled it back in the meantime
        if journal is None or journal != _state_of(self._journal) or before != _state_of(self._path):
            folder.cleanup()
            self._reconnect()
            return
        self.close()
        self._connection = self._connect(copy, "rw")
        self._copy_folder, self._copied_journal = folder, journal
        self._identity = copied

    def _reconnect(self) -> None:
        self.close()
        self._connection = self._connect_in_place("ro")

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.DatabaseError) -> Exception:
        shown, reason = printable(self._path), " ".join(str(error).split())
        if isinstance(error, sqlite3.OperationalError):
            if "locked" in reason:
                return TimeoutError(
                    f"{shown} has been locked by another process for {_LOCK_WAIT_S:.0f} s: try again later"
                )
            if "full" in reason:
                return OSError(errno.ENOSPC, f"no space left for {shown}: free some and run the same command again")
            if "disk I/O" in reason:
                return OSError(errno.EIO, f"{shown} cannot be read or written: {reason}")
            if ("readonly" in reason or "unable to open" in reason) and self._path.is_file():
                return PermissionError(f"{shown} cannot be opened: {reason}; check the rights on it and its folder")
        fault = damaged if "malformed" in reason else beyond_repair
        return fault(self._path.parent, f"{self._path.name}: {reason}")


def _state_of(path: Path) -> _FileState | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
