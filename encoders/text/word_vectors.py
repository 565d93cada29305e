"""Word vectors and their file: 8-bit codes, weights and, for FastText, subwords. Imports numpy only.

A word-vector file is a safetensors file with these tensors:

- `words.codes` int8 [shape=(n_coded, dim)], `words.scales` float32 [shape=(n_coded,)] and `words.weights` float32
  [shape=(n,)], as in a model;
- where n > n_coded, the product codes of the other words: `words.product_codes`, `words.product_centroids` and
  `words.product_rotation` (`encoders.text.product_codes.ProductCodes`);
- `words.tokens` uint8: the tokens in UTF-8, each followed by a line feed, in the order of the rows;
- those of `encoders.text.subwords.Subwords.tensors` (FastText only).

`earmark_words` in its header is a JSON object with the format version, the kind and the source.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from encoders.arrays import unit
from encoders.checkpoint import VOCABULARY_FILE, WEIGHTS_FILE
from encoders.text.file_kinds import HEAD_BYTES, other_kind
from encoders.text.product_codes import ProductCodes
from encoders.text.subwords import SUBWORDS_FILE, Subwords, quantised, read_subwords
from encoders.text.unknown import LeftOut
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary

__all__ = ["SIF_A", "WordVectors", "WordVectorsError"]

SIF_A = 1e-3  # of Arora, Liang, Ma 2017, section 5
_HEADER, _VERSION = "earmark_words", 1
_SPECIAL = 2  # rows of [PAD] and [UNK]
_CHUNK_ROWS = 65536
_PRODUCT_PARTS = ("codes", "centroids", "rotation")


class WordVectorsError(ValueError):
    """Word vectors cannot be read, trained or stored; the message names the file and the fix."""


@dataclass(frozen=True)
class WordVectors:
    """Words with a vector and a weight each; encodes phrases as unit vectors.

    Each stored vector is the unit vector less the mean over running text, which all words share.

    Attributes:
        vocabulary: the tokens, in the order of the rows.
        codes: of the first words, int8 [shape=(n_coded, dim)]; the first two rows, [PAD] and [UNK], are zeros.
        scales: of the codes [shape=(n_coded,)]; vector = codes * scale.
        weights: smooth inverse frequency [shape=(n,)], in [0, 1].
        subwords: give vectors to words outside the vocabulary; None: such words are unknown.
        kind: training method: word2vec, fasttext, glove or model.
        source: file or text that they come from.
        products: the vectors of the words after those with codes, in fewer bytes; None: there are none.
    """

    vocabulary: Vocabulary
    codes: np.ndarray
    scales: np.ndarray
    weights: np.ndarray
    subwords: Subwords | None = None
    kind: str = "word2vec"
    source: str = ""
    products: ProductCodes | None = None

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
        return len(self.weights) - _SPECIAL

    @property
    def dim(self) -> int:
        return int(self.codes.shape[1])

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Return the vectors of tokens, float32 [shape=(n, dim)], by their places in the vocabulary [shape=(n,)]."""
        coded = np.minimum(ids, len(self.codes) - 1)
        found = self.codes[coded].astype(np.float32) * self.scales[coded, None]
        products = np.flatnonzero(ids >= len(self.codes))
        if len(products):
            assert self.products is not None
            found[products] = self.products.vectors(ids[products] - len(self.codes))
        return found

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays by their names in `encoders.text.torch_tower.WordLookup`, without those of subwords."""
        found = {"codes": self.codes, "scales": self.scales, "weights": self.weights}
        if self.products is not None:
            found |= {f"product_{name}": getattr(self.products, name) for name in _PRODUCT_PARTS}
        return found

    @staticmethod
    def from_tensors(
        vocabulary: Vocabulary,
        tensors: Mapping[str, np.ndarray],
        subwords: Subwords | None = None,
        *,
        kind: str = "model",
        source: str = "",
    ) -> WordVectors:
        """Return the word vectors of `tensors`.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays do not match the vocabulary or each other.
        """
        codes = tensors["codes"]
        scales, weights = (tensors[name].astype(np.float32) for name in ("scales", "weights"))
        products = None
        if "product_codes" in tensors:
            products = ProductCodes(*(tensors[f"product_{name}"] for name in _PRODUCT_PARTS))
        _check(vocabulary, codes, scales, weights, subwords, products)
        return WordVectors(vocabulary, codes, scales, weights, subwords, kind, source, products)

    @property
    def sizes(self) -> dict[str, int]:
        """The fields of a model's config that say how many words have product codes, and of which size."""
        if self.products is None:
            return {}
        n_parts, _, part_dim = self.products.centroids.shape
        return {"product_words": len(self.products), "product_parts": n_parts, "product_part_dim": part_dim}

    def vector(self, word: str) -> np.ndarray | None:
        """Return a word's vector [shape=(dim,)], from its subwords if the vocabulary lacks it; None: it has none."""
        at = self.vocabulary.ids.get(word)
        if at is not None:
            return self.rows(np.array([at]))[0]
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
            row += (self.weights[ids, None] * self.rows(ids)).sum(0)
            for word in from_subwords:
                vector = self.vector(word)
                assert vector is not None  # by the definition of split
                row += vector
        return unit(rows)

    def neighbours(self, vector: np.ndarray, *, count: int, exclude: Sequence[str] = ()) -> list[tuple[str, float]]:
        """Return the tokens nearest to a vector [shape=(dim,)] with their cosines, nearest first, without `exclude`."""
        n = len(self.weights)
        cosines = np.empty(n, np.float32)
        target = vector / max(float(np.linalg.norm(vector)), 1e-9)
        for start in range(0, n, _CHUNK_ROWS):
            ids = np.arange(start, min(n, start + _CHUNK_ROWS))
            cosines[ids] = unit(self.rows(ids)) @ target
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
        tensors = {f"words.{name}": array for name, array in self.tensors().items()}
        tensors["words.tokens"] = np.frombuffer(tokens, np.uint8)
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
                arrays = {
                    name.removeprefix("words."): file.get_tensor(name)
                    for name in names
                    if name.startswith("words.") and name != "words.tokens"
                }
                text = "" if in_model else file.get_tensor("words.tokens").tobytes().decode("utf-8")
            if in_model:
                text = (path / VOCABULARY_FILE).read_text(encoding="utf-8")
                if len(arrays["weights"]) <= _SPECIAL:
                    raise WordVectorsError(f"{path} has no word vectors: the model uses a sentence encoder")
            subwords_path = path / SUBWORDS_FILE if in_model else file_path
            has_subwords = subwords_path.is_file() if in_model else "subwords.codes" in names
            subwords = read_subwords(subwords_path) if has_subwords else None
            vocabulary = Vocabulary(text.split("\n")[:-1])
            kind, source = (
                ("model", str(path)) if in_model else (str(header.get("kind", "")), str(header.get("source", "")))
            )
            return cls.from_tensors(vocabulary, arrays, subwords, kind=kind, source=source)
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


def _check(
    vocabulary: Vocabulary,
    codes: np.ndarray,
    scales: np.ndarray,
    weights: np.ndarray,
    subwords: Subwords | None,
    products: ProductCodes | None,
) -> None:
    n = len(vocabulary)
    if len(vocabulary.ids) != n:
        raise ValueError("a token occurs twice")
    n_coded = n - (0 if products is None else len(products))
    if codes.dtype != np.int8 or codes.ndim != 2 or {len(codes), len(scales)} != {n_coded} or weights.shape != (n,):
        raise ValueError(f"{n} tokens do not match codes of shape {codes.shape}")
    if scales.ndim != 1 or not (np.isfinite(scales).all() and np.isfinite(weights).all()):
        raise ValueError("a scale or weight is not finite")
    if subwords is not None and len(subwords.mean) != codes.shape[1]:
        raise ValueError("the vectors of words and subwords differ in length")
    if products is not None and products.dim != codes.shape[1]:
        raise ValueError("the vectors of words and product codes differ in length")


def _mean(directions: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return (shares.astype(np.float32)[:, None] * directions).sum(0)
