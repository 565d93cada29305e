"""Readers of other tools' word vectors: word2vec text and binary, GloVe, fastText .vec.

Each yields one word and vector at a time; what is wrong with a file is said with its line or its word.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from encoders.text.word_vectors import WordVectorsError

__all__ = ["MAX_DIM", "detect_format", "open_source", "read_binary", "read_text"]

MAX_DIM = 10_000  # a header that says more is no header
_FASTTEXT_MAGIC = (793712314).to_bytes(4, "little")
_LONGEST_WORD_BYTES = 4096
_UNPICKLING = (
    "{path} is a pickle, which can run any program when it is opened: where you trust it, write it anew by "
    "gensim.models.KeyedVectors.load(...).save_word2vec_format('vectors.txt') and import that"
)


def open_source(path: Path) -> BinaryIO:
    """Open a file to read, unpacked if it is gzip."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def detect_format(path: Path) -> str:
    """Say what a file is by its first bytes: "fasttext", "binary", "text" or "glove" (text without a header).

    Raises:
        WordVectorsError: it is none of these, a pickle or an archive; the message says what to do.
        OSError: it cannot be read.
    """
    try:
        with open_source(path) as file:
            head = file.read(1 << 16)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise WordVectorsError(f"{path} is a damaged .gz file ({error}): copy it again") from None
    if not head:
        raise WordVectorsError(f"{path} is empty")
    if head.startswith(_FASTTEXT_MAGIC):
        return "fasttext"
    if (head[0] == 0x80 and head[1:2] <= b"\x08") or path.suffix in {".kv", ".model", ".pkl"}:
        raise WordVectorsError(_UNPICKLING.format(path=path))
    if head.startswith(b"PK"):
        raise WordVectorsError(f"{path} is a .zip archive: unzip it and import the file in it")
    line, _, rest = head.partition(b"\n")
    if _header(line) is not None:
        second = rest.partition(b"\n")[0]
        return "text" if _is_text(second, whole=b"\n" in rest) else "binary"
    if _is_text(line, whole=b"\n" in head) and len(line.split()) > 2:
        return "glove"
    raise WordVectorsError(f"{path} holds no word vectors that are read here: word2vec, GloVe or fastText files are")


def _header(line: bytes) -> tuple[int, int] | None:
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    n_words, dim = int(parts[0]), int(parts[1])
    return (n_words, dim) if 1 <= dim <= MAX_DIM else None


def _is_text(line: bytes, *, whole: bool) -> bool:
    """Whether a line is a word and numbers; the last number of a line that is not whole may be cut."""
    try:
        parts = line.decode("utf-8", errors="strict" if whole else "ignore").split()
        for number in parts[1:] if whole else parts[1:-1]:
            float(number)
    except ValueError:
        return False
    return len(parts) > 1


def read_text(path: Path, *, header: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the words and vectors [shape=(dim,)] of a text file: a word, a space, numbers; spaces may be in the word.

    Raises:
        WordVectorsError: a line has the wrong number of values or one that is no number, or lines are missing.
    """
    n_words = dim = n_read = 0
    number = 0
    try:
        with open_source(path) as file:
            if header:
                found = _header(file.readline())
                assert found is not None  # detect_format has seen it
                n_words, dim = found
            for number, raw in enumerate(file, 2 if header else 1):
                line = raw.decode("utf-8", errors="replace").rstrip(" \r\n")
                if not line:
                    continue
                # Nothing but a space (or tab) parts values: words of GloVe are no-break spaces and the like.
                space = " " if " " in line else "\t"
                dim = dim or line.count(space)
                parts = line.rsplit(space, dim)
                if len(parts) != dim + 1:
                    raise WordVectorsError(f"{path}, line {number}: {len(parts) - 1} values where {dim} are due")
                yield parts[0], np.array(parts[1:], dtype=np.float32)
                n_read += 1
    except ValueError as error:
        if isinstance(error, WordVectorsError):
            raise
        raise WordVectorsError(
            f"{path}, line {number}: a value is no number ({error}), or there are not {dim}"
        ) from None
    except (EOFError, zlib.error) as error:
        raise WordVectorsError(f"{path} is cut short or damaged ({error}): copy it again") from None
    if n_read < n_words:
        raise WordVectorsError(
            f"{path} is cut short: its header says {n_words} words, {n_read} are there; copy it again"
        )


def read_binary(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the words and vectors [shape=(dim,)] of a word2vec binary file: a word, a space, little-endian float32.

    Raises:
        WordVectorsError: the file is cut short, or has other dimensions than its header says.
    """
    with open_source(path) as file:
        found = _header(file.readline())
        assert found is not None  # detect_format has seen it
        n_words, dim = found
        for at in range(n_words):
            try:
                word = _word_before(file, b" ").lstrip(b"\n")  # the C tool ends each vector with a line feed
                values = file.read(4 * dim)
            except (EOFError, zlib.error):
                word = values = b""
            if len(values) < 4 * dim:
                said = f"its header says {n_words} words of {dim} values, it ends in or after word {at}"
                raise WordVectorsError(f"{path} is cut short, or its header is wrong: {said}; copy it again")
            yield word.decode("utf-8", errors="replace"), np.frombuffer(values, "<f4")
        if file.read(2).strip():
            raise WordVectorsError(
                f"{path} goes on after the {n_words} words of {dim} values of its header: copy it again"
            )


def _word_before(file: BinaryIO, end: bytes) -> bytes:
    word = bytearray()
    while (byte := file.read(1)) != end:
        if not byte or len(word) > _LONGEST_WORD_BYTES:
            raise EOFError
        word += byte
    return bytes(word)
