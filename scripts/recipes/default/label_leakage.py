"""Labels withheld from the default recipe, to measure zero-shot what it makes of names that it was never told.

A withheld label goes together with every phrase that would give it away: clip labels, classes of the teachers with
their logits and the rows of the AudioSet teacher's head, phrases to practise on, and the tags that the model offers. So
neither composition nor the closed-form start, the imagined sounds or the drift term knows of it. The clips stay: their
sounds are heard, and only never named.

`retrieval.datasets.label_leakage` says what gives a label away.

What cannot be withheld: the published network (backbone and hidden layer of its head) was trained on AudioSet with all
of its classes, and the word vectors on text with all words. Blind to the labels is the recipe's way from one to the
other. Nor are names found that share no word and no neighbours in the text ("shatter" for "glass breaking"): the
record says which class that stayed is nearest to each label.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from encoders.text.word_vectors import WordVectors
from retrieval.datasets.label_leakage import LeakageFilter
from scripts.recipes.default.data import Collection

__all__ = ["Withheld", "check_resumed", "reduced_head", "withhold"]

_NOTE = "withheld_labels.json"


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

    rule: LeakageFilter
    collection: Collection
    class_names: list[str]
    kept: np.ndarray
    went: dict[str, dict[str, Any]]
    phrases: dict[str, set[str]]

    def keep(self, phrases: Sequence[str]) -> list[str]:
        """Return the phrases that give no label away, in their order, and remember the others."""
        gone = self.rule.leaks(phrases)
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
        word_vectors: see `LeakageFilter`.

    Raises:
        ValueError: the vocabulary has no word of a label, or neither a clip nor a teacher names it: the recipe would
            be the same without it; or no class would be left.
    """
    rule = LeakageFilter(labels, word_vectors)
    if rule.unknown_labels:
        raise ValueError(f"the vocabulary has no word of these labels to hold out: {', '.join(rule.unknown_labels)}")
    names = list(class_names)
    if not rule.labels:
        return Withheld(rule, collection, names, np.ones(len(names), dtype=bool), {}, {})
    from_clips = rule.leaks(sorted({label for clip in collection.labels for label in clip}))
    from_classes = rule.leaks(names)
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
