"""Unit rows and sigmoids, at their ends too."""

from __future__ import annotations

import math

import numpy as np
import pytest

from encoders.arrays import sigmoid, unit


def test_rows_get_unit_length_and_zeros_stay() -> None:
    found = unit(np.array([[3.0, 4.0], [0.0, 0.0], [-1e-3, 0.0]]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [-1, 0]], atol=1e-7)


@pytest.mark.filterwarnings("error")
def test_a_sigmoid_is_exact_in_both_tails() -> None:
    values = [-700.0, -30.0, -1.5, 0.0, 1.5, 30.0]
    slow = [math.exp(x) / (1 + math.exp(x)) for x in values]
    np.testing.assert_allclose(sigmoid(np.array(values, np.float32)), slow, rtol=1e-12)
    assert sigmoid(np.array([-1e5, 1e5])).tolist() == [0.0, 1.0]
