"""Each policy against brute force, and what it must never choose."""

from __future__ import annotations

import math

import numpy as np
import pytest

from retrieval.training.mining import (
    NEGATIVES,
    Miner,
    balanced_weights,
    collapse,
    distance_weights,
    hardest,
    pick,
    semi_hard,
)


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    x = rng.standard_normal((n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def space() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of 40 clips and 6 tags, which clip has which tag, which pairs are no negatives."""
    rng = np.random.default_rng(3)
    has_tag = rng.random((40, 6)) < 0.25
    has_tag[0, 0] = True
    forbidden = has_tag | (rng.random((40, 6)) < 0.1)
    return unit(rng, 40, 16), unit(rng, 6, 16), has_tag, forbidden


def test_the_hardest_are_the_nearest_allowed_ones(space: tuple[np.ndarray, ...]) -> None:
    clips, tags, _, forbidden = space
    for tag in range(6):
        ranked = sorted((i for i in range(40) if not forbidden[i, tag]), key=lambda i: -float(clips[i] @ tags[tag]))
        assert hardest(clips, tags[tag], ~forbidden[:, tag], k=5).tolist() == ranked[:5]
    assert len(hardest(clips, tags[0], np.zeros(40, bool), k=5)) == 0


def test_semi_hard_ones_lie_between_the_positive_and_the_margin() -> None:
    scores = np.array([0.9, 0.5, 0.45, 0.3, 0.29, -0.5])
    assert np.flatnonzero(semi_hard(scores, positive_score=0.5, margin=0.205)).tolist() == [2, 3]
    # None in the band: the nearest one that is farther than the positive.
    assert np.flatnonzero(semi_hard(scores, positive_score=0.28, margin=0.2)).tolist() == [5]
    # All are nearer than the positive: the farthest.
    assert np.flatnonzero(semi_hard(scores, positive_score=-0.9, margin=0.2)).tolist() == [5]


def test_distance_weights_are_the_inverse_of_the_sphere_s_density() -> None:
    dim = 24
    d = np.array([0.6, 0.8, 1.0, 1.2, 1.3])
    scores = 1 - d**2 / 2
    q = d ** (dim - 2) * (1 - d**2 / 4) ** ((dim - 3) / 2)
    weights = distance_weights(scores, dim=dim)
    np.testing.assert_allclose(weights * q, (weights * q)[0])
    assert distance_weights(np.array([1.0, 1 - 0.3**2 / 2, 1 - 0.5**2 / 2]), dim=dim).tolist() == [1.0, 1.0, 1.0]
    assert distance_weights(np.array([-1.0, 0.02]), dim=dim)[0] == pytest.approx(
        distance_weights(np.array([1 - 1.4**2 / 2]), dim=dim)[0]
    )


def test_distance_weighted_draws_are_even_over_distances() -> None:
    # In 8 dimensions random points crowd around a distance of 1.41; the draws do not.
    rng = np.random.default_rng(0)
    points = unit(rng, 200_000, 8)
    scores = points @ points[0]
    weights = distance_weights(scores, dim=8)
    d = np.sqrt(np.maximum(0, 2 - 2 * scores))
    drawn = d[rng.choice(len(d), size=20_000, p=weights / weights.sum())]
    within = drawn[(drawn > 0.6) & (drawn < 1.35)]
    histogram, _ = np.histogram(within, bins=5, range=(0.6, 1.35))
    assert histogram.min() > 0.75 * histogram.max()


def test_balanced_weights_are_tag_first_then_clip(space: tuple[np.ndarray, ...]) -> None:
    _, _, has_tag, _ = space
    tags = np.array([True, True, False, True, True, True])
    expected = np.zeros(40)
    for tag in np.flatnonzero(tags):
        holders = np.flatnonzero(has_tag[:, tag])
        expected[holders] += 1 / len(holders) / tags.sum()
    np.testing.assert_allclose(balanced_weights(has_tag, tags), expected)


def test_collapse_is_the_mean_cosine_of_pairs() -> None:
    rng = np.random.default_rng(1)
    assert collapse(np.tile(unit(rng, 1, 8), (20, 1)), rng=rng) == pytest.approx(1, abs=1e-6)
    assert abs(collapse(unit(rng, 500, 64), rng=rng)) < 0.02
    two = np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
    assert collapse(two, rng=rng) == pytest.approx(0.6)
    assert math.isnan(collapse(two[:1], rng=rng))


def test_picking_is_by_weight_and_without_repetition() -> None:
    rng = np.random.default_rng(2)
    assert sorted(pick(np.array([0, 1.0, 0, 2.0]), rng, count=5).tolist()) == [1, 3]
    counts = np.zeros(3)
    for _ in range(3000):
        counts[pick(np.array([1.0, 2.0, 5.0]), rng, count=1)] += 1
    np.testing.assert_allclose(counts / 3000, [1 / 8, 2 / 8, 5 / 8], atol=0.03)


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("mined", [False, True])
def test_no_policy_takes_what_is_forbidden(negatives: str, mined: bool, space: tuple[np.ndarray, ...]) -> None:
    clips, tags, has_tag, forbidden = space
    miner = Miner(negatives, has_tag, forbidden)
    vectors = (clips, tags) if mined else None
    for clip, tag in np.argwhere(has_tag):
        again = [
            (
                miner.clips_for_tag(tag, clip, vectors, np.random.default_rng(4), count=6).tolist(),
                miner.tags_for_clip(clip, tag, vectors, np.random.default_rng(4), count=2).tolist(),
            )
            for _ in range(2)
        ]
        assert again[0] == again[1]
        chosen_clips, chosen_tags = again[0]
        assert chosen_clips and len(set(chosen_clips)) == len(chosen_clips) <= 6
        assert not forbidden[chosen_clips, tag].any()
        assert not forbidden[clip, chosen_tags].any() and len(chosen_tags) <= 2


def test_hard_negatives_are_among_the_nearest_in_both_directions(space: tuple[np.ndarray, ...]) -> None:
    clips, tags, has_tag, forbidden = space
    miner = Miner("hard", has_tag, forbidden)
    rng = np.random.default_rng(5)
    chosen = miner.clips_for_tag(0, 0, (clips, tags), rng, count=1)
    ranked = sorted((i for i in range(40) if not forbidden[i, 0]), key=lambda i: -float(clips[i] @ tags[0]))
    assert set(chosen.tolist()) <= set(ranked[:8])
    two = miner.tags_for_clip(0, 0, (clips, tags), rng, count=2)
    assert not forbidden[0, two].any()


def test_clips_without_an_embedding_are_not_mined(space: tuple[np.ndarray, ...]) -> None:
    clips, tags, has_tag, forbidden = space
    half = clips.copy()
    half[20:] = 0
    for negatives in ("semi-hard", "distance-weighted", "hard"):
        chosen = Miner(negatives, has_tag, forbidden).clips_for_tag(
            0, 0, (half, tags), np.random.default_rng(0), count=9
        )
        assert len(chosen) and (chosen < 20).all()


def test_an_unknown_policy_is_named() -> None:
    nothing = np.zeros((1, 1), bool)
    with pytest.raises(ValueError, match="--negatives easy: choose one of random, balanced"):
        Miner("easy", nothing, nothing)
