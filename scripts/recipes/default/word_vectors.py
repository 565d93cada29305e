"""Word vectors trained by gensim on the corpus, and their 8-bit form in the checkpoint."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary
from scripts.recipes.default.corpus import Corpus, join_phrases

__all__ = ["WordRecipe", "WordTable", "train_words"]


@dataclass(frozen=True)
class WordRecipe:
    """Skip-gram with negative sampling (Mikolov et al. 2013)."""

    dim: int = 128
    window_words: int = 12
    negative: int = 10
    epochs: int = 8
    min_count: int = 6
    subsampling: float = 1e-4
    sif_a: float = 1e-3
    workers: int = 1  # more are quicker and not reproducible: threads race in gensim


@dataclass(frozen=True)
class WordTable:
    """8-bit vectors ``codes`` [shape=(vocab, dim)] with ``scales`` [shape=(vocab,)], SIF ``weights`` [shape=(vocab,)].

    The vectors are unit length less the corpus mean: what all words share says nothing of any.
    """

    codes: np.ndarray
    scales: np.ndarray
    weights: np.ndarray

    def phrase_vectors(self, phrases: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
        """Return unit phrase vectors [shape=(n, dim)]; every phrase must have a known word."""
        rows = np.empty((len(phrases), self.codes.shape[1]), np.float32)
        for i, phrase in enumerate(phrases):
            known, unknown = vocabulary.split(phrase)
            if not known:
                raise vocabulary.unknown_error(unknown)
            ids = np.array([vocabulary.ids[token] for token in known])
            rows[i] = ((self.weights[ids] * self.scales[ids])[:, None] * self.codes[ids]).sum(0)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)

    def save(self, path: Path, vocabulary: Vocabulary) -> None:
        """Write the table and its vocabulary to an .npz without pickles."""
        np.savez(path, codes=self.codes, scales=self.scales, weights=self.weights, tokens=np.array(vocabulary.tokens))

    @classmethod
    def load(cls, path: Path) -> tuple[WordTable, Vocabulary]:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["codes"], file["scales"], file["weights"]), Vocabulary([str(t) for t in file["tokens"]])


def _quantised(vectors: np.ndarray, counts: np.ndarray, sif_a: float) -> WordTable:
    share = counts / counts.sum()
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors - (share[:, None] * vectors).sum(0)
    scales = np.abs(vectors).max(1) / 127
    codes = np.rint(vectors / scales[:, None]).astype(np.int8)
    two = np.zeros(2)  # [PAD] and [UNK] weigh nothing
    return WordTable(
        np.concatenate([np.zeros((2, vectors.shape[1]), np.int8), codes]),
        np.concatenate([two, scales]).astype(np.float32),
        np.concatenate([two, sif_a / (sif_a + share)]).astype(np.float32),
    )


def train_words(corpus: Corpus, recipe: WordRecipe, *, seed: int) -> tuple[WordTable, Vocabulary]:
    """Train word vectors on the corpus; each sentence is read with its phrases apart and, if it has any, joined."""
    from gensim.models import Word2Vec

    sentences = list(corpus.sentences)
    for sentence in corpus.sentences:
        joined = join_phrases(sentence, corpus.phrases)
        if len(joined) != len(sentence):
            sentences.append(joined)
    random.Random(seed).shuffle(sentences)
    model = Word2Vec(
        sentences,
        sg=1,
        vector_size=recipe.dim,
        window=recipe.window_words,
        negative=recipe.negative,
        epochs=recipe.epochs,
        min_count=recipe.min_count,
        sample=recipe.subsampling,
        workers=recipe.workers,
        seed=seed,
    )
    tokens = model.wv.index_to_key
    counts = np.array([model.wv.get_vecattr(token, "count") for token in tokens], dtype=np.float64)
    return _quantised(model.wv.vectors, counts, recipe.sif_a), Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN, *tokens])
