"""Combine words, sounds and excluded words into one unit vector, the only kind of query that an index can search.

**Exclusion.** `piano --not drums` subtracts half of the excluded direction: `q = t - 0.5 n` (Rocchio's feedback formula
without positive examples; Salton and Buckley 1990, eq. 2). Subtracting the whole projection (`t - (t . n) n`, Widdows
2003) would make the query orthogonal to what is excluded: that works for `piano` and `drums`, which share little, but
`acoustic guitar --not "electric guitar"` would lose the guitar. Half keeps what both share. Since a ranking guarantees
nothing about its first tracks, the retriever also leaves out segments that have an excluded label with a probability of
at least one half.

**A sound and words.** Vectors of sounds are closer to each other than to vectors of words (the modality gap; Liang et
al. 2022): in a plain sum the sound would decide alone. A ranking depends on how far scores vary over the library, so
each part is divided by the standard deviation of its scores: `q = sum_i v_i / std_i`. This ranks like the sum of the
parts' standard scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["EXCLUDED_WEIGHT", "QueryError", "combine", "mean_direction", "score_std", "unit"]

EXCLUDED_WEIGHT = 0.5
_MIN_STD = 1e-3  # scores over copies of one sound do not vary: the parts then get equal weights


class QueryError(ValueError):
    """A query that is empty or impossible; the message says what to give instead."""


def unit(vector: np.ndarray) -> np.ndarray:
    """Return a vector [shape=(dim,)] scaled to length 1, float32. Raises QueryError if its length is 0."""
    values = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(values))
    if not np.isfinite(length) or length < 1e-9:
        raise QueryError("the parts of this query cancel out: nothing is left to search for")
    return (values / length).astype(np.float32)


def mean_direction(vectors: np.ndarray) -> np.ndarray:
    """Return the unit vector of the mean of vectors [shape=(n, dim)], float32 [shape=(dim,)]."""
    return unit(np.asarray(vectors, dtype=np.float64).mean(axis=0, keepdims=True)[0])


def score_std(vector: np.ndarray, *, sample: np.ndarray) -> float:
    """Return the standard deviation of `sample @ vector`, at least 0.001, so that it can divide.

    Args:
        vector: [shape=(dim,)].
        sample: vectors of the library [shape=(n, dim)]; with fewer than two the result is 1.
    """
    if len(sample) < 2:
        return 1.0
    return max(float(np.std(sample @ vector, dtype=np.float64)), _MIN_STD)


def combine(
    wanted: Sequence[np.ndarray], *, excluded: Sequence[np.ndarray] = (), sample: np.ndarray | None = None
) -> np.ndarray:
    """Return one unit vector for a query, float32 [shape=(dim,)].

    Args:
        wanted: unit vectors of words or sounds, at equal weight; at least one [shape=(dim,)].
        excluded: unit vectors [shape=(dim,)]; half of their mean direction is subtracted.
        sample: vectors of the library [shape=(n, dim)], which scale the parts by the standard deviation of their
            scores; without it they are not scaled, which is right for parts of one kind.

    Raises:
        QueryError: nothing is wanted, or the parts cancel out.
    """
    if not wanted:
        raise QueryError("nothing to search for: give words, or a sound with --like FILE")
    target = unit(np.stack([_scaled(vector, sample) for vector in wanted]).sum(axis=0, keepdims=True)[0])
    if not excluded:
        return target
    negative_query = mean_direction(np.stack(list(excluded)))
    return unit(_scaled(target, sample) - EXCLUDED_WEIGHT * _scaled(negative_query, sample))


def _scaled(vector: np.ndarray, sample: np.ndarray | None) -> np.ndarray:
    return vector if sample is None else vector / score_std(vector, sample=sample)
