"""The sound of a clip: its waveform at a rate, a random crop of it, and its level."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import soxr

from encoders.audio import load_audio
from retrieval.datasets.base import DatasetError, TaggedClip

__all__ = ["RMS_LEVEL", "Level", "load_clip", "normalised", "random_crop"]

Level = Literal["none", "peak", "rms"]
RMS_LEVEL = 0.1
"""-20 dB below full scale: most music at this level does not clip."""
_SILENT = 1e-6


def load_clip(
    clip: TaggedClip,
    *,
    sample_rate_hz: int,
    start_s: float = 0.0,
    duration_s: float | None = None,
    level: Level = "none",
) -> np.ndarray:
    """A clip, or a part of it, as a waveform.

    Args:
        clip: a sound file, or a .npy array of shape (n,), (channels, n) or (n, channels): real numbers in [-1, 1], or
            signed 16-bit or 32-bit integers.
        sample_rate_hz: the rate of the result.
        start_s: where to start, seconds.
        duration_s: how much, seconds; None reads to the end. Less comes back where the clip ends earlier.
        level: see :func:`normalised`.

    Returns:
        [shape=(n,)] float32 in [-1, 1], n > 0.

    Raises:
        AudioDecodeError: the sound file cannot be read.
        DatasetError: the array has no declared rate, or is no waveform.
        ValueError: a negative start, or a duration that is not positive.
    """
    if clip.path.suffix.lower() == ".npy":
        waveform = _load_array(clip, sample_rate_hz=sample_rate_hz, start_s=start_s, duration_s=duration_s)
    else:
        waveform = load_audio(clip.path, sample_rate_hz=sample_rate_hz, start_s=start_s, duration_s=duration_s)
    return normalised(waveform, level)


def random_crop(waveform: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """A crop of `n_samples` from a random place, every place equally likely; a shorter waveform is padded at its end.

    Args:
        waveform: [shape=(n,)].
        n_samples: length of the result.
        rng: the only source of chance: one draw, whether the waveform is long enough or not.

    Returns:
        [shape=(n_samples,)] of the waveform's type; a copy.
    """
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, not {n_samples}")
    # rng.integers would draw nothing for a single place: the draws after it would depend on the clip's length.
    start = int(rng.random() * (max(0, len(waveform) - n_samples) + 1))
    crop = waveform[start : start + n_samples]
    return np.pad(crop, (0, n_samples - len(crop)))


def normalised(waveform: np.ndarray, level: Level = "peak") -> np.ndarray:
    """A waveform at a common level.

    "peak" scales the largest magnitude to 1; "rms" scales the root mean square to `RMS_LEVEL`, or to what the peak
    allows where that would leave [-1, 1]; "none" leaves it. Silence stays as it is.

    Args:
        waveform: [shape=(n,)], n > 0.

    Returns:
        [shape=(n,)] float32 in [-1, 1] for "peak" and "rms".
    """
    if level not in ("none", "peak", "rms"):
        raise ValueError(f"the level is none, peak or rms, not {level!r}")
    peak = float(np.max(np.abs(waveform)))
    if level == "none" or peak < _SILENT:
        return waveform.astype(np.float32, copy=False)
    gain = 1.0 / peak
    if level == "rms":
        gain = min(gain, RMS_LEVEL / math.sqrt(float(np.mean(np.square(waveform, dtype=np.float64)))))
    return np.clip(waveform * gain, -1.0, 1.0).astype(np.float32)


def _load_array(clip: TaggedClip, *, sample_rate_hz: int, start_s: float, duration_s: float | None) -> np.ndarray:
    if start_s < 0 or (duration_s is not None and duration_s <= 0):
        raise ValueError(f"start_s must be >= 0 and duration_s > 0, not {start_s} and {duration_s}")
    rate_hz = clip.array_rate_hz
    if rate_hz is None:
        raise DatasetError(f"{clip.path} does not say its sample rate: declare it with --array-rate HZ")
    try:
        array = np.load(clip.path, mmap_mode="r", allow_pickle=False)  # mapped: a crop of a long clip is read alone
    except (ValueError, EOFError) as error:
        raise DatasetError(f"{clip.path} is no array of numbers: {error}") from None
    if array.ndim not in (1, 2) or not array.size:
        raise DatasetError(f"{clip.path} has the shape {array.shape}: a waveform has (n,), (channels, n) or its mirror")
    if array.ndim == 2 and array.shape[0] > array.shape[1]:
        array = array.T
    first = round(start_s * rate_hz)
    last = None if duration_s is None else first + max(1, round(duration_s * rate_hz))
    part = np.asarray(array[..., first:last])
    if part.dtype.kind == "i" and part.dtype.itemsize in (2, 4):
        part = part / -float(np.iinfo(part.dtype).min)
    elif part.dtype.kind != "f":
        raise DatasetError(f"{clip.path} holds {part.dtype}: save real numbers in [-1, 1] or 16-bit integers")
    mono = part.mean(axis=0) if part.ndim == 2 else part
    if not mono.size:
        raise DatasetError(f"{clip.path}: no audio after {start_s:g} s")
    if not np.isfinite(mono).all():
        raise DatasetError(f"{clip.path} has samples that are no finite numbers")
    waveform = mono.astype(np.float32)
    if rate_hz != sample_rate_hz:
        waveform = soxr.resample(waveform, rate_hz, sample_rate_hz, quality="HQ")
        if not len(waveform):
            raise DatasetError(f"{clip.path} is too short: not one sample is left at {sample_rate_hz} Hz")
    return np.clip(waveform, -1.0, 1.0).astype(np.float32, copy=False)
