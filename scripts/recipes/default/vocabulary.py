"""The entries of the default model's vocabulary, common ones first.

What a person may type: the words and word groups of the captions, every lemma of Open English WordNet, the instruments
of MusicBrainz and a tree of genres. Plurals, inflections and other spellings are found from these when a phrase is
read; see `encoders.text.vocabulary`.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from encoders.text.tokenizer import tokenize

__all__ = ["N_COMMON", "genre_names", "instrument_names", "vocabulary_entries", "wordnet_lemmas"]

N_COMMON = 6500
"""Entries of the skip-gram vectors that count as common: the most frequent ones."""
_LONGEST_GROUP_WORDS = 4


def vocabulary_entries(frequent: Sequence[str], names: Iterable[str], text_dir: Path) -> tuple[list[str], int]:
    """Return all entries, each once, and how many of them, from the first, are common.

    Args:
        frequent: tokens of the skip-gram vectors, most frequent first.
        names: of classes, which count as common, too.
        text_dir: holds english_wordnet.tsv.gz, musicbrainz_instruments.tsv and genres_tree.yaml.

    Returns:
        Tokens in the tokenizer's spelling, the words of a group joined by underscores.
    """
    common = dict.fromkeys(frequent[:N_COMMON])
    common.update(dict.fromkeys(_tokens(names)))
    rest = dict.fromkeys(frequent[N_COMMON:])
    for source in (genre_names(text_dir), instrument_names(text_dir), wordnet_lemmas(text_dir)):
        rest.update(dict.fromkeys(_tokens(source)))
    return [*common, *(token for token in rest if token not in common)], len(common)


def _tokens(names: Iterable[str]) -> Iterator[str]:
    """Yield the token of each name that has at most four words; a single letter has no meaning alone."""
    for name in names:
        words = tokenize(name)
        if words and len(words) <= _LONGEST_GROUP_WORDS and (len(words) > 1 or len(words[0]) > 1):
            yield "_".join(words)


def wordnet_lemmas(text_dir: Path, *, pos: str = "") -> Iterator[str]:
    """Yield the lemmas of Open English WordNet, those of some parts of speech only if `pos` names them ("as")."""
    with gzip.open(text_dir / "english_wordnet.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if not pos or row["pos"] in pos:
                yield from row["members"].split("|")


def instrument_names(text_dir: Path) -> Iterator[str]:
    """Yield the instruments of MusicBrainz."""
    with (text_dir / "musicbrainz_instruments.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["name"]


def genre_names(text_dir: Path) -> Iterator[str]:
    """Yield the names of the tree of genres, at every level."""
    yield from _names(yaml.safe_load((text_dir / "genres_tree.yaml").read_text(encoding="utf-8")))


def _names(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for name, below in tree.items():
            yield str(name)
            yield from _names(below)
    elif isinstance(tree, list):
        for below in tree:
            yield from _names(below)
    elif tree is not None:
        yield str(tree)
