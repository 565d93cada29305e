"""Which negatives a batch is given: chosen over the current embeddings of all clips and tags, in both directions.

An anchor is a tag with one of its clips (its negatives are clips) or a clip with one of its tags (its negatives are
tags). Scores are cosines by `index.exact`, so that equal vectors tie whatever their place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from index.exact import exact_top_k, inner_products

__all__ = [
    "NEGATIVES",
    "Miner",
    "balanced_weights",
    "collapse",
    "distance_weights",
    "hardest",
    "pick",
    "semi_hard",
]

NEGATIVES = ("random", "balanced", "semi-hard", "distance-weighted", "hard")
_NEAREST, _FARTHEST = 0.5, 1.4
_HARD_AMONG = 8


def distance_weights(scores: np.ndarray, *, dim: int) -> np.ndarray:
    """Return the weights by which negatives are drawn so that their distances to the anchor are spread evenly.

    Wu, Manmatha, Smola, Krähenbühl 2017, section 4.1: w = min(lambda, 1 / q(d)), where
    q(d) ~ d^(n-2) (1 - d^2/4)^((n-3)/2) is how distances lie between points drawn from the unit sphere in n dimensions.
    lambda is 1 / q(0.5). Beyond d = 1.4, where a hinge is 0 and 1/q would grow again, the weight is that of 1.4.

    Args:
        scores: cosines with the anchor, in [-1, 1] [shape=(n,)].
        dim: of the embeddings, at least 3.

    Returns:
        Weights in (0, 1], the greatest of all possible ones being 1 [shape=(n,)] float64.
    """
    if dim < 3:
        raise ValueError(f"dim={dim}: distances are weighted in 3 dimensions or more")
    d = np.clip(np.sqrt(np.maximum(0.0, 2 - 2 * np.asarray(scores, np.float64))), _NEAREST, _FARTHEST)

    def minus_log_q(x: np.ndarray | float) -> np.ndarray:
        return np.asarray((2 - dim) * np.log(x) - (dim - 3) / 2 * np.log1p(-np.square(x) / 4))

    return np.exp(minus_log_q(d) - minus_log_q(_NEAREST))


def semi_hard(scores: np.ndarray, *, positive_score: float, margin: float) -> np.ndarray:
    """Return which negatives are semi-hard [shape=(n,)] bool: farther than the positive, but within the margin.

    Schroff, Kalenichenko, Philbin 2015, section 3.2, for cosines. Where there is none: the nearest of those that are
    farther than the positive; and where there is none of these either, the farthest of all.
    """
    farther = scores < positive_score
    band = farther & (scores > positive_score - margin)
    if band.any() or not len(scores):
        return band
    chosen = np.zeros(len(scores), dtype=bool)
    chosen[np.argmax(np.where(farther, scores, -np.inf)) if farther.any() else np.argmin(scores)] = True
    return chosen


def balanced_weights(has_tag: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """Return the weights of clips when a tag is drawn first, then one of its clips: every tag has the same share.

    Args:
        has_tag: [shape=(n_clips, n_tags)] bool.
        tags: which tags may be drawn [shape=(n_tags,)] bool.

    Returns:
        [shape=(n_clips,)] float64, their sum is 1 unless no tag may be drawn.
    """
    holders = has_tag.sum(0)
    share = np.where(tags & (holders > 0), 1.0 / np.maximum(holders, 1), 0.0)
    weights = has_tag @ share
    return weights / max(weights.sum(), 1e-12)


def hardest(vectors: np.ndarray, query: np.ndarray, allowed: np.ndarray, *, k: int) -> np.ndarray:
    """Return the k allowed rows that are nearest to the query, nearest first, ties to the smaller row.

    Args:
        vectors: [shape=(n, dim)] float32.
        query: [shape=(dim,)] float32.
        allowed: [shape=(n,)] bool.
        k: fewer come back where fewer are allowed.
    """
    # As many as are not allowed may stand before the k-th that is.
    _, rows = exact_top_k(vectors, query, k=k + int((~allowed).sum()))
    return rows[allowed[rows]][:k]


def collapse(vectors: np.ndarray, *, rng: np.random.Generator, pairs: int = 1000) -> float:
    """Return the mean cosine of random pairs of rows: near 1, all embeddings have become one. NaN below two rows."""
    n = len(vectors)
    if n < 2:
        return float("nan")
    first = rng.integers(n, size=pairs)
    second = (first + rng.integers(1, n, size=pairs)) % n
    return float(np.einsum("id,id->i", vectors[first].astype(np.float64), vectors[second]).mean())


def pick(weights: np.ndarray, rng: np.random.Generator, *, count: int) -> np.ndarray:
    """Draw up to ``count`` different rows by weight; fewer where fewer have any."""
    there = np.flatnonzero(weights > 0)
    if len(there) <= count:
        return there
    share = weights[there] / weights[there].sum()
    return rng.choice(there, size=count, replace=False, p=share)


@dataclass(frozen=True)
class Miner:
    """Draws negatives by one policy.

    Attributes:
        negatives: one of ``NEGATIVES``.
        has_tag: which clip has which tag [shape=(n_clips, n_tags)] bool.
        forbidden: pairs that are no safe negatives, positives included [shape=(n_clips, n_tags)] bool.
        margin: of semi-hard negatives, in cosine.
    """

    negatives: str
    has_tag: np.ndarray
    forbidden: np.ndarray
    margin: float = 0.2

    def __post_init__(self) -> None:
        if self.negatives not in NEGATIVES:
            raise ValueError(f"--negatives {self.negatives}: choose one of {', '.join(NEGATIVES)}")
        if self.has_tag.shape != self.forbidden.shape:
            raise ValueError(f"has_tag {self.has_tag.shape} and forbidden {self.forbidden.shape} must be one shape")

    @property
    def needs_embeddings(self) -> bool:
        """Whether the policy looks at embeddings; until there are any it draws random negatives."""
        return self.negatives in NEGATIVES[2:]

    def clips_for_tag(
        self,
        tag: int,
        clip: int,
        vectors: tuple[np.ndarray, np.ndarray] | None,
        rng: np.random.Generator,
        *,
        count: int,
    ) -> np.ndarray:
        """Return negative clips for a tag, given one clip that has it.

        Args:
            tag, clip: the anchor and its positive.
            vectors: unit vectors of all clips and all tags [shape=(n_clips, dim)], [shape=(n_tags, dim)]; a clip that
                nobody has embedded yet is a row of zeros. None draws random ones.
            rng: what is drawn follows from it.
            count: how many at most.
        """
        allowed = ~self.forbidden[:, tag]
        if self.negatives == "balanced":
            weights = balanced_weights(self.has_tag & allowed[:, None], np.ones(self.has_tag.shape[1], bool)) * allowed
            return pick(weights if weights.any() else allowed.astype(float), rng, count=count)
        if vectors is None:
            return pick(allowed.astype(float), rng, count=count)
        clips, tags = vectors
        return self._mined(clips, tags[tag], allowed & clips.any(1), clip, rng, count=count)

    def tags_for_clip(
        self,
        clip: int,
        tag: int,
        vectors: tuple[np.ndarray, np.ndarray] | None,
        rng: np.random.Generator,
        *,
        count: int,
    ) -> np.ndarray:
        """Return negative tags for a clip, given one tag that it has; see ``clips_for_tag``."""
        allowed = ~self.forbidden[clip]
        if vectors is None or self.negatives == "balanced" or not vectors[0][clip].any():
            return pick(allowed.astype(float), rng, count=count)
        clips, tags = vectors
        return self._mined(tags, clips[clip], allowed, tag, rng, count=count)

    def _mined(
        self,
        vectors: np.ndarray,
        anchor: np.ndarray,
        allowed: np.ndarray,
        positive: int,
        rng: np.random.Generator,
        *,
        count: int,
    ) -> np.ndarray:
        if not allowed.any():
            return np.zeros(0, np.int64)
        if self.negatives == "hard":
            # Some of the hardest ones: the same few clips of one anchor in every batch would teach nothing new.
            nearest = hardest(vectors, anchor, allowed, k=_HARD_AMONG * count)
            return np.sort(rng.choice(nearest, size=min(count, len(nearest)), replace=False))
        scores = inner_products(vectors, anchor)
        weights = allowed.astype(np.float64)
        if self.negatives == "distance-weighted":
            weights *= distance_weights(scores, dim=vectors.shape[1])
        elif self.negatives == "semi-hard":
            rows = np.flatnonzero(allowed)
            near = semi_hard(scores[rows], positive_score=float(scores[positive]), margin=self.margin)
            weights[rows[~near]] = 0
        return pick(weights, rng, count=count)
