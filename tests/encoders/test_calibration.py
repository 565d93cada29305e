"""Probabilities that mean what they say, fitted on some clips and judged on others."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.calibration import Calibration, fit_calibration

DIM, N_TAGS = 12, 8


def clips(seed: int, n: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, tags' vectors and truth; one tag is close to all audio."""
    text = np.linalg.qr(np.random.default_rng(99).standard_normal((DIM, N_TAGS)))[0].T.astype(np.float32)
    rng = np.random.default_rng(seed)
    truth = rng.random((n, N_TAGS)) < 0.1
    vectors = 0.25 * rng.standard_normal((n, DIM)) + 0.5 * truth @ text + 0.8 * text[0]
    return vectors.astype(np.float32), text, truth


def test_half_of_the_pairs_scored_one_half_are_positive() -> None:
    vectors, text, truth = clips(1, 4000)
    calibration = fit_calibration(vectors, vectors, text, truth, seed=0)
    others, _, others_truth = clips(2, 4000)
    p = calibration.probabilities(others, text)
    for low, high in ((0.02, 0.1), (0.4, 0.6), (0.8, 0.98)):
        within = (p > low) & (p < high)
        assert within.sum() > 100
        assert others_truth[within].mean() == pytest.approx(p[within].mean(), abs=0.06)


def test_few_negatives_are_weighted_up_to_nine_for_each_positive() -> None:
    """Clips of which half carry a tag: the probabilities are those of a tenth."""
    rng = np.random.default_rng(3)
    truth = rng.random((3000, 2)) < 0.5
    text = np.eye(2, DIM, dtype=np.float32)
    vectors = (rng.standard_normal((3000, DIM)) + 1.5 * truth @ text).astype(np.float32)
    background = rng.standard_normal((3000, DIM)).astype(np.float32)
    p = fit_calibration(background, vectors, text, truth, seed=0).probabilities(vectors, text)
    weights = np.where(truth, 1.0, 9.0)
    assert (p * weights).sum() / weights.sum() == pytest.approx(0.1, abs=0.005)


def test_moments_are_the_background_s() -> None:
    vectors, text, truth = clips(4)
    weights = np.random.default_rng(0).random(len(vectors))
    found = fit_calibration(vectors, vectors, text, truth, seed=0, background_weights=weights)
    np.testing.assert_allclose(found.mean, np.average(vectors, axis=0, weights=weights), atol=1e-5)
    np.testing.assert_allclose(found.covariance, np.cov(vectors.T, bias=True, aweights=weights), atol=1e-5)
    assert found.mean.dtype == found.covariance.dtype == np.float32


def test_pairs_of_no_weight_do_not_count() -> None:
    vectors, text, truth = clips(5)
    wrong = truth.copy()
    wrong[:, 3:] = ~wrong[:, 3:]
    weights = np.zeros(truth.shape)
    weights[:, :3] = 0.25
    found = fit_calibration(vectors, vectors, text, wrong, seed=0, pair_weights=weights)
    alone = fit_calibration(vectors, vectors, text[:3], truth[:, :3], seed=0)
    assert (found.slope, found.offset) == pytest.approx((alone.slope, alone.offset), rel=0.05)


def test_nothing_to_compare_leaves_the_line_alone() -> None:
    vectors, text, truth = clips(6)
    for nothing in (np.zeros_like(truth), np.ones_like(truth)):
        found = fit_calibration(vectors, vectors, text, nothing, seed=0)
        assert (found.slope, found.offset) == (1.0, 0.0)
    upside_down = fit_calibration(vectors, vectors, text, ~truth, seed=0)
    assert upside_down.slope == 1e-3  # a higher cosine is never a lower probability


def test_means_of_segments_commute_with_logits() -> None:
    vectors, text, truth = clips(7)
    calibration = fit_calibration(vectors, vectors, text, truth, seed=0)
    of_segments = calibration.logits(vectors[:5], text).mean(0)
    np.testing.assert_allclose(calibration.logits(vectors[:5].mean(0, keepdims=True), text)[0], of_segments, atol=1e-4)
    assert isinstance(calibration, Calibration)
