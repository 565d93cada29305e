"""One writer at a time: a lock on a file, which the system drops however its process ends."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from index.files import printable

__all__ = ["LOCK_NAME", "IndexBusyError", "WriterLock"]

LOCK_NAME = "writer.lock"

_LOCKED_OFFSET = 1 << 30  # far past the text; earlier versions lock the same byte

# POSIX record locks do not hold between two openings by one process, so those are refused here. Keyed by
# folder; the value is the process that holds it, because a forked child inherits this table and not the
# lock.
_held_here: dict[str, int] = {}
_held_guard = threading.Lock()


class IndexBusyError(RuntimeError):
    """Another process, or another object here, has the index open for writing; the message names it."""


class WriterLock:
    """The right to write to an index, from construction to `release()`.

    Raises:
        IndexBusyError: another process or object has it. Nothing on disk is altered then.
        OSError: the lock file cannot be written (for example in a read-only folder).
    """

    def __init__(self, folder: Path) -> None:
        self._key = os.path.realpath(folder)
        with _held_guard:
            if _held_here.get(self._key) == os.getpid():
                raise IndexBusyError(_busy(folder, f"process {os.getpid()}, which is this one"))
            self._descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if not _lock(self._descriptor):
                    holder = os.read(self._descriptor, 200).decode("utf-8", "replace").strip()
                    raise IndexBusyError(_busy(folder, printable(holder) or "another process"))
                import socket  # here, because readers do not need it and it is slow to import

                os.ftruncate(self._descriptor, 0)
                os.write(self._descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            except BaseException:
                os.close(self._descriptor)  # this also drops the lock
                raise
            _held_here[self._key] = os.getpid()
        self._held = True

    def release(self) -> None:
        """Release the lock. Safe to repeat."""
        if not self._held:
            return
        self._held = False
        with _held_guard:
            if _held_here.get(self._key) == os.getpid():  # not so in a forked child, which never had the lock
                del _held_here[self._key]
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)  # this also drops the lock


def _busy(folder: Path, holder: str) -> str:
    return f"the index at {printable(folder)} is being written by {holder}: wait until it has ended, or stop it"


def _lock(descriptor: int) -> bool:
    """Lock without waiting; return False when another process has the lock."""
    try:
        # lockf, not flock: a forked decode worker that outlives its parent must not keep the lock.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCKED_OFFSET)
    except (BlockingIOError, PermissionError):
        return False
    return True
