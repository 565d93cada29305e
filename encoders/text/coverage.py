"""Which labels a set of word vectors covers, and which words are near a phrase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from encoders.text.word_vectors import WordVectors

__all__ = ["Coverage", "coverage", "nearest"]


@dataclass(frozen=True)
class Coverage:
    """Labels, sorted by how many of their words have vectors; function words do not count.

    Attributes:
        known: every word is in the vocabulary.
        partly: some words have a vector, others have none.
        subwords: every word has a vector, at least one of them from subwords only.
        unknown: no word has a vector.
    """

    known: tuple[str, ...]
    partly: tuple[str, ...]
    subwords: tuple[str, ...]
    unknown: tuple[str, ...]


def coverage(word_vectors: WordVectors, labels: Sequence[str]) -> Coverage:
    """Sort labels by how many of their words have vectors."""
    by_kind: dict[str, list[str]] = {"known": [], "partly": [], "subwords": [], "unknown": []}
    for label in labels:
        known, from_subwords, unknown = word_vectors.split(label)
        if not known and not from_subwords:
            kind = "unknown"
        elif unknown:
            kind = "partly"
        else:
            kind = "subwords" if from_subwords else "known"
        by_kind[kind].append(label)
    return Coverage(**{kind: tuple(found) for kind, found in by_kind.items()})


def nearest(word_vectors: WordVectors, phrase: str, *, count: int) -> list[tuple[str, float]]:
    """Return the words nearest to a phrase with their cosines, nearest first, without the phrase's own words.

    Raises:
        UnknownWordsError: no word of the phrase has a vector.
    """
    (vector,) = word_vectors.encode([phrase])
    near = word_vectors.neighbours(vector, count=count, exclude=word_vectors.split(phrase)[0])
    return [(token.replace("_", " "), cosine) for token, cosine in near]
