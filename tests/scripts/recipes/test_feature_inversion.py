"""Synthetic features: of their class, near the real ones, the same for the same seed."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from scripts.recipes.default.feature_inversion import invert_features


def test_every_class_has_high_logits_close_to_the_clips() -> None:
    torch.manual_seed(0)
    head = nn.Linear(12, 5)
    real = np.random.default_rng(2).normal(0, 1, (200, 12)).astype(np.float32)
    synthetic = invert_features(head, real, per_class=6, seed=3)
    assert synthetic.features.shape == (60, 12)
    own = synthetic.logits[:30].reshape(5, 6, 5)
    with torch.inference_mode():
        usual = head(torch.from_numpy(real)).numpy()
    for c in range(5):
        assert own[c, :, c].mean() > usual[:, c].mean() + 1.5 * usual[:, c].std()
    assert np.abs(synthetic.features).max() < 8
    np.testing.assert_array_equal(invert_features(head, real, per_class=6, seed=3).features, synthetic.features)
