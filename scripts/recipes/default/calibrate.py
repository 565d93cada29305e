"""Calibration after training: the background of varied audio, and the line from z to log-odds on held-out clips."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from encoders.two_tower import TwoTowerModel
from scripts.recipes.default.collection import PACK_SHARE, Collection
from scripts.recipes.default.feature_inversion import Imagined
from scripts.recipes.default.features import chunk_features

__all__ = ["clip_vectors", "fit_calibration"]

NEGATIVES_PER_POSITIVE = 9


def clip_vectors(model: TwoTowerModel, collection: Collection, features: list[np.ndarray] | None = None) -> np.ndarray:
    """Return each clip's mean segment vector, not normalised [shape=(n_clips, dim)]; no augmentation.

    Args:
        model: both towers.
        collection: the clips.
        features: each clip's chunk features, where they are known already.
    """
    rows = chunk_features(model, collection) if features is None else features
    return np.stack([model.segment_vectors(clip).mean(0) for clip in rows])


def _pairs(collection: Collection, rng: np.random.Generator) -> list[tuple[int, str, bool]]:
    """Return (clip, label, carried) for held-out clips: their labels, and nine times as many others of their pack."""
    vocabulary = {
        pack: sorted(
            {label for clip, p in zip(collection.labels, collection.packs, strict=True) if p == pack for label in clip}
        )
        for pack in set(collection.packs)
    }
    pairs: list[tuple[int, str, bool]] = []
    for i in np.flatnonzero(collection.held_out):
        carried = collection.labels[i]
        others = [label for label in vocabulary[collection.packs[i]] if label not in carried]
        pairs += [(int(i), label, True) for label in carried]
        n = min(len(others), NEGATIVES_PER_POSITIVE * len(carried))
        pairs += [(int(i), str(label), False) for label in rng.choice(others, size=n, replace=False)] if n else []
    return pairs


def fit_calibration(
    model: TwoTowerModel,
    collection: Collection,
    imagined: Imagined,
    *,
    seed: int,
    features: list[np.ndarray] | None = None,
) -> dict[str, float]:
    """Set the model's calibration and return slope, offset and the number of pairs that they were fitted on.

    The background is two thirds training clips, by their shares, and one third imagined sounds. The line is a logistic
    regression on held-out clips, every pack weighing its share, with one pair in ten carrying its label.
    """
    assert model.vocabulary is not None
    model.eval()
    vectors = clip_vectors(model, collection, features)
    with torch.inference_mode():
        dreamt = model.audio_tower.projection(torch.from_numpy(imagined.features).to(model.device)).cpu().numpy()
    background = np.concatenate([vectors, dreamt])
    share = np.concatenate([collection.share * 2 / 3, np.full(len(dreamt), 1 / 3 / len(dreamt))])[:, None]
    mean = (share * background).sum(0)
    centred = background - mean
    covariance = (share * centred).T @ centred
    buffers = model.calibration
    buffers.mean.copy_(torch.from_numpy(mean))
    buffers.covariance.copy_(torch.from_numpy(covariance))
    buffers.line.copy_(torch.tensor([1.0, 0.0]))
    known = model.vocabulary
    pairs = [p for p in _pairs(collection, np.random.default_rng(seed)) if known.split(p[1])[0]]
    names = sorted({label for _, label, _ in pairs})
    text = torch.from_numpy(model.encode_text(names)).to(model.device)
    with torch.inference_mode():
        z = buffers(torch.from_numpy(vectors).float().to(model.device), text).cpu().numpy()
    column = {name: j for j, name in enumerate(names)}
    x = np.array([z[i, column[label]] for i, label, _ in pairs])
    y = np.array([carried for _, _, carried in pairs])
    packs = [collection.packs[i] for i, _, _ in pairs]
    counts = {pack: packs.count(pack) for pack in set(packs)}
    weight = np.array([PACK_SHARE[pack] / counts[pack] for pack in packs])
    weight *= len(weight) / weight.sum()
    line = LogisticRegression(C=1e6).fit(x[:, None], y, sample_weight=weight)
    slope, offset = float(line.coef_[0, 0]), float(line.intercept_[0])
    buffers.line.copy_(torch.tensor([slope, offset]))
    return {"slope": slope, "offset": offset, "pairs": len(pairs), "clips": int(collection.held_out.sum())}
