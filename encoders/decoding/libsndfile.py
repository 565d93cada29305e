"""Decode with libsndfile, the fastest decoder, which knows uncompressed formats, FLAC, Ogg and MPEG audio."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

import numpy as np
import soundfile

from encoders.decoding.byte_range import ByteRange
from encoders.decoding.errors import AudioDecodeError
from encoders.decoding.mpeg import is_mpeg

__all__ = ["LibsndfileError", "buffer_frames", "decode_by_libsndfile", "open_sound_file", "quietly"]

LibsndfileError = soundfile.SoundFileError

_MIN_RATE_HZ = 1_000
_MAX_RATE_HZ = 1_536_000
_MAX_CHANNELS = 64
_MAX_BUFFER_VALUES = 1 << 21
"""Samples times channels that are held at once: 8 MB, whatever a header says."""
_DECODER_LINES = (b"Warning: ", b"Note: ", b"[src/libmpg123/", b"[../src/")


def buffer_frames(path: str | os.PathLike[str], rate_hz: int, channels: int, buffer_s: float) -> int:
    """Return the frames of a buffer.

    Raises:
        AudioDecodeError: a rate or channel count that only a damaged header has.
    """
    if not _MIN_RATE_HZ <= rate_hz <= _MAX_RATE_HZ:
        raise AudioDecodeError(path, f"its sample rate of {rate_hz} Hz is not one of audio")
    if not 1 <= channels <= _MAX_CHANNELS:
        raise AudioDecodeError(path, f"it has {channels} channels; at most {_MAX_CHANNELS} are read")
    return max(1, min(round(rate_hz * buffer_s), _MAX_BUFFER_VALUES // channels))


def open_sound_file(file: ByteRange) -> soundfile.SoundFile:
    """Open a file by its content. Raises LibsndfileError."""
    with quietly() if is_mpeg(file) else contextlib.nullcontext():
        if file.is_whole_file:  # a descriptor is read without callbacks
            os.lseek(file.descriptor, 0, os.SEEK_SET)
            return soundfile.SoundFile(file.descriptor, closefd=False)
        file.seek(0)
        return soundfile.SoundFile(file)


def decode_by_libsndfile(
    file: ByteRange, path: str | os.PathLike[str], *, skip_frames: int, buffer_s: float
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield buffers [shape=(n, channels), float32] and their rate in Hz.

    Args:
        file: the content.
        path: for messages.
        skip_frames: how many frames to leave out at the beginning.
        buffer_s: about the longest buffer, seconds.

    Raises:
        LibsndfileError: at any point.
        AudioDecodeError: the header is damaged.
    """
    with open_sound_file(file) as sound:
        frames = buffer_frames(path, sound.samplerate, sound.channels, buffer_s)
        is_noisy = sound.format in ("MP3", "MPEG")
        if skip_frames:
            if skip_frames >= sound.frames:
                return
            sound.seek(skip_frames)
        # float32, large buffers and one buffer: int16 costs 0.6 ms more per second of stereo mp3, 4096-frame
        # buffers 1.4.
        buffer = np.empty((frames, sound.channels), dtype=np.float32)
        while True:
            with quietly() if is_noisy else contextlib.nullcontext():
                samples = sound.read(out=buffer)
            if not len(samples):
                return
            yield samples, sound.samplerate


class _Silencer:
    """Holds back what C code prints to standard error while any thread is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._saved = -1
        self._file: IO[bytes] | None = None  # made when first needed

    def enter(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sys.stderr.flush()
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile()  # noqa: SIM115 - for the life of the process
                    atexit.register(self._file.close)
                self._saved = os.dup(2)
                os.dup2(self._file.fileno(), 2)
            except OSError:  # standard error is closed, or there is no place for a file
                self._release()

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth or self._saved < 0 or self._file is None:
                return
            self._release()
            descriptor = self._file.fileno()
            n_bytes = os.lseek(descriptor, 0, os.SEEK_CUR)
            if n_bytes:
                lines = os.pread(descriptor, n_bytes, 0).splitlines(keepends=True)
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                ours = b"".join(line for line in lines if line.strip() and not line.startswith(_DECODER_LINES))
                with contextlib.suppress(OSError):
                    os.write(2, ours)

    def _release(self) -> None:
        if self._saved >= 0:
            os.dup2(self._saved, 2)
            os.close(self._saved)
        self._saved = -1


_silencer = _Silencer()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Discard the lines that mpg123 prints to standard error inside; other lines of any thread appear at the end.

    mpg123 reports each damaged frame, and libsndfile offers no way to tell it not to.
    """
    _silencer.enter()
    try:
        yield
    finally:
        _silencer.leave()
