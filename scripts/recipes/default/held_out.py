"""Figures on the clips kept from training, pack by pack: what recipes are chosen by, so that no evaluation set is."""

from __future__ import annotations

from collections import Counter

import numpy as np
from sklearn.metrics import average_precision_score

from encoders.two_tower import TwoTowerModel
from scripts.recipes.default.collection import Collection
from scripts.recipes.default.features import chunk_features

__all__ = ["MIN_POSITIVES", "held_out_figures"]

MIN_POSITIVES = 3


def held_out_figures(
    model: TwoTowerModel, collection: Collection, features: list[np.ndarray] | None = None
) -> dict[str, dict[str, float]]:
    """Return, for each pack with clips kept from training, its zero-shot figures over the labels that it uses.

    Args:
        model: both towers.
        collection: the clips.
        features: each clip's chunk features, where they are known already.

    Returns:
        pack -> mAP (mean over labels that at least ``MIN_POSITIVES`` kept clips carry), top1 (share of kept clips whose
        first label, in spreads over the pack's kept clips, scores best among first labels), clips, labels.
    """
    assert model.vocabulary is not None
    model.eval()
    rows = chunk_features(model, collection) if features is None else features
    figures = {}
    for pack in sorted(set(collection.packs)):
        kept = [i for i in np.flatnonzero(collection.held_out) if collection.packs[i] == pack and collection.labels[i]]
        counts = Counter(name for i in kept for name in collection.labels[i])
        names = sorted(n for n, count in counts.items() if count >= MIN_POSITIVES and model.vocabulary.split(n)[0])
        if names:
            audio = np.stack([model.segment_vectors(rows[i]).mean(0) for i in kept])
            scores = audio @ model.encode_text(names).T
            figures[pack] = _figures(scores, [collection.labels[i] for i in kept], names)
    return figures


def _figures(scores: np.ndarray, labels: list[tuple[str, ...]], names: list[str]) -> dict[str, float]:
    """Return the figures of one pack from scores [shape=(n_clips, n_names)]."""
    truth = np.array([[name in carried for name in names] for carried in labels])
    precisions = [average_precision_score(t, s) for t, s in zip(truth.T, scores.T, strict=True) if not t.all()]
    first = sorted({carried[0] for carried in labels} & set(names))
    columns = [names.index(name) for name in first]
    z = (scores - scores.mean(0)) / (scores.std(0) + 1e-9)
    asked = [(row, first.index(carried[0])) for row, carried in enumerate(labels) if carried[0] in first]
    right = [z[row, columns].argmax() == own for row, own in asked]
    return {
        "mAP": round(float(np.mean(precisions)), 4) if precisions else float("nan"),
        "top1": round(float(np.mean(right)), 4) if right else float("nan"),
        "clips": len(labels),
        "labels": len(names),
    }
