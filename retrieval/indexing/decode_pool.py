"""Decodes files in several processes and hands their chunks over in one bounded stream.

One thread ("lane") per process asks it for a file after the other and puts what comes back into a queue of
limited length. Where the model is the slower part, the queue fills, the lanes wait, the pipes fill, and the
decoders wait too: memory stays the same however long the files are.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from encoders.audio import CHUNK_S, SAMPLE_RATE_HZ
from index import Track
from retrieval.indexing.worker import SPAN, Kind
from retrieval.indexing.worker_process import WorkerDiedError, WorkerProcess, WorkerStartError
from retrieval.library.scan import AudioFile

__all__ = ["Begun", "Chunk", "DecodePool", "Event", "Failed", "Finished", "Known", "Reuse"]

_TICK_S = 0.25
_START_S = 60.0


@dataclass(frozen=True)
class Reuse:
    """A track of the index that has the same content, its spans and vectors."""

    track: Track
    spans: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True)
class Known:
    """The file's content is in the index already: nothing was decoded."""

    file: AudioFile
    content_hash: str
    reuse: Reuse


@dataclass(frozen=True)
class Begun:
    """Decoding starts; `expected_s` is the duration that the header claims, or None."""

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
    """Every chunk of the file has been handed over."""

    file: AudioFile
    duration_s: float
    metadata: dict[str, str | None]


@dataclass(frozen=True)
class Failed:
    """The file cannot be decoded; whatever chunks it gave do not count."""

    file: AudioFile
    reason: str
    transient: bool


Event = Known | Begun | Chunk | Finished | Failed


class DecodePool:
    """Decoding processes for a list of files; a context manager, which leaves no process behind."""

    def __init__(
        self,
        files: Sequence[AudioFile],
        *,
        n_workers: int,
        n_waiting: int,
        stall_s: float,
        reuse: Callable[[AudioFile, str], Reuse | None],
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        chunk_s: float = CHUNK_S,
    ) -> None:
        """Starts decoding.

        Args:
            files: what to decode, in this order.
            n_workers: how many processes at most.
            n_waiting: how many events, hence chunks, may wait to be taken.
            stall_s: a process that says nothing for so many seconds is killed, and its file fails.
            reuse: asked for each file with the hash of its content, from a lane's thread; not None: do not
                decode it.
            sample_rate_hz, chunk_s: the chunks that are wanted.
        """
        self._sample_rate_hz, self._chunk_s = sample_rate_hz, chunk_s
        self._jobs = iter(files)
        self._jobs_lock = threading.Lock()
        self._reuse = reuse
        self._stall_s = stall_s
        self._stopped = threading.Event()
        self._events: queue.Queue[Event | Exception | None] = queue.Queue(max(1, n_waiting))
        self._workers: dict[int, WorkerProcess] = {}
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
        """Every event until all files are through; None whenever nothing came for a quarter of a second.

        Of one file they come in order; those of several are mixed.

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

    def close(self) -> None:
        """Ends the processes and threads; what they had not handed over is lost."""
        self._stopped.set()
        for worker in list(self._workers.values()):
            worker.kill("stopped")
        for lane in self._lanes:
            lane.join()

    def _kill_stalled(self) -> None:
        for worker in list(self._workers.values()):
            limit_s = self._stall_s if worker.ready else max(self._stall_s, _START_S)
            if worker.waiting_s() > limit_s:
                worker.kill(f"the decoder hangs: nothing came from it for {limit_s:g} s")

    def _put(self, event: Event | Exception | None) -> None:
        while not self._stopped.is_set():
            try:
                self._events.put(event, timeout=_TICK_S)
                return
            except queue.Full:
                continue

    def _next_file(self) -> AudioFile | None:
        with self._jobs_lock:
            return None if self._stopped.is_set() else next(self._jobs, None)

    def _lane(self, number: int) -> None:
        worker: WorkerProcess | None = None
        try:
            while (file := self._next_file()) is not None:
                try:
                    worker = worker or self._start(number)
                    self._decode(worker, file)
                except WorkerDiedError as death:
                    self._put(Failed(file, str(death), death.transient))
                    self._end(number)
                    worker = None
        except Exception as error:  # of starting a process, or of `reuse`: the taker of the events is to know
            self._put(error)
        finally:
            self._end(number)
            self._put(None)

    def _start(self, number: int) -> WorkerProcess:
        try:
            worker = self._workers[number] = WorkerProcess()
        except OSError as error:
            raise WorkerStartError(f"a decoding process does not start: {error}") from error
        if self._stopped.is_set():  # closed between the two lines above, perhaps before this worker was seen
            worker.kill("stopped")
        worker.wait_ready()
        return worker

    def _end(self, number: int) -> None:
        worker = self._workers.pop(number, None)
        if worker is not None:
            worker.close()

    def _decode(self, worker: WorkerProcess, file: AudioFile) -> None:
        worker.ask("hash", file.path)
        kind, payload = worker.answer()
        if kind == Kind.HASH:
            content_hash = bytes(payload).decode("ascii")
            reuse = self._reuse(file, content_hash)
            if reuse is not None:
                self._put(Known(file, content_hash, reuse))
                return
            worker.ask("decode", file.path, sample_rate_hz=self._sample_rate_hz, chunk_s=self._chunk_s)
            kind, payload = worker.answer()
            if kind == Kind.BEGIN:
                self._put(Begun(file, content_hash, json.loads(bytes(payload))["expected_s"]))
                kind, payload = worker.answer()
            while kind == Kind.BLOCK and not self._stopped.is_set():
                start_s, end_s = SPAN.unpack_from(payload)
                samples = np.frombuffer(payload, dtype="<f4", offset=SPAN.size)
                self._put(Chunk(file, samples, start_s, end_s))
                kind, payload = worker.answer()
        if kind == Kind.END:
            end = json.loads(bytes(payload))
            self._put(Finished(file, end["duration_s"], end["metadata"]))
        elif kind == Kind.ERROR:
            error = json.loads(bytes(payload))
            self._put(Failed(file, error["reason"], error["transient"]))
