"""Train word vectors on sentences with gensim."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoders.text.word_vectors import SIF_A, WordVectors, WordVectorsError

__all__ = ["KINDS", "WordVectorSettings", "quiet_gensim", "train_word_vectors"]

KINDS = ("word2vec", "fasttext")


@dataclass(frozen=True)
class WordVectorSettings:
    """Settings of skip-gram with negative sampling (Mikolov et al. 2013; FastText's subwords: Bojanowski et al. 2017).

    Attributes:
        kind: "word2vec" or "fasttext".
        dim: length of a vector.
        window_words: context words on each side of a word.
        epochs: passes over the text.
        min_count: words that occur less often get no vector.
        negative: negative samples per context word.
        subsampling: share of the text above which occurrences of a word are skipped at random.
        sif_a: constant of the word weights; see `encoders.text.vocabulary`.
        seed: random seed.
        workers: threads; with more than one the result is not reproducible, since gensim's threads race.
        phrases: whether frequent word groups get vectors too (Mikolov et al. 2013, equation 6).
        buckets: hash buckets of subwords (FastText only).
        min_chars: shortest subword.
        max_chars: longest subword.
    """

    kind: str = "word2vec"
    dim: int = 128
    window_words: int = 12
    epochs: int = 8
    min_count: int = 5
    negative: int = 10
    subsampling: float = 1e-4
    sif_a: float = SIF_A
    seed: int = 0
    workers: int = 1
    phrases: bool = False
    buckets: int = 100_000
    min_chars: int = 3
    max_chars: int = 6

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise WordVectorsError(f"unknown kind of word vectors {self.kind!r}: choose one of {', '.join(KINDS)}")


def train_word_vectors(
    sentences: Sequence[list[str]],
    settings: WordVectorSettings,
    *,
    source: str,
    on_epoch: Callable[[int, int], None] | None = None,
) -> WordVectors:
    """Train word vectors; with one worker the result depends on the sentences and the settings only.

    Args:
        sentences: lists of tokens.
        settings: kind, sizes and seed.
        source: name of the sentences, for error messages and the stored file.
        on_epoch: called after each epoch with the number of epochs done and their total.

    Raises:
        WordVectorsError: no word is frequent enough, or a vector is not finite.
    """
    from gensim.models import FastText, Word2Vec

    texts = list(sentences)
    if settings.phrases:
        texts += [joined for joined in _joined(texts, settings.min_count) if any("_" in token for token in joined)]
    random.Random(settings.seed).shuffle(texts)
    options: dict[str, Any] = {
        "sg": 1,
        "vector_size": settings.dim,
        "window": settings.window_words,
        "negative": settings.negative,
        "min_count": settings.min_count,
        "sample": settings.subsampling,
        "workers": settings.workers,
        "seed": settings.seed,
    }
    if settings.kind == "fasttext":
        options |= {"bucket": settings.buckets, "min_n": settings.min_chars, "max_n": settings.max_chars}
    with quiet_gensim():
        model = (FastText if settings.kind == "fasttext" else Word2Vec)(**options)
        model.build_vocab(texts)
        if not len(model.wv):
            raise WordVectorsError(
                f"{source}: no word occurs {settings.min_count} times: lower --min-count or add text"
            )
        model.train(
            texts,
            total_examples=model.corpus_count,
            epochs=settings.epochs,
            callbacks=[_epoch_counter(settings.epochs, on_epoch)] if on_epoch else (),
        )
    counts = np.array([model.wv.get_vecattr(token, "count") for token in model.wv.index_to_key], dtype=np.float64)
    tokens, vectors, shares = list(model.wv.index_to_key), model.wv.vectors, counts / counts.sum()
    if settings.kind == "word2vec":
        return WordVectors.from_floats(tokens, vectors, shares, kind="word2vec", source=source, sif_a=settings.sif_a)
    return WordVectors.with_subwords(
        tokens,
        vectors,
        shares,
        buckets=model.wv.vectors_ngrams,
        chars=(settings.min_chars, settings.max_chars),
        source=source,
        sif_a=settings.sif_a,
    )


@contextmanager
def quiet_gensim() -> Iterator[None]:
    """Suppress gensim's log; failures are raised as errors."""
    logger = logging.getLogger("gensim")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _joined(sentences: list[list[str]], min_count: int) -> list[list[str]]:
    """Return the sentences with frequent neighbours joined, in two passes: groups have up to four words."""
    from gensim.models.phrases import Phrases

    for _ in range(2):
        with quiet_gensim():
            phrases = Phrases(sentences, min_count=min_count, delimiter="_").freeze()
            sentences = [phrases[sentence] for sentence in sentences]
    return sentences


def _epoch_counter(epochs: int, on_epoch: Callable[[int, int], None]) -> Any:
    from gensim.models.callbacks import CallbackAny2Vec

    class Counter(CallbackAny2Vec):
        def __init__(self) -> None:
            self.done = 0

        def on_epoch_end(self, model: Any) -> None:
            self.done += 1
            on_epoch(self.done, epochs)

    return Counter()
