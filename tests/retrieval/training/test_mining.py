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
    draw,
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
    excluded = has_tag | (rng.random((40, 6)) < 0.1)
    return unit(rng, 40, 16), unit(rng, 6, 16), has_tag, excluded


def test_semi_hard_ones_lie_between_the_positive_and_the_margin() -> None:
    scores = np.tile([0.9, 0.5, 0.45, 0.3, 0.29, -0.5], (4, 1))
    allowed = np.ones_like(scores, bool)
    allowed[3, 2] = False
    found = semi_hard(scores, allowed, np.array([0.5, 0.28, -0.9, 0.5]), margin=0.205)
    # Second: none in the band, so the nearest that is farther. Third: all are nearer, so the farthest.
    assert [np.flatnonzero(row).tolist() for row in found] == [[2, 3], [5], [5], [3]]


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
    expected = np.zeros(40)
    for tag in range(6):
        holders = np.flatnonzero(has_tag[:, tag])
        expected[holders] += 1 / len(holders) / 6
    np.testing.assert_allclose(balanced_weights(has_tag), expected)


def test_collapse_is_the_mean_cosine_of_pairs() -> None:
    rng = np.random.default_rng(1)
    assert collapse(np.tile(unit(rng, 1, 8), (20, 1)), rng=rng) == pytest.approx(1, abs=1e-6)
    assert abs(collapse(unit(rng, 500, 64), rng=rng)) < 0.02
    two = np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
    assert collapse(two, rng=rng) == pytest.approx(0.6)
    assert math.isnan(collapse(two[:1], rng=rng))


def test_draws_are_by_weight_and_without_repetition() -> None:
    rng = np.random.default_rng(2)
    (both,) = draw(np.array([[-np.inf, 0.0, -np.inf, 0.7]], np.float32), rng, count=5)
    assert sorted(both.tolist()) == [1, 3]
    weights = np.log(np.tile(np.array([1.0, 2.0, 5.0], np.float32), (6000, 1)))
    first = np.array([row[0] for row in draw(weights, rng, count=1)])
    np.testing.assert_allclose(np.bincount(first) / 6000, [1 / 8, 2 / 8, 5 / 8], atol=0.02)
    pairs = draw(weights, rng, count=2)
    # Without replacement: the chance that the lightest is left out of two draws.
    left_out = np.mean([0 not in row for row in pairs])
    assert left_out == pytest.approx(2 / 8 * 5 / 6 + 5 / 8 * 2 / 3, abs=0.02)
    assert all(len(set(row.tolist())) == 2 for row in pairs)


def anchors(has_tag: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.argwhere(has_tag)
    return pairs[:, 0], pairs[:, 1]


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("mined", [False, True])
def test_no_policy_takes_an_excluded_pair(negatives: str, mined: bool, space: tuple[np.ndarray, ...]) -> None:
    clips, tags, has_tag, excluded = space
    miner = Miner(negatives, has_tag, excluded)
    vectors = (clips, tags) if mined else None
    of_clips, of_tags = anchors(has_tag)
    again = [
        (
            miner.clips_for_tags(of_tags, of_clips, vectors, np.random.default_rng(4), count=6),
            miner.tags_for_clips(of_clips, of_tags, vectors, np.random.default_rng(4), count=2),
        )
        for _ in range(2)
    ]
    for (clip, tag), chosen_clips, chosen_tags, clips_again, tags_again in zip(
        np.argwhere(has_tag), *again[0], *again[1], strict=True
    ):
        assert chosen_clips.tolist() == clips_again.tolist() and chosen_tags.tolist() == tags_again.tolist()
        assert len(chosen_clips) and len(set(chosen_clips.tolist())) == len(chosen_clips) <= 6
        assert not excluded[chosen_clips, tag].any()
        assert not excluded[clip, chosen_tags].any() and len(chosen_tags) <= 2


def test_hard_negatives_are_among_the_nearest_in_both_directions(space: tuple[np.ndarray, ...]) -> None:
    clips, tags, has_tag, excluded = space
    miner = Miner("hard", has_tag, excluded)
    of_clips, of_tags = anchors(has_tag)
    found = miner.clips_for_tags(of_tags, of_clips, (clips, tags), np.random.default_rng(5), count=2)
    for tag, chosen in zip(of_tags, found, strict=True):
        ranked = sorted((i for i in range(40) if not excluded[i, tag]), key=lambda i: -float(clips[i] @ tags[tag]))
        assert len(chosen) == 2 and set(chosen.tolist()) <= set(ranked[:16])
    found = miner.tags_for_clips(of_clips, of_tags, (clips, tags), np.random.default_rng(5), count=1)
    for clip, chosen in zip(of_clips, found, strict=True):
        ranked = sorted((i for i in range(6) if not excluded[clip, i]), key=lambda i: -float(clips[clip] @ tags[i]))
        assert set(chosen.tolist()) <= set(ranked[:8]) and len(chosen) == min(1, len(ranked))


def test_semi_hard_and_distance_weighted_negatives_follow_an_obvious_version(space: tuple[np.ndarray, ...]) -> None:
    clips, tags, has_tag, excluded = space
    of_clips, of_tags = np.zeros(4000, int), np.zeros(4000, int)
    scores = clips.astype(np.float64) @ tags[0]
    allowed = ~excluded[:, 0]
    band = allowed & (scores < scores[0]) & (scores > scores[0] - 0.2)
    if not band.any():
        farther = allowed & (scores < scores[0])
        band[np.flatnonzero(farther)[scores[farther].argmax()]] = True
    weights = {"semi-hard": band * 1.0, "distance-weighted": allowed * distance_weights(scores, dim=16)}
    for negatives, expected in weights.items():
        miner = Miner(negatives, has_tag, excluded)
        found = miner.clips_for_tags(of_tags, of_clips, (clips, tags), np.random.default_rng(6), count=1)
        shares = np.bincount(np.concatenate(found), minlength=40) / 4000
        np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.03)


def test_clips_without_an_embedding_are_not_mined(space: tuple[np.ndarray, ...]) -> None:
    clips, tags, has_tag, excluded = space
    half = clips.copy()
    half[20:] = 0
    nothing = np.zeros(1, int)
    for negatives in ("semi-hard", "distance-weighted", "hard"):
        miner = Miner(negatives, has_tag, excluded)
        (chosen,) = miner.clips_for_tags(nothing, nothing, (half, tags), np.random.default_rng(0), count=9)
        assert len(chosen) and (chosen < 20).all()
        unknown = np.array([30])
        (drawn,) = miner.tags_for_clips(unknown, nothing, (half, tags), np.random.default_rng(0), count=2)
        assert len(drawn) and not excluded[30, drawn].any()


def test_an_unknown_policy_is_named() -> None:
    nothing = np.zeros((1, 1), bool)
    with pytest.raises(ValueError, match="--negatives easy: choose one of random, balanced"):
        Miner("easy", nothing, nothing)
