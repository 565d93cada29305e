"""The query algebra: words, sounds and what is not wanted become one unit vector.

One vector, because that is what an index can search, exact or approximate, here or on a server.

**Not this.** `piano --not drums` subtracts half of the unwanted direction: `q = t - 0.5 n` (Rocchio's
feedback formula with no positive examples; Salton and Buckley 1990, eq. 2). Taking the whole projection away
instead (`t - (t . n) n`, Widdows 2003) would make the query orthogonal to what is unwanted: fine for `piano`
and `drums`, which share little, but `acoustic guitar --not "electric guitar"` would lose the guitar with it.
Half keeps what the two share and turns the ranking away from what they do not. A ranking alone promises
nothing about the tracks at its head, so the retriever also leaves out every segment that has the unwanted
label with a calibrated probability of at least one half (:mod:`retrieval.retriever`).

**This sound and these words.** Vectors of sounds lie closer to each other than to vectors of words (the
modality gap; Liang et al. 2022): a plain sum would let the sound decide alone. What counts in a ranking is
not how large scores are but how far they spread over the library, so each part is divided by the standard
deviation of its scores over it: `q = sum_i v_i / spread_i`. This ranks as the sum of the parts' standard
scores does, and is still one vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["UNWANTED_WEIGHT", "QueryError", "combine", "mean_direction", "spread", "unit"]

UNWANTED_WEIGHT = 0.5
_LEAST_SPREAD = 1e-3  # a library of one sound has no spread: parts then weigh the same


class QueryError(ValueError):
    """A query that asks for nothing, or for what cannot be: the message says what to write."""


def unit(vector: np.ndarray) -> np.ndarray:
    """`vector` [shape=(dim,)] at length 1, float32. Raises QueryError for one of no length."""
    values = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(values))
    if not np.isfinite(length) or length < 1e-9:
        raise QueryError("the parts of this query cancel out: nothing is left to search for")
    return (values / length).astype(np.float32)


def mean_direction(vectors: np.ndarray) -> np.ndarray:
    """The unit vector [shape=(dim,)] amid `vectors` [shape=(n, dim)]: a whole file as one query."""
    return unit(np.asarray(vectors, dtype=np.float64).mean(axis=0, keepdims=True)[0])


def spread(vector: np.ndarray, *, sample: np.ndarray) -> float:
    """Standard deviation of the scores that `vector` [shape=(dim,)] gives to `sample` [shape=(n, dim)].

    Never below 0.001, so that it can divide.
    """
    if len(sample) < 2:
        return 1.0
    return max(float(np.std(sample @ vector, dtype=np.float64)), _LEAST_SPREAD)


def combine(
    wanted: Sequence[np.ndarray], *, unwanted: Sequence[np.ndarray] = (), sample: np.ndarray | None = None
) -> np.ndarray:
    """One unit vector [shape=(dim,)] float32 for what is wanted and what is not.

    Args:
        wanted: unit vectors [shape=(dim,)] of equal say, of words or of sounds; at least one.
        unwanted: unit vectors [shape=(dim,)]; their mean direction is subtracted by half.
        sample: vectors of the library [shape=(n, dim)], to weigh the parts by their spread; without it they
            weigh the same, which is right for parts of one kind.

    Raises:
        QueryError: nothing is wanted, or the parts cancel out.
    """
    if not wanted:
        raise QueryError("nothing to search for: give words, or a sound with --like FILE")
    target = unit(np.stack([_weighed(vector, sample) for vector in wanted]).sum(axis=0, keepdims=True)[0])
    if not unwanted:
        return target
    shunned = mean_direction(np.stack(list(unwanted)))
    return unit(_weighed(target, sample) - UNWANTED_WEIGHT * _weighed(shunned, sample))


def _weighed(vector: np.ndarray, sample: np.ndarray | None) -> np.ndarray:
    return vector if sample is None else vector / spread(vector, sample=sample)
