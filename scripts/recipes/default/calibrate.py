"""Calibration after training: the background of varied audio, and the line from z to log-odds on held-out clips."""

from __future__ import annotations

import numpy as np
import torch

from encoders.calibration import fit_calibration
from encoders.two_tower import TwoTowerModel
from scripts.recipes.default.collection import PACK_SHARE, Collection
from scripts.recipes.default.feature_inversion import Imagined
from scripts.recipes.default.features import chunk_features

__all__ = ["calibrate", "clip_vectors"]


def clip_vectors(model: TwoTowerModel, collection: Collection, features: list[np.ndarray] | None = None) -> np.ndarray:
    """Return each clip's mean segment vector, not normalised [shape=(n_clips, dim)]; no augmentation.

    Args:
        model: both towers.
        collection: the clips.
        features: each clip's chunk features, where they are known already.
    """
    rows = chunk_features(model, collection) if features is None else features
    return np.stack([model.segment_vectors(clip).mean(0) for clip in rows])


def _pair_weights(collection: Collection, held_out: np.ndarray, truth: np.ndarray, names: list[str]) -> np.ndarray:
    """Return the weights of pairs [shape=(n_clips, n_tags)]: each pack weighs its share, its positives a tenth of it.

    A pack's clips are paired with the labels of that pack only: whether they have others is unknown.
    """
    packs = np.array([collection.packs[i] for i in held_out])
    weights = np.zeros(truth.shape)
    for pack in set(packs):
        own = np.array([name in collection.vocabularies[pack] for name in names])
        pairs = (packs == pack)[:, None] & own
        for of_kind, part in ((truth, 0.1), (~truth, 0.9)):
            there = pairs & of_kind
            weights[there] = PACK_SHARE[pack] * part / max(1, int(there.sum()))
    return weights


def calibrate(
    model: TwoTowerModel,
    collection: Collection,
    imagined: Imagined,
    *,
    seed: int,
    features: list[np.ndarray] | None = None,
) -> dict[str, float]:
    """Set the model's calibration and return slope, offset and the number of clips that they were fitted on.

    The background is two thirds training clips, by their shares, and one third imagined sounds.
    """
    assert model.vocabulary is not None
    model.eval()
    vectors = clip_vectors(model, collection, features)
    with torch.inference_mode():
        dreamt = model.audio_tower.projection(torch.from_numpy(imagined.features).to(model.device)).cpu().numpy()
    held_out = np.flatnonzero(collection.held_out)
    known = model.vocabulary
    labels = {label for pack in set(collection.packs) for label in collection.vocabularies[pack]}
    names = sorted(label for label in labels if known.split(label)[0])
    truth = np.array([[name in collection.labels[i] for name in names] for i in held_out])
    calibration = fit_calibration(
        np.concatenate([vectors, dreamt]),
        vectors[held_out],
        model.encode_text(names),
        truth,
        seed=seed,
        background_weights=np.concatenate([collection.share * 2 / 3, np.full(len(dreamt), 1 / 3 / len(dreamt))]),
        pair_weights=_pair_weights(collection, held_out, truth, names),
    )
    model.calibration.set(calibration)
    return {"slope": calibration.slope, "offset": calibration.offset, "clips": len(held_out)}
