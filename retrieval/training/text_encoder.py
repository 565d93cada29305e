"""What the text tower reads: word vectors, or a frozen sentence encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from encoders.checkpoint import CONFIG_FILE, DEFAULT_MODEL_DIR, check_model_dir
from encoders.text.tower import SENTENCE_FOLDER, model_subwords
from encoders.text.word_vectors import WordVectors

if TYPE_CHECKING:
    from encoders.text.sentence import SentenceTower

__all__ = ["SENTENCE_PREFIX", "PhraseEncoder", "read_phrases"]

SENTENCE_PREFIX = "sentence:"


class PhraseEncoder(Protocol):
    """Phrases -> unit vectors; ``WordVectors`` and ``SentenceTower`` are such."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        """Return unit vectors [shape=(n, dim)]; UnknownWordsError where a phrase has none."""


def read_phrases(text: Path | str | None) -> WordVectors | SentenceTower:
    """Read a file of words, the text side of a model directory (default: the shipped one), or ``sentence:NAME``.

    NAME is a folder with a transformers text encoder, or a name of the Hugging Face hub.

    Raises:
        WordsError, ModelDirError: it is not what it should be.
        OSError: it is not there.
    """
    if text is not None and str(text).startswith(SENTENCE_PREFIX):
        return _sentences(str(text)[len(SENTENCE_PREFIX) :])
    path = Path(text) if text is not None else DEFAULT_MODEL_DIR
    if not (path / CONFIG_FILE).is_file():
        return WordVectors.load(path)
    check_model_dir(path)
    config = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
    if config.get("text") == "sentence":
        return _sentences(path / SENTENCE_FOLDER)
    words = WordVectors.load(path)
    subwords = model_subwords(path, digest=config.get("subwords_sha256"))
    return WordVectors(words.vocabulary, words.codes, words.scales, words.weights, subwords, words.kind, words.source)


def _sentences(name: str | Path) -> SentenceTower:
    from encoders.text.sentence import SentenceTower

    return SentenceTower.load(name)
