"""Arrays of samples as mono waveforms: their types, their channels, and samples beyond full scale."""

from __future__ import annotations

import numpy as np

from encoders.downmix import LARGEST_SAMPLE, Downmix

__all__ = ["MAX_CHANNELS", "as_waveform", "limited"]

MAX_CHANNELS = 64
"""An axis no longer than this holds channels, not samples."""
_SPARE = 10_000  # one sample in this many may be clipped: clicks, and the overshoot of lossy codecs
_FULL_SCALE = {"int16": 32_768.0, "int32": 2_147_483_648.0}


def as_waveform(array: np.ndarray, *, sample_rate_hz: int) -> np.ndarray:
    """Return an array of samples as a mono waveform. Integers are scaled by their type, channels are mixed.

    Args:
        array: [shape=(n,)], [shape=(channels, n)] or [shape=(n, channels)] with at most 64 channels, the shorter axis:
            floats, whose full scale is 1; int16 or int32, whose full scale is that of the type; or uint8, whose zero is
            128.
        sample_rate_hz: its sample rate.

    Returns:
        float32 [shape=(n,)], finite, n > 0. Floats beyond full scale stay as they are.

    Raises:
        ValueError: another shape or type, or samples that are not finite; the message says how to convert it.
    """
    n_channels = min(array.shape) if array.ndim == 2 else 1
    if array.ndim not in (1, 2) or not array.size or n_channels > MAX_CHANNELS:
        raise ValueError(
            f"a waveform of shape (n,), (channels, n) or (n, channels) with n > 0 and at most {MAX_CHANNELS} channels "
            f"is needed, not {array.shape}"
        )
    if array.dtype.kind == "f":
        # Piece by piece: the mask of a long waveform would take a quarter of its own memory.
        flat = array.reshape(-1)
        n_bad = sum(int((~np.isfinite(flat[i : i + 2**20])).sum()) for i in range(0, len(flat), 2**20))
        if n_bad:
            raise ValueError(f"{n_bad} samples are NaN or infinite: replace them, or decode the file again")
        samples = array if array.dtype.itemsize <= 4 else np.clip(array, -LARGEST_SAMPLE, LARGEST_SAMPLE)
        samples = samples.astype(np.float32, copy=False)
    elif array.dtype.name in _FULL_SCALE:
        samples = array.astype(np.float32) / np.float32(_FULL_SCALE[array.dtype.name])
    elif array.dtype == np.uint8:
        samples = (array.astype(np.float32) - 128.0) / 128.0
    else:
        raise ValueError(
            f"samples of type {array.dtype} have no certain full scale: give floats in [-1, 1], int16, int32 or uint8"
        )
    if samples.ndim == 1:
        return samples
    columns = samples.T if samples.shape[0] < samples.shape[1] else samples
    mix = Downmix(sample_rate_hz=sample_rate_hz, channels=columns.shape[1])
    return np.concatenate([*mix.push(columns), *mix.last()])


def limited(samples: np.ndarray) -> np.ndarray:
    """Return samples within full scale: scaled down where more than one in 10,000 lies beyond it, then clipped.

    Clipping alone would turn a file that is 12 dB above full scale, as float files may be, into noise; scaling by the
    largest sample alone would silence a chunk for one damaged sample.

    Args:
        samples: [shape=(n,)], finite, n > 0.

    Returns:
        float32 in [-1, 1] [shape=(n,)]; the same array if all samples are.
    """
    if max(samples.max(), -samples.min()) <= 1.0:
        return samples
    place = len(samples) - 1 - len(samples) // _SPARE
    reference = max(1.0, float(np.partition(np.abs(samples), place)[place]))
    return np.clip(samples / np.float32(reference), -1.0, 1.0)
