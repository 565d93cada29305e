"""Mix the channels of a stream to one, so that no sound is lost where channels cancel each other.

The mean of the channels is right for nearly all audio, but a stream whose channels are of opposite polarity averages
to silence. The stream is therefore mixed in blocks of one second (or a power of two of these to the second, where that
many channels would not fit): where the mean has far less energy than the channels would have if they were independent,
the channels of opposite polarity are inverted first. What a block gives depends on it and the block before alone, and
blocks lie at fixed places of the stream, so the result depends neither on the size of the buffers nor, from the second
block on, on where reading started.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["LARGEST_SAMPLE", "Downmix"]

LARGEST_SAMPLE = float(1 << 32)
"""Samples are bounded to this: 2 bits above 32-bit integers that were stored as floats. Only damage exceeds it."""

# Energy of the mean relative to that of the mean of independent channels: 1 + correlation for two equally loud ones.
_KEPT = 0.5  # from here on, the mean is taken as it is ...
_LOST = 0.25  # ... and up to here, polarity is corrected fully; between them, partly
_FADE_S = 0.02  # from the weights of one block to those of the next
_MAX_BLOCK_VALUES = 1 << 21  # samples times channels: 8 MB


class Downmix:
    """Mixes one stream, buffer by buffer; holds one block at most.

    Args:
        sample_rate_hz: of the stream.
        channels: number of its channels.

    Attributes:
        any_finite: whether a sample that is a number was mixed. Others count as 0.
    """

    def __init__(self, *, sample_rate_hz: int, channels: int) -> None:
        self.any_finite = False
        self._rate_hz = sample_rate_hz
        self._blocks_a_second = 1
        while sample_rate_hz * channels > _MAX_BLOCK_VALUES * self._blocks_a_second:
            self._blocks_a_second *= 2
        self._fade = max(1, min(round(_FADE_S * sample_rate_hz), sample_rate_hz // (2 * self._blocks_a_second)))
        self._mean = np.full(channels, 1.0 / channels, dtype=np.float32)
        self._weights: np.ndarray | None = None
        self._pending: list[np.ndarray] = []
        self._n_pending = 0
        self._n_blocks = 0

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the mixed blocks that a buffer completes.

        Args:
            samples: [shape=(n, channels)], float32; they are copied.

        Yields:
            [shape=(m,)] float32, finite, m > 0.
        """
        while len(samples):
            part = samples[: self._size() - self._n_pending]
            samples = samples[len(part) :]
            self._pending.append(part.copy())
            self._n_pending += len(part)
            if self._n_pending == self._size():
                yield self._mixed()

    def last(self) -> Iterator[np.ndarray]:
        """Yield the last, incomplete block, if there is one, once the stream has ended."""
        if self._n_pending:
            yield self._mixed()

    def _size(self) -> int:
        """Return the length of the present block in samples."""
        first, after = (n * self._rate_hz // self._blocks_a_second for n in (self._n_blocks, self._n_blocks + 1))
        return after - first

    def _mixed(self) -> np.ndarray:
        block = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        self._pending, self._n_pending = [], 0
        self._n_blocks += 1
        # One pass over the samples in the usual case: a maximum is NaN if any of them is.
        if not max(block.max(), -block.min()) <= LARGEST_SAMPLE:
            finite = np.isfinite(block)
            self.any_finite = self.any_finite or bool(finite.any())
            block = np.clip(np.where(finite, block, np.float32(0.0)), -LARGEST_SAMPLE, LARGEST_SAMPLE)
        else:
            self.any_finite = True
        mean = _weighted(block, self._mean)
        weights = self._mean if block.shape[1] == 1 else self._weights_of(block, mean)
        before, self._weights = self._weights, weights
        mixed = mean if weights is self._mean else _weighted(block, weights)
        if before is None or before is weights or np.array_equal(before, weights):
            return mixed
        n = min(self._fade, len(block))
        rise = (np.arange(1, n + 1, dtype=np.float32) / np.float32(self._fade)).astype(np.float32)
        mixed[:n] = rise * mixed[:n] + (1 - rise) * _weighted(block[:n], before)
        return mixed

    def _weights_of(self, block: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Return the weight of each channel of a block [shape=(channels,)]."""
        n_channels = block.shape[1]
        of_channels = _energy(block.ravel())
        if not of_channels > 0.0:
            return self._mean
        kept = n_channels**2 * _energy(mean) / of_channels  # 1 for independent channels, `n_channels` for equal ones
        if kept >= _KEPT:
            return self._mean
        energies = [_energy(block[:, channel]) for channel in range(n_channels)]
        loudest = block[:, int(np.argmax(energies))]
        signs = np.array([_product(block[:, channel], loudest) for channel in range(n_channels)])
        signs = np.where(signs < 0.0, -1.0, 1.0)
        signs *= signs[0]  # the first channel keeps its polarity, so that it does not change from block to block
        share = min(1.0, (_KEPT - kept) / (_KEPT - _LOST))
        return ((1.0 - share + share * signs) / n_channels).astype(np.float32)


def _weighted(samples: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # Column by column: ten times as fast as a mean over axis 1, and unlike a matrix product it starts no BLAS threads.
    # Equal weights are applied to the sum, once.
    if (weights == weights[0]).all():
        mono = samples[:, 0].astype(np.float32)
        for column in range(1, samples.shape[1]):
            mono += samples[:, column]
        mono *= weights[0]
        return mono
    mono = samples[:, 0] * weights[0]
    for column in range(1, samples.shape[1]):
        mono += samples[:, column] * weights[column]
    return mono


def _energy(samples: np.ndarray) -> float:
    return _product(samples, samples)


def _product(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.einsum("i,i->", one, other))  # einsum starts no BLAS threads
