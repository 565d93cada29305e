"""Clips with tags: what every reader of a dataset returns, and what can be wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

__all__ = ["DatasetError", "TaggedClip", "TaggedClips", "format_names"]

_NAMED = 3


class DatasetError(ValueError):
    """A dataset that cannot be used as it is: the message says what is wrong and how to mend it."""


@dataclass(frozen=True)
class TaggedClip:
    """A clip and what is heard in it.

    Attributes:
        path: a sound file, or a waveform as a .npy array.
        labels: its tags, each once.
        split: the part of the dataset that it belongs to ("train", "test", "fold5" ...), if any.
        group: clips of one group come from one recording, and must not be divided between splits.
        array_rate_hz: the sample rate of a .npy array, which cannot say it itself.
        dataset: which one it belongs to, where several are learnt together.
    """

    path: Path
    labels: tuple[str, ...]
    split: str | None = None
    group: str = ""
    array_rate_hz: int | None = None
    dataset: str = ""


@dataclass(frozen=True)
class TaggedClips:
    """Clips of one dataset. `dropped` says, one line each, what a lenient reader left out."""

    clips: tuple[TaggedClip, ...]
    name: str
    dropped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def tags(self) -> tuple[str, ...]:
        """Every label that a clip has, sorted."""
        return tuple(sorted({label for clip in self.clips for label in clip.labels}))

    @property
    def splits(self) -> dict[str, int]:
        """How many clips each named split has, by name."""
        return dict(sorted(Counter(clip.split for clip in self.clips if clip.split is not None).items()))

    def of_split(self, *names: str) -> TaggedClips:
        """The clips of these splits; all of them if none is named.

        Raises:
            DatasetError: a split has no clip, or none of its clips has a label.
        """
        if not names:
            return self
        for name in names:
            inside = [clip for clip in self.clips if clip.split == name]
            if not inside:
                raise DatasetError(f"no clip of {self.name} is in the split {name!r}; {self._known_splits()}")
            if not any(clip.labels for clip in inside):
                raise DatasetError(f"the split {name!r} of {self.name} has no positives: none of its clips has a label")
        return replace(self, clips=tuple(clip for clip in self.clips if clip.split in names))

    def truth(self, tags: Sequence[str]) -> np.ndarray:
        """Which clip has which of `tags`: bool [shape=(n_clips, n_tags)].

        Raises:
            DatasetError: no clip has any of them: nothing could be learnt or measured.
        """
        columns = {tag: column for column, tag in enumerate(tags)}
        truth = np.zeros((len(self.clips), len(tags)), dtype=bool)
        for row, clip in enumerate(self.clips):
            for label in clip.labels:
                if label in columns:
                    truth[row, columns[label]] = True
        if not truth.any():
            raise DatasetError(f"no positives: none of the {len(self)} clips of {self.name} has one of the tags")
        return truth

    def validate(self) -> list[str]:
        """What is wrong, one line each; an empty list if nothing is.

        Missing files, clips without a label, files that are there twice, groups that several splits share, and splits
        in which a tag of the dataset has no positive.
        """
        places = Counter(clip.path for clip in self.clips)
        problems = [
            *_told("missing", (str(clip.path) for clip in self.clips if not clip.path.is_file())),
            *_told("without a label", (str(clip.path) for clip in self.clips if not clip.labels)),
            *_told("listed more than once", (str(path) for path, count in places.items() if count > 1)),
        ]
        splits_of: dict[str, set[str | None]] = {}
        for clip in self.clips:
            if clip.group:
                splits_of.setdefault(clip.group, set()).add(clip.split)
        divided = [group for group, splits in splits_of.items() if len(splits) > 1]
        problems += _told("divided between splits", divided, one="group", many="groups")
        for split in self.splits:
            present = {label for clip in self.clips if clip.split == split for label in clip.labels}
            lacking = [tag for tag in self.tags if tag not in present]
            problems += _told(f"without a positive in the split {split!r}", lacking, one="tag", many="tags")
        return problems

    def _known_splits(self) -> str:
        if not self.splits:
            return "it names no splits: leave --split out"
        return "it has " + ", ".join(f"{name} ({count})" for name, count in self.splits.items())


def format_names(names: Iterable[str]) -> str:
    """The first few names and how many more there are: "a, b, c and 12 more"."""
    every = list(names)
    rest = len(every) - _NAMED
    return ", ".join(every[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _told(what: str, names: Iterable[str], *, one: str = "file", many: str = "files") -> list[str]:
    every = list(names)
    return [f"{len(every)} {one if len(every) == 1 else many} {what}: {format_names(every)}"] if every else []
