"""Read a folder of text as sentences, to train word vectors on."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from encoders.text.tokenizer import tokenize
from encoders.text.word_vectors import WordVectorsError

__all__ = ["read_sentences", "text_files"]

_SUFFIXES = (".txt", ".txt.gz", ".csv", ".csv.gz")
_SAMPLE_ROWS = 200
_WORD = re.compile(r"[^\W\d_]{2,}")


def text_files(text_dir: Path) -> list[Path]:
    """Return the text files of a folder and the folders in it, sorted by path.

    Raises:
        WordVectorsError: the folder does not exist or has no text file.
    """
    if not text_dir.is_dir():
        raise WordVectorsError(f"{text_dir} is not a folder: give a folder of {', '.join(_SUFFIXES)} files")
    found = sorted(path for path in text_dir.rglob("*") if path.name.lower().endswith(_SUFFIXES) and path.is_file())
    if not found:
        raise WordVectorsError(f"{text_dir} has no {', '.join(_SUFFIXES)} file: add the text, one sentence per line")
    return found


def read_sentences(text_dir: Path, *, on_file: Callable[[int, int], None] | None = None) -> list[list[str]]:
    """Return the sentences of a folder as tokens: lines of .txt files, cells of the text columns of .csv files.

    A column counts as text if most of its cells have two words or more. The first row of a .csv file is its header.

    Args:
        text_dir: folder of .txt and .csv files, plain or as .gz.
        on_file: called after each file with the number of files read and their total.

    Raises:
        WordVectorsError: a file is not UTF-8 text or not CSV, or no sentence has two words.
        OSError: a file cannot be opened.
    """
    files = text_files(text_dir)
    sentences: list[list[str]] = []
    for done, path in enumerate(files, 1):
        try:
            with _opened(path) as file:
                texts = _cells(file) if ".csv" in path.name.lower() else file
                sentences.extend(tokens for text in texts if len(tokens := tokenize(text)) > 1)
        except UnicodeDecodeError as error:
            raise WordVectorsError(f"{path} is not UTF-8 text (byte {error.start}): convert or remove it") from None
        except csv.Error as error:
            raise WordVectorsError(f"{path} cannot be read as CSV ({error}): repair or remove it") from None
        except (EOFError, gzip.BadGzipFile) as error:
            raise WordVectorsError(f"{path} is a damaged .gz file ({error}): create or copy it again") from None
        if on_file is not None:
            on_file(done, len(files))
    if not sentences:
        raise WordVectorsError(f"{text_dir}: no line or cell has two words, as training needs; add sentences")
    return sentences


def _opened(path: Path) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _cells(file: TextIO) -> Iterator[str]:
    rows = csv.reader(file)
    next(rows, None)
    sample = list(islice(rows, _SAMPLE_ROWS))
    width = max((len(row) for row in sample), default=0)
    columns = [at for at in range(width) if _is_text([row[at] for row in sample if at < len(row) and row[at].strip()])]
    for row in chain(sample, rows):
        yield from (row[at] for at in columns if at < len(row))


def _is_text(cells: list[str]) -> bool:
    return 2 * sum(sum(1 for piece in cell.split() if _WORD.search(piece)) > 1 for cell in cells) > len(cells)
