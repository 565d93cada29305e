"""Data of `baseline_vs_retrieval`: rendered clips, instrument packs, seen and unseen tags.

Unseen tags are removed from the training labels, with tags that contain all their words ("alto saxophone" for
"saxophone") or whose word vector is near theirs. A clip stays if it has another tag.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import soundfile

from encoders.text.word_vectors import WordVectors
from retrieval.datasets.base import DatasetError, TaggedClips
from retrieval.datasets.label_leakage import LeakageFilter
from retrieval.datasets.load import read_dataset
from retrieval.datasets.splits import concat_datasets, hold_out_tags
from retrieval.training.labels import known_tags
from scripts.recipes.default.synth import SAMPLE_RATE_HZ, SynthClip, render_clips

__all__ = [
    "NOT_INSTRUMENTS",
    "TEST_PACK",
    "TRAINING_PACKS",
    "UNSEEN",
    "Material",
    "Rendering",
    "frequent_tags",
    "gather",
    "only_tags",
    "render_dataset",
]

TRAINING_PACKS = ("orchestra_notes", "lofi_notes")
TEST_PACK = "instruments_freesound"
UNSEEN = (
    "accordion",
    "banjo",
    "cello",
    "clarinet",
    "harp",
    "marimba",
    "oboe",
    "saxophone",
    "timpani",
    "trombone",
)
NOT_INSTRUMENTS = frozenset(
    (
        *("ambient", "arco normal", "chiptune", "distortion", "harmonics", "major trill", "minor trill", "nonlegato"),
        *("normal", "pizzicato", "solo", "tremolo", "whistling"),
    )
)
"""Labels of playing techniques and of timbre."""
_TRAIN_SEED, _TEST_SEED = 100, 900
_MADE = "made.json"


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """What to render.

    Attributes:
        train_fonts, test_fonts: soundfonts; no soundfont is in both.
        train_clips, test_clips: number of clips, spread over the soundfonts.
        clip_s: length of a clip in seconds.
    """

    train_fonts: tuple[Path, ...]
    test_fonts: tuple[Path, ...]
    train_clips: int
    test_clips: int
    clip_s: float

    def __post_init__(self) -> None:
        both = {path.resolve() for path in self.train_fonts} & {path.resolve() for path in self.test_fonts}
        if both:
            raise ValueError(f"{min(both)} is both a training and a test soundfont; choose another --test-soundfont")

    def described(self) -> dict[str, Any]:
        """Return plain values that determine the clips.

        Raises:
            FileNotFoundError: a soundfont is missing.
        """

        def fonts(paths: Sequence[Path]) -> list[list[Any]]:
            for path in paths:
                if not path.is_file():
                    options = "--train-soundfont and --test-soundfont"
                    raise FileNotFoundError(f"soundfont {path} is missing; choose another with {options}")
            return [[path.name, path.stat().st_size] for path in paths]

        return {
            "train": [fonts(self.train_fonts), self.train_clips],
            "test": [fonts(self.test_fonts), self.test_clips],
            "clip_s": self.clip_s,
        }


@dataclass(frozen=True)
class Material:
    """The clips of all runs.

    Attributes:
        train: training clips, with seen tags only.
        tests: name -> test clips, with seen and unseen tags.
        unseen: the unseen tags.
        removed: tag removed from training -> the unseen tag that it is, or reveals.
    """

    train: TaggedClips
    tests: dict[str, TaggedClips]
    unseen: tuple[str, ...]
    removed: dict[str, str]

    def measured(self, test: str) -> tuple[list[str], list[str]]:
        """Return the seen and the unseen tags that occur in a test set."""
        there = set(self.tests[test].tags)
        return [tag for tag in self.train.tags if tag in there], [tag for tag in self.unseen if tag in there]


def frequent_tags(label_lists: Iterable[Sequence[str]], *, at_least: int) -> list[str]:
    """Return the instruments of at least so many clips, sorted."""
    counts = Counter(label for labels in label_lists for label in labels)
    return sorted(tag for tag, count in counts.items() if count >= at_least and tag not in NOT_INSTRUMENTS)


def only_tags(clips: TaggedClips, tags: Iterable[str]) -> TaggedClips:
    """Return the clips that have one of the tags, without their other labels."""
    wanted = set(tags)
    kept = (replace(clip, labels=tuple(label for label in clip.labels if label in wanted)) for clip in clips.clips)
    return replace(clips, clips=tuple(clip for clip in kept if clip.labels))


def _pieces(fonts: Sequence[Path], *, count: int, clip_s: float, seed: int) -> Iterator[SynthClip]:
    """Render `count` pieces, evenly from the soundfonts, without solos of a melodic instrument."""
    for number, font in enumerate(fonts):
        share = count // len(fonts) + (number < count % len(fonts))
        # About half of the pieces are solos. The generator must be exhausted: its end frees the soundfont.
        pieces = render_clips([font], count=11 * share // 5 + 40, length_s=clip_s, seed=seed + number)
        kept = 0
        for piece in pieces:
            if kept < share and "solo" not in piece.labels:
                kept += 1
                yield piece
        if kept < share:
            raise DatasetError(f"{font} gave {kept} of {share} clips; it must have all General MIDI programs")


def render_dataset(rendering: Rendering, folder: Path, *, on_clip: Callable[[int, int], None]) -> TaggedClips:
    """Render clips as 16-bit FLAC with a labels.csv (splits "train" and "test"), unless the folder has them."""
    described = rendering.described()
    made, table = folder / _MADE, folder / "labels.csv"
    if made.is_file() and json.loads(made.read_text(encoding="utf-8")) == described:
        return read_dataset(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made.unlink(missing_ok=True)
    rows: list[tuple[str, str, str]] = []
    total = rendering.train_clips + rendering.test_clips
    for split, fonts, count, seed in (
        ("train", rendering.train_fonts, rendering.train_clips, _TRAIN_SEED),
        ("test", rendering.test_fonts, rendering.test_clips, _TEST_SEED),
    ):
        for clip in _pieces(fonts, count=count, clip_s=rendering.clip_s, seed=seed):
            name = f"{len(rows):05d}.flac"
            soundfile.write(folder / name, clip.waveform, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
            rows.append((name, ";".join(clip.labels), split))
            on_clip(len(rows), total)
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "labels", "split"), *rows])
    made.write_text(json.dumps(described) + "\n", encoding="utf-8")  # last: an incomplete folder is rendered again
    return read_dataset(folder)


def gather(
    rendered: TaggedClips,
    packs: Path,
    words: WordVectors,
    *,
    unseen: Sequence[str],
    synonym_cosine: float,
    at_least: int,
) -> Material:
    """Return training and test clips.

    Args:
        rendered: with the splits "train" and "test".
        packs: folder of the instrument packs.
        words: word vectors; tags that they do not know are left out.
        unseen: tags to hold out.
        synonym_cosine: tags with at least this cosine to an unseen tag are held out too.
        at_least: training clips that a tag needs.

    Raises:
        DatasetError: a pack is missing, or an unseen tag is in no training clip.
    """
    training = concat_datasets([rendered.of_split("train"), *(read_dataset(packs / pack) for pack in TRAINING_PACKS)])
    frequent = frequent_tags((clip.labels for clip in training.clips), at_least=at_least)
    # An unseen tag needs one training clip, which shows that its sound is in the training set.
    known, _ = known_tags(words, sorted({*frequent, *(set(unseen) & set(training.tags))}), drop_unknown=True)
    held = hold_out_tags(
        only_tags(training, known),
        unseen,
        leakage=LeakageFilter(unseen, words, synonym_cosine=synonym_cosine),
    )
    measured = {*held.train_tags, *held.zero_shot}
    tests = {"synthesised": rendered.of_split("test"), TEST_PACK: read_dataset(packs / TEST_PACK)}
    return Material(
        train=held.clips,
        tests={name: only_tags(clips, measured) for name, clips in tests.items()},
        unseen=held.zero_shot,
        removed=held.removed,
    )
