"""Excerpts of the pack that `open_music.py` fetches: ten seconds at two places of each track."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders.audio import load_audio
from retrieval.datasets.base import DatasetError

__all__ = ["Excerpt", "open_excerpts"]

_EXCERPT_S = 10.0
_SHORT_S = 30.0
"""A track shorter than this gives one excerpt, from its middle."""


@dataclass(frozen=True)
class Excerpt:
    """A part of a track.

    Attributes:
        path: the track.
        start_s: where it starts, seconds.
        labels: genres of the track.
        group: the same for all tracks that share an artist.
    """

    path: Path
    start_s: float
    labels: tuple[str, ...]
    group: str

    def load(self, *, sample_rate_hz: int) -> np.ndarray:
        """Return the samples [shape=(n_samples,)].

        Raises:
            AudioDecodeError: the track cannot be read.
        """
        return load_audio(self.path, sample_rate_hz=sample_rate_hz, start_s=self.start_s, duration_s=_EXCERPT_S)


def open_excerpts(folder: Path) -> list[Excerpt]:
    """Return the excerpts of all tracks, in the order of the table.

    Args:
        folder: the pack, with the labels.csv of `open_music.py`.

    Raises:
        DatasetError: there is no such table, or it lacks a column.
    """
    table = folder / "labels.csv"
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [excerpt for row in rows for excerpt in _of_track(folder, row)]
    except FileNotFoundError:
        raise DatasetError(
            f"{table} does not exist: run `python -m scripts.recipes.default.open_music --out {folder}`, or train "
            "without it by --no-open-music"
        ) from None
    except (KeyError, ValueError) as error:
        raise DatasetError(f"{table} is no table of open_music.py ({error}): fetch the pack again") from None


def _of_track(folder: Path, row: dict[str, str]) -> list[Excerpt]:
    seconds = float(row["seconds"])
    middles = (seconds / 2,) if seconds < _SHORT_S else (seconds / 3, 2 * seconds / 3)
    labels = tuple(label for label in row["labels"].split(";") if label)
    return [
        Excerpt(folder / row["file"], max(0.0, middle - _EXCERPT_S / 2), labels, f"open_music/{row['group']}")
        for middle in middles
    ]
