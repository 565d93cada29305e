"""What the catalogue hands out: tracks, their segments, files that were skipped, and where vectors are."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np

from index.files import printable

__all__ = ["Placed", "Segment", "Skipped", "Track", "checked_rows", "off_unit"]

_UNIT_NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Track:
    """A file and what is known of it.

    Attributes:
        path: bytes of `os.fsencode`; a str or Path given is encoded so.
        size_bytes, mtime_ns: of the file when it was read.
        content_hash: hexadecimal digest of its content.
        duration_s: true duration.
        title, artist, album, genre, year: from its metadata, None where unknown. Lone surrogates become "?".

    Raises:
        ValueError: the duration is negative or not finite.
    """

    path: bytes
    size_bytes: int
    mtime_ns: int
    content_hash: str
    duration_s: float
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    genre: str | None = None
    year: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fsencode(self.path))
        if not (math.isfinite(self.duration_s) and self.duration_s >= 0):
            raise ValueError(
                f"{printable(self.path)}: duration_s must be finite and not negative, not {self.duration_s}"
            )
        for name in ("title", "artist", "album", "genre", "year"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else _storable(str(value)))

    @property
    def file(self) -> str:
        """The path as str, for `open()`."""
        return os.fsdecode(self.path)


@dataclass(frozen=True)
class Segment:
    """A stretch of a track, in seconds from its start."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Skipped:
    """A file that could not be indexed, why (in one line), and its size and time when that was found."""

    path: bytes
    reason: str
    size_bytes: int
    mtime_ns: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fsencode(self.path))
        object.__setattr__(self, "reason", _storable(" ".join(self.reason.split())))


@dataclass(frozen=True)
class Placed:
    """A track's key and its rows, which are consecutive."""

    key: int
    path: bytes
    first_row: int
    n_rows: int
    checksum: int


def checked_rows(track: Track, spans: np.ndarray, vectors: np.ndarray, *, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Check the rows of a track and return them as they are stored.

    Args:
        track: whose rows they are, for the message.
        spans: start and end of each segment [shape=(n, 2)], seconds.
        vectors: one unit vector a segment [shape=(n, dim)], float32.
        dim: length of the vectors of the index.

    Returns:
        spans as float64, vectors as contiguous float32.

    Raises:
        ValueError: a shape, a type or a number is not as said.
    """
    shown = printable(track.path)
    spans = np.asarray(spans, dtype=np.float64)
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        kind = getattr(vectors, "dtype", type(vectors).__name__)
        raise ValueError(f"{shown}: vectors must be a float32 array, not {kind}")
    if vectors.ndim != 2 or vectors.shape[1] != dim or len(vectors) == 0:
        raise ValueError(f"{shown}: vectors must have shape (n, {dim}) with n of at least 1, not {vectors.shape}")
    if spans.shape != (len(vectors), 2):
        raise ValueError(f"{shown}: spans must have shape ({len(vectors)}, 2), one a vector, not {spans.shape}")
    if not (np.isfinite(spans).all() and (spans[:, 0] >= 0).all() and (spans[:, 1] > spans[:, 0]).all()):
        raise ValueError(f"{shown}: each span must have 0 <= start < end, in seconds")
    if not np.isfinite(vectors).all():
        raise ValueError(f"{shown}: vectors must be finite")
    if (row := off_unit(vectors)) is not None:
        raise ValueError(f"{shown}: vectors must have norm 1, and row {row} has {np.linalg.norm(vectors[row]):.4f}")
    return spans, np.ascontiguousarray(vectors, dtype="<f4")


def off_unit(vectors: np.ndarray) -> int | None:
    """Return the first row [shape=(n, dim)] whose norm is not 1 within 0.001 (NaN is not), or None."""
    squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    off = ~(np.abs(np.sqrt(squares) - 1.0) <= _UNIT_NORM_TOLERANCE)
    return int(np.argmax(off)) if off.any() else None


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
