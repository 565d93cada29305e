"""Data of the comparison in `baseline_vs_retrieval.py`: rendered pieces, instrument packs, tags seen and unseen.

Unseen tags are never named in training, nor is a tag that contains all their words ("alto saxophone" for "saxophone")
or whose word vector is near theirs; their sounds stay where a clip has another tag. Clips without one are left out.
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
    "LEARNT_PACKS",
    "NOT_INSTRUMENTS",
    "TEST_PACK",
    "UNSEEN",
    "Material",
    "Rendering",
    "frequent_tags",
    "gather",
    "only_tags",
    "render_dataset",
]

LEARNT_PACKS = ("orchestra_notes", "lofi_notes")
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
"""How something is played, or what it sounds like."""
_TRAIN_SEED, _TEST_SEED = 100, 900
_MADE = "made.json"


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """What is rendered.

    Attributes:
        train_fonts, test_fonts: soundfonts; none is in both.
        train_clips, test_clips: how many clips, spread over the soundfonts.
        clip_s: length of a clip.
    """

    train_fonts: tuple[Path, ...]
    test_fonts: tuple[Path, ...]
    train_clips: int
    test_clips: int
    clip_s: float

    def __post_init__(self) -> None:
        both = {path.resolve() for path in self.train_fonts} & {path.resolve() for path in self.test_fonts}
        if both:
            raise ValueError(f"{min(both)} is both learnt from and tested with: give another --test-soundfont")

    def described(self) -> dict[str, Any]:
        """Plain values that the clips follow from.

        Raises:
            FileNotFoundError: a soundfont is missing.
        """

        def fonts(paths: Sequence[Path]) -> list[list[Any]]:
            for path in paths:
                if not path.is_file():
                    options = "--train-soundfont and --test-soundfont"
                    raise FileNotFoundError(f"soundfont {path} is missing: name others with {options}")
            return [[path.name, path.stat().st_size] for path in paths]

        return {
            "train": [fonts(self.train_fonts), self.train_clips],
            "test": [fonts(self.test_fonts), self.test_clips],
            "clip_s": self.clip_s,
        }


@dataclass(frozen=True)
class Material:
    """What all runs share.

    Attributes:
        train: clips with the labels that may be learnt.
        tests: clips to test with, all their labels on them, by the name of the test set.
        unseen: tags held out.
        removed: every tag that was held out -> the unseen tag that it is or would give away.
    """

    train: TaggedClips
    tests: dict[str, TaggedClips]
    unseen: tuple[str, ...]
    removed: dict[str, str]

    def measured(self, test: str) -> tuple[list[str], list[str]]:
        """Return the seen and the unseen tags that a test set has clips of."""
        there = set(self.tests[test].tags)
        return [tag for tag in self.train.tags if tag in there], [tag for tag in self.unseen if tag in there]


def frequent_tags(label_lists: Iterable[Sequence[str]], *, at_least: int) -> list[str]:
    """Return the instruments that as many clips have, sorted."""
    counts = Counter(label for labels in label_lists for label in labels)
    return sorted(tag for tag, count in counts.items() if count >= at_least and tag not in NOT_INSTRUMENTS)


def only_tags(clips: TaggedClips, tags: Iterable[str]) -> TaggedClips:
    """Return the clips that have one of the tags, with no other labels."""
    wanted = set(tags)
    kept = (replace(clip, labels=tuple(label for label in clip.labels if label in wanted)) for clip in clips.clips)
    return replace(clips, clips=tuple(clip for clip in kept if clip.labels))


def _pieces(fonts: Sequence[Path], *, count: int, clip_s: float, seed: int) -> Iterator[SynthClip]:
    """Render ``count`` pieces, as many from each soundfont, without those of one melodic instrument alone."""
    for number, font in enumerate(fonts):
        share = count // len(fonts) + (number < count % len(fonts))
        # About half of the pieces are such; the renderer is let run out, so that it frees the soundfont.
        pieces = render_clips([font], count=11 * share // 5 + 40, length_s=clip_s, seed=seed + number)
        kept = 0
        for piece in pieces:
            if kept < share and "solo" not in piece.labels:
                kept += 1
                yield piece
        if kept < share:
            raise DatasetError(f"{font} gave {kept} clips of {share}: has it all General MIDI programs?")


def render_dataset(rendering: Rendering, folder: Path, *, on_clip: Callable[[int, int], None]) -> TaggedClips:
    """Render clips, 16-bit FLAC beside a labels.csv, unless the folder holds them; ``split`` is "train" or "test"."""
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
    made.write_text(json.dumps(described) + "\n", encoding="utf-8")  # last: what a stop left is made again
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
    """Put training and test clips together.

    Args:
        rendered: with the splits "train" and "test".
        packs: folder of the instrument packs.
        words: text vectors; tags that they do not know are left out.
        unseen: tags to hold out.
        synonym_cosine: tags as near to an unseen one are held out with it.
        at_least: training clips that a tag needs.

    Raises:
        DatasetError: a pack is missing, or an unseen tag is in no training clip.
    """
    learnt = concat_datasets([rendered.of_split("train"), *(read_dataset(packs / pack) for pack in LEARNT_PACKS)])
    frequent = frequent_tags((clip.labels for clip in learnt.clips), at_least=at_least)
    # An unseen tag needs no clips to learn from, only one to show that the training sounds hold it.
    known, _ = known_tags(words, sorted({*frequent, *(set(unseen) & set(learnt.tags))}), drop_unknown=True)
    held = hold_out_tags(
        only_tags(learnt, known),
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
