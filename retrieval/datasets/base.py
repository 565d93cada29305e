"""Tagged clips: the result of every reader of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

__all__ = ["DatasetError", "TaggedClip", "TaggedClips", "format_names"]

_MAX_NAMED = 3


class DatasetError(ValueError):
    """A data set that cannot be used; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class TaggedClip:
    """A clip and its labels.

    Attributes:
        path: an audio file, or a waveform as a .npy array.
        labels: its tags, without duplicates.
        split: name of its split ("train", "test", "fold5" ...); None: it has none.
        group: clips of one group come from one recording and must be in the same split.
        array_rate_hz: sample rate of a .npy array, which the array does not state.
        dataset: name of its data set, where several are combined.
        licence: terms under which it may be used, as the data set states them.
    """

    path: Path
    labels: tuple[str, ...]
    split: str | None = None
    group: str = ""
    array_rate_hz: int | None = None
    dataset: str = ""
    licence: str = ""


@dataclass(frozen=True)
class TaggedClips:
    """Clips of a data set.

    Attributes:
        clips: the clips.
        name: name of the data set, for messages.
        dropped: what a reader with `drop_bad` left out, one line each.
    """

    clips: tuple[TaggedClip, ...]
    name: str
    dropped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def tags(self) -> tuple[str, ...]:
        """All labels of the clips, sorted."""
        return tuple(sorted({label for clip in self.clips for label in clip.labels}))

    @property
    def splits(self) -> dict[str, int]:
        """Number of clips of each split, by its name."""
        return dict(sorted(Counter(clip.split for clip in self.clips if clip.split is not None).items()))

    def of_split(self, *names: str) -> TaggedClips:
        """Return the clips of these splits; all clips if none is named.

        Raises:
            DatasetError: a split has no clips, or no labels.
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
        """Return which clip has which tag, bool [shape=(n_clips, n_tags)].

        Raises:
            DatasetError: no clip has one of the tags.
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

    def _known_splits(self) -> str:
        if not self.splits:
            return "it has no splits; do not name one"
        return "it has " + ", ".join(f"{name} ({count})" for name, count in self.splits.items())


def format_names(names: Iterable[str]) -> str:
    """Return the first names and the number of the others: "a, b, c and 12 more"."""
    every = list(names)
    rest = len(every) - _MAX_NAMED
    return ", ".join(every[:_MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
