"""The text tower in numpy, so that a query needs no torch. `encoders.text.torch_tower` is the same network in torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from encoders.arrays import unit
from encoders.calibration import Calibration
from encoders.checkpoint import (
    CONFIG_FILE,
    DEFAULT_MODEL_DIR,
    VOCABULARY_FILE,
    WEIGHTS_FILE,
    ModelDirError,
    check_model_dir,
    check_text_tensors,
    is_audio_tensor,
    sha256_of,
)
from encoders.text.composed import ComposedSpec, ComposedText
from encoders.text.respelling import respell
from encoders.text.subwords import SUBWORDS_FILE, Subwords, read_subwords
from encoders.text.unknown import LeftOut, UnknownWordsError
from encoders.text.vocabulary import Vocabulary
from encoders.text.word_vectors import WordVectors

if TYPE_CHECKING:
    from encoders.text.sentence import SentenceTower

__all__ = [
    "SENTENCE_FOLDER",
    "TextEncoder",
    "UnknownWordsError",
    "model_subwords",
    "read_vocabulary",
    "save_subwords",
]

SENTENCE_FOLDER = "sentence"  # of a model directory: the sentence encoder, if the model has one

_BATCH_NORM_EPS = 1e-5


def read_vocabulary(model_dir: Path) -> Vocabulary:
    """Read vocab.txt: one token per line, in the order of the word vectors."""
    return Vocabulary((model_dir / VOCABULARY_FILE).read_text(encoding="utf-8").split("\n")[:-1])


def model_subwords(model_dir: Path, *, digest: str | None) -> Subwords | None:
    """Load the subwords of a model.

    Args:
        model_dir: the model.
        digest: SHA-256 of the file by the model's config; None: the model has no subwords.

    Raises:
        ModelDirError: the file is missing, damaged or changed.
    """
    if digest is None:
        return None
    path = model_dir / SUBWORDS_FILE
    if not path.is_file():
        raise ModelDirError(f"the model in {model_dir} lacks {SUBWORDS_FILE}: copy the model again")
    if sha256_of(path) != digest:
        raise ModelDirError(f"{path} is damaged or was changed: copy the model again")
    return read_subwords(path)


def save_subwords(model_dir: Path, subwords: Subwords) -> str:
    """Write the subwords of a model and return the SHA-256 of the file, for the config."""
    model_dir.mkdir(parents=True, exist_ok=True)
    partial = model_dir / f".{SUBWORDS_FILE}.partial"
    save_file(subwords.tensors(), partial)  # beside the file, whose rows may be mapped into memory
    partial.replace(model_dir / SUBWORDS_FILE)
    return sha256_of(model_dir / SUBWORDS_FILE)


class TextEncoder:
    """Encode phrases as unit vectors in the space of the audio vectors.

    A model with word vectors needs numpy only. With a sentence encoder, the first phrase imports torch and
    sentence-transformers.

    Attributes:
        dim: length of a vector.
        fingerprint: identifies the model.
        calibration: maps cosines to probabilities.
    """

    def __init__(self, model_dir: Path) -> None:
        try:
            with safe_open(model_dir / WEIGHTS_FILE, framework="np") as file:
                names = [name for name in file.keys() if not is_audio_tensor(name)]  # noqa: SIM118 - not a dict
                tensors = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError):
            check_model_dir(model_dir)  # says which file is missing or damaged
            raise
        self.fingerprint = check_text_tensors(model_dir, tensors)
        self._config = json.loads((model_dir / CONFIG_FILE).read_text(encoding="utf-8"))
        self.vocabulary = read_vocabulary(model_dir)
        of_words = {name.removeprefix("words."): tensors[name] for name in names if name.startswith("words.")}
        subwords = model_subwords(model_dir, digest=self._config.get("subwords_sha256"))
        self._words = WordVectors.from_tensors(self.vocabulary, of_words, subwords)
        self._sentence_dir = model_dir / SENTENCE_FOLDER if self._config.get("text") == "sentence" else None
        self._sentences: SentenceTower | None = None
        composed = self._config.get("composed")
        layers = _Layers(tensors, "text_tower." if composed is None else "text_tower.trained.")
        self._tower: Callable[[np.ndarray], np.ndarray] = layers
        self.dim = layers.dim
        if composed is not None:
            spec = ComposedSpec.from_dict(composed)
            self._tower, self.dim = ComposedText(spec, tensors, layers), spec.dim
        self.calibration = Calibration.from_tensors(tensors)

    @classmethod
    def load(cls, model_dir: Path = DEFAULT_MODEL_DIR) -> TextEncoder:
        """Load the text encoder of a model directory.

        Raises:
            ModelDirError: a file is missing or damaged.
        """
        model_dir = Path(model_dir)
        try:
            return cls(model_dir)
        except ModelDirError:
            raise
        except (KeyError, ValueError, OSError, SafetensorError) as error:
            raise ModelDirError(f"the model in {model_dir} is not one that this version reads: {error}") from None

    def phrase_vectors(self, phrases: Sequence[str]) -> np.ndarray:
        """Return the input of the text tower: one unit vector per phrase [shape=(n, word_dim)].

        These are weighted mean word vectors (see `WordVectors`), or the vectors of a sentence encoder.

        Raises:
            UnknownWordsError: a phrase has no known word, or is blank.
        """
        if self._sentence_dir is not None:
            return self._sentence_tower(self._sentence_dir).encode(phrases)
        return self._words.encode(phrases)

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        """Return one unit vector per phrase [shape=(n, dim)], float32.

        Raises:
            UnknownWordsError: a phrase has no known word; the error suggests near spellings.
        """
        if not phrases:
            return np.zeros((0, self.dim), np.float32)
        return unit(self._tower(self.phrase_vectors(phrases)))

    def unknown_words(self, phrase: str) -> list[str]:
        """Return the words of a phrase without a vector; with a sentence encoder there are none."""
        if self._sentence_dir is not None:
            return []
        return self._words.split(phrase)[2]

    def respelled(self, phrase: str) -> tuple[str, dict[str, str]]:
        """Return a phrase with clear misspellings replaced, and each of these words with its replacement.

        A word of the vocabulary is never replaced; one that has a vector from its subwords only may be. With a sentence
        encoder, none is.

        >>> encoder.respelled("soft guiatr")  # doctest: +SKIP
        ('soft guitar', {'guiatr': 'guitar'})
        """
        if self._sentence_dir is not None:
            return phrase, {}
        _, from_subwords, unknown = self._words.split(phrase)
        return respell(phrase, [*from_subwords, *unknown], meant=self.vocabulary.meant)

    def left_out(self, phrase: str) -> LeftOut:
        """Return the parts of a phrase without a vector, with near spellings; a sentence encoder leaves out nothing."""
        return LeftOut() if self._sentence_dir is not None else self._words.left_out(phrase)

    def _sentence_tower(self, folder: Path) -> SentenceTower:
        if self._sentences is None:
            from encoders.text.sentence import SentenceTower  # imports torch, which word vectors do not need

            self._sentences = SentenceTower.load(folder)
        return self._sentences

    def near_spellings(self, word: str, *, count: int = 3) -> list[str]:
        """Return known words that are spelled like `word`, nearest first."""
        return self.vocabulary.near_spellings(word, count=count)

    def tag_names(self) -> list[str]:
        """Return the tags that the model offers when no labels are given."""
        return list(self._config["tag_names"])


class _Layers:
    """The two fully connected layers of `encoders.text.torch_tower.TextTower`, without its last normalisation.

    Args:
        tensors: of the model, by their names in the file.
        prefix: of the tower's tensors.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], prefix: str) -> None:
        self._folded = [_folded(tensors, prefix, number) for number in (1, 2)]
        self.dim = len(self._folded[-1][1])

    def __call__(self, words: np.ndarray) -> np.ndarray:
        """Return vectors [shape=(n, dim)] of phrase vectors [shape=(n, word_dim)]."""
        (w1, b1), (w2, b2) = self._folded
        vectors: np.ndarray = np.maximum(words @ w1.T + b1, 0) @ w2.T + b2
        return vectors


def _folded(tensors: Mapping[str, np.ndarray], prefix: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one fully connected layer with its batch norm folded in: weight and bias."""
    fc, norm = f"{prefix}fc{number}", f"{prefix}norm{number}"
    gain = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + _BATCH_NORM_EPS)
    weight = tensors[f"{fc}.weight"] * gain[:, None]
    bias = (tensors[f"{fc}.bias"] - tensors[f"{norm}.running_mean"]) * gain + tensors[f"{norm}.bias"]
    return weight.astype(np.float32), bias.astype(np.float32)
