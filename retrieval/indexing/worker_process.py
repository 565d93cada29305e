"""One decoding process as its parent sees it: started, asked, read, killed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

from retrieval.indexing.worker import HEADER, Kind

__all__ = ["WorkerDiedError", "WorkerProcess", "WorkerStartError"]

# -I: neither the current folder (a music folder may hold a numpy.py) nor PYTHON* variables; the parent's own
# search path is handed over instead. Unlike multiprocessing, this asks no `if __name__ == "__main__"` of the
# calling program.
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import retrieval.indexing.worker as w; w.main()"

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class WorkerStartError(RuntimeError):
    """The decoding process does not start; the message ends with what it printed."""


class WorkerDiedError(RuntimeError):
    """The process ended within a request.

    Attributes:
        transient: it was killed from outside, so the file may not be the cause.
    """

    def __init__(self, reason: str, *, transient: bool) -> None:
        super().__init__(reason)
        self.transient = transient


class WorkerProcess:
    """A process that runs `retrieval.indexing.worker`; used by one thread, except `kill` and `waiting_s`."""

    def __init__(self) -> None:
        self.ready = False
        self._kill_reason = ""
        self._waiting_since: float | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOT, json.dumps([str(place) for place in sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD},
            # Ctrl-C reaches every process of the terminal's group: only the parent is to answer it.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0)
            | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._kill_lock = threading.Lock()

    def wait_ready(self) -> None:
        """Waits for the first sign of life.

        Raises:
            WorkerStartError: the process ended before it.
        """
        try:
            self.answer()
            self.ready = True
        except WorkerDiedError as death:
            printed = b"" if self._process.stderr is None else self._process.stderr.read()
            said = printed.decode("utf-8", "replace").strip().splitlines()[-1:] or [str(death)]
            raise WorkerStartError(f"a decoding process does not start: {said[0]}") from None

    def ask(self, do: str, path: str, *, sample_rate_hz: int = 0, chunk_s: float = 0.0) -> None:
        """Sends a request: `hash`, or `decode` into chunks of a rate and a length."""
        assert self._process.stdin is not None
        try:
            request = {"do": do, "path": path, "sample_rate_hz": sample_rate_hz, "chunk_s": chunk_s}
            self._process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._death() from error

    def answer(self) -> tuple[Kind, memoryview]:
        """The next message: its kind and payload.

        Raises:
            WorkerDiedError: the process has ended.
        """
        while True:
            self._waiting_since = time.monotonic()
            try:
                kind, n_bytes = HEADER.unpack(self._read(HEADER.size))
                payload = self._read(n_bytes)
            finally:
                self._waiting_since = None
            if kind != Kind.ALIVE:
                return Kind(kind), payload

    def waiting_s(self) -> float:
        """For how long the parent has been waiting for a message; 0.0 if it is not."""
        since = self._waiting_since
        return 0.0 if since is None else time.monotonic() - since

    def kill(self, reason: str) -> None:
        """Ends the process at once; `reason` is what its reader is told."""
        with self._kill_lock:
            self._kill_reason = self._kill_reason or reason
            self._process.kill()

    def close(self) -> None:
        """Ends the process and frees what it held. Safe to repeat."""
        self.kill("closed")
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):  # a request that was never read
                    stream.close()

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
        if self._kill_reason:
            return WorkerDiedError(self._kill_reason, transient=False)
        if status in (-9, -15):
            return WorkerDiedError(f"the decoding process was killed (signal {-status})", transient=True)
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return WorkerDiedError(f"the decoder crashed ({how})", transient=False)
