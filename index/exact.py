"""Exact search in numpy: slow, obvious, and the oracle that every other search is compared with."""

from __future__ import annotations

import numpy as np

from index.search import inner_products

__all__ = ["exact_top_k", "inner_products"]

_BLOCK_ROWS = 4096


def exact_top_k(vectors: np.ndarray, query: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k rows with the largest inner product with a query; ties go to the smaller row number.

    Memory stays flat: the vectors are read in blocks, so they may be a memory-mapped file.

    Args:
        vectors: rows [shape=(n, dim)], float32.
        query: [shape=(dim,)], float32.
        k: how many rows are wanted; fewer come back when there are fewer.

    Returns:
        Scores [shape=(min(k, n),)] float32, largest first, and row numbers [shape=(min(k, n),)] int64.

    Raises:
        ValueError: the shapes do not fit together or k is not positive.
    """
    if vectors.ndim != 2 or query.shape != vectors.shape[1:]:
        raise ValueError(f"vectors {vectors.shape} and query {query.shape} must be (n, dim) and (dim,)")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    best_scores: np.ndarray = np.empty(0, dtype=np.float32)
    best_rows: np.ndarray = np.empty(0, dtype=np.int64)
    for first in range(0, len(vectors), _BLOCK_ROWS):
        scores = inner_products(vectors[first : first + _BLOCK_ROWS], query)
        best_scores = np.concatenate([best_scores, scores])
        best_rows = np.concatenate([best_rows, np.arange(first, first + len(scores), dtype=np.int64)])
        order = np.lexsort((best_rows, -best_scores))[:k]
        best_scores, best_rows = best_scores[order], best_rows[order]
    return best_scores, best_rows
