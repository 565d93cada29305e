"""Mine negatives over the current embeddings of all clips and tags, for all anchors of a batch at once.

An anchor is a tag with one of its clips (its negatives are clips), or a clip with one of its tags (its negatives are
tags). The scores of all anchors are one float32 matrix product. Negatives are drawn without replacement by weight with
one random key a candidate: the `count` greatest of log(weight) + Gumbel noise (Efraimidis and Spirakis 2006; Kool et
al. 2019). Candidates with equal scores have equal weights, so the noise decides between them. "hard" ranks by the
scores alone: of candidates that tie for the last place, which ones are kept is arbitrary, but the same in every run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from retrieval.training.config import NEGATIVES, LossConfig

__all__ = ["Miner", "balanced_weights", "collapse", "distance_weights", "draw", "semi_hard"]

_NEAREST, _FARTHEST = 0.5, 1.4
_HARD_AMONG = 8
Vectors = tuple[np.ndarray, np.ndarray]
"""Unit vectors of all clips [shape=(n_clips, dim)] and all tags [shape=(n_tags, dim)], float32; a clip that was never
embedded is a row of zeros."""


def distance_weights(scores: np.ndarray, *, dim: int) -> np.ndarray:
    """Return weights that spread the distances of the drawn negatives evenly.

    w = min(lambda, 1 / q(d)), where q(d) ~ d^(n-2) (1 - d^2/4)^((n-3)/2) is the distribution of distances between
    points drawn from the unit sphere in n dimensions, and lambda = 1 / q(0.5). Beyond d = 1.4, where a hinge is 0 and
    1/q would grow again, the weight is that of 1.4.

    Args:
        scores: cosines with the anchor, in [-1, 1], of any shape.
        dim: of the embeddings, at least 3.

    Returns:
        Weights in (0, 1], of the shape of `scores`; the greatest possible one is 1.

    Source: Wu, Manmatha, Smola and Krähenbühl 2017, section 4.1.
    """
    return np.exp(_log_distance_weights(np.asarray(scores, np.float64), dim=dim))


def _log_distance_weights(scores: np.ndarray, *, dim: int) -> np.ndarray:
    if dim < 3:
        raise ValueError(f"dim={dim}: distance weighting needs at least 3 dimensions")
    distances = np.clip(np.sqrt(np.maximum(0, 2 - 2 * scores)), _NEAREST, _FARTHEST)
    at_nearest = (2 - dim) * np.log(_NEAREST) - (dim - 3) / 2 * np.log1p(-(_NEAREST**2) / 4)
    return (2 - dim) * np.log(distances) - (dim - 3) / 2 * np.log1p(-np.square(distances) / 4) - at_nearest


def semi_hard(scores: np.ndarray, allowed: np.ndarray, positive_scores: np.ndarray, *, margin: float) -> np.ndarray:
    """Return which candidates are semi-hard negatives: farther than the positive, but within the margin.

    Where an anchor has none: the nearest of those that are farther than the positive; without these, the farthest of
    all.

    Args:
        scores: cosines of anchors and candidates [shape=(n_anchors, n)].
        allowed: candidates that may be negatives [shape=(n_anchors, n)] bool.
        positive_scores: cosine of each anchor and its positive [shape=(n_anchors,)].
        margin: in cosine.

    Returns:
        [shape=(n_anchors, n)] bool.

    Source: Schroff, Kalenichenko and Philbin 2015, section 3.2, for cosines.
    """
    positive = positive_scores[:, None]
    farther = allowed & (scores < positive)
    band = farther & (scores > positive - margin)
    for anchor in np.flatnonzero(~band.any(1) & allowed.any(1)):
        if farther[anchor].any():
            chosen = np.argmax(np.where(farther[anchor], scores[anchor], -np.inf))
        else:
            chosen = np.argmin(np.where(allowed[anchor], scores[anchor], np.inf))
        band[anchor, chosen] = True
    return band


def balanced_weights(has_tag: np.ndarray) -> np.ndarray:
    """Return the probability of each clip when a tag is drawn first, then one of its clips.

    Args:
        has_tag: [shape=(n_clips, n_tags)] bool.

    Returns:
        [shape=(n_clips,)] float64; their sum is 1 unless no clip has a tag.
    """
    holders = has_tag.sum(0)
    weights = has_tag @ np.where(holders > 0, 1.0 / np.maximum(holders, 1), 0.0)
    return weights / max(weights.sum(), 1e-12)


def draw(log_weights: np.ndarray, rng: np.random.Generator, *, count: int) -> list[np.ndarray]:
    """Draw up to `count` different candidates for each anchor, by weight.

    Args:
        log_weights: logarithms of the weights [shape=(n_anchors, n)]; -inf is never drawn.
        rng: the only source of randomness.
        count: at most; fewer where fewer may be drawn.

    Returns:
        For each anchor the columns that were drawn, most favoured first, int64.
    """
    # Gumbel noise: -log of an exponential variate.
    noise = rng.standard_exponential(log_weights.shape, dtype=np.float32)
    keys = log_weights - np.log(np.maximum(noise, np.finfo(np.float32).tiny))
    return _greatest(keys, count)


def _greatest(keys: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the columns of the `count` greatest keys of each row, greatest first, without those of -inf.

    `torch.topk` keeps a heap of `count`; numpy's `argpartition` takes a hundred times as long where most keys are -inf.
    """
    if count <= 0 or not keys.size:
        return [np.zeros(0, np.int64) for _ in keys]
    values, columns = torch.from_numpy(keys).topk(min(count, keys.shape[1]), dim=1)
    return [row[value > -np.inf] for row, value in zip(columns.numpy(), values.numpy(), strict=True)]


def collapse(vectors: np.ndarray, *, rng: np.random.Generator, pairs: int = 1000) -> float:
    """Return the mean cosine of random pairs of rows: near 1, the embeddings have collapsed. NaN below two rows."""
    n = len(vectors)
    if n < 2:
        return float("nan")
    first = rng.integers(n, size=pairs)
    second = (first + rng.integers(1, n, size=pairs)) % n
    return float(np.einsum("id,id->i", vectors[first].astype(np.float64), vectors[second]).mean())


@dataclass(frozen=True)
class Miner:
    """Draw negatives by one policy.

    Attributes:
        negatives: one of `NEGATIVES`.
        has_tag: whether a clip has a tag [shape=(n_clips, n_tags)] bool.
        excluded: pairs that may not be negatives, positives included [shape=(n_clips, n_tags)] bool.
        margin: of semi-hard negatives, in cosine.
    """

    negatives: str
    has_tag: np.ndarray
    excluded: np.ndarray
    margin: float = LossConfig.margin
    _log_balance: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.negatives not in NEGATIVES:
            raise ValueError(f"--negatives {self.negatives}: choose one of {', '.join(NEGATIVES)}")
        if self.has_tag.shape != self.excluded.shape:
            raise ValueError(f"has_tag {self.has_tag.shape} and excluded {self.excluded.shape} must have one shape")
        with np.errstate(divide="ignore"):
            object.__setattr__(self, "_log_balance", np.log(balanced_weights(self.has_tag)).astype(np.float32))

    @property
    def needs_embeddings(self) -> bool:
        """Whether the policy uses embeddings; until there are any it draws random negatives."""
        return self.negatives in NEGATIVES[2:]

    def clips_for_tags(
        self, tags: np.ndarray, clips: np.ndarray, vectors: Vectors | None, rng: np.random.Generator, *, count: int
    ) -> list[np.ndarray]:
        """Return negative clips for each tag.

        Args:
            tags: the anchors [shape=(n,)].
            clips: for each a clip that has it, the positive [shape=(n,)].
            vectors: what is mined over; None draws random negatives.
            rng: the only source of randomness.
            count: negatives a tag, at most.

        Returns:
            For each anchor up to `count` clips.
        """
        allowed = ~np.ascontiguousarray(self.excluded[:, tags].T)
        if self.negatives == "balanced":
            weighted = np.where(allowed, self._log_balance, -np.inf)
            nothing = ~np.isfinite(weighted).any(1, keepdims=True)  # only clips without a tag are left
            return draw(np.where(nothing & allowed, 0.0, weighted), rng, count=count)
        if vectors is None or self.negatives == "random":
            return draw(_log(allowed), rng, count=count)
        pool, anchors = vectors
        return self._mined(pool, anchors[tags], allowed & pool.any(1), clips, rng, count=count)

    def tags_for_clips(
        self, clips: np.ndarray, tags: np.ndarray, vectors: Vectors | None, rng: np.random.Generator, *, count: int
    ) -> list[np.ndarray]:
        """Return negative tags for each clip, given a tag that it has; see `clips_for_tags`.

        A clip that was never embedded gets random ones.
        """
        allowed = ~self.excluded[clips]
        if vectors is None or not self.needs_embeddings:
            return draw(_log(allowed), rng, count=count)
        anchors = vectors[0][clips]
        found = self._mined(vectors[1], anchors, allowed, tags, rng, count=count)
        unknown = np.flatnonzero(~anchors.any(1))
        for row, drawn in zip(unknown, draw(_log(allowed[unknown]), rng, count=count), strict=True):
            found[row] = drawn
        return found

    def _mined(
        self,
        pool: np.ndarray,
        anchors: np.ndarray,
        allowed: np.ndarray,
        positives: np.ndarray,
        rng: np.random.Generator,
        *,
        count: int,
    ) -> list[np.ndarray]:
        scores = anchors.astype(np.float32, copy=False) @ pool.astype(np.float32, copy=False).T
        if self.negatives == "hard":
            # A random choice among the hardest: the same few candidates in every batch would add nothing.
            nearest = _greatest(np.where(allowed, scores, -np.inf), _HARD_AMONG * count)
            return [np.sort(rng.permutation(found)[:count]) for found in nearest]
        if self.negatives == "semi-hard":
            allowed = semi_hard(scores, allowed, scores[np.arange(len(scores)), positives], margin=self.margin)
            return draw(_log(allowed), rng, count=count)
        weights = _log_distance_weights(scores, dim=pool.shape[1])
        return draw(np.where(allowed, weights, -np.inf), rng, count=count)


def _log(allowed: np.ndarray) -> np.ndarray:
    """Return equal log weights of what is allowed, float32."""
    return np.where(allowed, np.float32(0), np.float32(-np.inf))
