"""Find the labels that leak a label which is excluded from training.

A zero-shot label is only unseen if nothing that names it is trained on. A phrase leaks a label if

- it contains all words of the label, whatever their endings ("alto saxophone" leaks "saxophone", "sneeze" leaks
  "sneezing"), or the label's words written as one ("woodblock" leaks "wood block"); or
- its text vector, or that of one of the names that it joins by commas ("Violin, fiddle"), has a cosine of at least
  `SYNONYM_COSINE` with that of the label.

A broader name that does neither ("guitar" for "acoustic guitar") does not leak it. Names without a common word or a
similar vector ("shatter" for "glass breaking") are not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from encoders.text.phrases import PhraseEncoder, phrase_vectors
from encoders.text.tokenizer import stem, tokenize
from encoders.text.vocabulary import FUNCTION_WORDS

__all__ = ["SYNONYM_COSINE", "LeakageFilter"]

SYNONYM_COSINE = 0.75
"""Cosine of two text vectors from which their phrases count as synonyms."""
# Forms that no stemmer joins.
_SAME_WORD = {"sax": "saxophone", "glock": "glockenspiel", "tympani": "timpani", "electronica": "electronic"}


class LeakageFilter:
    """Find phrases that leak some labels.

    Args:
        labels: the excluded labels; without any, nothing leaks.
        encoder: gives the text vectors; a label or phrase without one is compared by its words alone.
        synonym_cosine: cosine from which two phrases are synonyms; above 1, only words count.

    Attributes:
        labels: the excluded labels, each once.
    """

    def __init__(
        self, labels: Iterable[str], encoder: PhraseEncoder, *, synonym_cosine: float = SYNONYM_COSINE
    ) -> None:
        self.labels = tuple(dict.fromkeys(labels))
        self.synonym_cosine = synonym_cosine
        self._encoder = encoder
        self._words = [{_stem(word) for word in _content_words(label)} for label in self.labels]
        self._joined = [_stem("".join(tokenize(label))) for label in self.labels]
        vectors = phrase_vectors(encoder, self.labels)
        self._known = np.array([label in vectors for label in self.labels], dtype=bool)
        self._vectors = np.stack([vectors[label] for label in self.labels if label in vectors]) if vectors else None

    @property
    def unknown_labels(self) -> tuple[str, ...]:
        """Labels without a text vector, whose synonyms cannot be found."""
        return tuple(label for label, known in zip(self.labels, self._known, strict=True) if not known)

    def cosines(self, phrases: Sequence[str]) -> np.ndarray:
        """Return the cosine of each phrase, or of the most similar of the names that it joins, with each label.

        Returns:
            [shape=(n_phrases, n_labels)] float32; -1 where there is no vector.
        """
        found = np.full((len(phrases), len(self.labels)), -1.0, np.float32)
        if self._vectors is None:
            return found
        names = [(row, name) for row, phrase in enumerate(phrases) for name in _names(phrase)]
        vectors = phrase_vectors(self._encoder, list(dict.fromkeys(name for _, name in names)))
        rows = [row for row, name in names if name in vectors]
        if rows:
            cosines = np.stack([vectors[name] for _, name in names if name in vectors]) @ self._vectors.T
            best = found[:, self._known]
            np.maximum.at(best, rows, cosines)
            found[:, self._known] = best
        return found

    def leaks(self, phrases: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the phrases that leak labels, in their order, each with those labels."""
        if not self.labels:
            return {}
        distinct = list(dict.fromkeys(phrases))
        synonyms = self.cosines(distinct) >= self.synonym_cosine
        found = {}
        for phrase, synonym_of in zip(distinct, synonyms, strict=True):
            forms = _forms(phrase)
            leaked = tuple(
                label
                for label, words, joined, synonym in zip(
                    self.labels, self._words, self._joined, synonym_of, strict=True
                )
                if synonym or (words and words <= forms) or joined in forms
            )
            if leaked:
                found[phrase] = leaked
        return found


def _stem(word: str) -> str:
    return stem(_SAME_WORD.get(stem(word), _SAME_WORD.get(word, word)))


def _content_words(phrase: str) -> list[str]:
    words = tokenize(phrase)
    return [word for word in words if word not in FUNCTION_WORDS] or words


def _forms(phrase: str) -> set[str]:
    """Return the stems of a phrase's words and of each two neighbours written as one."""
    words = tokenize(phrase)
    return {_stem(word) for word in [*words, *(a + b for a, b in pairwise(words))]}


def _names(phrase: str) -> list[str]:
    """Return the phrase and the names that it joins: AudioSet has "Violin, fiddle" and "Whimper (dog)"."""
    return list(dict.fromkeys([phrase, *(part.strip() for part in phrase.split("(")[0].split(",") if part.strip())]))
