"""Encode the phrases that an encoder knows, and leave out the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from encoders.calibration import Calibration
from encoders.text.unknown import LeftOut, UnknownWordsError

__all__ = ["PhraseEncoder", "PhraseTower", "phrase_vectors"]


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


class PhraseTower(PhraseEncoder, Protocol):
    """The interface of a model's text tower: `encoders.text.tower.TextEncoder` and `encoders.text.clap.ClapText`."""

    @property
    def fingerprint(self) -> str:
        """Identifies the model, both towers of it."""

    @property
    def calibration(self) -> Calibration | None:
        """Maps cosines to probabilities; None where nothing is known of them."""

    def unknown_words(self, phrase: str) -> list[str]:
        """Return the words of a phrase that its vector does not contain."""

    def left_out(self, phrase: str) -> LeftOut:
        """Return the parts of a phrase that its vector does not contain, with near spellings."""

    def respelled(self, phrase: str) -> tuple[str, dict[str, str]]:
        """Return a phrase with clear misspellings replaced, and each of these words with its replacement."""

    def tag_names(self) -> list[str]:
        """Return the tags that the model offers when no labels are given."""


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
