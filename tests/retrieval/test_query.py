"""The query algebra on vectors that can be read, and against the statement it is derived from."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import unit

from retrieval.query import EXCLUDED_WEIGHT, QueryError, combine, mean_direction, score_std


def random_units(n: int, *, dim: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_one_wanted_part_is_the_query_itself() -> None:
    assert combine([unit("low")]) == pytest.approx(unit("low"))


def test_a_query_is_a_unit_vector_of_float32() -> None:
    wanted, excluded = random_units(2), random_units(3, seed=1)
    query = combine(list(wanted), excluded=list(excluded), sample=random_units(100, seed=2))
    assert query.dtype == np.float32
    assert float(np.linalg.norm(query)) == pytest.approx(1.0, abs=1e-6)


def test_excluded_is_below_nothing_at_all_and_wanted_above() -> None:
    query = combine([unit("low")], excluded=[unit("high")])
    assert query @ unit("low") > query @ unit("noisy") == 0.0 > query @ unit("high")


def test_what_wanted_and_excluded_share_is_still_wanted() -> None:
    """As in `acoustic guitar --not "electric guitar"`: the guitar must stay."""
    query = combine([unit("low", "middle")], excluded=[unit("low", "high")])
    assert query @ unit("low") > 0.2
    assert query @ unit("middle") > query @ unit("low") > query @ unit("high")


def test_wanting_and_excluding_the_same_thing_keeps_the_direction() -> None:
    """What then is left out is decided by probability: the ranking must not turn round."""
    assert combine([unit("low")], excluded=[unit("low")]) == pytest.approx(unit("low"))


def test_several_excluded_parts_weigh_as_much_as_one() -> None:
    once = combine([unit("low")], excluded=[unit("high")])
    thrice = combine([unit("low")], excluded=[unit("high")] * 3)
    assert thrice == pytest.approx(once, abs=1e-6)


def test_a_mix_ranks_by_the_sum_of_standard_scores() -> None:
    """The oracle: each part's scores over the library, standardised, summed."""
    library = random_units(400, seed=3)
    library[:, 0] *= 6.0  # one direction in which sounds differ far more than in others
    library /= np.linalg.norm(library, axis=1, keepdims=True)
    sound, words = library[7], random_units(1, seed=4)[0]
    scores = np.stack([library @ sound, library @ words])
    standard = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    query = combine([words, sound], sample=library)
    assert np.argsort(library @ query).tolist() == np.argsort(standard.sum(axis=0)).tolist()
    assert np.argsort(library @ combine([words, sound])).tolist() != np.argsort(standard.sum(axis=0)).tolist()


def test_in_a_mix_what_is_not_wanted_is_weighed_by_its_spread_too() -> None:
    library = random_units(400, seed=5)
    sound, words, negative = library[7], *random_units(2, seed=6)

    def standard(vector: np.ndarray) -> np.ndarray:
        return (library @ vector) / (library @ vector).std()

    target = sound / score_std(sound, sample=library) + words / score_std(words, sample=library)
    target /= np.linalg.norm(target)
    expected = standard(target) - EXCLUDED_WEIGHT * standard(negative)
    query = combine([words, sound], excluded=[negative], sample=library)
    assert np.corrcoef(library @ query, expected)[0, 1] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("n_same", [0, 1, 50])
def test_a_library_without_spread_divides_by_no_zero(n_same: int) -> None:
    sample = np.tile(unit("low"), (n_same, 1))
    query = combine([unit("middle"), unit("high")], sample=sample)
    assert query == pytest.approx(unit("middle", "high"), abs=1e-6)


def test_mean_direction_is_in_the_middle() -> None:
    assert mean_direction(np.stack([unit("low"), unit("high")])) == pytest.approx(unit("low", "high"))


def test_nothing_wanted_is_an_error() -> None:
    with pytest.raises(QueryError, match="give words"):
        combine([], excluded=[unit("low")])


def test_parts_that_cancel_out_are_an_error() -> None:
    with pytest.raises(QueryError, match="cancel out"):
        combine([unit("low"), -unit("low")])
