"""Load clips as waveforms, crop them at random and normalize their level."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import soxr

from encoders.audio import load_audio
from encoders.decode import header_duration_s
from encoders.waveform import as_waveform, limited
from retrieval.datasets.base import DatasetError, TaggedClip

__all__ = ["RMS_TARGET", "Normalization", "clip_duration_s", "load_clip", "normalized", "random_crop"]

Normalization = Literal["none", "peak", "rms"]
RMS_TARGET = 0.1
"""20 dB below full scale: most music does not clip at this level."""
_SILENCE_PEAK = 1e-6


def load_clip(
    clip: TaggedClip,
    *,
    sample_rate_hz: int,
    start_s: float = 0.0,
    duration_s: float | None = None,
    normalize: Normalization = "none",
) -> np.ndarray:
    """Return a clip, or a part of it, as a waveform.

    Args:
        clip: an audio file, or a .npy array of one of the shapes and types that `encoders.waveform.as_waveform` takes.
        sample_rate_hz: sample rate of the result.
        start_s: start of the part, seconds.
        duration_s: length of the part, seconds, or less where the clip ends earlier. None reads to the end; what lies
            beyond the part is not decoded.
        normalize: see `normalized`.

    Returns:
        [shape=(n,)] float32 in [-1, 1], n > 0.

    Raises:
        AudioDecodeError: the audio file cannot be read.
        DatasetError: the array has no declared sample rate, or is not a waveform.
        ValueError: `start_s` is negative, or `duration_s` is not positive.
    """
    if clip.path.suffix.lower() == ".npy":
        waveform = _load_array(clip, sample_rate_hz=sample_rate_hz, start_s=start_s, duration_s=duration_s)
    else:
        waveform = load_audio(clip.path, sample_rate_hz=sample_rate_hz, start_s=start_s, duration_s=duration_s)
    return normalized(limited(waveform), normalize)


def clip_duration_s(clip: TaggedClip) -> float | None:
    """Return the duration that the header of a clip states, in seconds, without decoding it; None: it states none.

    Raises:
        DatasetError: the clip is an array that has no declared sample rate, or is not a waveform.
    """
    if clip.path.suffix.lower() != ".npy":
        return header_duration_s(clip.path)
    array, rate_hz = _open_array(clip)
    return array.shape[-1] / rate_hz


def random_crop(waveform: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return a crop from a uniformly random position; a shorter waveform is padded with zeros at its end.

    Args:
        waveform: [shape=(n,)].
        n_samples: length of the crop.
        rng: source of randomness; one number is drawn, whatever the length of the waveform.

    Returns:
        A copy [shape=(n_samples,)] of the waveform's type.
    """
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, not {n_samples}")
    # rng.integers would draw nothing for a single place: the draws after it would depend on the clip's length.
    start = int(rng.random() * (max(0, len(waveform) - n_samples) + 1))
    crop = waveform[start : start + n_samples]
    return np.pad(crop, (0, n_samples - len(crop)))


def normalized(waveform: np.ndarray, normalize: Normalization) -> np.ndarray:
    """Return a waveform at a common level.

    "peak" scales the largest magnitude to 1. "rms" scales the root mean square to `RMS_TARGET`, or less where samples
    would leave [-1, 1]. "none" does not scale. Silence is not scaled.

    Args:
        waveform: [shape=(n,)], n > 0.

    Returns:
        [shape=(n,)] float32 in [-1, 1] for "peak" and "rms".
    """
    if normalize not in get_args(Normalization):
        raise ValueError(f"normalize must be one of {', '.join(get_args(Normalization))}, not {normalize!r}")
    peak = float(np.max(np.abs(waveform)))
    if normalize == "none" or peak < _SILENCE_PEAK:
        return waveform.astype(np.float32, copy=False)
    gain = 1.0 / peak
    if normalize == "rms":
        gain = min(gain, RMS_TARGET / math.sqrt(float(np.mean(np.square(waveform, dtype=np.float64)))))
    return np.clip(waveform * gain, -1.0, 1.0).astype(np.float32)


def _open_array(clip: TaggedClip) -> tuple[np.ndarray, int]:
    """Return a clip's array, mapped [shape=(n,) or (channels, n)], and its sample rate in Hz."""
    if clip.array_rate_hz is None:
        raise DatasetError(f"{clip.path} does not state its sample rate: give it with --array-rate HZ")
    try:
        array = np.load(clip.path, mmap_mode="r", allow_pickle=False)  # mapped: only a part of a long clip is read
    except (ValueError, EOFError) as error:
        raise DatasetError(f"{clip.path} is not an array of numbers: {error}") from None
    if array.ndim not in (1, 2) or not array.size:
        raise DatasetError(
            f"{clip.path} has the shape {array.shape}: a waveform has the shape (n,), (channels, n) or (n, channels)"
        )
    return (array.T if array.ndim == 2 and array.shape[0] > array.shape[1] else array), clip.array_rate_hz


def _load_array(clip: TaggedClip, *, sample_rate_hz: int, start_s: float, duration_s: float | None) -> np.ndarray:
    if start_s < 0 or (duration_s is not None and duration_s <= 0):
        raise ValueError(f"start_s must be >= 0 and duration_s > 0, not {start_s} and {duration_s}")
    array, rate_hz = _open_array(clip)
    first = round(start_s * rate_hz)
    last = None if duration_s is None else first + max(1, round(duration_s * rate_hz))
    part = np.asarray(array[..., first:last])
    if not part.size:
        raise DatasetError(f"{clip.path}: no audio after {start_s:g} s")
    try:
        waveform = as_waveform(part, sample_rate_hz=rate_hz)
    except ValueError as error:
        raise DatasetError(f"{clip.path}: {error}") from None
    if rate_hz != sample_rate_hz:
        waveform = soxr.resample(waveform, rate_hz, sample_rate_hz, quality="HQ")
        if not len(waveform):
            raise DatasetError(f"{clip.path} is too short: no sample is left at {sample_rate_hz} Hz")
    return waveform
