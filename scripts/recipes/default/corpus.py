"""Read the training text of the word vectors: captions, tag lists, class names and dictionary glosses."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from encoders.text.tokenizer import tokenize

__all__ = ["Corpus", "join_phrases", "read_corpus", "training_sentences"]

MAX_PHRASE_WORDS = 4
GLOSSARY = Path(__file__).with_name("glossary.txt")
_GLOSSARY_TIMES = 10


@dataclass(frozen=True)
class Corpus:
    """Training text.

    Attributes:
        sentences: lists of tokens.
        phrases: word groups that get a vector.
        class_names: the 527 names of AudioSet, in the order of the taggers' outputs.
        aspects: counts of the phrases with which people describe music (MusicCaps).
        caption_words: counts of the words of all captions.
    """

    sentences: list[list[str]]
    phrases: frozenset[tuple[str, ...]]
    class_names: list[str]
    aspects: Counter[str] = field(default_factory=Counter)
    caption_words: Counter[str] = field(default_factory=Counter)


def _musiccaps(path: Path, label_names: dict[str, str]) -> Iterator[tuple[list[str], list[str], str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            aspects = [str(a) for a in ast.literal_eval(row["aspect_list"])]
            labels = [label_names[mid] for mid in row["audioset_positive_labels"].split(",") if mid in label_names]
            yield aspects, labels, row["caption"]


def _wordnet(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _wordnet_sentences(rows: list[dict[str, str]]) -> Iterator[list[str]]:
    lemmas = {row["synset"]: row["members"].replace("|", " ") for row in rows}
    for row in rows:
        above = " ".join(lemmas.get(synset, "") for synset in row["hypernyms_or_similar"].split())
        yield tokenize(f"{row['members'].replace('|', ' ')} {above} {row['definition']}")
        for example in row["examples"].split(" | "):
            if example:
                yield tokenize(example)


def _ontology_sentences(entries: list[dict]) -> Iterator[list[str]]:
    names = {entry["id"]: entry["name"] for entry in entries}
    for entry in entries:
        children = " ".join(names[child] for child in entry["child_ids"] if child in names)
        # Two thousand short texts among millions of words: without repetition they have no effect.
        for _ in range(5):
            yield tokenize(f"{entry['name']} {entry['description']}")
            yield tokenize(f"{entry['name']} {children}")


def _glossary() -> list[tuple[list[str], str]]:
    """Return the names and the description of each entry of the glossary."""
    entries = []
    for line in GLOSSARY.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            names, description = line.split("|")
            entries.append(([name.strip() for name in names.split(",")], description))
    return entries


def _glossary_sentences(entries: list[tuple[list[str], str]], rng: random.Random) -> Iterator[list[str]]:
    for names, description in entries:
        for name in names:
            for _ in range(_GLOSSARY_TIMES):
                items = [tokenize(item) for item in description.split(",")]
                rng.shuffle(items)
                yield tokenize(name) + [token for item in items for token in item]


def read_corpus(text_dir: Path, *, seed: int, shuffles: int = 6) -> Corpus:
    """Read the text folder.

    Args:
        text_dir: folder with musiccaps.csv.gz, audiocaps.csv.gz, audioset_ontology.json, audioset_classes.csv and
            english_wordnet.tsv.gz.
        seed: seed of the shuffling.
        shuffles: number of copies of a clip's list of aspects and labels, each in another order.

    Returns:
        The corpus; the same for the same seed.
    """
    rng = random.Random(seed)
    entries = json.loads((text_dir / "audioset_ontology.json").read_text(encoding="utf-8"))
    label_names = {entry["id"]: entry["name"] for entry in entries}
    with (text_dir / "audioset_classes.csv").open(encoding="utf-8", newline="") as file:
        class_names = [row["display_name"] for row in csv.DictReader(file)]
    sentences: list[list[str]] = []
    aspects_seen: Counter[str] = Counter()
    caption_words: Counter[str] = Counter()
    for aspects, labels, caption in _musiccaps(text_dir / "musiccaps.csv.gz", label_names):
        aspects_seen.update(" ".join(tokenize(a)) for a in aspects)
        tokens = tokenize(caption)
        caption_words.update(tokens)
        sentences.append(tokens)
        for _ in range(shuffles):
            listed = [*aspects, *labels]
            rng.shuffle(listed)
            sentences.append([token for item in listed for token in tokenize(item)])
        # Labels before the description put class names next to words for mood and style.
        sentences.append([token for item in labels for token in tokenize(item)] + tokens)
    with gzip.open(text_dir / "audiocaps.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            tokens = tokenize(row["caption"])
            caption_words.update(tokens)
            sentences.append(tokens)
    sentences.extend(_ontology_sentences(entries))
    glossary = _glossary()
    sentences.extend(_glossary_sentences(glossary, rng))
    wordnet = _wordnet(text_dir / "english_wordnet.tsv.gz")
    sentences.extend(_wordnet_sentences(wordnet))
    del aspects_seen[""]
    names = [*class_names, *label_names.values(), *(name for names, _ in glossary for name in names)]
    phrases = _phrases(sentences, aspects_seen, names, wordnet)
    rng.shuffle(sentences)
    return Corpus([s for s in sentences if len(s) > 1], phrases, class_names, aspects_seen, caption_words)


def _phrases(
    sentences: list[list[str]], aspects: Counter[str], names: list[str], wordnet: list[dict[str, str]]
) -> frozenset[tuple[str, ...]]:
    """Return the word groups that get a vector: names that are frequent enough to train."""
    candidates = {tuple(aspect.split()) for aspect, n in aspects.items() if n >= 8}
    for name in names:
        candidates.add(tuple(tokenize(name)))
        candidates.update(tuple(tokenize(part)) for part in name.replace("(", ",").replace(")", "").split(","))
    for row in wordnet:
        candidates.update(tuple(tokenize(member)) for member in row["members"].split("|") if " " in member)
    candidates = {c for c in candidates if 2 <= len(c) <= MAX_PHRASE_WORDS}
    counts: Counter[tuple[str, ...]] = Counter()
    for sentence in sentences:
        for n in range(2, MAX_PHRASE_WORDS + 1):
            counts.update(
                group for group in zip(*(sentence[i:] for i in range(n)), strict=False) if group in candidates
            )
    return frozenset(group for group, n in counts.items() if n >= _GLOSSARY_TIMES)


def join_phrases(sentence: list[str], phrases: frozenset[tuple[str, ...]]) -> list[str]:
    """Replace known word groups by one token (`double_bass`), longest first."""
    joined: list[str] = []
    i = 0
    while i < len(sentence):
        for n in range(min(MAX_PHRASE_WORDS, len(sentence) - i), 1, -1):
            if tuple(sentence[i : i + n]) in phrases:
                joined.append("_".join(sentence[i : i + n]))
                i += n
                break
        else:
            joined.append(sentence[i])
            i += 1
    return joined


def training_sentences(corpus: Corpus) -> list[list[str]]:
    """Return the sentences for the word vectors: each one, and its copy with joined phrases where it has any."""
    sentences = list(corpus.sentences)
    for sentence in corpus.sentences:
        joined = join_phrases(sentence, corpus.phrases)
        if len(joined) != len(sentence):
            sentences.append(joined)
    return sentences
