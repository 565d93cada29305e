"""Sound files as mono float32 at one sample rate, and the chunks and segments that the model takes as input.

A file is cut into chunks of 5 s; a segment, the unit of search, is two neighbouring chunks. Everything
streams: memory use does not grow with the file's length. Samples beyond full scale, which float files and lossy codecs
have, stay as they are until a chunk is cut; a chunk lies within [-1, 1].
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from encoders.decode import AudioDecodeError, OnError, mono_buffers
from encoders.waveform import as_waveform, limited

__all__ = [
    "CHUNK_S",
    "SAMPLE_RATE_HZ",
    "SEGMENT_CHUNKS",
    "AudioChunk",
    "AudioDecodeError",
    "load_audio",
    "segment_spans",
    "stream_audio",
    "stream_chunks",
]

SAMPLE_RATE_HZ = 32_000
CHUNK_S = 5.0
SEGMENT_CHUNKS = 2
"""Neighbouring chunks whose features a segment, the unit of search, averages."""
MIN_REMAINDER_S = 0.5
"""A remainder after the last full chunk that is longer than this gets a chunk of its own."""
MIN_DURATION_S = 1.0
"""Files shorter than this are padded with zeros before they are repeated to fill a chunk."""

# On music at 44.1 kHz, HQ (20 bits) costs 0.03 ms per second of audio more than MQ (16 bits): nothing beside
# decoding.
_RESAMPLING = "HQ"


@dataclass(frozen=True)
class AudioChunk:
    """One chunk of a file.

    Attributes:
        samples: [shape=(chunk_samples,)] float32 in [-1, 1].
        start_s: where it starts in the file, seconds.
        end_s: where it ends, seconds; never past the file's true end.
    """

    samples: np.ndarray
    start_s: float
    end_s: float


def stream_audio(
    path: str | os.PathLike[str], *, sample_rate_hz: int, buffer_s: float = 10.0, on_error: OnError | None = None
) -> Iterator[np.ndarray]:
    """Decode, mix to mono and resample a file as a stream.

    Args:
        path: any file that libsndfile or FFmpeg reads.
        sample_rate_hz: the rate of the result.
        buffer_s: about the longest buffer, in seconds.
        on_error: called if an error of the decoder ends a file of which something was decoded.

    Yields:
        [shape=(n,)] float32, full scale 1, n > 0. Concatenated, they equal the whole file resampled at once, whatever
        `buffer_s`.

    Raises:
        AudioDecodeError: may be raised after some buffers; discard those.
    """
    return _stream(path, sample_rate_hz=sample_rate_hz, start_s=0, buffer_s=buffer_s, on_error=on_error)


def stream_chunks(
    audio: str | os.PathLike[str] | np.ndarray,
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    chunk_s: float = CHUNK_S,
    on_error: OnError | None = None,
) -> Generator[AudioChunk, None, float]:
    """Cut a file or a waveform into chunks, each yielded as soon as it is decoded.

    Full chunks start at 0, `chunk_s`, 2 `chunk_s` ...; a remainder of more than 0.5 s gives one more chunk, which ends
    at the end of the audio and overlaps its neighbour. Audio shorter than a chunk is padded to at least 1 s and
    repeated.

    Args:
        audio: any file that libsndfile or FFmpeg reads, or an array at `sample_rate_hz` of one of the types and shapes
            that `encoders.waveform.as_waveform` takes.
        sample_rate_hz: sample rate of the chunks.
        chunk_s: length of a chunk in seconds.
        on_error: called if an error of the decoder ends a file of which something was decoded.

    Returns:
        A generator of chunks, whose own return value is the true duration in seconds.

    Raises:
        AudioDecodeError: the file cannot be read; chunks that were yielded before must be discarded.
        ValueError: the array has another shape or type, or samples that are not finite.
    """
    cutter = _ChunkCutter(sample_rate_hz=sample_rate_hz, chunk_s=chunk_s)
    if isinstance(audio, np.ndarray):
        yield from cutter.cut(as_waveform(audio, sample_rate_hz=sample_rate_hz))
    else:
        for buffer in stream_audio(audio, sample_rate_hz=sample_rate_hz, on_error=on_error):
            yield from cutter.cut(buffer)
        if not cutter.n_samples:
            raise AudioDecodeError(audio, "it is too short: not one sample is left after resampling")
    yield from cutter.last()
    return cutter.n_samples / sample_rate_hz


def segment_spans(chunk_spans: np.ndarray, *, segment_chunks: int = SEGMENT_CHUNKS) -> np.ndarray:
    """Return the start and end of each segment. Segment i is the chunks i to i + `segment_chunks` - 1.

    Args:
        chunk_spans: start and end of a file's chunks in seconds [shape=(n_chunks, 2)], n_chunks > 0.
        segment_chunks: how many chunks make a segment; a file with fewer is one segment.

    Returns:
        float64 seconds [shape=(max(1, n_chunks - segment_chunks + 1), 2)].
    """
    spans = np.asarray(chunk_spans, dtype=np.float64)
    last = min(segment_chunks, len(spans)) - 1
    return np.stack([spans[: len(spans) - last, 0], spans[last:, 1]], axis=1)


def load_audio(
    path: str | os.PathLike[str],
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> np.ndarray:
    """Return a file, or a part of it, in memory.

    Args:
        path: any file that libsndfile or FFmpeg reads.
        sample_rate_hz: the rate of the result.
        start_s: where to start, seconds.
        duration_s: how much to read, seconds; None reads to the end. Less comes back where the file ends
            earlier.

    Returns:
        [shape=(n,)] float32, n > 0; full scale is 1, which only float files and lossy codecs exceed.

    Raises:
        AudioDecodeError: the file cannot be read, or ends before `start_s`.
        ValueError: a negative or non-finite start, or a duration that is not positive.
    """
    if not (math.isfinite(start_s) and start_s >= 0.0):
        raise ValueError(f"start_s must be a number of seconds >= 0, not {start_s}")
    if duration_s is not None and not duration_s > 0.0:
        raise ValueError(f"duration_s must be > 0 or None, not {duration_s}")
    # Decoding starts at a whole second, where the input and output samples coincide at any two rates, and one
    # second early, so that the resampler's filter has settled when the wanted part begins.
    lead_in_s = max(0, math.floor(start_s) - 1)
    n_before = round((start_s - lead_in_s) * sample_rate_hz)
    n_wanted = None if duration_s is None else max(1, round(duration_s * sample_rate_hz))
    parts: list[np.ndarray] = []
    n_seen = 0
    buffer_s = 10.0 if duration_s is None else min(10.0, duration_s + 2.0)
    for buffer in _stream(path, sample_rate_hz=sample_rate_hz, start_s=lead_in_s, buffer_s=buffer_s):
        first = max(0, n_before - n_seen)
        last = None if n_wanted is None else n_before + n_wanted - n_seen
        parts.append(buffer[first:last])
        n_seen += len(buffer)
        if n_wanted is not None and n_seen >= n_before + n_wanted:
            break
    waveform = np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)
    if not len(waveform):
        raise AudioDecodeError(path, f"no audio after {start_s:g} s")
    return waveform


def _stream(
    path: str | os.PathLike[str],
    *,
    sample_rate_hz: int,
    start_s: int,
    buffer_s: float,
    on_error: OnError | None = None,
) -> Iterator[np.ndarray]:
    resampler: soxr.ResampleStream | None = None
    rate_hz = 0
    for mono, buffer_rate_hz in mono_buffers(path, start_s=start_s, buffer_s=buffer_s, on_error=on_error):
        if buffer_rate_hz != rate_hz:  # first buffer, or the rare stream that changes its rate half-way
            if resampler is not None:
                yield from _some(resampler.resample_chunk(mono[:0], last=True))
            rate_hz = buffer_rate_hz
            resampler = None
            if rate_hz != sample_rate_hz:
                resampler = soxr.ResampleStream(rate_hz, sample_rate_hz, 1, dtype="float32", quality=_RESAMPLING)
        yield from _some(mono if resampler is None else resampler.resample_chunk(mono))
    if resampler is not None:
        yield from _some(resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True))


def _some(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Yield samples, if there are any."""
    if len(samples):
        yield samples


class _ChunkCutter:
    """Cuts a stream of samples into chunks; holds two chunks at most."""

    def __init__(self, *, sample_rate_hz: int, chunk_s: float) -> None:
        self._rate_hz = sample_rate_hz
        self._size = round(chunk_s * sample_rate_hz)
        if self._size < 1:
            raise ValueError(f"chunk_s must be at least one sample, not {chunk_s} s at {sample_rate_hz} Hz")
        self._previous: np.ndarray | None = None
        self._current = np.empty(self._size, dtype=np.float32)
        self._filled = 0
        self.n_samples = 0

    def cut(self, buffer: np.ndarray) -> Iterator[AudioChunk]:
        """Yield the chunks that this buffer completes."""
        while len(buffer):
            part = buffer[: self._size - self._filled]
            self._current[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            self.n_samples += len(part)
            buffer = buffer[len(part) :]
            if self._filled == self._size:
                yield self._chunk(self._current)
                self._previous, self._current = self._current, np.empty(self._size, dtype=np.float32)
                self._filled = 0

    def last(self) -> Iterator[AudioChunk]:
        """Yield the last partial chunk, if it is long enough, once the stream has ended."""
        rest = self._current[: self._filled]
        if self._previous is None:
            padded = np.pad(rest, (0, max(0, round(MIN_DURATION_S * self._rate_hz) - len(rest))))
            yield self._chunk(np.resize(padded, self._size))
        elif len(rest) > MIN_REMAINDER_S * self._rate_hz:
            yield self._chunk(np.concatenate([self._previous[len(rest) :], rest]))

    def _chunk(self, samples: np.ndarray) -> AudioChunk:
        end_s = self.n_samples / self._rate_hz
        return AudioChunk(limited(samples), max(0.0, end_s - self._size / self._rate_hz), end_s)
