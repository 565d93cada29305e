"""ConSE weights, by hand-made classes."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.recipes.default.conse import class_weights


def test_a_phrase_near_one_class_weighs_it_alone() -> None:
    classes = np.eye(3, dtype=np.float32)
    assert class_weights(classes[1:2], classes)[0] == pytest.approx([0, 1, 0], abs=1e-6)


def test_a_phrase_between_two_classes_weighs_both() -> None:
    classes = np.eye(3, dtype=np.float32)
    between = np.array([[0.5**0.5, 0.5**0.5, 0]], np.float32)
    assert class_weights(between, classes, temperature=0.1)[0] == pytest.approx([0.5, 0.5, 0], abs=1e-3)
