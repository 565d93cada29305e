"""From audio to vectors, in a stream: the memory that this takes does not grow with the length of the audio."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from encoders.arrays import unit
from encoders.audio import AudioChunk, segment_spans, stream_chunks

__all__ = [
    "BATCH_CHUNKS",
    "Audio",
    "AudioEncoder",
    "FileEmbedding",
    "OnSeconds",
    "embed_audio",
    "encode_clips",
    "map_chunks",
]

BATCH_CHUNKS = 32
"""Chunks that go through a network at once."""

Audio = str | os.PathLike[str] | np.ndarray
"""A file, or an array of samples at the model's sample rate (see `encoders.waveform.as_waveform`)."""

OnSeconds = Callable[[float], None]
"""Called after each batch with the seconds of audio done."""


class AudioEncoder(Protocol):
    """The interface of an audio encoder: `encoders.two_tower.TwoTowerModel`, `encoders.clap.ClapAudio`."""

    @property
    def fingerprint(self) -> str | None:
        """Identifies the encoder: vectors of different fingerprints are never compared. None: not saved yet."""

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the chunks."""

    @property
    def chunk_s(self) -> float:
        """Length of a chunk in seconds."""

    @property
    def segment_chunks(self) -> int:
        """How many neighbouring chunks a segment averages."""

    def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
        """Return features [shape=(n_chunks, feature_dim)] of waveforms [shape=(n_chunks, n_samples)] in [-1, 1]."""

    def segment_vectors(self, features: np.ndarray) -> np.ndarray:
        """Return unit vectors [shape=(n_segments, dim)] of one file's features [shape=(n_chunks, feature_dim)]."""


@dataclass(frozen=True)
class FileEmbedding:
    """The segments of a file or waveform.

    Attributes:
        spans_s: start and end of each segment in seconds [shape=(n_segments, 2)].
        vectors: float32 unit vectors [shape=(n_segments, dim)].
        duration_s: length of the audio in seconds.
    """

    spans_s: np.ndarray
    vectors: np.ndarray
    duration_s: float


def map_chunks(
    audio: Audio,
    function: Callable[[np.ndarray], np.ndarray],
    *,
    sample_rate_hz: int,
    chunk_s: float,
    batch_chunks: int = BATCH_CHUNKS,
    on_progress: OnSeconds | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Cut audio into chunks and apply a function to them in batches.

    Args:
        audio: a file, or a waveform at `sample_rate_hz`.
        function: takes float32 chunks [shape=(n, chunk_samples)] with n <= `batch_chunks`, returns [shape=(n, ...)].
        sample_rate_hz: sample rate of the chunks; files are resampled to it.
        chunk_s: length of a chunk in seconds.
        batch_chunks: how many chunks are held at once.
        on_progress: called after each batch with the seconds of audio done.

    Returns:
        The outputs [shape=(n_chunks, ...)], the start and end of each chunk in seconds [shape=(n_chunks, 2)], and the
        length of the audio in seconds.

    Raises:
        AudioDecodeError: the file cannot be read as audio.
        ValueError: the waveform has the wrong shape or type.
    """
    duration_s = 0.0

    def timed_chunks() -> Iterator[AudioChunk]:
        nonlocal duration_s
        duration_s = yield from stream_chunks(audio, sample_rate_hz=sample_rate_hz, chunk_s=chunk_s)

    chunks = timed_chunks()
    outputs: list[np.ndarray] = []
    spans: list[tuple[float, float]] = []
    while batch := list(islice(chunks, batch_chunks)):
        outputs.append(np.asarray(function(np.stack([chunk.samples for chunk in batch]))))
        spans.extend((chunk.start_s, chunk.end_s) for chunk in batch)
        if on_progress is not None:
            on_progress(spans[-1][1])
    return np.concatenate(outputs), np.asarray(spans), duration_s


def embed_audio(
    audio: Audio, *, model: AudioEncoder, batch_chunks: int = BATCH_CHUNKS, on_progress: OnSeconds | None = None
) -> FileEmbedding:
    """Embed the segments of a file or waveform.

    Args:
        audio: a file, or a waveform at the model's sample rate.
        model: the audio encoder.
        batch_chunks: how many chunks go through the network at once.
        on_progress: called after each batch with the seconds of audio done.

    Raises:
        AudioDecodeError: the file cannot be read as audio.
        ValueError: the waveform has the wrong shape or type.
    """
    features, spans_s, duration_s = map_chunks(
        audio,
        model.chunk_features,
        sample_rate_hz=model.sample_rate_hz,
        chunk_s=model.chunk_s,
        batch_chunks=batch_chunks,
        on_progress=on_progress,
    )
    spans_s = segment_spans(spans_s, segment_chunks=model.segment_chunks)
    return FileEmbedding(spans_s, np.asarray(model.segment_vectors(features)), duration_s)


def encode_clips(
    audio: Audio | Sequence[Audio],
    *,
    model: AudioEncoder,
    dim: int,
    sample_rate_hz: int | None = None,
    batch_chunks: int = BATCH_CHUNKS,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return one unit vector per clip: the mean of its segments' vectors. Long files are streamed.

    Args:
        audio: a path, an array of samples (see `encoders.waveform.as_waveform`), or a sequence of these.
        model: the audio encoder.
        dim: length of its vectors.
        sample_rate_hz: of the waveforms; it must be the model's, which is the default. Files are resampled.
        batch_chunks: how many chunks go through the network at once.
        on_progress: called after each clip with the number of clips done and of all clips.

    Returns:
        float32 [shape=(n, dim)].

    Raises:
        AudioDecodeError: a file cannot be read.
        ValueError: a waveform has the wrong rate, shape or type.
    """
    if sample_rate_hz not in (None, model.sample_rate_hz):
        raise ValueError(f"sample_rate_hz={sample_rate_hz}: resample to {model.sample_rate_hz} Hz, or pass the path")
    if isinstance(audio, np.ndarray):
        clips: Sequence[Audio] = [audio]
    else:
        clips = [audio] if isinstance(audio, (str, os.PathLike)) else audio
    vectors = np.zeros((len(clips), dim), np.float32)
    for row, clip in enumerate(clips):
        vectors[row] = embed_audio(clip, model=model, batch_chunks=batch_chunks).vectors.mean(0)
        if on_progress is not None:
            on_progress(row + 1, len(clips))
    return unit(vectors)
