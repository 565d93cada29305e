"""Load the input of the text tower: word vectors, or a frozen sentence encoder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from encoders.checkpoint import CONFIG_FILE, DEFAULT_MODEL_DIR, check_model_dir
from encoders.text.tower import SENTENCE_FOLDER, model_subwords
from encoders.text.word_vectors import WordVectors

if TYPE_CHECKING:
    from encoders.text.sentence import SentenceTower

__all__ = ["SENTENCE_PREFIX", "load_phrase_encoder"]

SENTENCE_PREFIX = "sentence:"


def load_phrase_encoder(text: Path | str | None) -> WordVectors | SentenceTower:
    """Load the word vectors or the sentence encoder that the text tower takes as input.

    Args:
        text: a word-vector file, a model directory (its text encoder's input is used), or `sentence:DIR` with the
            directory of a sentence-transformers model. None: the shipped model.

    Raises:
        WordVectorsError: the word-vector file is damaged.
        ModelDirError: the directory is not a model, or is damaged.
        OSError: the file does not exist or cannot be read.
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
    return replace(WordVectors.load(path), subwords=model_subwords(path, digest=config.get("subwords_sha256")))


def _sentences(name: str | Path) -> SentenceTower:
    from encoders.text.sentence import SentenceTower

    return SentenceTower.load(name)
