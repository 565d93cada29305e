"""The evaluation sets of `quality.py`: clips, their labels, and the names that compete.

None of this audio is trained on. A quarter of each set, by a hash of the file's name, is for choosing between models;
the rest is for reporting.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["EvaluationSet", "is_for_choosing", "read_sets"]

_MIN_CLIPS = 5  # of a genre or mood: rarer ones say more about the clip than about the word
_EMOTIFY_GENRES = ("classical", "electronic", "pop", "rock")

ESC_50 = (
    "dog",
    "rooster",
    "pig",
    "cow",
    "frog",
    "cat",
    "hen",
    "insects",
    "sheep",
    "crow",
    "rain",
    "sea waves",
    "crackling fire",
    "crickets",
    "chirping birds",
    "water drops",
    "wind",
    "pouring water",
    "toilet flush",
    "thunderstorm",
    "crying baby",
    "sneezing",
    "clapping",
    "breathing",
    "coughing",
    "footsteps",
    "laughing",
    "brushing teeth",
    "snoring",
    "drinking sipping",
    "door knock",
    "mouse click",
    "keyboard typing",
    "door wood creaks",
    "can opening",
    "washing machine",
    "vacuum cleaner",
    "clock alarm",
    "clock tick",
    "glass breaking",
    "helicopter",
    "chainsaw",
    "siren",
    "car horn",
    "engine",
    "train",
    "church bells",
    "airplane",
    "fireworks",
    "hand saw",
)
"""All classes of ESC-50 (Piczak 2015), in words."""

INSTRUMENTS = (
    "acoustic guitar",
    "bass drum",
    "cello",
    "clarinet",
    "double bass",
    "flute",
    "hi-hat",
    "saxophone",
    "snare drum",
    "violin",
    "piano",
    "electric guitar",
    "bass guitar",
    "trumpet",
    "trombone",
    "tuba",
    "french horn",
    "oboe",
    "bassoon",
    "piccolo",
    "recorder",
    "harp",
    "banjo",
    "mandolin",
    "ukulele",
    "sitar",
    "accordion",
    "harmonica",
    "organ",
    "church organ",
    "harpsichord",
    "synthesizer",
    "electric piano",
    "xylophone",
    "marimba",
    "vibraphone",
    "glockenspiel",
    "timpani",
    "tambourine",
    "cowbell",
    "cymbal",
    "gong",
    "bongo",
    "conga",
    "djembe",
    "tabla",
    "maracas",
    "triangle",
    "castanets",
    "bagpipes",
    "didgeridoo",
    "pan flute",
    "viola",
    "erhu",
    "koto",
    "shamisen",
    "steel drum",
    "theremin",
    "tubular bells",
    "drum machine",
)
"""Sixty instruments; the first ten occur in the set."""


@dataclass(frozen=True)
class EvaluationSet:
    """Clips with labels.

    Attributes:
        name: of the set.
        paths: the clips.
        labels: those that occur.
        truth: which clip has which label, bool [shape=(n_clips, n_labels)].
        candidates: the names among which the best is chosen for top-1, those of `labels` first.
        has_one_label: whether exactly one label holds for each clip, so that top-1 is defined.
    """

    name: str
    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    truth: np.ndarray
    candidates: tuple[str, ...]
    has_one_label: bool

    def part(self, *, choosing: bool) -> np.ndarray:
        """Return which clips belong to the part for choosing, or to that for reporting, bool [shape=(n_clips,)]."""
        return np.array([is_for_choosing(path) == choosing for path in self.paths], dtype=bool)


def is_for_choosing(path: Path) -> bool:
    """Return whether a clip belongs to the quarter for choosing."""
    return int(hashlib.sha256(path.name.encode()).hexdigest()[:8], 16) % 4 == 0


def read_sets(data: Path) -> list[EvaluationSet]:
    """Read the evaluation sets of a folder of packs.

    Raises:
        FileNotFoundError: a pack is missing.
    """
    genres = _labelled(data / "fourq_dev", lambda row: row["genres"].split(";"))
    moods = _labelled(data / "fourq_dev", lambda row: row["moods"].split(";"))
    return [
        _one_of("sounds", _labelled(data / "esc", lambda row: [row["labels"]] * (row["split"] == "fold5")), ESC_50),
        _one_of("instruments", _labelled(data / "instruments_freesound", lambda row: [row["labels"]]), INSTRUMENTS),
        _several("genres", genres),
        _several("moods", moods),
        _one_of("four genres", _labelled(data / "emotify", lambda row: row["labels"].split(";")[:1]), _EMOTIFY_GENRES),
    ]


def _labelled(pack: Path, labels_of: Callable[[dict[str, str]], list[str]]) -> list[tuple[Path, list[str]]]:
    """Return the clips of a pack that have labels."""
    with open(pack / "labels.csv", encoding="utf-8", newline="") as file:
        clips = [(pack / row["file"], [name for name in labels_of(row) if name]) for row in csv.DictReader(file)]
    return [clip for clip in clips if clip[1]]


def _one_of(name: str, clips: Sequence[tuple[Path, list[str]]], candidates: Sequence[str]) -> EvaluationSet:
    present = {label for _, labels in clips for label in labels}
    labels = [label for label in candidates if label in present]
    rest = [label for label in candidates if label not in present]
    if missing := present - set(candidates):
        raise ValueError(f"{name}: the labels {sorted(missing)} are not among the candidates")
    return _set(name, clips, labels, [*labels, *rest], has_one_label=True)


def _several(name: str, clips: Sequence[tuple[Path, list[str]]]) -> EvaluationSet:
    counts = Counter(label for _, labels in clips for label in set(labels))
    labels = sorted(label for label, count in counts.items() if count >= _MIN_CLIPS)
    return _set(name, clips, labels, labels, has_one_label=False)


def _set(
    name: str,
    clips: Sequence[tuple[Path, list[str]]],
    labels: Sequence[str],
    candidates: Sequence[str],
    *,
    has_one_label: bool,
) -> EvaluationSet:
    truth = np.array([[label in names for label in labels] for _, names in clips], dtype=bool)
    return EvaluationSet(name, tuple(path for path, _ in clips), tuple(labels), truth, tuple(candidates), has_one_label)
