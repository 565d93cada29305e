"""The weights and the sound with which the published implementations produced the figures of tests/golden."""

from __future__ import annotations

import zlib

import numpy as np


def value(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return one state entry, by its published name: seeded noise, scaled so that activations stay near 1."""
    noise = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape or (1,)).astype(np.float32)
    if not shape:
        noise = noise.reshape(())
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(noise)
    if len(shape) > 1:
        return noise / np.sqrt(np.prod(shape[1:]))
    # One-dimensional: gains about 1, biases and running means about 0.
    return (1 + 0.1 * noise) if key.endswith("weight") else 0.1 * noise


def wave(n_samples: int) -> np.ndarray:
    """Return the first row of the test sound [shape=(1, n_samples)]; the rows of a batch share one random stream."""
    t = np.arange(n_samples) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 220 * t) * np.exp(-((t * 2) % 1.0) * 3)
    sweep = 0.2 * np.sin(2 * np.pi * 1000 * t * (1 + 0.05 * t))
    noise = 0.02 * np.random.RandomState(7).standard_normal(n_samples)
    return (tone + sweep + noise)[None].astype(np.float32)
