"""Vectors in a few bytes each: product quantisation after a rotation. Imports numpy only.

A vector is rotated and cut into parts, each of which is the nearest of 256 centroids; a part costs one byte.

Source: Jégou, Douze, Schmid, "Product quantization for nearest neighbor search", TPAMI 2011; Ge, He, Ke, Sun,
"Optimized product quantization", TPAMI 2014.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["ProductCodes"]

_N_CENTROIDS = 256


@dataclass(frozen=True)
class ProductCodes:
    """Coded vectors.

    Attributes:
        codes: the centroid of each part, uint8 [shape=(n, n_parts)].
        centroids: float16 [shape=(n_parts, 256, part_dim)].
        rotation: from the parts side by side to vectors, float16 [shape=(n_parts * part_dim, dim)].

    Raises:
        ValueError: the shapes or types do not match.
    """

    codes: np.ndarray
    centroids: np.ndarray
    rotation: np.ndarray

    def __post_init__(self) -> None:
        n_parts = self.codes.shape[-1]
        if self.codes.ndim != 2 or self.codes.dtype != np.uint8:
            raise ValueError(f"product codes are uint8 rows, not {self.codes.dtype} of shape {self.codes.shape}")
        if self.centroids.ndim != 3 or self.centroids.shape[:2] != (n_parts, _N_CENTROIDS):
            raise ValueError(f"{n_parts} parts do not match centroids of shape {self.centroids.shape}")
        if self.rotation.ndim != 2 or len(self.rotation) != n_parts * self.centroids.shape[2]:
            raise ValueError(f"parts of {self.centroids.shape[2]} do not match a rotation of {self.rotation.shape}")

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.rotation.shape[1])

    def vectors(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return decoded vectors, float32 [shape=(n_rows, dim)]."""
        codes = self.codes[rows]
        parts = self.centroids[np.arange(codes.shape[1]), codes].astype(np.float32)
        decoded: np.ndarray = parts.reshape(len(codes), -1) @ self.rotation.astype(np.float32)
        return decoded
