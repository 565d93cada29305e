"""Opens any audio file and yields its channels' mean, buffer by buffer, at the file's own sample rate.

libsndfile reads what it knows (it is the fastest), FFmpeg through PyAV reads the rest and takes over where
libsndfile gives up on a damaged file. Both are shown the content alone, never the name, so a mislabelled file
is read for what it is.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import unicodedata
from collections.abc import Iterator
from io import FileIO
from typing import Any

import numpy as np
import soundfile

__all__ = [
    "AudioDecodeError",
    "MonoBuffer",
    "container_texts",
    "header_duration_s",
    "mono_buffers",
    "printable_path",
]

MonoBuffer = tuple[np.ndarray, int]
"""Samples [shape=(n,), float32, finite] and their sample rate in Hz."""

_MIN_RATE_HZ = 1_000
_MAX_RATE_HZ = 1_536_000
_MAX_CHANNELS = 64
_MAX_BUFFER_VALUES = 1 << 21
"""Samples times channels that are held at once: 8 MB, whatever a header says."""

# Containers that FFmpeg may open. Left out on purpose: play lists (hls, concat, dash), which name other files
# or addresses, and the demuxers that take any text or bytes for a stream.
_AV_FORMATS = (
    "3gp,aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,m4a,matroska,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,ogg,"
    "rm,tta,voc,w64,wav,webm,wv"
)


class AudioDecodeError(ValueError):
    """A file that cannot be decoded; its message is one line, "<path>: <reason>".

    Attributes:
        reason: why, without the path.
        transient: the system refused the file (missing, no permission, read error), so another try may
            succeed.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, *, transient: bool = False) -> None:
        self.reason = " ".join(reason.split())
        self.transient = transient
        super().__init__(path, self.reason)

    def __str__(self) -> str:
        return f"{printable_path(self.args[0])}: {self.reason}"


def printable_path(path: str | bytes | os.PathLike[str]) -> str:
    r"""Return a path as one line that any terminal can print.

    The rule is that of `index.printable`, which this package may not import: bytes that are not UTF-8 become `\xNN`,
    control characters and direction overrides their Python escapes; spaces of every kind and the joiner of emoji stay.
    """
    return "".join(_escaped(character) for character in os.fsdecode(path))


def _escaped(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:  # surrogateescape (PEP 383): the raw byte is the low eight bits
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable() or character == "\u200d" or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")


def mono_buffers(path: str | os.PathLike[str], *, start_s: int = 0, buffer_s: float = 10.0) -> Iterator[MonoBuffer]:
    """Decodes a file into mono buffers of at most about `buffer_s` seconds; memory does not grow with the file.

    Channels are averaged; samples that are NaN or infinite become 0. What can be read of a damaged file is
    read.

    Args:
        path: the file.
        start_s: whole seconds to leave out at the beginning; nothing is yielded if the file ends before.
        buffer_s: upper bound of a buffer's duration in seconds.

    Raises:
        AudioDecodeError: the file cannot be read at all, holds no samples, or not one finite sample.
    """
    with _opened(path) as raw:
        decoded = n_finite = 0
        for samples, rate_hz in _decoded(raw, path, start_s=start_s, buffer_s=buffer_s):
            mono, finite = _mono(samples)
            decoded += len(mono)
            n_finite += finite
            if len(mono):
                yield mono, rate_hz
    if not decoded and not start_s:
        raise AudioDecodeError(path, "the file holds no audio samples")
    if decoded and not n_finite:
        raise AudioDecodeError(path, "every sample is NaN or infinite")


def header_duration_s(path: str | os.PathLike[str]) -> float | None:
    """The duration in seconds that the file's header claims, or None: cheap, and not to be relied on."""
    try:
        with _opened(path) as raw:
            try:
                with _sound_file(raw, path) as sound:
                    return float(sound.frames / sound.samplerate)
            except soundfile.SoundFileError:
                with _av_container(raw, path) as container:
                    return container.duration / 1e6 if container.duration else None
    except (AudioDecodeError, OSError):
        return None


def container_texts(path: str | os.PathLike[str]) -> dict[str, str]:
    """What the container itself says of its content (RIFF INFO, AIFF, CAF, Matroska ...): names in lower
    case; or {}."""
    try:
        with _opened(path) as raw:
            try:
                with _sound_file(raw, path) as sound:
                    return dict(sound.copy_metadata())
            except soundfile.SoundFileError:
                with _av_container(raw, path) as container:
                    return {str(name).lower(): str(text) for name, text in container.metadata.items()}
    except (AudioDecodeError, OSError):
        return {}


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[FileIO]:
    """The regular, non-empty file, open; every refusal of the system becomes an AudioDecodeError."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise AudioDecodeError(path, "it is a folder, not an audio file")
        if not stat.S_ISREG(status.st_mode):
            raise AudioDecodeError(path, "it is not a regular file")
        if status.st_size == 0:
            raise AudioDecodeError(path, "the file is empty (0 bytes)")
        with open(path, "rb", buffering=0) as raw:  # its descriptor is read by C
            yield raw
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise AudioDecodeError(path, reason, transient=True) from error


def _decoded(
    raw: FileIO, path: str | os.PathLike[str], *, start_s: int, buffer_s: float
) -> Iterator[tuple[np.ndarray, int]]:
    """Chunks [shape=(n, channels), float32] and their rate: libsndfile's, then FFmpeg's where that fails."""
    decoded = 0
    try:
        for samples, rate_hz in _by_soundfile(raw, path, start_s=start_s, buffer_s=buffer_s):
            yield samples, rate_hz
            decoded += len(samples)
        return
    except soundfile.SoundFileError:
        raw.seek(0)
    try:
        yield from _by_av(raw, path, start_s=start_s, skip_samples=decoded, buffer_s=buffer_s)
    except AudioDecodeError:
        if not decoded:
            raise


def _buffer_frames(path: str | os.PathLike[str], rate_hz: int, channels: int, buffer_s: float) -> int:
    """Frames of a buffer; refuses the rates and channel counts that only a damaged header names."""
    if not _MIN_RATE_HZ <= rate_hz <= _MAX_RATE_HZ:
        raise AudioDecodeError(path, f"its sample rate of {rate_hz} Hz is not one of audio")
    if not 1 <= channels <= _MAX_CHANNELS:
        raise AudioDecodeError(path, f"it has {channels} channels; at most {_MAX_CHANNELS} are read")
    return max(1, min(round(rate_hz * buffer_s), _MAX_BUFFER_VALUES // channels))


def _sound_file(raw: FileIO, path: str | os.PathLike[str]) -> soundfile.SoundFile:
    # A descriptor carries no name: libsndfile goes by content, and a name outside UTF-8 is no matter. On
    # Windows a descriptor means nothing to another C library.
    if sys.platform == "win32":
        return soundfile.SoundFile(os.fspath(path))
    return soundfile.SoundFile(raw.fileno(), closefd=False)


def _by_soundfile(
    raw: FileIO, path: str | os.PathLike[str], *, start_s: int, buffer_s: float
) -> Iterator[tuple[np.ndarray, int]]:
    with _sound_file(raw, path) as sound:
        frames = _buffer_frames(path, sound.samplerate, sound.channels, buffer_s)
        if start_s:
            start = start_s * sound.samplerate
            if start >= sound.frames:
                return
            sound.seek(start)
        # float32, large buffers and one buffer: int16 costs 0.6 ms more per second of stereo mp3, 4096-frame
        # buffers 1.4.
        buffer = np.empty((frames, sound.channels), dtype=np.float32)
        while True:
            samples = sound.read(out=buffer)
            if not len(samples):
                return
            yield samples, sound.samplerate


class _Nameless:
    """The reading half of a file, without its name, for FFmpeg to judge by content."""

    def __init__(self, raw: FileIO) -> None:
        self.read = raw.read
        self.seek = raw.seek
        self.tell = raw.tell


def _av_container(raw: FileIO, path: str | os.PathLike[str]) -> Any:
    import av  # 30 ms and 60 MB: for the files that need it

    raw.seek(0)
    try:
        # No protocol is ever needed beyond the open file: nothing in a file's content can name another one.
        return av.open(
            _Nameless(raw),
            metadata_errors="replace",
            options={"format_whitelist": _AV_FORMATS, "protocol_whitelist": "none"},
        )
    except (av.FFmpegError, ValueError) as error:
        raise AudioDecodeError(path, "not audio in any known format") from error


def _by_av(
    raw: FileIO, path: str | os.PathLike[str], *, start_s: int, skip_samples: int, buffer_s: float
) -> Iterator[tuple[np.ndarray, int]]:
    """What FFmpeg reads, without the first `start_s` seconds and the `skip_samples` after them."""
    with _av_container(raw, path) as container:
        if not container.streams.audio:
            raise AudioDecodeError(path, "it has no audio stream")
        pending: list[np.ndarray] = []
        n_pending = n_skip = frames = rate_hz = n_channels = 0
        for samples, frame_rate_hz in _av_frames(container, path):
            if (frame_rate_hz, samples.shape[1]) != (rate_hz, n_channels):
                if n_pending:
                    yield np.concatenate(pending), rate_hz
                if not rate_hz:
                    n_skip = start_s * frame_rate_hz + skip_samples
                pending, n_pending = [], 0
                rate_hz, n_channels = frame_rate_hz, samples.shape[1]
                frames = _buffer_frames(path, rate_hz, n_channels, buffer_s)
            kept = samples[n_skip:]
            n_skip -= len(samples) - len(kept)
            if len(kept):
                pending.append(kept)
                n_pending += len(kept)
            if n_pending >= frames:
                yield np.concatenate(pending), rate_hz
                pending, n_pending = [], 0
        if n_pending:
            yield np.concatenate(pending), rate_hz


def _av_frames(container: Any, path: str | os.PathLike[str]) -> Iterator[tuple[np.ndarray, int]]:
    """Frames [shape=(n, channels), float32] of the first audio stream, without packets that do not decode."""
    import av

    n_frames, failure = 0, ""
    try:
        for packet in container.demux(container.streams.audio[0]):
            try:
                for frame in packet.decode():
                    n_frames += 1
                    yield _frame_samples(frame), frame.sample_rate
            except av.FFmpegError as error:
                failure = str(error.strerror)
    except av.FFmpegError as error:
        failure = str(error.strerror)
    if not n_frames and failure:
        raise AudioDecodeError(path, f"its audio does not decode ({failure})")


def _frame_samples(frame: Any) -> np.ndarray:
    values = frame.to_ndarray()
    samples = values.T if frame.format.is_planar else values.reshape(-1, len(frame.layout.channels))
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    half = 1 << (8 * samples.dtype.itemsize - 1)
    return (samples.astype(np.float32) - (half if samples.dtype.kind == "u" else 0)) / half


def _mono(samples: np.ndarray) -> tuple[np.ndarray, bool]:
    """The mean of the channels [shape=(n,), float32, a new array], and whether any sample was finite."""
    with np.errstate(all="ignore"):
        mono = _mean_of_columns(samples)
    if np.isfinite(mono).all():
        return mono, bool(len(mono))
    finite = np.isfinite(samples)
    return _mean_of_columns(np.clip(np.where(finite, samples, 0.0), -1.0, 1.0)), bool(finite.any())


def _mean_of_columns(samples: np.ndarray) -> np.ndarray:
    # Column by column: ten times as fast as mean(axis=1), and unlike a matrix product it starts no BLAS
    # threads.
    mono = samples[:, 0].astype(np.float32)
    for column in range(1, samples.shape[1]):
        mono += samples[:, column]
    mono *= np.float32(1.0 / samples.shape[1])
    return mono
