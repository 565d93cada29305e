"""What a file of words knows: its size, which labels it covers, what is near a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from encoders.text.word_vectors import WordVectors

__all__ = ["Coverage", "coverage", "nearest"]


@dataclass(frozen=True)
class Coverage:
    """Labels by what the words know of them.

    Attributes:
        known: every word is in the vocabulary (function words aside).
        partly: some are, and no subwords serve the rest.
        served: all are, some of them by subwords alone.
        unknown: none is.
    """

    known: tuple[str, ...]
    partly: tuple[str, ...]
    served: tuple[str, ...]
    unknown: tuple[str, ...]


def coverage(words: WordVectors, labels: Sequence[str]) -> Coverage:
    """Sort labels by what the words know of them."""
    sorted_out: dict[str, list[str]] = {"known": [], "partly": [], "served": [], "unknown": []}
    for label in labels:
        known, served, unknown = words.split(label)
        if not known and not served:
            kind = "unknown"
        elif unknown:
            kind = "partly"
        else:
            kind = "served" if served else "known"
        sorted_out[kind].append(label)
    return Coverage(**{kind: tuple(found) for kind, found in sorted_out.items()})


def nearest(words: WordVectors, phrase: str, *, count: int) -> list[tuple[str, float]]:
    """Return the words nearest to a phrase with their cosines, nearest first; its own words are left out.

    Raises:
        UnknownWordsError: the phrase has no known word.
    """
    (vector,) = words.encode([phrase])
    near = words.neighbours(vector, count=count, leave_out=words.split(phrase)[0])
    return [(token.replace("_", " "), cosine) for token, cosine in near]
