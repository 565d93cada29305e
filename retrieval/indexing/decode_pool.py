"""Decodes files in processes of their own and hands their chunks over in one bounded stream.

Each process has a thread here (a lane) that sends it one request after the other by the protocol described in
`retrieval.indexing.decode_worker` and puts the answers into a queue of limited length. Where the model is slower, the
queue fills, the lanes wait, the pipes fill, and the decoders wait too: memory stays the same however long files are.

Why not `pebble.ProcessPool`: its timeout counts from the start of a task, so a file of three hours and a stalled
decoder look alike; a task gives one result at its end, not chunks while it runs; and results are pickled, not raw
samples.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.indexing.decode_worker import HEADER, SPAN, Kind
from retrieval.library.scan import AudioFile

__all__ = ["Begun", "Chunk", "DecodePool", "Event", "Failed", "Finished", "Hashed", "Restarted", "WorkerStartError"]

_TICK_S = 0.25
_START_S = 60.0

# -I: neither the current folder (a music folder may hold a numpy.py) nor PYTHON* variables; the parent's own search
# path is passed instead. Unlike multiprocessing, this needs no `if __name__ == "__main__"` in the calling program.
_WORKER_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import retrieval.indexing.decode_worker as w; w.main()"
)

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

# Signals that come from outside: an operator, the system's memory killer, a closing session. A decoder that crashes
# gets others (SIGSEGV, SIGABRT, SIGBUS ...).
_SENT_SIGNALS = frozenset((signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


@dataclass(frozen=True)
class Hashed:
    """The content of a file has been hashed. Answer with `DecodePool.decode` or `DecodePool.leave`."""

    file: AudioFile
    content_hash: str


@dataclass(frozen=True)
class Begun:
    """Decoding starts; `expected_s` is the duration that the header declares or suggests, or None."""

    file: AudioFile
    content_hash: str
    expected_s: float | None


@dataclass(frozen=True)
class Chunk:
    """One chunk: its samples [shape=(chunk_samples,)] float32 and its span in seconds."""

    file: AudioFile
    samples: np.ndarray
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Finished:
    """Every chunk of the file has been handed over; `note` says why they do not cover all of it (None: they do)."""

    file: AudioFile
    duration_s: float
    metadata: dict[str, str | None]
    note: str | None


@dataclass(frozen=True)
class Restarted:
    """The process stalled or was killed from outside; the file will be tried once more. Discard its chunks."""

    file: AudioFile
    reason: str


@dataclass(frozen=True)
class Failed:
    """The file cannot be decoded; discard its chunks. `transient`: another build may succeed with the same file."""

    file: AudioFile
    reason: str
    transient: bool


Event = Hashed | Begun | Chunk | Finished | Restarted | Failed


class WorkerStartError(RuntimeError):
    """The decoding process does not start; the message ends with what it printed."""


class DecodePool:
    """Decoding processes for a list of files; a context manager, which leaves no process behind."""

    def __init__(
        self,
        files: Sequence[AudioFile],
        *,
        n_workers: int,
        n_waiting: int,
        stall_s: float,
        sample_rate_hz: int,
        chunk_s: float,
        worker_command: Sequence[str] | None = None,
    ) -> None:
        """Start the processes.

        Args:
            files: what to hash, in this order, and to decode where `decode` asks for it.
            n_workers: how many processes at most.
            n_waiting: how many events, hence chunks, may wait to be taken.
            stall_s: a process that sends nothing for so many seconds is killed.
            sample_rate_hz, chunk_s: form of the chunks.
            worker_command: what starts a process; None: this Python with `retrieval.indexing.decode_worker`.
        """
        self._sample_rate_hz, self._chunk_s = sample_rate_hz, chunk_s
        self._command = tuple(
            worker_command or (sys.executable, "-I", "-c", _WORKER_CODE, json.dumps([str(place) for place in sys.path]))
        )
        self._stall_s = stall_s
        self._to_hash = deque(files)
        self._to_decode: deque[Hashed] = deque()
        self._restarted: set[AudioFile] = set()
        self._n_open = 0  # files that were taken from `_to_hash` and are not done
        self._jobs_changed = threading.Condition()
        self._stopped = threading.Event()
        self._events: queue.Queue[Event | Exception | None] = queue.Queue(max(1, n_waiting))
        self._workers: dict[int, _WorkerProcess] = {}
        self._lanes = [
            threading.Thread(target=self._lane, args=(number,), name=f"decode-{number}", daemon=True)
            for number in range(max(1, min(n_workers, len(files))))
        ]
        for lane in self._lanes:
            lane.start()

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def events(self) -> Iterator[Event | None]:
        """Yield every event until all files are done; None whenever nothing came for a quarter of a second.

        Events of one file come in order; those of several files are mixed.

        Raises:
            WorkerStartError: decoding processes cannot be started on this machine.
        """
        n_running = len(self._lanes)
        while n_running:
            self._kill_stalled()
            try:
                event = self._events.get(timeout=_TICK_S)
            except queue.Empty:
                yield None
                continue
            if event is None:
                n_running -= 1
            elif isinstance(event, Exception):
                raise event
            else:
                yield event

    def decode(self, hashed: Hashed) -> None:
        """Decode a file that was hashed."""
        with self._jobs_changed:
            self._to_decode.append(hashed)
            self._jobs_changed.notify()

    def leave(self, hashed: Hashed) -> None:
        """Do not decode a file that was hashed."""
        self._done()

    def close(self) -> None:
        """End the processes and threads; events that were not taken are lost."""
        self._stopped.set()
        with self._jobs_changed:
            self._jobs_changed.notify_all()
        for worker in list(self._workers.values()):
            worker.kill("stopped", transient=True)
        for lane in self._lanes:
            lane.join()

    def _kill_stalled(self) -> None:
        for worker in list(self._workers.values()):
            limit_s = self._stall_s if worker.ready else max(self._stall_s, _START_S)
            if worker.waiting_s() > limit_s:
                worker.kill(f"the decoder stalled: nothing came from it for {limit_s:g} s", transient=True)

    def _put(self, event: Event | Exception | None) -> None:
        while not self._stopped.is_set():
            try:
                self._events.put(event, timeout=_TICK_S)
                return
            except queue.Full:
                continue

    def _next_job(self) -> AudioFile | Hashed | None:
        """Return a file to decode (these go first, so that few wait), one to hash, or None once all are done."""
        with self._jobs_changed:
            while not self._stopped.is_set():
                if self._to_decode:
                    return self._to_decode.popleft()
                if self._to_hash:
                    self._n_open += 1
                    return self._to_hash.popleft()
                if not self._n_open:
                    return None
                self._jobs_changed.wait()
        return None

    def _done(self, *, again: AudioFile | None = None) -> None:
        with self._jobs_changed:
            self._n_open -= 1
            if again is not None:
                self._to_hash.append(again)
            self._jobs_changed.notify_all()

    def _lane(self, number: int) -> None:
        worker: _WorkerProcess | None = None
        try:
            while (job := self._next_job()) is not None:
                try:
                    worker = worker or self._start(number)
                    if isinstance(job, AudioFile):
                        self._hash(worker, job)
                    else:
                        self._decode(worker, job)
                except _WorkerDiedError as death:
                    self._report_death(job if isinstance(job, AudioFile) else job.file, death)
                    self._end(number)
                    worker = None
        except Exception as error:  # of starting a process: whoever takes the events must see it
            self._put(error)
        finally:
            self._end(number)
            self._put(None)

    def _report_death(self, file: AudioFile, death: _WorkerDiedError) -> None:
        if death.transient and file not in self._restarted:
            self._restarted.add(file)
            self._put(Restarted(file, str(death)))
            self._done(again=file)
        else:
            self._put(Failed(file, str(death) + (", twice" if death.transient else ""), death.transient))
            self._done()

    def _start(self, number: int) -> _WorkerProcess:
        try:
            worker = self._workers[number] = _WorkerProcess(self._command)
        except OSError as error:
            raise WorkerStartError(f"a decoding process does not start: {error}") from error
        if self._stopped.is_set():  # closed between the two lines above, perhaps before this worker was seen
            worker.kill("stopped", transient=True)
        worker.wait_ready()
        return worker

    def _end(self, number: int) -> None:
        worker = self._workers.pop(number, None)
        if worker is not None:
            worker.close()

    def _hash(self, worker: _WorkerProcess, file: AudioFile) -> None:
        worker.request("hash", file.path)
        kind, payload = worker.answer()
        if kind == Kind.HASH:
            self._put(Hashed(file, bytes(payload).decode("ascii")))
        else:
            self._fail(file, payload)

    def _decode(self, worker: _WorkerProcess, job: Hashed) -> None:
        file = job.file
        worker.request("decode", file.path, sample_rate_hz=self._sample_rate_hz, chunk_s=self._chunk_s)
        kind, payload = worker.answer()
        if kind == Kind.BEGIN:
            self._put(Begun(file, job.content_hash, json.loads(bytes(payload))["expected_s"]))
            kind, payload = worker.answer()
        while kind == Kind.CHUNK and not self._stopped.is_set():
            start_s, end_s = SPAN.unpack_from(payload)
            samples = np.frombuffer(payload, dtype="<f4", offset=SPAN.size)
            self._put(Chunk(file, samples, start_s, end_s))
            kind, payload = worker.answer()
        if kind == Kind.END:
            self._put(Finished(file, **json.loads(bytes(payload))))
            self._done()
        elif kind == Kind.ERROR:
            self._fail(file, payload)

    def _fail(self, file: AudioFile, payload: memoryview) -> None:
        self._put(Failed(file, **json.loads(bytes(payload))))
        self._done()


class _WorkerDiedError(RuntimeError):
    """The process ended within a request.

    Attributes:
        transient: it stalled or was killed from outside, so the file may not be the cause.
    """

    def __init__(self, reason: str, *, transient: bool) -> None:
        super().__init__(reason)
        self.transient = transient


class _WorkerProcess:
    """The parent's end of one decoding process; used by one thread, except `kill` and `waiting_s`."""

    def __init__(self, command: Sequence[str]) -> None:
        self.ready = False
        self._killed: _WorkerDiedError | None = None
        self._waiting_since: float | None = None
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD},
            start_new_session=True,  # Ctrl-C reaches every process of the terminal's group: only the parent handles it
        )
        self._kill_lock = threading.Lock()

    def wait_ready(self) -> None:
        """Wait for the first sign of life.

        Raises:
            WorkerStartError: the process ended before it.
        """
        try:
            self.answer()
            self.ready = True
        except _WorkerDiedError as death:
            printed = b"" if self._process.stderr is None else self._process.stderr.read()
            last = printed.decode("utf-8", "replace").strip().splitlines()[-1:] or [str(death)]
            raise WorkerStartError(f"a decoding process does not start: {last[0]}") from None

    def request(self, do: str, path: str, *, sample_rate_hz: int = 0, chunk_s: float = 0.0) -> None:
        """Send a request: `hash`, or `decode` into chunks of a rate and a length."""
        assert self._process.stdin is not None
        try:
            request = {"do": do, "path": path, "sample_rate_hz": sample_rate_hz, "chunk_s": chunk_s}
            self._process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._death() from error

    def answer(self) -> tuple[Kind, memoryview]:
        """Return the next message: its kind and payload.

        Raises:
            _WorkerDiedError: the process has ended.
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
        """Return for how long the parent has been waiting for a message; 0.0 if it is not."""
        since = self._waiting_since
        return 0.0 if since is None else time.monotonic() - since

    def kill(self, reason: str, *, transient: bool) -> None:
        """End the process at once; whoever reads from it gets the reason."""
        with self._kill_lock:
            self._killed = self._killed or _WorkerDiedError(reason, transient=transient)
            self._process.kill()

    def close(self) -> None:
        """End the process and free what it held. Safe to repeat."""
        self.kill("closed", transient=True)
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

    def _death(self) -> _WorkerDiedError:
        status = self._process.wait()
        if self._killed is not None:
            return self._killed
        if -status in _SENT_SIGNALS:
            return _WorkerDiedError(f"the decoding process was killed (signal {-status})", transient=True)
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return _WorkerDiedError(f"the decoder crashed ({how})", transient=False)
