"""Keep the latest embedding of every clip, to mine negatives over without a pass over the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

__all__ = ["MemoryBank"]

_FILE = "mining.safetensors"


class MemoryBank:
    """The vector of each clip when it was last in a batch, and a snapshot of all that is taken once an epoch.

    Mining reads the snapshot: batches can be prepared ahead, and a resumed run mines over the same vectors as an
    uninterrupted one. A clip's vector is at most about an epoch old.

    Attributes:
        clips: unit vectors [shape=(n_clips, dim)]; zeros for clips that were never in a batch.
        snapshot: clips and tags [shape=(n_tags, dim)] at the last `take_snapshot`; None before it.

    Source: Wu, Xiong, Yu and Lin 2018, section 3 (memory bank).
    """

    def __init__(self, n_clips: int, dim: int) -> None:
        self.clips = np.zeros((n_clips, dim), np.float32)
        self.snapshot: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Store the vectors [shape=(n, dim)] of clips [shape=(n,)]."""
        self.clips[rows] = vectors

    def take_snapshot(self, tags: np.ndarray, *, centre: np.ndarray | None = None) -> None:
        """Copy the clips' vectors, beside those of the tags [shape=(n_tags, dim)].

        `centre` [shape=(dim,)], the mean of all audio, is subtracted from the clips if given. Clips that were never in
        a batch stay zeros, the others stay unit vectors.
        """
        clips = self.clips.copy()
        if centre is not None:
            known = clips.any(1)
            clips[known] -= centre
            clips[known] /= np.maximum(np.linalg.norm(clips[known], axis=1, keepdims=True), 1e-12)
        self.snapshot = clips, np.ascontiguousarray(tags, dtype=np.float32)

    @property
    def known(self) -> np.ndarray:
        """The vectors of clips that were in a batch [shape=(n, dim)]."""
        return self.clips[self.clips.any(1)]

    def save(self, folder: Path) -> None:
        """Write the bank into a checkpoint."""
        tensors = {"clips": self.clips}
        if self.snapshot is not None:
            tensors |= {"snapshot_clips": self.snapshot[0], "snapshot_tags": self.snapshot[1]}
        save_file(tensors, folder / _FILE)

    def load(self, folder: Path) -> None:
        """Read the bank of a checkpoint of the same run."""
        tensors = load_file(folder / _FILE)
        self.clips = tensors["clips"].copy()
        self.snapshot = None
        if "snapshot_clips" in tensors:
            self.snapshot = tensors["snapshot_clips"].copy(), tensors["snapshot_tags"].copy()
