"""Word vectors and their file: 8-bit codes, weights and, for FastText, subwords. Imports numpy only.

A word-vector file is a safetensors file with these tensors:

- `words.codes` int8 [shape=(n, dim)], `words.scales` and `words.weights` float32 [shape=(n,)], as in a model;
- `words.tokens` uint8: the tokens in UTF-8, each followed by a line feed, in the order of the rows;
- those of `encoders.text.subwords.Subwords.tensors` (FastText only).

`earmark_words` in its header is a JSON object with the format version, the kind and the source.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from encoders.arrays import unit
from encoders.checkpoint import VOCABULARY_FILE, WEIGHTS_FILE
from encoders.text.file_kinds import HEAD_BYTES, other_kind
from encoders.text.subwords import SUBWORDS_FILE, Subwords, quantised, read_subwords
from encoders.text.unknown import LeftOut
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary

__all__ = ["SIF_A", "WordVectors", "WordVectorsError"]

SIF_A = 1e-3  # of Arora, Liang, Ma 2017, section 5
_HEADER, _VERSION = "earmark_words", 1
_SPECIAL = 2  # rows of [PAD] and [UNK]
_CHUNK_ROWS = 65536


class WordVectorsError(ValueError):
    """Word vectors cannot be read, trained or stored; the message names the file and the fix."""


@dataclass(frozen=True)
class WordVectors:
    """Words with a vector and a weight each; encodes phrases as unit vectors.

    Each stored vector is the unit vector less the mean over running text, which all words share.

    Attributes:
        vocabulary: the tokens, in the order of the rows.
        codes: int8 [shape=(n, dim)]; the first two rows, [PAD] and [UNK], are zeros.
        scales: of the codes [shape=(n,)]; vector = codes * scale.
        weights: smooth inverse frequency [shape=(n,)], in [0, 1].
        subwords: give vectors to words outside the vocabulary; None: such words are unknown.
        kind: training method: word2vec, fasttext, glove or model.
        source: file or text that they come from.
    """

    vocabulary: Vocabulary
    codes: np.ndarray
    scales: np.ndarray
    weights: np.ndarray
    subwords: Subwords | None = None
    kind: str = "word2vec"
    source: str = ""

    @classmethod
    def from_floats(
        cls,
        tokens: Sequence[str],
        vectors: np.ndarray,
        shares: np.ndarray,
        *,
        kind: str,
        source: str,
        sif_a: float = SIF_A,
    ) -> WordVectors:
        """Return the stored form of trained vectors.

        Args:
            tokens: n distinct tokens in lower case; the words of a group are joined by underscores.
            vectors: their vectors [shape=(n, dim)].
            shares: share of each token in running text [shape=(n,)], positive, summing to 1.
            kind: see the class.
            source: see the class.
            sif_a: constant of the word weights; see `encoders.text.vocabulary`.

        Raises:
            WordVectorsError: there is no token, or a vector is not finite.
        """
        if not len(tokens):
            raise WordVectorsError(f"{source} has no words: give a file with word vectors")
        wrong = np.flatnonzero(~np.isfinite(vectors).all(1))
        if len(wrong):
            raise WordVectorsError(
                f"{source}: the vector of {tokens[wrong[0]]!r} is not finite (NaN or infinity); remove the word"
            )
        directions = unit(vectors)
        directions -= _mean(directions, shares)
        codes, scales = quantised(directions)
        nothing = np.zeros(_SPECIAL, np.float32)
        return cls(
            vocabulary=Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN, *tokens]),
            codes=np.concatenate([np.zeros((_SPECIAL, codes.shape[1]), np.int8), codes]),
            scales=np.concatenate([nothing, scales]),
            weights=np.concatenate([nothing, (sif_a / (sif_a + shares)).astype(np.float32)]),
            kind=kind,
            source=source,
        )

    @classmethod
    def with_subwords(
        cls,
        tokens: Sequence[str],
        vectors: np.ndarray,
        shares: np.ndarray,
        *,
        buckets: np.ndarray,
        chars: tuple[int, int],
        source: str,
        sif_a: float = SIF_A,
    ) -> WordVectors:
        """Return the stored form of FastText vectors.

        Args:
            tokens: see `from_floats`.
            vectors: vectors of the words, with those of their n-grams included [shape=(n, dim)].
            shares: see `from_floats`.
            buckets: vectors of the n-grams [shape=(n_buckets, dim)].
            chars: shortest and longest n-gram.
            source: see `from_floats`.
            sif_a: see `from_floats`.

        Raises:
            WordVectorsError: there is no token, or a vector is not finite.
        """
        plain = cls.from_floats(tokens, vectors, shares, kind="fasttext", source=source, sif_a=sif_a)
        codes, scales = quantised(buckets)
        if not np.isfinite(scales).all():
            raise WordVectorsError(
                f"{source}: a subword vector is not finite (NaN or infinity); train or copy the file again"
            )
        subwords = Subwords(codes, scales, _mean(unit(vectors), shares), *chars)
        return cls(plain.vocabulary, plain.codes, plain.scales, plain.weights, subwords, plain.kind, source)

    def __len__(self) -> int:
        return len(self.codes) - _SPECIAL

    @property
    def dim(self) -> int:
        return int(self.codes.shape[1])

    def vector(self, word: str) -> np.ndarray | None:
        """Return a word's vector [shape=(dim,)], from its subwords if the vocabulary lacks it; None: it has none."""
        at = self.vocabulary.ids.get(word)
        if at is not None:
            return self.codes[at].astype(np.float32) * self.scales[at]
        return None if self.subwords is None else self.subwords.centred(word)

    def split(self, phrase: str) -> tuple[list[str], list[str], list[str]]:
        """Return the words of a phrase in three lists: in the vocabulary, from subwords, unknown."""
        known, others = self.vocabulary.split(phrase)
        if self.subwords is None:
            return known, [], others
        # Not those that the vocabulary has but a phrase does not mean, such as single letters.
        has_vector = {
            word for word in others if word not in self.vocabulary.ids and self.subwords.centred(word) is not None
        }
        from_subwords = [word for word in others if word in has_vector]
        return known, from_subwords, [word for word in others if word not in from_subwords]

    def left_out(self, phrase: str) -> LeftOut:
        """Return what the vector of a phrase does not contain."""
        return self.vocabulary.left_out(phrase, self.split(phrase)[2])

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        """Return the weighted mean word vector of each phrase, unit length [shape=(n, dim)], float32.

        A word from subwords has weight 1, since it is rarer than every known word.

        Raises:
            UnknownWordsError: no word of a phrase has a vector; the error suggests near spellings.
        """
        rows = np.zeros((len(phrases), self.dim), np.float32)
        for row, phrase in zip(rows, phrases, strict=True):
            known, from_subwords, unknown = self.split(phrase)
            if not known and not from_subwords:
                raise self.vocabulary.unknown_error(unknown, phrase=phrase)
            ids = np.array([self.vocabulary.ids[token] for token in known], dtype=np.int64)
            vectors = self.codes[ids].astype(np.float32) * self.scales[ids, None]
            row += (self.weights[ids, None] * vectors).sum(0)
            for word in from_subwords:
                vector = self.vector(word)
                assert vector is not None  # by the definition of split
                row += vector
        return unit(rows)

    def neighbours(self, vector: np.ndarray, *, count: int, exclude: Sequence[str] = ()) -> list[tuple[str, float]]:
        """Return the tokens nearest to a vector [shape=(dim,)] with their cosines, nearest first, without `exclude`."""
        cosines = np.empty(len(self.codes), np.float32)
        target = vector / max(float(np.linalg.norm(vector)), 1e-9)
        for start in range(0, len(self.codes), _CHUNK_ROWS):  # scales do not change a cosine
            cosines[start : start + _CHUNK_ROWS] = unit(self.codes[start : start + _CHUNK_ROWS]) @ target
        cosines[[0, 1, *(self.vocabulary.ids[token] for token in exclude if token in self.vocabulary.ids)]] = -np.inf
        best = np.argsort(-cosines, kind="stable")[:count]
        return [(self.vocabulary.tokens[i], float(cosines[i])) for i in best if np.isfinite(cosines[i])]

    def save(self, path: Path) -> None:
        """Write a word-vector file; it replaces an existing one in one step.

        Raises:
            OSError: the file cannot be written.
        """
        from safetensors.numpy import save

        tokens = "".join(token + "\n" for token in self.vocabulary.tokens).encode()
        tensors = {
            "words.codes": self.codes,
            "words.scales": self.scales,
            "words.weights": self.weights,
            "words.tokens": np.frombuffer(tokens, np.uint8),
        }
        if self.subwords is not None:
            tensors |= self.subwords.tensors()
        header = {"version": _VERSION, "kind": self.kind, "source": self.source}
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(save(tensors, metadata={_HEADER: json.dumps(header)}))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> WordVectors:
        """Load a word-vector file, or the word vectors of a model directory.

        Raises:
            WordVectorsError: the file is not a word-vector file, or is damaged.
            OSError: the file does not exist or cannot be read.
        """
        path = Path(path)
        in_model = path.is_dir()
        file_path = path / WEIGHTS_FILE if in_model else path
        if in_model and not file_path.is_file():
            raise WordVectorsError(f"{path} has no {WEIGHTS_FILE}: give a word-vector file or a model directory")
        file_path.open("rb").close()  # raises an OSError with the name of the file
        try:
            with safe_open(file_path, framework="np") as file:
                names = set(file.keys())
                header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
                if not in_model and header.get("version") != _VERSION:
                    raise WordVectorsError(
                        f"{path} is not a word-vector file of this version: make one by `retrieve word-vectors import`"
                    )
                codes, scales, weights = (file.get_tensor(f"words.{part}") for part in ("codes", "scales", "weights"))
                text = "" if in_model else file.get_tensor("words.tokens").tobytes().decode("utf-8")
            if in_model:
                text = (path / VOCABULARY_FILE).read_text(encoding="utf-8")
                if len(codes) <= _SPECIAL:
                    raise WordVectorsError(f"{path} has no word vectors: the model uses a sentence encoder")
            subwords_path = path / SUBWORDS_FILE if in_model else file_path
            has_subwords = subwords_path.is_file() if in_model else "subwords.codes" in names
            subwords = read_subwords(subwords_path) if has_subwords else None
            vocabulary = Vocabulary(text.split("\n")[:-1])
            _check(vocabulary, codes, scales, weights, subwords)
        except WordVectorsError:
            raise
        except (SafetensorError, ValueError, KeyError, AttributeError) as error:
            with file_path.open("rb") as opened:
                kind_of_file = other_kind(opened.read(HEAD_BYTES))
            if kind_of_file is not None:
                raise WordVectorsError(f"{file_path} is {kind_of_file}") from None
            raise WordVectorsError(
                f"{path} is not a word-vector file, or is damaged ({error}): make or copy it again, or read another "
                "tool's file by `retrieve word-vectors import`"
            ) from None
        kind, source = (
            ("model", str(path)) if in_model else (str(header.get("kind", "")), str(header.get("source", "")))
        )
        return cls(vocabulary, codes, scales, weights, subwords, kind, source)


def _check(
    vocabulary: Vocabulary, codes: np.ndarray, scales: np.ndarray, weights: np.ndarray, subwords: Subwords | None
) -> None:
    n = len(vocabulary)
    if len(vocabulary.ids) != n:
        raise ValueError("a token occurs twice")
    if codes.dtype != np.int8 or codes.shape[:1] != (n,) or codes.ndim != 2 or {scales.shape, weights.shape} != {(n,)}:
        raise ValueError(f"{n} tokens do not match codes of shape {codes.shape}")
    if not (np.isfinite(scales).all() and np.isfinite(weights).all()):
        raise ValueError("a scale or weight is not finite")
    if subwords is not None and len(subwords.mean) != codes.shape[1]:
        raise ValueError("the vectors of words and subwords differ in length")


def _mean(directions: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return (shares.astype(np.float32)[:, None] * directions).sum(0)
