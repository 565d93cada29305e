"""Labels that the recipe is not trained on, so that the model can be measured on unseen labels.

A held-out label is removed with every phrase that reveals it (`retrieval.datasets.label_leakage`): clip labels, teacher
classes with their logits and the rows of the AudioSet teacher's head, training phrases, and the tags that the model
offers. So neither part of the space contains it. The clips stay, without the label.

What cannot be removed: the published network (backbone and hidden layer of its head) was trained on all AudioSet
classes, and the word vectors on text with all words. Names without a common word and with distant word vectors are not
found either ("shatter" for "glass breaking"); the record states the nearest remaining class of each label.
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
from scripts.recipes.default.collection import Collection

__all__ = ["Exclusion", "check_resumed", "exclude_labels", "reduced_head"]

_NOTE = "held_out_labels.json"


@dataclass(frozen=True)
class Exclusion:
    """The training data that remains.

    Attributes:
        leakage: the rule by which phrases reveal labels.
        collection: the clips without the removed labels and classes.
        class_names: remaining classes, AudioSet's first.
        kept: which classes remain, bool [shape=(n_classes,)].
        removed: label -> clip labels and classes removed with it, and the nearest remaining class with its cosine.
        phrases: label -> phrases that `keep` has removed because of it.
    """

    leakage: LeakageFilter
    collection: Collection
    class_names: list[str]
    kept: np.ndarray
    removed: dict[str, dict[str, Any]]
    phrases: dict[str, set[str]]

    def keep(self, phrases: Sequence[str]) -> list[str]:
        """Return the phrases that reveal no label, in order, and record the others."""
        leaks = self.leakage.leaks(phrases)
        for phrase, labels in leaks.items():
            for label in labels:
                self.phrases[label].add(phrase)
        return [phrase for phrase in phrases if phrase not in leaks]

    def record(self) -> dict[str, Any]:
        """Return what was removed as plain values for JSON."""
        removed = {label: {**found, "phrases": len(self.phrases[label])} for label, found in self.removed.items()}
        return {"synonym_cosine": self.leakage.synonym_cosine, "labels": removed}

    def head(self, head: nn.Sequential) -> nn.Sequential:
        """Return the AudioSet teacher's head without the removed classes; the head itself if there are none."""
        last = head[3]
        assert isinstance(last, nn.Linear)
        kept = self.kept[: last.out_features]
        return head if kept.all() else reduced_head(head, kept)


def reduced_head(head: nn.Sequential, kept: np.ndarray) -> nn.Sequential:
    """Return a head with some of the outputs. Layers before the last are shared.

    Args:
        head: Linear, Hardswish, Dropout, Linear.
        kept: which outputs remain, bool [shape=(n_classes,)].
    """
    last = head[3]
    assert isinstance(last, nn.Linear)
    rows = torch.from_numpy(np.flatnonzero(kept))
    reduced = nn.Linear(last.in_features, len(rows))
    with torch.no_grad():
        reduced.weight.copy_(last.weight[rows])
        reduced.bias.copy_(last.bias[rows])
    return nn.Sequential(head[0], head[1], head[2], reduced).train(head.training)


def exclude_labels(
    labels: Sequence[str], collection: Collection, class_names: Sequence[str], word_vectors: WordVectors
) -> Exclusion:
    """Remove labels, and whatever reveals them, from the clips' labels and the teachers' classes.

    Args:
        labels: labels to hold out; with none, everything stays.
        collection: clips; `music` has one column per tag of the music teachers.
        class_names: names of the teachers' classes, AudioSet's first, then those of the music teachers.
        word_vectors: see `LeakageFilter`.

    Raises:
        ValueError: the vocabulary has no word of a label; no clip and no class has it, so that nothing would change; or
            no class would remain.
    """
    leakage = LeakageFilter(labels, word_vectors)
    if leakage.unknown_labels:
        raise ValueError(f"the vocabulary has no word of these labels to hold out: {', '.join(leakage.unknown_labels)}")
    names = list(class_names)
    if not leakage.labels:
        return Exclusion(leakage, collection, names, np.ones(len(names), dtype=bool), {}, {})
    from_clips = leakage.leaks(sorted({label for clip in collection.labels for label in clip}))
    from_classes = leakage.leaks(names)
    kept = np.array([name not in from_classes for name in names], dtype=bool)
    left = [name for name in names if name not in from_classes]
    if not left:
        raise ValueError(f"holding out {len(leakage.labels)} labels leaves the teachers no class; hold out fewer")
    cosines = leakage.cosines(left)
    removed: dict[str, dict[str, Any]] = {}
    for label, column in zip(leakage.labels, cosines.T, strict=True):
        removed[label] = {
            "clip_labels": [name for name, given in from_clips.items() if label in given],
            "classes": [name for name, given in from_classes.items() if label in given],
            "nearest_class_left": [left[int(column.argmax())], round(float(column.max()), 3)],
        }
    idle = [label for label, found in removed.items() if not found["clip_labels"] and not found["classes"]]
    if idle:
        raise ValueError(f"no clip and no teacher's class names these labels to hold out: {', '.join(idle)}")
    stripped = replace(
        collection,
        labels=[tuple(label for label in clip if label not in from_clips) for clip in collection.labels],
        music=collection.music[:, kept[len(names) - collection.music.shape[1] :]],
    )
    return Exclusion(leakage, stripped, left, kept, removed, {label: set() for label in leakage.labels})


def check_resumed(out_dir: Path, labels: Sequence[str]) -> None:
    """Record the held-out labels in the output folder, and refuse to resume a run with others.

    Raises:
        ValueError: the folder has the model of a run with other held-out labels.
    """
    note = out_dir / _NOTE
    before = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else []
    wanted = sorted(set(labels))
    if before == wanted:
        return
    if (out_dir / "model").exists():
        raise ValueError(f"{out_dir} has the model of a run with other held-out labels; delete it or change --out")
    note.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
