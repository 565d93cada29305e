"""The phrases that the text tower practises on: names that mean a sound, and every other word it may be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from encoders.text.vocabulary import Vocabulary
from scripts.recipes.default.corpus import Corpus
from scripts.recipes.default.word_vectors import WordTable

__all__ = ["PhraseBook", "make_phrase_book"]


@dataclass(frozen=True)
class PhraseBook:
    """Phrases with their unit word vectors [shape=(n, word_dim)] and how often each is drawn [shape=(n,)], sum 1."""

    phrases: list[str]
    vectors: np.ndarray
    share: np.ndarray


def make_phrase_book(
    corpus: Corpus,
    vocabulary: Vocabulary,
    words: WordTable,
    *,
    names: Sequence[str],
    extra: Sequence[str],
    keep: Callable[[Sequence[str]], list[str]] = list,
) -> PhraseBook:
    """Collect phrases and how often to practise each.

    Half of the practice goes to names (classes of the teachers, labels of the clips), three tenths to the phrases that
    people describe music with, the rest to single words of captions and of the whole vocabulary.

    Args:
        corpus: gives aspects and caption words.
        vocabulary: what has a vector.
        words: the vectors.
        names: class names of the teachers.
        extra: labels of the training clips.
        keep: returns those of some phrases that may be practised.
    """
    groups: list[tuple[float, list[str]]] = [
        (0.5, [*names, *extra]),
        (0.3, [a for a, n in corpus.aspects.items() if n >= 2]),
        (0.15, [w for w, n in corpus.caption_words.items() if n >= 5]),
        (0.05, [t.replace("_", " ") for t in vocabulary.tokens[2:]]),
    ]
    phrases: dict[str, float] = {}
    for share, group in groups:
        known = keep([p for p in dict.fromkeys(group) if vocabulary.split(p)[0]])
        for phrase in known:
            phrases[phrase] = phrases.get(phrase, 0.0) + share / len(known)
    listed = list(phrases)
    share_of = np.array([phrases[p] for p in listed])
    return PhraseBook(listed, words.phrase_vectors(listed, vocabulary), share_of / share_of.sum())
