"""Vectors of words outside the vocabulary, from their character n-grams. Imports numpy only.

FastText (Bojanowski, Grave, Joulin, Mikolov, "Enriching word vectors with subword information", TACL 2017, section
3.2): the n-grams of `<word>` are hashed into buckets, each with a vector. The vector of a word that training did not
see is the mean of its n-grams' vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

__all__ = ["SUBWORDS_FILE", "Subwords", "ngram_hash", "ngrams", "quantised", "read_subwords"]

SUBWORDS_FILE = "subwords.safetensors"  # of a model directory
_FNV_OFFSET, _FNV_PRIME, _32_BITS = 2166136261, 16777619, 0xFFFFFFFF
_CHUNK_ROWS = 65536


def ngrams(word: str, *, min_chars: int, max_chars: int) -> list[str]:
    """Return the n-grams of `<word>`, ordered by start, then by length; a lone `<` or `>` is not an n-gram."""
    marked = f"<{word}>"
    found = []
    for start in range(len(marked)):
        for end in range(start + min_chars, min(start + max_chars, len(marked)) + 1):
            if end - start > 1 or 0 < start < len(marked) - 1:
                found.append(marked[start:end])
    return found


def ngram_hash(ngram: str) -> int:
    """Return fastText's hash of an n-gram, in [0, 2**32): FNV-1a over its UTF-8 bytes as signed characters.

    Bytes of 128 and more are sign-extended to 32 bits before the exclusive or, unlike in plain FNV-1a.
    """
    h = _FNV_OFFSET
    for byte in ngram.encode("utf-8"):
        h ^= byte if byte < 128 else byte | 0xFFFFFF00
        h = (h * _FNV_PRIME) & _32_BITS
    return h


def quantised(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 codes [shape=(n, dim)] and scales [shape=(n,)] such that codes * scales approximates the vectors.

    The error of a value is at most half the scale of its row. A row of zeros has scale 0.
    """
    codes, scales = np.zeros(vectors.shape, np.int8), np.zeros(len(vectors), np.float32)
    for start in range(0, len(vectors), _CHUNK_ROWS):  # without copies of the whole
        rows = slice(start, start + _CHUNK_ROWS)
        chunk = np.asarray(vectors[rows], np.float32)
        scales[rows] = np.abs(chunk).max(1) / 127
        codes[rows] = np.rint(chunk / np.where(scales[rows] > 0, scales[rows], 1)[:, None])
    return codes, scales


@dataclass(frozen=True)
class Subwords:
    """Hash buckets with a vector each.

    Attributes:
        codes: int8 [shape=(n_buckets, dim)]: an array, or a slice of a safetensors file, from which a word's rows are
            read on demand.
        scales: of the codes [shape=(n_buckets,)].
        mean: subtracted from unit vectors, as from those of the known words [shape=(dim,)].
        min_chars: length of the shortest n-gram.
        max_chars: length of the longest n-gram.
    """

    codes: Any
    scales: np.ndarray
    mean: np.ndarray
    min_chars: int
    max_chars: int

    def buckets(self, word: str) -> list[int]:
        """Return the bucket of each n-gram of a word."""
        found = ngrams(word, min_chars=self.min_chars, max_chars=self.max_chars)
        return [ngram_hash(ngram) % len(self.scales) for ngram in found]

    def vector(self, word: str) -> np.ndarray | None:
        """Return the mean of a word's n-gram vectors [shape=(dim,)], float32; None: the word has no n-gram."""
        buckets = self.buckets(word)
        if not buckets:
            return None
        rows = np.concatenate([self.codes[bucket : bucket + 1] for bucket in buckets]).astype(np.float32)
        return (rows * self.scales[buckets, None]).mean(0)

    def centred(self, word: str) -> np.ndarray | None:
        """Return a word's unit vector less `mean`, as known words are stored; None: the word has no vector."""
        vector = self.vector(word)
        norm = 0.0 if vector is None else float(np.linalg.norm(vector))
        return None if vector is None or norm == 0 else vector / norm - self.mean

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors to store.

        Returns:
            `subwords.codes` int8 [shape=(n_buckets, dim)], `subwords.scales` float32 [shape=(n_buckets,)],
            `subwords.mean` float32 [shape=(dim,)], `subwords.chars` int32 (shortest and longest n-gram).
        """
        return {
            "subwords.codes": np.asarray(self.codes[:]),
            "subwords.scales": self.scales,
            "subwords.mean": self.mean,
            "subwords.chars": np.array([self.min_chars, self.max_chars], np.int32),
        }


def read_subwords(path: Path) -> Subwords:
    """Load the subwords of a safetensors file; the codes of a word are read on demand.

    Raises:
        SafetensorError: the file has no subwords, or is damaged.
        ValueError: its tensors do not match.
    """
    with safe_open(path, framework="np") as file:
        codes = file.get_slice("subwords.codes")
        scales, mean, chars = (file.get_tensor(f"subwords.{part}") for part in ("scales", "mean", "chars"))
    if codes.get_dtype() != "I8" or codes.get_shape() != [len(scales), len(mean)] or not len(scales):
        raise ValueError("its subword tensors do not match")
    if chars.shape != (2,) or not 1 <= chars[0] <= chars[1] or not np.isfinite(scales).all():
        raise ValueError("its subword tensors have invalid values")
    return Subwords(codes, scales, mean, int(chars[0]), int(chars[1]))
