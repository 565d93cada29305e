import numpy as np
import pytest

from index.exact import exact_top_k, inner_products


def test_agrees_with_a_full_sort():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((10_000, 16)).astype(np.float32)
    query = rng.standard_normal(16).astype(np.float32)
    scores, rows = exact_top_k(vectors, query, k=50)
    expected = np.argsort(-(vectors.astype(np.float64) @ query.astype(np.float64)))[:50]
    assert rows.tolist() == expected.tolist()
    np.testing.assert_allclose(scores, vectors[expected] @ query, rtol=1e-5)


def test_ties_go_to_the_smaller_row_across_blocks():
    vectors = np.zeros((9000, 4), dtype=np.float32)
    vectors[[8999, 5000, 4095, 4096, 17], 2] = 1.0
    _, rows = exact_top_k(vectors, np.array([0, 0, 1, 0], dtype=np.float32), k=4)
    assert rows.tolist() == [17, 4095, 4096, 5000]


def test_fewer_rows_than_wanted():
    scores, rows = exact_top_k(np.eye(3, dtype=np.float32), np.array([0, 1, 0], dtype=np.float32), k=10)
    assert rows.tolist() == [1, 0, 2] and scores.tolist() == [1, 0, 0]


def test_equal_rows_score_the_same_bits_wherever_they_stand():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((4100, 257)).astype(np.float32)
    copies = [0, 1, 2, 3, 4, 5, 6, 7, 4095, 4096, 4099]
    vectors[copies] = vectors[0]
    scores = inner_products(vectors, rng.standard_normal(257).astype(np.float32))
    assert len(set(scores[copies].tolist())) == 1


@pytest.mark.parametrize(
    ("vectors", "query", "k"),
    [(np.zeros((3, 4)), np.zeros(5), 1), (np.zeros(4), np.zeros(4), 1), (np.zeros((3, 4)), np.zeros(4), 0)],
)
def test_refuses_what_does_not_fit(vectors, query, k):
    with pytest.raises(ValueError, match="must be"):
        exact_top_k(vectors, query, k=k)
