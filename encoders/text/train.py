"""Word vectors learnt by gensim from sentences."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoders.text.word_vectors import SIF_A, WordsError, WordVectors

__all__ = ["KINDS", "TrainRecipe", "quiet_gensim", "train_words"]

KINDS = ("word2vec", "fasttext")


@dataclass(frozen=True)
class TrainRecipe:
    """Skip-gram with negative sampling (Mikolov et al. 2013), with subwords for FastText (Bojanowski et al. 2017).

    Attributes:
        kind: "word2vec" or "fasttext".
        dim: length of a vector.
        window_words: how far apart two words may stand and still be neighbours.
        epochs: how often the text is read.
        min_count: rarer words get no vector.
        negative: drawn words a true neighbour.
        subsampling: share of the text above which a word is read less often.
        sif_a: see ``encoders.text.vocabulary``.
        seed: of all that is drawn.
        workers: threads; more than one are quicker and not reproducible, as they race in gensim.
        phrases: whether words that often stand together get a vector as a group too (Mikolov et al. 2013, equation 6).
        buckets: of FastText's subwords.
        min_chars: of a subword.
        max_chars: of a subword.
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
            raise WordsError(f"no kind {self.kind!r} of word vectors: choose one of {', '.join(KINDS)}")


def train_words(
    sentences: Sequence[list[str]],
    recipe: TrainRecipe,
    *,
    source: str,
    on_epoch: Callable[[int, int], None] | None = None,
) -> WordVectors:
    """Learn word vectors; with one worker the same for the same seed.

    Args:
        sentences: as tokens.
        recipe: how.
        source: what the sentences are, for messages and the stored form.
        on_epoch: is called with the number of epochs done and of all epochs.

    Raises:
        WordsError: no word is frequent enough, or the vectors are not finite.
    """
    from gensim.models import FastText, Word2Vec

    texts = list(sentences)
    if recipe.phrases:
        texts += [joined for joined in _joined(texts, recipe.min_count) if any("_" in token for token in joined)]
    random.Random(recipe.seed).shuffle(texts)
    options: dict[str, Any] = {
        "sg": 1,
        "vector_size": recipe.dim,
        "window": recipe.window_words,
        "negative": recipe.negative,
        "min_count": recipe.min_count,
        "sample": recipe.subsampling,
        "workers": recipe.workers,
        "seed": recipe.seed,
    }
    if recipe.kind == "fasttext":
        options |= {"bucket": recipe.buckets, "min_n": recipe.min_chars, "max_n": recipe.max_chars}
    with quiet_gensim():
        model = (FastText if recipe.kind == "fasttext" else Word2Vec)(**options)
        model.build_vocab(texts)
        if not len(model.wv):
            raise WordsError(f"{source}: no word stands there {recipe.min_count} times: lower --min-count, or add text")
        model.train(
            texts,
            total_examples=model.corpus_count,
            epochs=recipe.epochs,
            callbacks=[_epoch_counter(recipe.epochs, on_epoch)] if on_epoch else (),
        )
    counts = np.array([model.wv.get_vecattr(token, "count") for token in model.wv.index_to_key], dtype=np.float64)
    tokens, vectors, shares = list(model.wv.index_to_key), model.wv.vectors, counts / counts.sum()
    if recipe.kind == "word2vec":
        return WordVectors.from_floats(tokens, vectors, shares, kind="word2vec", source=source, sif_a=recipe.sif_a)
    return WordVectors.with_subwords(
        tokens,
        vectors,
        shares,
        buckets=model.wv.vectors_ngrams,
        chars=(recipe.min_chars, recipe.max_chars),
        source=source,
        sif_a=recipe.sif_a,
    )


@contextmanager
def quiet_gensim() -> Iterator[None]:
    """Keep gensim's log off the user's screen: where something fails, an error says so."""
    logger = logging.getLogger("gensim")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _joined(sentences: list[list[str]], min_count: int) -> list[list[str]]:
    """Return the sentences with frequent neighbours joined: in two passes, for groups of up to four words."""
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
