"""Import the word vectors of other tools into the stored form."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders.text.tokenizer import tokenize
from encoders.text.train import quiet_gensim
from encoders.text.vector_files import read_vector_file
from encoders.text.word_vectors import WordVectors, WordVectorsError

__all__ = ["ImportedVectors", "import_word_vectors", "normalised_token"]

_KINDS = {"fasttext": "fasttext", "binary": "word2vec", "text": "word2vec", "glove": "glove"}
_LONGEST_GROUP_WORDS = 4  # longer ones are never looked up
_TIMEOUT_S = 30.0
_CONCEPT = re.compile(r"/c/([a-z]+)/")  # ConceptNet Numberbatch's names: /c/en/guitar


@dataclass(frozen=True)
class ImportedVectors:
    """Result of an import.

    Attributes:
        word_vectors: the stored form.
        format: format of the file: fasttext, binary, text or glove.
        n_read: words read.
        n_left_out: words without letters or digits, of another language (Numberbatch) or of more than four parts.
        n_merged: words whose normalised spelling is that of an earlier word, which is kept ("Paris", "paris").
        n_repeated: words that the file repeats; the first is kept.
        notes: faults of the file that do no harm, one sentence each.
    """

    word_vectors: WordVectors
    format: str
    n_read: int
    n_left_out: int
    n_merged: int
    n_repeated: int
    notes: tuple[str, ...] = ()


def normalised_token(word: str) -> str:
    """Return a word as a vocabulary spells it, groups joined by underscores; empty if no word is left.

    >>> normalised_token("New_York"), normalised_token("hip-hop"), normalised_token("...")
    ('new_york', 'hip_hop', '')
    """
    concept = _CONCEPT.match(word)
    if concept is not None:
        word = word[concept.end() :] if concept[1] == "en" else ""
    tokens = tokenize(word.replace("_", " "))
    return "_".join(tokens) if len(tokens) <= _LONGEST_GROUP_WORDS else ""


def import_word_vectors(
    source: str, *, limit: int | None = None, on_words: Callable[[int, int | None], None] | None = None
) -> ImportedVectors:
    """Import word2vec (text, binary), GloVe or fastText (.bin, .vec) vectors, packed by gzip or not.

    Where the file has no counts, a word's share of running text follows from its rank by Zipf's law, since these files
    are sorted by frequency.

    Args:
        source: a file, or the name of vectors that `gensim.downloader` fetches.
        limit: number of words to read, from the first; None: all.
        on_words: called now and then with the number of words read and the limit.

    Raises:
        WordVectorsError: the source does not exist, is damaged or has an unknown format, or the network fails.
        OSError: the file cannot be read.
    """
    path = _resolved(source)
    read = read_vector_file(path, limit=limit, on_words=on_words)
    tokens, row_of = _normalised(read.words)
    if not tokens:
        raise WordVectorsError(f"{path}: none of its {read.n_read} words has letters or digits; give another file")
    n_left_out = sum(row < 0 for row in row_of)
    rows = np.array(row_of)
    first = np.unique(rows[rows >= 0], return_index=True)[1]
    vectors = read.vectors if len(tokens) == len(row_of) else read.vectors[np.flatnonzero(rows >= 0)[first]]
    weights: np.ndarray
    if read.counts is None:
        weights = 1.0 / np.arange(1, len(tokens) + 1, dtype=np.float64)
    else:
        weights = np.bincount(rows[rows >= 0], weights=read.counts[rows >= 0], minlength=len(tokens))
    shares = weights / max(float(weights.sum()), 1e-9)
    if read.buckets is None:
        word_vectors = WordVectors.from_floats(tokens, vectors, shares, kind=_KINDS[read.format], source=source)
    else:
        word_vectors = WordVectors.with_subwords(
            tokens, vectors, shares, buckets=read.buckets, chars=read.chars, source=source
        )
    n_merged = len(read.words) - n_left_out - len(tokens)
    n_repeated = read.n_read - len(read.words)
    return ImportedVectors(word_vectors, read.format, read.n_read, n_left_out, n_merged, n_repeated, read.notes)


def _normalised(words: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the distinct normalised tokens of words, and the place of each word's token; -1: it has none."""
    place: dict[str, int] = {}
    row_of = []
    for word in words:
        token = normalised_token(word)
        row_of.append(place.setdefault(token, len(place)) if token else -1)
    return list(place), row_of


def _resolved(source: str) -> Path:
    """Return the path of a file, or of vectors that gensim downloads."""
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        raise WordVectorsError(f"{source} is a folder: give the word-vector file in it")
    if not re.fullmatch(r"[\w-]+", source):
        raise WordVectorsError(f"no file {source}: give a word-vector file, or a name such as glove-wiki-gigaword-100")
    return _downloaded(source)


def _downloaded(name: str) -> Path:
    from gensim import downloader

    timeout_s = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with quiet_gensim(), redirect_stdout(sys.stderr):  # gensim prints its progress
            models = sorted(downloader.info()["models"])
            if name not in models:
                known = ", ".join(model for model in models if not model.startswith("__"))
                raise WordVectorsError(
                    f"no file {name}, and gensim.downloader has no vectors of that name; it has {known}"
                )
            # Only the path: otherwise gensim runs a program that comes with the data.
            return Path(downloader.load(name, return_path=True))
    except WordVectorsError:
        raise
    except Exception as error:  # gensim raises a bare Exception for a wrong checksum
        raise WordVectorsError(
            f"no file {name}, and gensim.downloader could not fetch vectors of that name ({error}): check the network, "
            "or download the vectors elsewhere and give the file"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout_s)
