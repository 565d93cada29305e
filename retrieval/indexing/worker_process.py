"""The parent's end of one decoding process: requests, answers, and what ended it.

A process that ends within a request may have been ended by its file (a damaged header crashes a decoder) or from
outside (an operator, the system's memory killer, a disk that does not answer). They are told apart here, because only
the first is a property of the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from enum import Enum

from retrieval.indexing.decode_worker import HEADER, Kind
from retrieval.indexing.liveness import Patience, Verdict, activity_of
from retrieval.library.scan import AudioFile

__all__ = ["Cause", "WorkerDiedError", "WorkerProcess", "WorkerStartError"]

_START_S = 60.0  # how long a process may take to start, at least

# What a decoder gets by its own fault. Every other signal is sent: by an operator, the system's memory killer, a
# closing session.
_CRASHES = frozenset(
    getattr(signal, name)
    for name in ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")
    if hasattr(signal, name)
)
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

_MOST_READINGS = 8  # of a file, for one message
_READING_MARGIN_BYTES = 64 << 20  # libraries that are loaded when they are needed


class WorkerStartError(RuntimeError):
    """The decoding process does not start; the message ends with what it printed."""


class Cause(Enum):
    """What ended a process."""

    CRASH = 1  # a signal of its own fault, or an exit
    HANG = 2  # it was killed here, because it neither answered nor read
    OUTSIDE = 3  # it was killed or stopped by someone, or left without data by the disk


class WorkerDiedError(RuntimeError):
    """The process ended within a request; `cause` says by what."""

    def __init__(self, reason: str, cause: Cause) -> None:
        super().__init__(reason)
        self.cause = cause


class WorkerProcess:
    """One decoding process; used by one thread, except `kill` and `tick`.

    Attributes:
        reached_s: the end of the last chunk that came for the request, seconds; None before the first. The user of the
            process sets it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        """Start the process.

        Raises:
            WorkerStartError: the system does not start it.
        """
        self.reached_s: float | None = None
        self._file: AudioFile | None = None
        self._is_hashing = False
        self._ready = False
        self._n_messages = 0
        self._is_waiting = False
        self._killed: WorkerDiedError | None = None
        self._kill_lock = threading.Lock()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **_ONE_THREAD},
                start_new_session=True,  # Ctrl-C reaches every process of the terminal's group: the parent handles it
            )
        except OSError as error:
            raise WorkerStartError(f"a decoding process does not start: {error}") from error
        pid = self._process.pid
        self._patience = Patience(lambda: activity_of(pid))

    def wait_ready(self) -> None:
        """Wait for the first sign of life.

        Raises:
            WorkerDiedError: the process was killed or stopped from outside before it.
            WorkerStartError: it ended by itself.
        """
        try:
            self.answer()
            self._ready = True
        except WorkerDiedError as death:
            if death.cause == Cause.OUTSIDE:
                raise
            printed = b"" if self._process.stderr is None else self._process.stderr.read()
            last = printed.decode("utf-8", "replace").strip().splitlines()[-1:] or [str(death)]
            raise WorkerStartError(f"a decoding process does not start: {last[0]}") from None

    def request_hash(self, file: AudioFile) -> None:
        """Ask for the hashes of a file: of its content, and of its audio."""
        self._request(file, {"do": "hash"})

    def request_tags(self, file: AudioFile, *, encoding: str | None) -> None:
        """Ask for the metadata of a file, whose undeclared texts have an encoding (None: guess it)."""
        self._request(file, {"do": "tags", "encoding": encoding})

    def request_chunks(self, file: AudioFile, *, sample_rate_hz: int, chunk_s: float) -> None:
        """Ask for the chunks of a file, of a rate and a length."""
        self._request(file, {"do": "decode", "sample_rate_hz": sample_rate_hz, "chunk_s": chunk_s})

    def answer(self) -> tuple[Kind, memoryview]:
        """Return the next message: its kind and payload.

        Raises:
            WorkerDiedError: the process has ended.
        """
        while True:
            self._n_messages += 1
            self._is_waiting = True
            try:
                kind, n_bytes = HEADER.unpack(self._read(HEADER.size))
                payload = self._read(n_bytes)
            finally:
                self._is_waiting = False
            if kind != Kind.ALIVE:
                return Kind(kind), payload

    def tick(self, elapsed_s: float, *, stall_s: float) -> None:
        """Count time in which the parent ran; kill the process if it has kept it waiting for more than `stall_s`."""
        limit_s = stall_s if self._ready else max(stall_s, _START_S)
        size_bytes = self._file.size_bytes if self._file else 0
        verdict = self._patience.tick(
            self._n_messages if self._is_waiting else None,
            elapsed_s=elapsed_s,
            limit_s=limit_s,
            most_bytes=_MOST_READINGS * size_bytes + _READING_MARGIN_BYTES,
        )
        if verdict and not self._ready:
            self.kill(f"nothing came from it for {limit_s:g} s", Cause.OUTSIDE)
        elif verdict == Verdict.STOPPED:
            self.kill(f"the decoding process was stopped for {limit_s:g} s", Cause.OUTSIDE)
        elif verdict == Verdict.DISK or (verdict == Verdict.HANGS and self._is_hashing):
            # A hash only reads: whatever keeps it waiting is not the content.
            self.kill(f"the disk did not deliver the file for {limit_s:g} s", Cause.OUTSIDE)
        elif verdict == Verdict.HANGS:
            self.kill(f"the decoder hangs ({self._place()}): nothing came from it for {limit_s:g} s", Cause.HANG)

    def kill(self, reason: str, cause: Cause) -> None:
        """End the process at once; whoever reads from it gets the reason."""
        with self._kill_lock:
            self._killed = self._killed or WorkerDiedError(reason, cause)
            self._process.kill()

    def close(self) -> None:
        """End the process and free what it held. Safe to repeat."""
        self.kill("closed", Cause.OUTSIDE)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):  # a request that was never read
                    stream.close()

    def _request(self, file: AudioFile, request: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._file, self._is_hashing, self.reached_s = file, request["do"] == "hash", None
        try:
            self._process.stdin.write(json.dumps({**request, "path": file.path}).encode("ascii") + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._death() from error

    def _read(self, n_bytes: int) -> memoryview:
        assert self._process.stdout is not None
        buffer = memoryview(bytearray(n_bytes))
        n_read = 0
        while n_read < n_bytes:
            n_new = self._process.stdout.readinto(buffer[n_read:])  # type: ignore[attr-defined]
            if not n_new:
                raise self._death()
            n_read += n_new
        return buffer

    def _death(self) -> WorkerDiedError:
        status = self._process.wait()
        if self._killed is not None:
            return self._killed
        how = _signal_name(-status) if status < 0 else f"exit status {status}"
        if status < 0 and -status not in _CRASHES:
            return WorkerDiedError(f"the decoding process was killed ({how})", Cause.OUTSIDE)
        if not self._ready:
            return WorkerDiedError(f"it ended ({how})", Cause.CRASH)
        return WorkerDiedError(f"the file is damaged ({self._place()}) (decoder: {how})", Cause.CRASH)

    def _place(self) -> str:
        return "header" if self.reached_s is None else f"at {self.reached_s:.0f} s"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
