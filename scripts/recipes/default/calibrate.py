"""Calibration after training: background statistics of varied audio, and the line from z-scores to log-odds."""

from __future__ import annotations

import numpy as np

from encoders.calibration import fit_calibration
from encoders.two_tower import TwoTowerModel
from scripts.recipes.default.collection import Collection
from scripts.recipes.default.packs import PACK_SHARE

__all__ = ["calibrate", "clip_vectors"]


def clip_vectors(model: TwoTowerModel, collection: Collection) -> np.ndarray:
    """Return the mean segment vector of each clip, not normalised [shape=(n_clips, dim)]."""
    return np.stack([model.segment_vectors(chunks.astype(np.float32)).mean(0) for chunks in collection.features])


def _pair_weights(collection: Collection, held_out: np.ndarray, truth: np.ndarray, names: list[str]) -> np.ndarray:
    """Return the weights of pairs [shape=(n_clips, n_tags)]: a pack has its share, of which its positives have a tenth.

    Clips that have labels are paired with those of their own pack only: whether they have others is unknown.
    """
    packs = np.array([collection.packs[i] if collection.labels[i] else "" for i in held_out])
    weights = np.zeros(truth.shape)
    for pack in sorted(set(packs) - {""}):
        own = np.array([name in collection.vocabularies[pack] for name in names])
        pairs = (packs == pack)[:, None] & own
        for kind, part in ((truth, 0.1), (~truth, 0.9)):
            chosen = pairs & kind
            weights[chosen] = PACK_SHARE[pack] * part / max(1, int(chosen.sum()))
    return weights


def calibrate(model: TwoTowerModel, collection: Collection, vectors: np.ndarray, *, seed: int) -> dict[str, float]:
    """Set the model's calibration.

    The background is the training clips, by their shares. The line is fitted on the held-out clips.

    Args:
        model: both towers.
        collection: the clips.
        vectors: of `clip_vectors`.
        seed: of the draw of negative pairs.

    Returns:
        slope, offset, the number of clips that they were fitted on, and that of background clips.
    """
    assert model.vocabulary is not None
    held_out = np.flatnonzero(collection.held_out)
    labels = {label for pack in set(collection.packs) for label in collection.vocabularies[pack]}
    names = sorted(label for label in labels if model.vocabulary.split(label)[0])
    truth = np.array([[name in collection.labels[i] for name in names] for i in held_out])
    calibration = fit_calibration(
        vectors,
        vectors[held_out],
        model.encode_text(names),
        truth,
        seed=seed,
        background_weights=collection.share,
        pair_weights=_pair_weights(collection, held_out, truth, names),
    )
    model.calibration.set(calibration)
    background = int((collection.share > 0).sum())
    return {
        "slope": calibration.slope,
        "offset": calibration.offset,
        "clips": len(held_out),
        "background_clips": background,
    }
