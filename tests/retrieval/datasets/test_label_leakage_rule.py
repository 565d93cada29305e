"""What leaks an excluded label: its words, its synonyms, the names that a phrase joins."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.text.word_vectors import WordVectors
from retrieval.datasets.label_leakage import SYNONYM_COSINE, LeakageFilter


@pytest.fixture(scope="module")
def word_vectors() -> WordVectors:
    return WordVectors.load(DEFAULT_MODEL_DIR)


@pytest.mark.parametrize(
    ("label", "phrase"),
    [
        ("saxophone", "alto saxophone"),
        ("saxophone", "sax"),
        ("sneezing", "sneeze"),
        ("drums", "drum"),
        ("wood block", "woodblock"),
        ("glass breaking", "breaking glass"),
        ("fiddle", "Violin, fiddle"),
        ("timpani", "tympani"),
        ("acoustic guitar", "soft acoustic guitars"),
        ("xyzzy horn", "xyzzy horn solo"),
    ],
)
def test_a_leak_is_found(label: str, phrase: str, word_vectors: WordVectors) -> None:
    assert LeakageFilter([label], word_vectors).leaks([phrase]) == {phrase: (label,)}


@pytest.mark.parametrize(
    ("label", "phrase"),
    [("acoustic guitar", "guitar"), ("harp", "harpsichord"), ("saxophone", "rain"), ("tape", "tap"), ("car", "care")],
)
def test_other_phrases_do_not_leak(label: str, phrase: str, word_vectors: WordVectors) -> None:
    assert LeakageFilter([label], word_vectors).leaks([phrase, "qqxqz"]) == {}


def test_synonyms_are_by_cosine(word_vectors: WordVectors) -> None:
    rule = LeakageFilter(["fiddle", "rain", "xyzzy"], word_vectors)
    vectors = word_vectors.encode(["violin", "fiddle", "rain"])
    found = rule.cosines(["violin", "qqxqz"])
    np.testing.assert_allclose(found[0, :2], vectors[0] @ vectors[1:].T, atol=1e-6)
    assert found[0, 2] == -1 and (found[1] == -1).all() and rule.unknown_labels == ("xyzzy",)
    assert 0.5 < found[0, 0] < SYNONYM_COSINE
    assert LeakageFilter(["fiddle"], word_vectors).leaks(["violin"]) == {}
    assert LeakageFilter(["fiddle"], word_vectors, synonym_cosine=0.5).leaks(["violin"]) == {"violin": ("fiddle",)}


def test_without_labels_nothing_leaks(word_vectors: WordVectors) -> None:
    assert LeakageFilter([], word_vectors).leaks(["violin"]) == {}
