"""Labels withheld from the default recipe, to measure zero-shot what it makes of names that it was never told.

A withheld label goes together with every phrase that would give it away: clip labels, classes of the teachers with
their logits and the rows of the AudioSet teacher's head, phrases to practise on, and the tags that the model offers. So
neither composition nor the closed-form start, the imagined sounds or the drift term knows of it. The clips stay: their
sounds are heard, and only never named.

A phrase gives a label away if it has all of the label's known words, whatever their endings ("alto saxophone" names a
saxophone, "sneeze" is "sneezing"), or if its word vector, or that of one of the names that a class joins by commas, has
``SYNONYM_COSINE`` or more with the label's. A coarser name that is neither stays ("guitar" for "acoustic guitar").

What cannot be withheld: the published network (backbone and hidden layer of its head) was trained on AudioSet with all
of its classes, and the word vectors on text with all words. Blind to the labels is the recipe's way from one to the
other. Nor are names found that share no word and no neighbours in the text ("shatter" for "glass breaking"): the
record says which class that stayed is nearest to each label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from encoders.text.tokenizer import tokenize
from encoders.text.word_vectors import WordVectors
from scripts.recipes.default.data import Collection

__all__ = ["SYNONYM_COSINE", "GiveAway", "Withheld", "check_resumed", "reduced_head", "withhold"]

SYNONYM_COSINE = 0.75
"""What training with unseen tags takes for a near-synonym too."""
# Other forms of a word that no ending explains; the packs and captions use them.
_FORMS = {"sax": "saxophone", "glock": "glockenspiel", "tympani": "timpani", "electronica": "electronic"}
_VOWELS = frozenset("aeiouy")
_NOTE = "withheld_labels.json"


def _stem(word: str) -> str:
    """Return a word without the endings of plural, -ing and -ed: what matters is that its forms end up the same."""
    if word.endswith(("ies", "ied")) and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("ches", "shes", "sses", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    word = _FORMS.get(word, word)
    for ending in ("ing", "ed"):
        base = word.removesuffix(ending)
        if base != word and len(base) > 2 and _VOWELS & set(base):
            word = base[:-1] if base[-1] == base[-2] and base[-1] not in "lsz" else base
    return word.removesuffix("e") if len(word) > 3 else word


def _forms(phrase: str) -> set[str]:
    """Return the stems of a phrase's words and of each two neighbours written as one ("wood block", "woodblock")."""
    words = tokenize(phrase)
    return {_stem(word) for word in [*words, *(a + b for a, b in pairwise(words))]}


def _names(phrase: str) -> list[str]:
    """Return the phrase and the names that it joins: AudioSet has "Violin, fiddle" and "Whimper (dog)"."""
    return list(dict.fromkeys([phrase, *(part.strip() for part in phrase.split("(")[0].split(",") if part.strip())]))


class GiveAway:
    """Says which withheld labels a phrase would give away.

    Args:
        labels: to withhold; with none of them no phrase gives anything away.
        word_vectors: the vectors that decide what is a near-synonym.
        synonym_cosine: near-synonyms have it.

    Raises:
        ValueError: the vocabulary has no word of a label.
    """

    def __init__(
        self,
        labels: Iterable[str],
        word_vectors: WordVectors,
        *,
        synonym_cosine: float = SYNONYM_COSINE,
    ) -> None:
        self.labels = tuple(dict.fromkeys(labels))
        self.synonym_cosine = synonym_cosine
        self._word_vectors = word_vectors
        vocabulary = word_vectors.vocabulary
        unknown = [label for label in self.labels if not vocabulary.split(label)[0]]
        if unknown:
            raise ValueError(f"the vocabulary has no word of these labels to hold out: {', '.join(unknown)}")
        self._words = [
            {_stem(word) for token in vocabulary.split(label)[0] for word in token.split("_")} for label in self.labels
        ]
        self._joined = [_stem("".join(tokenize(label))) for label in self.labels]

    @cached_property
    def _vectors(self) -> np.ndarray:
        return self._word_vectors.encode(self.labels)

    def cosines(self, phrases: Sequence[str]) -> np.ndarray:
        """Return each phrase's best cosine with each label, of all its names [shape=(n_phrases, n_labels)]; -1: none.

        A phrase without a known word has none.
        """
        vocabulary = self._word_vectors.vocabulary
        known = [(i, n) for i, phrase in enumerate(phrases) for n in _names(phrase) if vocabulary.split(n)[0]]
        found = np.full((len(phrases), len(self.labels)), -1.0, np.float32)
        if known and self.labels:
            of_names = self._word_vectors.encode([name for _, name in known]) @ self._vectors.T
            np.maximum.at(found, [i for i, _ in known], of_names)
        return found

    def of(self, phrases: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the phrases that give labels away, in their order -> those labels."""
        if not self.labels:
            return {}
        distinct = list(dict.fromkeys(phrases))
        near = self.cosines(distinct) >= self.synonym_cosine
        found = {}
        for phrase, alike in zip(distinct, near, strict=True):
            forms = _forms(phrase)
            given = tuple(
                label
                for label, words, joined, close in zip(self.labels, self._words, self._joined, alike, strict=True)
                if close or words <= forms or joined in forms
            )
            if given:
                found[phrase] = given
        return found


@dataclass(frozen=True)
class Withheld:
    """What is left to learn from.

    Attributes:
        rule: says what else must go.
        collection: the clips, without the labels and classes that went.
        class_names: classes left, AudioSet's first.
        kept: which of all the classes are left, bool [shape=(n_classes,)].
        went: label -> the clip labels and classes that went with it, and the nearest class left with its cosine.
        phrases: label -> the phrases that ``keep`` has left out because of it.
    """

    rule: GiveAway
    collection: Collection
    class_names: list[str]
    kept: np.ndarray
    went: dict[str, dict[str, Any]]
    phrases: dict[str, set[str]]

    def keep(self, phrases: Sequence[str]) -> list[str]:
        """Return the phrases that give no label away, in their order, and remember the others."""
        gone = self.rule.of(phrases)
        for phrase, labels in gone.items():
            for label in labels:
                self.phrases[label].add(phrase)
        return [phrase for phrase in phrases if phrase not in gone]

    def record(self) -> dict[str, Any]:
        """Return what was withheld as plain values for JSON."""
        went = {label: {**found, "phrases": len(self.phrases[label])} for label, found in self.went.items()}
        return {"synonym_cosine": self.rule.synonym_cosine, "labels": went}

    def head(self, head: nn.Sequential) -> nn.Sequential:
        """Return the AudioSet teacher's head without the classes that went; as it is where none did."""
        last = head[3]
        assert isinstance(last, nn.Linear)
        kept = self.kept[: last.out_features]
        return head if kept.all() else reduced_head(head, kept)


def reduced_head(head: nn.Sequential, kept: np.ndarray) -> nn.Sequential:
    """Return a head with some of its outputs, which are the same as before; further layers are shared.

    Args:
        head: Linear, Hardswish, Dropout, Linear.
        kept: bool [shape=(n_classes,)].
    """
    last = head[3]
    assert isinstance(last, nn.Linear)
    rows = torch.from_numpy(np.flatnonzero(kept))
    reduced = nn.Linear(last.in_features, len(rows))
    with torch.no_grad():
        reduced.weight.copy_(last.weight[rows])
        reduced.bias.copy_(last.bias[rows])
    return nn.Sequential(head[0], head[1], head[2], reduced).train(head.training)


def withhold(
    labels: Sequence[str], collection: Collection, class_names: Sequence[str], word_vectors: WordVectors
) -> Withheld:
    """Take labels, and whatever gives them away, out of the clips' labels and the teachers' classes.

    Args:
        labels: to withhold; without any, everything stays as it is.
        collection: clips, one column of ``z`` a class.
        class_names: of the teachers.
        word_vectors: see `GiveAway`.

    Raises:
        ValueError: the vocabulary has no word of a label, or neither a clip nor a teacher names it: the recipe would
            be the same without it; or no class would be left.
    """
    rule = GiveAway(labels, word_vectors)
    names = list(class_names)
    if not rule.labels:
        return Withheld(rule, collection, names, np.ones(len(names), dtype=bool), {}, {})
    from_clips = rule.of(sorted({label for clip in collection.labels for label in clip}))
    from_classes = rule.of(names)
    kept = np.array([name not in from_classes for name in names], dtype=bool)
    left = [name for name in names if name not in from_classes]
    if not left:
        raise ValueError(f"holding out {len(rule.labels)} labels leaves the teachers no class: hold out fewer")
    cosines = rule.cosines(left)
    went: dict[str, dict[str, Any]] = {}
    for label, column in zip(rule.labels, cosines.T, strict=True):
        went[label] = {
            "clip_labels": [name for name, given in from_clips.items() if label in given],
            "classes": [name for name, given in from_classes.items() if label in given],
            "nearest_class_left": [left[int(column.argmax())], round(float(column.max()), 3)],
        }
    idle = [label for label, found in went.items() if not found["clip_labels"] and not found["classes"]]
    if idle:
        raise ValueError(f"no clip and no teacher's class names these labels to hold out: {', '.join(idle)}")
    stripped = replace(
        collection,
        labels=[tuple(label for label in clip if label not in from_clips) for clip in collection.labels],
        z=collection.z[:, kept],
        class_mean=collection.class_mean[kept],
        class_std=collection.class_std[kept],
    )
    return Withheld(rule, stripped, left, kept, went, {label: set() for label in rule.labels})


def check_resumed(out_dir: Path, labels: Sequence[str]) -> None:
    """Note in a run's folder which labels it withholds, so that it is not gone on with where others are.

    Raises:
        ValueError: weights in the folder come from a run that withheld other labels.
    """
    note = out_dir / _NOTE
    before = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else []
    wanted = sorted(set(labels))
    if before == wanted:
        return
    if any((out_dir / name).is_file() for name in ("heads.pt", "stage2.pt")):
        raise ValueError(f"{out_dir} was begun with other labels held out: delete its weights, or give another --out")
    note.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
