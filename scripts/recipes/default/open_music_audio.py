"""Write tracks as mono Ogg Vorbis at the model's sample rate: sound files, stems to be mixed, and tracker modules."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from encoders.audio import SAMPLE_RATE_HZ, AudioDecodeError, stream_audio
from encoders.decode import mono_buffers

__all__ = ["NoModulePlayerError", "Written", "is_module", "write_vorbis"]

_MODULE_SUFFIXES = frozenset((".it", ".mod", ".s3m", ".xm"))
_MODULE_MARKS = ((0, b"Extended Module: "), (0, b"IMPM"), (44, b"SCRM"), (1080, b"M.K."))
_COMPRESSION_LEVEL = 0.5
"""Vorbis quality 5: about 70 kbit/s for one channel at 32 kHz."""
_BLOCK_SAMPLES = SAMPLE_RATE_HZ
_MAX_MODULE_S = 1800
_SILENT_PEAK = 1e-3


class NoModulePlayerError(RuntimeError):
    """Tracker modules cannot be rendered here."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        seconds: duration.
        rate_hz: sample rate of the original; what is below 32 kHz has no treble.
        sha256: of the samples as 16-bit integers: equal for two copies of one sound.
        damage: what the decoder said if only a part could be decoded, else empty.
    """

    seconds: float
    rate_hz: int
    sha256: str
    damage: str


def write_vorbis(files: Sequence[Path], target: Path) -> Written:
    """Write one sound.

    Args:
        files: a sound file, a tracker module, or several sound files that are mixed.
        target: gets its name last, so that a file of that name is complete.

    Raises:
        AudioDecodeError: the sound cannot be decoded, or is silent.
        NoModulePlayerError: the sound is a tracker module, and libopenmpt is not installed.
    """
    damage: list[str] = []
    if len(files) > 1:
        streams = [np.concatenate(list(_samples(file, damage))) for file in files]
        mix = np.zeros(max(map(len, streams)), np.float32)
        for stream in streams:
            mix[: len(stream)] += stream
        buffers: Iterator[np.ndarray] = iter([mix])
    else:
        buffers = _samples(files[0], damage)
    digest = hashlib.sha256()
    n_samples, peak = 0, 0.0
    part = target.with_suffix(".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with soundfile.SoundFile(
            part,
            "w",
            samplerate=SAMPLE_RATE_HZ,
            channels=1,
            format="OGG",
            subtype="VORBIS",
            compression_level=_COMPRESSION_LEVEL,
        ) as out:
            for buffer in buffers:
                # libvorbis takes a whole write onto its stack, so writes are short.
                for start in range(0, len(buffer), _BLOCK_SAMPLES):
                    out.write(buffer[start : start + _BLOCK_SAMPLES])
                digest.update((buffer.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
                n_samples += len(buffer)
                peak = max(peak, float(np.abs(buffer).max(initial=0)))
        if peak < _SILENT_PEAK:
            raise AudioDecodeError(files[0], "silent")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    rate_hz = SAMPLE_RATE_HZ if is_module(files[0]) else _rate_hz(files[0])
    return Written(n_samples / SAMPLE_RATE_HZ, rate_hz, digest.hexdigest(), "; ".join(damage))


def is_module(file: Path) -> bool:
    """Return whether a file is a tracker module (XM, IT, S3M, MOD), by its name, or by its mark under another name."""
    with file.open("rb") as opened:
        head = opened.read(1084)
    marked = any(head[at : at + len(mark)] == mark for at, mark in _MODULE_MARKS)
    return marked or file.suffix in _MODULE_SUFFIXES


def _samples(file: Path, damage: list[str]) -> Iterator[np.ndarray]:
    """Yield a sound as mono float32 at 32 kHz."""
    if is_module(file):
        return _render_module(file)
    return stream_audio(file, sample_rate_hz=SAMPLE_RATE_HZ, on_error=damage.append)


def _rate_hz(file: Path) -> int:
    return next(rate_hz for _, rate_hz in mono_buffers(file))


@cache
def _libopenmpt() -> ctypes.CDLL:
    """Return libopenmpt with its functions declared.

    Source: libopenmpt.h of libopenmpt 0.6.
    """
    name = ctypes.util.find_library("openmpt") or "libopenmpt.so.0"
    try:
        library = ctypes.CDLL(name)
    except OSError:
        raise NoModulePlayerError("tracker module, for which libopenmpt is needed (Debian: libopenmpt0)") from None
    create = library.openmpt_module_create_from_memory2
    create.argtypes = (ctypes.c_char_p, ctypes.c_size_t, *[ctypes.c_void_p] * 7)
    create.restype = ctypes.c_void_p
    read = library.openmpt_module_read_float_mono
    read.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_size_t, ctypes.c_void_p]
    read.restype = ctypes.c_size_t
    library.openmpt_module_destroy.argtypes = [ctypes.c_void_p]
    library.openmpt_module_destroy.restype = None
    return library


def _render_module(file: Path) -> Iterator[np.ndarray]:
    """Play a tracker module once."""
    library = _libopenmpt()
    data = file.read_bytes()
    log = ctypes.cast(library.openmpt_log_func_silent, ctypes.c_void_p)
    module = library.openmpt_module_create_from_memory2(data, len(data), log, None, None, None, None, None, None)
    if not module:
        raise AudioDecodeError(file, "not a tracker module that libopenmpt knows")
    try:
        for _ in range(_MAX_MODULE_S * SAMPLE_RATE_HZ // _BLOCK_SAMPLES):
            buffer = np.zeros(_BLOCK_SAMPLES, np.float32)
            n = library.openmpt_module_read_float_mono(module, SAMPLE_RATE_HZ, len(buffer), buffer.ctypes.data)
            if not n:
                return
            yield buffer[:n]
    finally:
        library.openmpt_module_destroy(module)
