"""Calibration after training: background statistics of varied audio, and the line from z-scores to log-odds."""

from __future__ import annotations

import numpy as np
import torch

from encoders.calibration import fit_calibration
from encoders.two_tower import TwoTowerModel
from scripts.recipes.default.data import PACK_SHARE, Collection
from scripts.recipes.default.feature_inversion import SyntheticFeatures
from scripts.recipes.default.features import chunk_features

__all__ = ["calibrate", "clip_vectors"]


def clip_vectors(model: TwoTowerModel, collection: Collection, features: list[np.ndarray] | None = None) -> np.ndarray:
    """Return the mean segment vector of each clip, not normalised, without augmentation [shape=(n_clips, dim)].

    Args:
        model: both towers.
        collection: the clips.
        features: chunk features of each clip, if they are known.
    """
    rows = chunk_features(model, collection) if features is None else features
    return np.stack([model.segment_vectors(clip).mean(0) for clip in rows])


def _pair_weights(collection: Collection, held_out: np.ndarray, truth: np.ndarray, names: list[str]) -> np.ndarray:
    """Return the weights of pairs [shape=(n_clips, n_tags)]: a pack has its share, of which its positives have a tenth.

    Clips are paired with labels of their own pack only: whether they have others is unknown.
    """
    packs = np.array([collection.packs[i] for i in held_out])
    weights = np.zeros(truth.shape)
    for pack in set(packs):
        own = np.array([name in collection.vocabularies[pack] for name in names])
        pairs = (packs == pack)[:, None] & own
        for kind, part in ((truth, 0.1), (~truth, 0.9)):
            chosen = pairs & kind
            weights[chosen] = PACK_SHARE[pack] * part / max(1, int(chosen.sum()))
    return weights


def calibrate(
    model: TwoTowerModel,
    collection: Collection,
    synthetic: SyntheticFeatures,
    *,
    seed: int,
    features: list[np.ndarray] | None = None,
) -> dict[str, float]:
    """Set the model's calibration.

    The background is two thirds training clips, by their shares, and one third synthetic features. The line is fitted
    on the held-out clips.

    Args:
        model: both towers, on any device.
        collection: the clips.
        synthetic: synthetic features.
        seed: of the draw of negative pairs.
        features: chunk features of each clip, if they are known.

    Returns:
        slope, offset and the number of clips that they were fitted on.
    """
    assert model.vocabulary is not None
    model.eval()
    vectors = clip_vectors(model, collection, features)
    with torch.inference_mode():
        features_on_device = torch.from_numpy(synthetic.features).to(model.device)
        others = model.audio_tower.projection(features_on_device).cpu().numpy()
    held_out = np.flatnonzero(collection.held_out)
    known = model.vocabulary
    labels = {label for pack in set(collection.packs) for label in collection.vocabularies[pack]}
    names = sorted(label for label in labels if known.split(label)[0])
    truth = np.array([[name in collection.labels[i] for name in names] for i in held_out])
    calibration = fit_calibration(
        np.concatenate([vectors, others]),
        vectors[held_out],
        model.encode_text(names),
        truth,
        seed=seed,
        background_weights=np.concatenate([collection.share * 2 / 3, np.full(len(others), 1 / 3 / len(others))]),
        pair_weights=_pair_weights(collection, held_out, truth, names),
    )
    model.calibration.set(calibration)
    return {"slope": calibration.slope, "offset": calibration.offset, "clips": len(held_out)}
