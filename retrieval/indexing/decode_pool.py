"""Decodes files in processes of their own and hands their chunks over in one bounded stream.

Each process has a thread here (a lane) that sends it one request after the other by the protocol described in
`retrieval.indexing.decode_worker` and puts the answers into a queue of limited length. Where the model is slower, the
queue fills, the lanes wait, the pipes fill, and the decoders wait too: memory stays the same however long files are.

Why not `pebble.ProcessPool`: its timeout counts from the start of a task, so a file of three hours and a stalled
decoder look alike; a task gives one result at its end, not chunks while it runs; and results are pickled, not raw
samples.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.indexing.decode_worker import SPAN, Kind
from retrieval.indexing.types import IngestOptions
from retrieval.indexing.worker_process import Cause, WorkerDiedError, WorkerProcess, WorkerStartError
from retrieval.library.scan import AudioFile

__all__ = ["Begun", "Chunk", "DecodePool", "Event", "Failed", "Finished", "Hashed", "Restarted", "Tagged"]

_TICK_S = 0.25
_LONGEST_TICK_S = 1.0  # beyond it, this process or the whole computer was suspended, and the decoders may have been too
_TRIES = 2  # of a file whose process ends
_STARTS = 3  # of a process that is killed before it is ready

# -I: neither the current folder (a music folder may hold a numpy.py) nor PYTHON* variables; the parent's own search
# path is passed instead. Unlike multiprocessing, this needs no `if __name__ == "__main__"` in the calling program.
_WORKER_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import retrieval.indexing.decode_worker as w; w.main()"
)


@dataclass(frozen=True)
class Hashed:
    """A file has been hashed, and its tags read. Answer with `DecodePool.decode` or `DecodePool.leave`.

    Attributes:
        file: the file.
        content_hash: of all of it.
        audio_hash: of it without its tags (`retrieval.library.audio_hash`).
        metadata: of `retrieval.library.metadata`.
    """

    file: AudioFile
    content_hash: str
    audio_hash: str
    metadata: dict[str, str | None]


@dataclass(frozen=True)
class Tagged:
    """The tags of a file have been read, and nothing else of it.

    Attributes:
        file: the file.
        metadata: None if they cannot be read.
        problem: why not.
    """

    file: AudioFile
    metadata: dict[str, str | None] | None
    problem: str | None = None


@dataclass(frozen=True)
class Begun:
    """Decoding starts; `expected_s` is the duration that the header declares or suggests, or None."""

    hashed: Hashed
    expected_s: float | None

    @property
    def file(self) -> AudioFile:
        """The file."""
        return self.hashed.file


@dataclass(frozen=True)
class Chunk:
    """One chunk: its samples [shape=(chunk_samples,)] float32 and its span in seconds."""

    file: AudioFile
    samples: np.ndarray
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Finished:
    """Every chunk of the file has been handed over.

    Attributes:
        file: the file.
        duration_s: how much was decoded.
        declared_s: how much its header declares, if that is wrong by more than 1%.
        note: why the chunks do not cover all of it; None: they do.
    """

    file: AudioFile
    duration_s: float
    declared_s: float | None
    note: str | None


@dataclass(frozen=True)
class Restarted:
    """The process ended before the file did; the file will be tried once more. Discard its chunks."""

    file: AudioFile
    reason: str


@dataclass(frozen=True)
class Failed:
    """The file cannot be decoded; discard its chunks.

    Attributes:
        file: the file.
        reason: why, in one line.
        transient: another build may succeed with the same file.
        hangs: its decoder hung, and nothing from outside explains it, so another build is unlikely to succeed.
    """

    file: AudioFile
    reason: str
    transient: bool
    hangs: bool = False


Event = Hashed | Tagged | Begun | Chunk | Finished | Restarted | Failed


@dataclass(frozen=True)
class _TagsOnly:
    """The job of reading the tags of a file that is indexed."""

    file: AudioFile


class DecodePool:
    """Decoding processes for a list of files; a context manager, which leaves no process behind."""

    def __init__(
        self,
        files: Sequence[AudioFile],
        *,
        tags_only: Sequence[AudioFile] = (),
        options: IngestOptions,
        sample_rate_hz: int,
        chunk_s: float,
    ) -> None:
        """Start the processes.

        Args:
            files: what to hash, in this order, and to decode where `decode` asks for it.
            tags_only: files of which only the tags are read.
            options: `n_workers` processes at most; `batch_chunks` events, hence chunks, may wait to be taken;
                `stall_s`, `tag_encoding` and `worker_command` as they say.
            sample_rate_hz, chunk_s: form of the chunks.
        """
        self._sample_rate_hz, self._chunk_s = sample_rate_hz, chunk_s
        self._command = tuple(
            options.worker_command
            or (sys.executable, "-I", "-c", _WORKER_CODE, json.dumps([str(place) for place in sys.path]))
        )
        self._stall_s = options.stall_s
        self._tag_encoding = options.tag_encoding
        self._to_hash = deque(files)
        self._to_decode: deque[Hashed] = deque()
        self._to_tag = deque(map(_TagsOnly, tags_only))
        self._deaths: dict[AudioFile, list[WorkerDiedError]] = {}
        self._n_open = 0  # files that were taken from `_to_hash` or `_to_tag` and are not done
        self._jobs_changed = threading.Condition()
        self._stopped = threading.Event()
        self._events: queue.Queue[Event | Exception | None] = queue.Queue(options.batch_chunks)
        self._workers: dict[int, WorkerProcess] = {}
        self._lanes = [
            threading.Thread(target=self._lane, args=(number,), name=f"decode-{number}", daemon=True)
            for number in range(max(1, min(options.n_workers, len(files) + len(tags_only))))
        ]
        self._watch = threading.Thread(target=self._watch_workers, name="decode-watch", daemon=True)
        for thread in (*self._lanes, self._watch):
            thread.start()

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
            worker.kill("stopped", Cause.OUTSIDE)
        for thread in (*self._lanes, self._watch):
            thread.join()

    def _watch_workers(self) -> None:
        # In a thread, so that the time in which the model works counts too.
        last_s = time.monotonic()
        while not self._stopped.wait(_TICK_S):
            now_s = time.monotonic()
            elapsed_s, last_s = min(now_s - last_s, _LONGEST_TICK_S), now_s
            for worker in list(self._workers.values()):
                worker.tick(elapsed_s, stall_s=self._stall_s)

    def _put(self, event: Event | Exception | None) -> None:
        while not self._stopped.is_set():
            try:
                self._events.put(event, timeout=_TICK_S)
                return
            except queue.Full:
                continue

    def _next_job(self) -> AudioFile | Hashed | _TagsOnly | None:
        """Return a file to decode (these go first, so that few wait), one to read, or None once all are done."""
        with self._jobs_changed:
            while not self._stopped.is_set():
                if self._to_decode:
                    return self._to_decode.popleft()
                if self._to_hash:
                    self._n_open += 1
                    return self._to_hash.popleft()
                if self._to_tag:
                    self._n_open += 1
                    return self._to_tag.popleft()
                if not self._n_open:
                    return None
                self._jobs_changed.wait()
        return None

    def _done(self, *, again: AudioFile | Hashed | _TagsOnly | None = None) -> None:
        with self._jobs_changed:
            self._n_open -= 1
            if isinstance(again, _TagsOnly):
                self._to_tag.append(again)
            elif again is not None:
                self._to_hash.append(again.file if isinstance(again, Hashed) else again)
            self._jobs_changed.notify_all()

    def _lane(self, number: int) -> None:
        worker: WorkerProcess | None = None
        try:
            while (job := self._next_job()) is not None:
                try:
                    worker = worker or self._start(number)
                    if isinstance(job, AudioFile):
                        self._hash(worker, job)
                    elif isinstance(job, _TagsOnly):
                        self._tag(worker, job.file)
                    else:
                        self._decode(worker, job)
                except WorkerDiedError as death:
                    self._report_death(job, death)
                    self._end(number)
                    worker = None
        except Exception as error:  # of starting a process: whoever takes the events must see it
            self._put(error)
        finally:
            self._end(number)
            self._put(None)

    def _report_death(self, job: AudioFile | Hashed | _TagsOnly, death: WorkerDiedError) -> None:
        file = job if isinstance(job, AudioFile) else job.file
        deaths = self._deaths.setdefault(file, [])
        deaths.append(death)
        if len(deaths) < _TRIES:
            self._put(Restarted(file, str(death)))
            self._done(again=job)
            return
        causes = {died.cause for died in deaths}
        reasons = list(dict.fromkeys(map(str, deaths)))
        if isinstance(job, _TagsOnly):
            self._put(Tagged(file, None, reasons[-1]))
        elif causes == {Cause.CRASH}:
            self._put(Failed(file, reasons[-1], transient=False))
        else:
            reason = "; then ".join(reasons) if len(reasons) > 1 else f"{reasons[0]}, twice"
            self._put(Failed(file, reason, transient=True, hangs=Cause.OUTSIDE not in causes))
        self._done()

    def _start(self, number: int) -> WorkerProcess:
        n_starts = 0
        while True:
            worker = self._workers[number] = WorkerProcess(self._command)
            if self._stopped.is_set():  # closed while it started, perhaps before it was seen
                worker.kill("stopped", Cause.OUTSIDE)
            try:
                worker.wait_ready()
                return worker
            except WorkerDiedError as death:
                self._end(number)
                n_starts += 1
                if n_starts == _STARTS or self._stopped.is_set():
                    raise WorkerStartError(f"a decoding process does not start: {death}") from None

    def _end(self, number: int) -> None:
        worker = self._workers.pop(number, None)
        if worker is not None:
            worker.close()

    def _hash(self, worker: WorkerProcess, file: AudioFile) -> None:
        worker.request_hash(file)
        kind, hashes = worker.answer()
        if kind == Kind.ERROR:
            self._fail(file, hashes)
            return
        worker.request_tags(file, encoding=self._tag_encoding)
        kind, tags = worker.answer()
        if kind == Kind.ERROR:
            self._fail(file, tags)
        else:
            self._put(Hashed(file, **json.loads(bytes(hashes)), metadata=json.loads(bytes(tags))))

    def _tag(self, worker: WorkerProcess, file: AudioFile) -> None:
        worker.request_tags(file, encoding=self._tag_encoding)
        kind, payload = worker.answer()
        answer = json.loads(bytes(payload))
        self._put(Tagged(file, None, answer["reason"]) if kind == Kind.ERROR else Tagged(file, answer))
        self._done()

    def _decode(self, worker: WorkerProcess, job: Hashed) -> None:
        file = job.file
        worker.request_chunks(file, sample_rate_hz=self._sample_rate_hz, chunk_s=self._chunk_s)
        kind, payload = worker.answer()
        if kind == Kind.BEGIN:
            self._put(Begun(job, json.loads(bytes(payload))["expected_s"]))
            kind, payload = worker.answer()
        while kind == Kind.CHUNK and not self._stopped.is_set():
            start_s, worker.reached_s = SPAN.unpack_from(payload)
            samples = np.frombuffer(payload, dtype="<f4", offset=SPAN.size)
            self._put(Chunk(file, samples, start_s, worker.reached_s))
            kind, payload = worker.answer()
        if kind == Kind.END:
            self._put(Finished(file, **json.loads(bytes(payload))))
            self._done()
        elif kind == Kind.ERROR:
            self._fail(file, payload)

    def _fail(self, file: AudioFile, payload: memoryview) -> None:
        self._put(Failed(file, **json.loads(bytes(payload))))
        self._done()
