"""ConSE scores, by hand-made classes."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.recipes.default.conse import class_weights, conse_scores


def test_a_phrase_near_one_class_gets_its_score() -> None:
    classes = np.eye(3, dtype=np.float32)
    weights = class_weights(classes[1:2], classes)
    assert weights[0] == pytest.approx([0, 1, 0], abs=1e-6)
    z = np.array([[0.0, 2.0, 1.0], [1.0, -1.0, 0.0]], np.float32)
    assert conse_scores(z, weights)[:, 0] == pytest.approx([2, -1], abs=1e-5)


def test_a_class_without_a_logit_has_no_weight() -> None:
    weights = np.array([[0.5, 0.5]], np.float32)
    z = np.array([[3.0, np.nan], [3.0, 1.0]], np.float32)
    assert conse_scores(z, weights)[:, 0] == pytest.approx([3, 2])
