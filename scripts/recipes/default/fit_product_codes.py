"""Learn the product codes of vectors with faiss."""

from __future__ import annotations

import faiss
import numpy as np

from encoders.text.product_codes import ProductCodes

__all__ = ["fit_product_codes"]

_N_CENTROIDS = 256
_MOST_TRAINING_ROWS = 60_000


def fit_product_codes(vectors: np.ndarray, *, n_parts: int = 24, part_dim: int = 5, seed: int = 0) -> ProductCodes:
    """Learn rotation and centroids from vectors [shape=(n, dim)], and code them all.

    Args:
        vectors: at least 256.
        n_parts: bytes a vector.
        part_dim: dimensions of a part; n_parts * part_dim may be less than dim.
        seed: of the training sample.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    dim, inner = vectors.shape[1], n_parts * part_dim
    sample = vectors[np.random.default_rng(seed).permutation(len(vectors))[:_MOST_TRAINING_ROWS]]
    rotate = faiss.OPQMatrix(dim, n_parts, inner)
    rotate.train(sample)
    quantiser = faiss.ProductQuantizer(inner, n_parts, 8)
    quantiser.train(rotate.apply_py(sample))
    codes = quantiser.compute_codes(rotate.apply_py(vectors))
    centroids = faiss.vector_to_array(quantiser.centroids).reshape(n_parts, _N_CENTROIDS, part_dim)
    rotation = faiss.vector_to_array(rotate.A).reshape(inner, dim)
    return ProductCodes(codes, centroids.astype(np.float16), rotation.astype(np.float16))
