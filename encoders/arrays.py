"""Two formulas on numpy arrays that every layer needs."""

from __future__ import annotations

import numpy as np

__all__ = ["sigmoid", "unit"]


def unit(x: np.ndarray) -> np.ndarray:
    """Scale rows to unit length.

    Args:
        x: [shape=(..., dim)].

    Returns:
        float32 [shape=(..., dim)]; a row of zeros stays zero.
    """
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) in float64, any shape, accurate in both tails and without overflow."""
    x = np.asarray(x, np.float64)
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)
