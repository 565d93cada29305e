"""How much each word says about sound: the weight that it has in the vector of a phrase.

What a word says is the information that hearing of it gives about the classes of the clip: the Kullback-Leibler
divergence of P(class | word) from P(class), over captions of clips with AudioSet labels, less what as many random
captions would give. Function words and words of requests say nothing, whatever the captions.
"""

from __future__ import annotations

import ast
import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from encoders.text.tokenizer import tokenize

__all__ = ["SILENT_WORDS", "labelled_captions", "sound_information", "word_weights"]

_FULL_NATS = 0.1
"""A word that says this much has the full weight."""
_FLOOR = 0.4
_SILENT_WEIGHT = 0.02
_MIN_CAPTIONS = 20
"""A rarer word keeps the full weight: rare words mean what they say."""
SILENT_WORDS = frozenset(
    (
        *("a", "about", "above", "after", "again", "all", "also", "am", "an", "and", "any", "anyone", "anything"),
        *("are", "around", "as", "at", "be", "because", "been", "being", "both", "but", "by", "can", "could", "did"),
        *("do", "does", "doing", "done", "each", "either", "else", "etc", "even", "ever", "every", "everything", "few"),
        *("for", "from", "get", "getting", "give", "given", "go", "goes", "going", "got", "had", "has", "have"),
        *("having", "he", "hello", "help", "her", "here", "hey", "hi", "him", "his", "how", "i", "if", "i'd", "i'll"),
        *("i'm", "im", "in", "into", "is", "it", "its", "it's", "i've", "ive", "just", "kind", "kinda", "kindly"),
        *("like", "looking", "look", "looks", "lot", "lots", "made", "make", "makes", "many", "may", "maybe", "me"),
        *("might", "mine", "more", "most", "much", "must", "my", "need", "needed", "needs", "no", "of", "on", "one"),
        *("ones", "or", "other", "our", "out", "over", "own", "perhaps", "please", "pls", "plz", "put", "quite"),
        *("rather", "really", "request", "same", "search", "searching", "seek", "seeking", "show", "should", "so"),
        *("some", "someone", "something", "sort", "such", "suggest", "sure", "thank", "thanks", "than", "that"),
        *("that's", "the", "their", "them", "then", "there", "there's", "these", "they", "thing", "things", "this"),
        *("those", "though", "to", "too", "try", "up", "us", "use", "very", "want", "wanted", "wants", "wanna", "was"),
        *("we", "well", "were", "what", "what's", "when", "where", "whether", "which", "while", "who", "whose", "why"),
        *("will", "wish", "with", "would", "yes", "you", "your", "yours", "you're"),
        *("find", "finding", "hear", "hearing", "heard", "listen", "listening", "play", "played", "plays", "playing"),
        *("recommend", "recommendation", "love", "fetch", "pick", "present", "presents", "contain", "contains"),
        *("containing", "include", "includes", "including", "feature", "features", "featuring", "called", "named"),
        *("audio", "clip", "clips", "recording", "recordings", "recorded", "track", "tracks", "song", "songs", "music"),
        *("sound", "sounds", "sounding", "piece", "pieces", "tune", "tunes", "file", "files", "example", "examples"),
        *("sample", "samples", "type", "types", "style", "version", "bit", "mostly", "mainly", "somewhat", "somehow"),
        *("has", "had", "let", "let's", "lets", "library", "collection", "anything", "stuff", "today", "now", "right"),
    )
)
"""Words that ask, connect or name what everything here is: they do not move a query that has others."""


def labelled_captions(text_dir: Path) -> list[tuple[set[str], list[str]]]:
    """Return the words of each caption of MusicCaps, and the AudioSet labels of its clip."""
    with gzip.open(text_dir / "musiccaps.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    captions = []
    for row in rows:
        words = set(tokenize(row["caption"]))
        words.update(token for aspect in ast.literal_eval(row["aspect_list"]) for token in tokenize(str(aspect)))
        captions.append((words, row["audioset_positive_labels"].split(",")))
    return captions


def sound_information(captions: Sequence[tuple[set[str], list[str]]]) -> dict[str, float]:
    """Return what each word says about the labels, in nats, for words of at least twenty captions.

    A label is present or not: the divergence is summed over labels, each a Bernoulli variable smoothed by one caption
    of the average. Of n random captions it would be about 1 / (2 n) for each label that may occur.

    Args:
        captions: words and labels of each.
    """
    labels = sorted({label for _, of_clip in captions for label in of_clip})
    place = {label: i for i, label in enumerate(labels)}
    words = sorted({word for of_caption, _ in captions for word in of_caption})
    row_of = {word: i for i, word in enumerate(words)}
    together = np.zeros((len(words), len(labels)))
    counts = np.zeros(len(words))
    total = np.zeros(len(labels))
    for of_caption, of_clip in captions:
        columns = [place[label] for label in of_clip]
        total[columns] += 1
        for word in of_caption:
            counts[row_of[word]] += 1
            together[row_of[word], columns] += 1
    prior = total / len(captions)
    found = {}
    for word, row in row_of.items():
        n = counts[row]
        if n < _MIN_CAPTIONS:
            continue
        p = (together[row] + prior) / (n + 1)
        divergence = p * np.log(p / prior) + (1 - p) * np.log((1 - p) / np.maximum(1 - prior, 1e-9))
        # By chance each label adds 1/2 chi-squared over n; a label that is too rare for n adds less.
        by_chance = np.minimum(1.0, n * prior).sum() / (2 * n) * (1 - n / len(captions))
        found[word] = float(divergence.sum() - by_chance)
    return found


def word_weights(entries: Sequence[str], information: dict[str, float]) -> np.ndarray:
    """Return the weight of each entry in [0.02, 1], float32 [shape=(n,)].

    Args:
        entries: tokens; a group has the largest weight of its words.
        information: of `sound_information`; words without it have the full weight.
    """
    return np.array([max(_weight(word, information) for word in entry.split("_")) for entry in entries], np.float32)


def _weight(word: str, information: dict[str, float]) -> float:
    if word in SILENT_WORDS:
        return _SILENT_WEIGHT
    if word not in information:
        return 1.0
    return float(np.clip(_FLOOR + (1 - _FLOOR) * information[word] / _FULL_NATS, _FLOOR, 1.0))
