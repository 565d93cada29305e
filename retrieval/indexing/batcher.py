"""Gathers chunks of several files into batches for the model, and puts the vectors of each file together again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from encoders.audio import segment_spans
from encoders.embed import AudioEncoder
from retrieval.indexing.decode_pool import Begun, Chunk, Finished
from retrieval.library.scan import AudioFile

__all__ = ["Embedded", "Embedder"]


@dataclass(frozen=True)
class Embedded:
    """A file whose chunks have all been embedded.

    Attributes:
        begun, finished: what the decoder reported.
        spans: [shape=(n_segments, 2)] float64 seconds.
        vectors: [shape=(n_segments, dim)] float32.
    """

    begun: Begun
    finished: Finished
    spans: np.ndarray
    vectors: np.ndarray


@dataclass
class _OpenFile:
    begun: Begun
    spans: list[tuple[float, float]] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    finished: Finished | None = None

    @property
    def embedded_s(self) -> float:
        return self.spans[len(self.features) - 1][1] if self.features else 0.0


class Embedder:
    """Holds one batch of samples and, of each open file, only the features of its chunks."""

    def __init__(self, model: AudioEncoder, *, batch_chunks: int, chunk_samples: int) -> None:
        self._model = model
        self._batch = np.empty((batch_chunks, chunk_samples), dtype=np.float32)
        self._owners: list[AudioFile] = []
        self._open: dict[AudioFile, _OpenFile] = {}
        self.closed_audio_s = 0.0

    @property
    def audio_s(self) -> float:
        """Seconds of audio that went through the model, open files included."""
        return self.closed_audio_s + sum(file.embedded_s for file in self._open.values())

    @property
    def open_bytes(self) -> int:
        """How many bytes of the open files are through the model, about."""
        total = 0.0
        for file, state in self._open.items():
            expected_s = state.begun.expected_s
            if expected_s:
                total += file.size_bytes * min(1.0, state.embedded_s / expected_s)
        return int(total)

    def begin(self, event: Begun) -> None:
        """Open a file."""
        self._open[event.file] = _OpenFile(event)

    def add(self, event: Chunk) -> None:
        """Add a chunk; run the model when that fills the batch."""
        self._batch[len(self._owners)] = event.samples
        self._owners.append(event.file)
        self._open[event.file].spans.append((event.start_s, event.end_s))
        if len(self._owners) == len(self._batch):
            self.flush()

    def finish(self, event: Finished) -> None:
        """Note that no more chunks of the file will come."""
        self._open[event.file].finished = event

    def drop(self, file: AudioFile) -> None:
        """Forget a file that failed, if it was begun; what went through the model still counts as such."""
        state = self._open.pop(file, None)
        if state is not None:
            self.closed_audio_s += state.embedded_s
            kept = [number for number, owner in enumerate(self._owners) if owner != file]
            self._batch[: len(kept)] = self._batch[kept]
            self._owners = [self._owners[number] for number in kept]

    def flush(self) -> None:
        """Run the model on the chunks that wait."""
        if not self._owners:
            return
        owners, self._owners = self._owners, []
        features = np.asarray(self._model.chunk_features(self._batch[: len(owners)]))
        for owner, row in zip(owners, features, strict=True):
            self._open[owner].features.append(row.copy())  # a view would keep the whole batch's array

    def completed(self) -> list[Embedded]:
        """Return the files that are through, each once, in the order in which they were begun."""
        done = [state for state in self._open.values() if state.finished and len(state.features) == len(state.spans)]
        return [self._close(state, state.finished) for state in done if state.finished]

    def _close(self, state: _OpenFile, finished: Finished) -> Embedded:
        del self._open[state.begun.file]
        self.closed_audio_s += state.embedded_s
        vectors = np.asarray(self._model.segment_vectors(np.stack(state.features)), dtype=np.float32)
        spans = segment_spans(np.array(state.spans), segment_chunks=self._model.segment_chunks)
        return Embedded(state.begun, finished, spans, vectors)
