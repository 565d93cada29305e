"""The fixed part of the space: the composed scores of all phrases, at low rank.

The score of a clip with standardised logits z for a phrase with class weights w is z'w. Over background clips with the
second moments C of z, and phrases with the second moments D of w, the best approximation of rank r is that of the
singular vectors of C^(1/2) D^(1/2) = U S V' (Eckart and Young 1936): a clip has the vector S^(-1/2) V' D^(1/2) z, a
phrase S^(-1/2) U' C^(1/2) w.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["LowRank", "low_rank"]


@dataclass(frozen=True)
class LowRank:
    """Both projections.

    Attributes:
        audio: of standardised logits [shape=(rank, n_classes)].
        text: of class weights [shape=(rank, n_classes)].
        kept: share of the scores' variance that is kept.
    """

    audio: np.ndarray
    text: np.ndarray
    kept: float


def low_rank(z: np.ndarray, clip_share: np.ndarray, weights: np.ndarray, share: np.ndarray, *, rank: int) -> LowRank:
    """Return the best projections of a rank.

    Args:
        z: standardised logits of background clips [shape=(n_clips, n_classes)].
        clip_share: weight of each clip, summing to 1 [shape=(n_clips,)].
        weights: class weights of phrases [shape=(n_phrases, n_classes)].
        share: weight of each phrase, summing to 1 [shape=(n_phrases,)].
        rank: dimensions kept.
    """
    root_z = _root((clip_share[:, None] * z).T @ z)
    root_w = _root((share[:, None] * weights).T @ weights)
    left, values, right = np.linalg.svd(root_z @ root_w)
    scale = 1 / np.sqrt(values[:rank, None])
    audio = scale * (right[:rank] @ root_w)
    text = scale * (left[:, :rank].T @ root_z)
    kept = float((values[:rank] ** 2).sum() / (values**2).sum())
    return LowRank(audio.astype(np.float32), text.astype(np.float32), kept)


def _root(moments: np.ndarray) -> np.ndarray:
    """Return the symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(moments.astype(np.float64))
    root: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
