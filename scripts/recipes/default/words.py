"""The word vectors of the default model: what words mean beside sounds, and what they mean in general, joined.

Skip-gram vectors of the domain text (`corpus`) know that a banjo goes with bluegrass, but only the words of that text;
a sentence encoder (`sentence_vectors`) knows every word. Both are reduced to 128 dimensions, centred and brought to
unit length, and put side by side, so that a cosine is the mean of both cosines. A word that the text lacks has the
skip-gram vector that ridge regression predicts from the sentence encoder's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from encoders.arrays import unit
from encoders.text.subwords import quantised
from encoders.text.train import WordVectorSettings, train_word_vectors
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary
from encoders.text.word_vectors import WordVectors
from scripts.recipes.default.corpus import Corpus, training_sentences
from scripts.recipes.default.fit_product_codes import fit_product_codes
from scripts.recipes.default.sentence_vectors import Encode, sentence_vectors
from scripts.recipes.default.settings import WORD_VECTORS_FILE
from scripts.recipes.default.sound_weights import labelled_captions, sound_information, word_weights
from scripts.recipes.default.vocabulary import vocabulary_entries

__all__ = ["join_vectors", "make_word_vectors"]

Log = Callable[[dict[str, Any]], None]

_SENTENCE_DIM = 128
_PENALTY = 10.0  # of the ridge regression on unit vectors
_CHECKED_EVERY = 10  # one word in ten is left out of the fit, to measure it


def make_word_vectors(
    corpus: Corpus,
    text_dir: Path,
    out_dir: Path,
    *,
    names: Iterable[str],
    settings: WordVectorSettings,
    encode: Encode,
    log: Log,
) -> WordVectors:
    """Make the word vectors, or go on with what an interrupted run has written, and return them.

    Args:
        corpus: the domain text.
        text_dir: folder of the texts.
        out_dir: receives skip_gram.safetensors, sentence_vectors.npy and word_vectors.safetensors.
        names: of the taggers' classes, whose words are stored in 8 bits as the common ones are.
        settings: of the skip-gram vectors.
        encode: the sentence encoder.
        log: called with figures and progress.
    """
    skip_gram_file = out_dir / "skip_gram.safetensors"
    if not skip_gram_file.is_file():
        train_word_vectors(training_sentences(corpus), settings, source=str(text_dir)).save(skip_gram_file)
    skip_gram = WordVectors.load(skip_gram_file)
    entries, n_common = vocabulary_entries(skip_gram.vocabulary.tokens[2:], names, text_dir)

    def on_block(done: int, of: int) -> None:
        log({"stage": "sentence vectors", "entries": done, "of": of})

    sentences = sentence_vectors(entries, encode, out_dir / "sentence_vectors.npy", on_block=on_block)
    vectors, figures = join_vectors(entries, sentences, skip_gram)
    codes, scales = quantised(vectors[:n_common])
    products = fit_product_codes(vectors[n_common:], seed=settings.seed)
    nothing = np.zeros(2, np.float32)
    weights = word_weights(entries, sound_information(labelled_captions(text_dir)))
    words = WordVectors(
        vocabulary=Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN, *entries]),
        codes=np.concatenate([np.zeros((2, codes.shape[1]), np.int8), codes]),
        scales=np.concatenate([nothing, scales]),
        weights=np.concatenate([nothing, weights]),
        kind="joined",
        source=str(text_dir),
        products=products,
    )
    cosines = (unit(products.vectors(slice(None))) * unit(vectors[n_common:])).sum(axis=1)
    figures |= {"entries": len(entries), "common": n_common, "coded_cosine": round(float(cosines.mean()), 4)}
    log({"stage": "word vectors", **figures, "settings": asdict(settings)})
    words.save(out_dir / WORD_VECTORS_FILE)
    return words


def join_vectors(
    entries: list[str], sentences: np.ndarray, skip_gram: WordVectors
) -> tuple[np.ndarray, dict[str, float]]:
    """Return the joined unit vectors [shape=(n, dim)] and how well the missing skip-gram vectors are predicted.

    Args:
        entries: tokens.
        sentences: of the sentence encoder, not centred [shape=(n, sentence_dim)].
        skip_gram: vectors of some of the entries.
    """
    sentences = unit(sentences)
    known = np.array([entry in skip_gram.vocabulary.ids for entry in entries])
    centred = sentences - sentences[known].mean(axis=0)
    values, directions = np.linalg.eigh(centred[known].T @ centred[known])
    reduced = unit(centred @ directions[:, np.argsort(values)[::-1][:_SENTENCE_DIM]])
    ids = np.array([skip_gram.vocabulary.ids[entry] for entry, there in zip(entries, known, strict=True) if there])
    trained = unit(skip_gram.rows(ids))
    inputs = np.concatenate([unit(centred), np.ones((len(entries), 1), np.float32)], axis=1)
    check = np.arange(len(ids)) % _CHECKED_EVERY == 0
    of_known = inputs[known]
    predicted = of_known[check] @ _ridge(of_known[~check], trained[~check])
    agreement = float((unit(predicted) * trained[check]).sum(axis=1).mean())
    vectors = np.zeros((len(entries), trained.shape[1]), np.float32)
    vectors[known] = trained
    vectors[~known] = unit(inputs[~known] @ _ridge(of_known, trained))
    return np.concatenate([vectors, reduced], axis=1) * np.float32(np.sqrt(0.5)), {
        "known_to_skip_gram": int(known.sum()),
        "predicted_cosine": round(agreement, 4),
    }


def _ridge(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    gram = inputs.T @ inputs + _PENALTY * np.eye(inputs.shape[1], dtype=np.float32)
    weights: np.ndarray = np.linalg.solve(gram, inputs.T @ targets)
    return weights
