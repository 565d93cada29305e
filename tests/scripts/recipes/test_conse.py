"""Composed teachers, by hand-made classes."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.recipes.default.conse import class_weights, compose, standardise


def test_a_phrase_near_one_class_gets_its_score() -> None:
    classes = np.eye(3, dtype=np.float32)
    weights = class_weights(classes[1:2], classes)
    assert weights[0] == pytest.approx([0, 1, 0], abs=1e-6)
    z = np.array([[0.0, 2.0, 1.0], [1.0, -1.0, 0.0]], np.float32)
    assert compose(z, weights)[:, 0] == pytest.approx([2, -1], abs=1e-5)


def test_a_teacher_that_did_not_listen_weighs_nothing() -> None:
    weights = np.array([[0.5, 0.5]], np.float32)
    z = np.array([[3.0, np.nan], [3.0, 1.0]], np.float32)
    assert compose(z, weights)[:, 0] == pytest.approx([3, 2])


def test_standardise_leaves_what_was_not_heard() -> None:
    z = standardise(np.array([[1.0, np.nan], [3.0, 5.0], [5.0, 7.0]]))
    assert z[:, 0] == pytest.approx([-1.2247, 0, 1.2247], abs=1e-3)
    assert np.isnan(z[0, 1])
    assert z[1:, 1] == pytest.approx([-1, 1])
