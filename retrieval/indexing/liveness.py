"""Whether a process that keeps its parent waiting hangs, is stopped, or only waits for a slow disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

__all__ = ["Activity", "Patience", "Verdict", "activity_of"]

_STOPPED = frozenset("Tt")
_WAITS_FOR_DISK = "D"
_LEAST_BYTES = 4096  # within the limit: from a disk that delivers less, a file would take days
_READ = re.compile(rb"^rchar: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Activity:
    """A process at one moment.

    Attributes:
        is_stopped: it was stopped (SIGSTOP, a debugger).
        waits_for_disk: it is in a system call that a disk has not answered.
        read_bytes: how much it has read since its start, of files and pipes; None where the system does not tell.
    """

    is_stopped: bool = False
    waits_for_disk: bool = False
    read_bytes: int | None = None


def activity_of(pid: int) -> Activity | None:
    """Return what a process is doing; None where the system has no /proc, or the process is gone."""
    folder = Path("/proc") / str(pid)
    try:
        state = (folder / "stat").read_bytes().rpartition(b")")[2].split()[0].decode("ascii")
    except (OSError, IndexError):
        return None
    try:
        read = _READ.search((folder / "io").read_bytes())
    except OSError:
        read = None
    return Activity(state in _STOPPED, state == _WAITS_FOR_DISK, None if read is None else int(read[1]))


class Verdict(Enum):
    """Why a process has kept its parent waiting for too long."""

    HANGS = 1
    STOPPED = 2
    DISK = 3


class Patience:
    """The wait for one message of a process after the other.

    The caller passes the time in ticks, and caps them: a suspended computer or a parent that was stopped itself makes
    one tick long, and that time is not held against the process.
    """

    def __init__(self, look: Callable[[], Activity | None]) -> None:
        """Start with no message awaited. `look` returns what the process is doing."""
        self._look = look
        self._message: int | None = None
        self._waited_s = 0.0
        self._first: Activity | None = None
        self._last: Activity | None = None

    def tick(self, message: int | None, *, elapsed_s: float, limit_s: float, most_bytes: int) -> Verdict | None:
        """Count a tick; return a verdict once the process has used up its time.

        Args:
            message: the number of the message that the parent waits for; None if it waits for none.
            elapsed_s: how long the tick took.
            limit_s: how long a process that reads nothing may take for a message.
            most_bytes: how much it may read for one message. A process that reads is behind a slow disk; one that reads
                more than this goes round in circles.
        """
        if message is None or message != self._message:
            self._message, self._waited_s = message, 0.0
            self._first = self._last = None
            return None
        if self._first is None:
            self._first = self._last = self._look()
        self._waited_s += elapsed_s
        if self._waited_s <= limit_s:
            return None
        seen = self._look()
        if seen is None:
            return Verdict.HANGS
        if seen.is_stopped:
            return Verdict.STOPPED
        n_read = _read_between(self._last, seen)
        if n_read and _read_between(self._first, seen) > most_bytes:
            return Verdict.HANGS
        if n_read >= _LEAST_BYTES:
            self._waited_s, self._last = 0.0, seen
            return None
        return Verdict.DISK if n_read or seen.waits_for_disk else Verdict.HANGS


def _read_between(before: Activity | None, after: Activity) -> int:
    if before is None or before.read_bytes is None or after.read_bytes is None:
        return 0
    return after.read_bytes - before.read_bytes
