"""Word vectors of other tools, brought into the stored form."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders.text.fasttext_bin import read_fasttext
from encoders.text.formats import detect_format, read_binary, read_text
from encoders.text.tokenizer import tokenize
from encoders.text.train import quiet_gensim
from encoders.text.word_vectors import WordVectors, WordVectorsError

__all__ = ["ImportedVectors", "import_word_vectors", "normalised_token"]

_KINDS = {"fasttext": "fasttext", "binary": "word2vec", "text": "word2vec", "glove": "glove"}
_LONGEST_GROUP_WORDS = 4  # as a phrase is looked up
_TIMEOUT_S = 30.0
_CONCEPT = re.compile(r"/c/([a-z]+)/")  # ConceptNet Numberbatch's names: /c/en/guitar
_Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class ImportedVectors:
    """What an import gave.

    Attributes:
        word_vectors: the stored form.
        format: what the file was: fasttext, binary, text or glove.
        n_read: words read.
        n_left_out: of them, those left out: punctuation, other scripts, more than four words.
        n_merged: of them, those whose spelling fell together with an earlier one, which is kept ("Paris", "paris").
        n_repeated: of them, those that stand in the file more than once; the first is kept.
    """

    word_vectors: WordVectors
    format: str
    n_read: int
    n_left_out: int
    n_merged: int
    n_repeated: int


def normalised_token(word: str) -> str:
    """Return a word as queries spell it, groups by underscores; empty where nothing is left of it.

    >>> normalised_token("New_York"), normalised_token("hip-hop"), normalised_token("...")
    ('new_york', 'hip_hop', '')
    """
    concept = _CONCEPT.match(word)
    if concept is not None:
        word = word[concept.end() :] if concept[1] == "en" else ""
    tokens = tokenize(word.replace("_", " "))
    return "_".join(tokens) if len(tokens) <= _LONGEST_GROUP_WORDS else ""


def import_word_vectors(source: str, *, limit: int | None = None, on_words: _Progress | None = None) -> ImportedVectors:
    """Import word2vec (text, binary), GloVe or fastText (.bin, .vec) vectors, packed by gzip or not.

    Without counts in the file, a word's share of running text follows from its rank (Zipf's law: these files are sorted
    by frequency).

    Args:
        source: a file, or the name of vectors that ``gensim.downloader`` fetches.
        limit: how many words to read, from the first; None for all.
        on_words: is called with the number of words done and, where it is known, of all words.

    Raises:
        WordVectorsError: the file or name is not there, is damaged or of another kind, or the network fails.
        OSError: the file cannot be read.
    """
    path = _resolved(source)
    kind = detect_format(path)
    if kind == "fasttext":
        model = read_fasttext(path, limit=limit, on_word=on_words)
        kept = _Kept(zip(model.words, model.vectors, strict=True), limit=limit, on_words=None)
        shares = np.bincount(kept.origin, weights=model.counts[kept.of_read], minlength=len(kept.tokens))
        if len(model.buckets):
            words = WordVectors.with_subwords(
                kept.tokens,
                kept.matrix(path),
                shares / max(shares.sum(), 1),
                buckets=model.buckets,
                chars=model.chars,
                source=source,
            )
            return kept.summary(words, kind)
        shares = shares / max(shares.sum(), 1)
    else:
        vectors = read_binary(path) if kind == "binary" else read_text(path, header=kind == "text")
        kept = _Kept(vectors, limit=limit, on_words=on_words)
        ranks = 1.0 / np.arange(1, len(kept.tokens) + 1)
        shares = ranks / ranks.sum()
    words = WordVectors.from_floats(kept.tokens, kept.matrix(path), shares, kind=_KINDS[kind], source=source)
    return kept.summary(words, kind)


class _Kept:
    """The words that stay: each normalised token once, with the first of its vectors."""

    def __init__(
        self, vectors: Iterable[tuple[str, np.ndarray]], *, limit: int | None, on_words: _Progress | None
    ) -> None:
        self.tokens: list[str] = []
        self._vectors: list[np.ndarray] = []
        self.of_read: list[int] = []  # which of the words read have a token
        self.origin: list[int] = []  # the row of each of these
        rows: dict[str, int] = {}
        seen: set[str] = set()
        self._n_read = self._n_empty = self._n_repeated = 0
        for word, vector in vectors:
            token = normalised_token(word)
            if word in seen:
                self._n_repeated += 1
            elif not token:
                self._n_empty += 1
            else:
                if token not in rows:
                    rows[token] = len(self.tokens)
                    self.tokens.append(token)
                    self._vectors.append(vector)
                self.of_read.append(self._n_read)
                self.origin.append(rows[token])
            seen.add(word)
            self._n_read += 1
            if on_words is not None and self._n_read % 1000 == 0:
                on_words(self._n_read, limit)
            if self._n_read == limit:
                break

    def matrix(self, path: Path) -> np.ndarray:
        """Return the vectors [shape=(n, dim)]."""
        if not self._vectors:
            raise WordVectorsError(
                f"{path}: none of its {self._n_read} words has Latin letters or digits, as words of a query have"
            )
        return np.stack(self._vectors)

    def summary(self, words: WordVectors, kind: str) -> ImportedVectors:
        """Return the counts with the words made of these."""
        merged = len(self.of_read) - len(self.tokens)
        return ImportedVectors(words, kind, self._n_read, self._n_empty, merged, self._n_repeated)


def _resolved(source: str) -> Path:
    """Return the file that is meant: a path, or what gensim has downloaded."""
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        raise WordVectorsError(f"{source} is a folder: give the file of vectors in it")
    if not re.fullmatch(r"[\w-]+", source):
        raise WordVectorsError(f"no file {source}: give a file of vectors, or a name such as glove-wiki-gigaword-100")
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
            # The path only: gensim would run a program that comes with the data.
            return Path(downloader.load(name, return_path=True))
    except WordVectorsError:
        raise
    except Exception as error:  # gensim raises a bare Exception for a checksum that is wrong
        raise WordVectorsError(
            f"no file {name}, and gensim.downloader could not fetch vectors of that name ({error}): check the network, "
            "or download the vectors elsewhere and give the file"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout_s)
