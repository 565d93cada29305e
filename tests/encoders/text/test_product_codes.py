"""Vectors in a few bytes."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.arrays import unit
from encoders.text.product_codes import ProductCodes
from scripts.recipes.default.fit_product_codes import fit_product_codes


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Vectors that fill 8 of 16 dimensions."""
    rng = np.random.default_rng(0)
    return unit(rng.normal(size=(2000, 8)) @ rng.normal(size=(8, 16)))


@pytest.fixture(scope="module")
def coded(vectors: np.ndarray) -> ProductCodes:
    return fit_product_codes(vectors, n_parts=8, part_dim=1, seed=1)


def test_decoded_vectors_are_near_the_coded_ones(coded: ProductCodes, vectors: np.ndarray) -> None:
    decoded = coded.vectors(slice(None))
    assert decoded.dtype == np.float32 and decoded.shape == vectors.shape
    assert (unit(decoded) * vectors).sum(1).mean() > 0.98
    assert coded.codes.nbytes == 2000 * 8


def test_rows_are_decoded_by_themselves(coded: ProductCodes) -> None:
    rows = np.array([7, 3, 7])
    assert np.allclose(coded.vectors(rows), coded.vectors(slice(None))[rows], atol=1e-6)


def test_the_same_seed_gives_the_same_codes(coded: ProductCodes, vectors: np.ndarray) -> None:
    again = fit_product_codes(vectors, n_parts=8, part_dim=1, seed=1)
    assert np.array_equal(again.codes, coded.codes) and np.array_equal(again.rotation, coded.rotation)


def test_parts_that_do_not_match_are_refused(coded: ProductCodes) -> None:
    with pytest.raises(ValueError, match="centroids"):
        ProductCodes(coded.codes[:, :4], coded.centroids, coded.rotation)
    with pytest.raises(ValueError, match="rotation"):
        ProductCodes(coded.codes, coded.centroids, coded.rotation[:4])
    with pytest.raises(ValueError, match="uint8"):
        ProductCodes(coded.codes.astype(np.int32), coded.centroids, coded.rotation)
