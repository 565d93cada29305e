"""The current embeddings of all clips and tags, as training leaves them: what negatives are mined over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

__all__ = ["EmbeddingBank"]

_FILE = "mining.safetensors"


class EmbeddingBank:
    """Each clip's vector when it was last trained on, and a copy of all that is renewed once an epoch.

    Mining reads the copy: so it costs no pass over the data, batches can be made ahead, and a resumed run mines over
    what the uninterrupted one does. A clip's vector is at most about an epoch old (a memory bank: Wu et al. 2018,
    section 3).

    Attributes:
        clips: unit vectors [shape=(n_clips, dim)]; zeros where a clip was never trained on.
        frozen: clips and tags [shape=(n_tags, dim)] at the last ``freeze``; None before it.
    """

    def __init__(self, n_clips: int, dim: int) -> None:
        self.clips = np.zeros((n_clips, dim), np.float32)
        self.frozen: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Note the vectors [shape=(n, dim)] of clips [shape=(n,)]."""
        self.clips[rows] = vectors

    def freeze(self, tags: np.ndarray, *, centre: np.ndarray | None = None) -> None:
        """Copy the clips as they are now, beside the tags' vectors.

        What is common to all audio, ``centre`` [shape=(dim,)], is taken off the clips where it is known. A clip that
        was never trained on stays zeros, the others stay unit vectors.
        """
        clips = self.clips.copy()
        if centre is not None:
            there = clips.any(1)
            clips[there] -= centre
            clips[there] /= np.maximum(np.linalg.norm(clips[there], axis=1, keepdims=True), 1e-12)
        self.frozen = clips, np.ascontiguousarray(tags, dtype=np.float32)

    @property
    def known(self) -> np.ndarray:
        """The vectors of clips that were trained on [shape=(n, dim)]."""
        return self.clips[self.clips.any(1)]

    def save(self, folder: Path) -> None:
        """Write the bank into a checkpoint."""
        tensors = {"clips": self.clips}
        if self.frozen is not None:
            tensors |= {"frozen_clips": self.frozen[0], "frozen_tags": self.frozen[1]}
        save_file(tensors, folder / _FILE)

    def load(self, folder: Path) -> None:
        """Read the bank of a checkpoint.

        Raises:
            ValueError: it is of other clips or of another width.
        """
        tensors = load_file(folder / _FILE)
        if tensors["clips"].shape != self.clips.shape:
            raise ValueError(
                f"{folder} was trained on {len(tensors['clips'])} clips in {tensors['clips'].shape[1]} dimensions, not "
                f"on {len(self.clips)} in {self.clips.shape[1]}: resume with the same --data, or take another --out"
            )
        self.clips = tensors["clips"].copy()
        self.frozen = None
        if "frozen_clips" in tensors:
            self.frozen = tensors["frozen_clips"].copy(), tensors["frozen_tags"].copy()
