"""Reader of fastText's .bin files: words with counts, and the buckets of their subwords."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from encoders.text.formats import MAX_DIM, open_source
from encoders.text.subwords import Subwords
from encoders.text.word_vectors import WordVectorsError

__all__ = ["FastTextModel", "read_fasttext"]

_VERSIONS = (11, 12)
# After the magic number and the version: the arguments of training in the order of fastText's args.cc.
_ARGUMENTS = ("dim", "ws", "epoch", "min_count", "neg", "word_ngrams", "loss", "model", "bucket", "minn", "maxn", "lr")
_MAX_WORDS = 100_000_000
_LONGEST_WORD_BYTES = 4096


@dataclass(frozen=True)
class FastTextModel:
    """What a .bin file holds, less what only training needs.

    Attributes:
        words: as they stand in the file, the most frequent first.
        counts: of the words [shape=(n,)].
        vectors: of the words, their n-grams' included [shape=(n, dim)].
        buckets: vectors of n-grams [shape=(n_buckets, dim)]; none where the model has no subwords.
        chars: shortest and longest n-gram.
    """

    words: list[str]
    counts: np.ndarray
    vectors: np.ndarray
    buckets: np.ndarray
    chars: tuple[int, int]


def read_fasttext(
    path: Path, *, limit: int | None = None, on_word: Callable[[int, int], None] | None = None
) -> FastTextModel:
    """Read an unsupervised fastText model (format 11 or 12), packed by gzip or not.

    Args:
        path: the .bin file.
        limit: how many words to keep, the most frequent first; all buckets are kept.
        on_word: is called with the number of words made and of all words, now and then.

    Raises:
        WordVectorsError: the file is cut short, supervised or quantised.
    """
    try:
        with open_source(path) as file:
            header = _read_header(file, path)
            words, counts = _read_words(file, path)
            matrix = _read_matrix(file, path, rows=len(words) + header["bucket"], dim=header["dim"])
    except (EOFError, struct.error, zlib.error):
        raise WordVectorsError(f"{path} is cut short or damaged: copy it again") from None
    n_all = len(words)
    kept = min(limit or n_all, n_all)
    buckets = matrix[n_all:] if header["maxn"] > 0 else matrix[:0]
    chars = (max(header["minn"], 1), max(header["maxn"], 1))
    vectors = np.array(matrix[:kept], dtype=np.float32)
    if len(buckets):
        scheme = Subwords(buckets, np.ones(len(buckets), np.float32), np.zeros(header["dim"], np.float32), *chars)
        for at, word in enumerate(words[:kept]):
            parts = scheme.buckets(word)
            vectors[at] = (vectors[at] + buckets[parts].sum(0)) / (len(parts) + 1)
            if on_word is not None and at % 1000 == 0:
                on_word(at, kept)
    return FastTextModel(words[:kept], counts[:kept], vectors, buckets, chars)


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack("<" + layout, file.read(struct.calcsize("<" + layout)))


def _read_header(file: BinaryIO, path: Path) -> dict[str, int]:
    _, version = _unpack(file, "2i")
    if version not in _VERSIONS:
        raise WordVectorsError(f"{path} is of fastText's format {version}: formats 11 and 12 are read")
    header = dict(zip(_ARGUMENTS, _unpack(file, f"{len(_ARGUMENTS)}i"), strict=True))
    _unpack(file, "d")
    if not 1 <= header["dim"] <= MAX_DIM or not 0 <= header["bucket"] <= _MAX_WORDS:
        raise WordVectorsError(
            f"{path} is damaged: it says {header['dim']} values a word and {header['bucket']} buckets"
        )
    return header


def _read_words(file: BinaryIO, path: Path) -> tuple[list[str], np.ndarray]:
    size, n_words, n_labels, _, pruned = _unpack(file, "3i2q")
    if n_labels:
        raise WordVectorsError(f"{path} is a classifier (supervised fastText): import vectors learnt without labels")
    if pruned > 0:
        raise WordVectorsError(f"{path} is a pruned model: import the .bin that it was made from")
    if size != n_words or not 1 <= size <= _MAX_WORDS:
        raise WordVectorsError(f"{path} is damaged: it says {n_words} words in a dictionary of {size}")
    words, counts = [], np.empty(size, np.float64)
    for at in range(size):
        word = bytearray()
        while (byte := file.read(1)) != b"\0":
            if not byte or len(word) > _LONGEST_WORD_BYTES:
                raise EOFError
            word += byte
        words.append(word.decode("utf-8", errors="backslashreplace"))
        counts[at], _ = _unpack(file, "qb")
    return words, counts


def _read_matrix(file: BinaryIO, path: Path, *, rows: int, dim: int) -> np.ndarray:
    (quantised,) = _unpack(file, "?")
    if quantised:
        raise WordVectorsError(f"{path} is quantised (.ftz): import the .bin that it was made from")
    shape = _unpack(file, "2q")
    if shape != (rows, dim):
        raise WordVectorsError(f"{path} is damaged: a matrix of shape {shape} where {(rows, dim)} is due")
    values = np.empty((rows, dim), "<f4") if rows * dim < 1 << 28 else None
    if values is None and file.seekable() and type(file).__name__ == "BufferedReader":
        if path.stat().st_size < file.tell() + 4 * rows * dim:
            raise EOFError
        return np.memmap(path, "<f4", mode="r", offset=file.tell(), shape=(rows, dim))  # gigabytes stay on disk
    values = np.empty((rows, dim), "<f4") if values is None else values
    flat = values.reshape(-1).view(np.uint8)
    done = 0
    while done < len(flat):
        n = file.readinto(flat[done : done + (1 << 24)])  # type: ignore[attr-defined]
        if not n:
            raise EOFError
        done += n
    return values
