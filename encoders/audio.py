"""Sound files as mono float32 in [-1, 1] at one sample rate, and the chunks and segments that the model takes as input.

A file is cut into chunks of 5 s; a segment, the unit of search, is two neighbouring chunks. Everything
streams: memory use does not grow with the file's length.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from encoders.decode import AudioDecodeError, OnError, mono_buffers

__all__ = [
    "CHUNK_S",
    "SAMPLE_RATE_HZ",
    "SEGMENT_CHUNKS",
    "AudioChunk",
    "AudioDecodeError",
    "check_waveform_array",
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

_MOST_CHANNELS = 64  # an axis no longer than this holds channels, not samples


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
        [shape=(n,)] float32 in [-1, 1], n > 0. Concatenated, they equal the whole file resampled at once.

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
        audio: any file that libsndfile or FFmpeg reads, or a waveform at `sample_rate_hz` [shape=(n_samples,)] of
            floats in [-1, 1].
        sample_rate_hz: sample rate of the chunks.
        chunk_s: length of a chunk in seconds.
        on_error: called if an error of the decoder ends a file of which something was decoded.

    Returns:
        A generator of chunks, whose own return value is the true duration in seconds.

    Raises:
        AudioDecodeError: the file cannot be read; chunks that were yielded before must be discarded.
        ValueError: the waveform has the wrong shape or type, or samples that are not finite.
    """
    cutter = _ChunkCutter(sample_rate_hz=sample_rate_hz, chunk_s=chunk_s)
    if isinstance(audio, np.ndarray):
        check_waveform_array(audio)
        yield from cutter.cut(audio)
    else:
        for buffer in stream_audio(audio, sample_rate_hz=sample_rate_hz, on_error=on_error):
            yield from cutter.cut(buffer)
        if not cutter.n_samples:
            raise AudioDecodeError(audio, "it is too short: not one sample is left after resampling")
    yield from cutter.last()
    return cutter.n_samples / sample_rate_hz


def check_waveform_array(waveform: np.ndarray) -> None:
    """Check that an array is a mono waveform of finite floats.

    Raises:
        ValueError: it is not; the message says how to convert it.
    """
    if waveform.ndim == 2 and min(waveform.shape) <= _MOST_CHANNELS:
        channels = int(np.argmin(waveform.shape))
        raise ValueError(f"a waveform of shape {waveform.shape} is not mono: mix it with .mean(axis={channels})")
    if waveform.ndim != 1 or not len(waveform):
        raise ValueError(f"a waveform of shape (n,) with n > 0 is needed, not {waveform.shape}")
    if waveform.dtype.kind == "i":
        scale = -int(np.iinfo(waveform.dtype).min)
        raise ValueError(f"a waveform of {waveform.dtype} samples must be scaled to [-1, 1]: divide it by {scale}")
    if waveform.dtype.kind != "f":
        raise ValueError(f"a waveform of floats in [-1, 1] is needed, not of {waveform.dtype}")
    # Piece by piece: the mask of a long waveform would take a quarter of its own memory.
    n_bad = sum(int((~np.isfinite(waveform[i : i + 2**20])).sum()) for i in range(0, len(waveform), 2**20))
    if n_bad:
        raise ValueError(f"{n_bad} samples are NaN or infinite: replace them, or decode the file again")


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
    """A file, or a part of it, in memory.

    Args:
        path: any file that libsndfile or FFmpeg reads.
        sample_rate_hz: the rate of the result.
        start_s: where to start, seconds.
        duration_s: how much to read, seconds; None reads to the end. Less comes back where the file ends
            earlier.

    Returns:
        [shape=(n,)] float32 in [-1, 1], n > 0.

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
                yield from _bounded(resampler.resample_chunk(mono[:0], last=True))
            rate_hz = buffer_rate_hz
            resampler = None
            if rate_hz != sample_rate_hz:
                resampler = soxr.ResampleStream(rate_hz, sample_rate_hz, 1, dtype="float32", quality=_RESAMPLING)
        yield from _bounded(mono if resampler is None else resampler.resample_chunk(mono))
    if resampler is not None:
        yield from _bounded(resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True))


def _bounded(samples: np.ndarray) -> Iterator[np.ndarray]:
    """The samples clipped to [-1, 1] (lossy codecs and resampling overshoot); nothing if there are none."""
    if len(samples):
        yield np.clip(samples, -1.0, 1.0, out=samples)


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
        """The chunks that this buffer completes."""
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
        """Return the last partial chunk, if it is long enough, once the stream has ended."""
        rest = self._current[: self._filled]
        if self._previous is None:
            padded = np.pad(rest, (0, max(0, round(MIN_DURATION_S * self._rate_hz) - len(rest))))
            yield self._chunk(np.resize(padded, self._size))
        elif len(rest) > MIN_REMAINDER_S * self._rate_hz:
            yield self._chunk(np.concatenate([self._previous[len(rest) :], rest]))

    def _chunk(self, samples: np.ndarray) -> AudioChunk:
        end_s = self.n_samples / self._rate_hz
        return AudioChunk(samples, max(0.0, end_s - self._size / self._rate_hz), end_s)
