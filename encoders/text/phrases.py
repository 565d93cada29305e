"""Encode the phrases that an encoder knows, and leave out the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from encoders.text.unknown import UnknownWordsError

__all__ = ["PhraseEncoder", "phrase_vectors"]


class PhraseEncoder(Protocol):
    """Interface of `WordVectors` and `SentenceTower`: phrases to unit vectors."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        """Return one unit vector per phrase [shape=(n, dim)].

        Raises:
            UnknownWordsError: a phrase has no known word.
        """


def phrase_vectors(encoder: PhraseEncoder, phrases: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the unit vectors [shape=(dim,)] of the phrases that have one."""
    found = {}
    for phrase in phrases:
        try:
            vector = encoder.encode([phrase])[0]
        except UnknownWordsError:
            continue
        if vector.any():  # a vector of zeros has no direction
            found[phrase] = vector
    return found
