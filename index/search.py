"""From a query vector to hits: exact, by track or by segment, in one order whatever the machine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.catalog import Catalog
from index.exact import inner_products
from index.manifest import damaged
from index.records import Track
from index.vectors import MappedParts

__all__ = ["SegmentMatch", "Wanted", "find_hits"]

# Nearest(query, k) -> row numbers of at least the k best, and the score above which no other row lies
# (-inf: none is left).
Nearest = Callable[[np.ndarray, int], tuple[np.ndarray, float]]

# The fast search adds in float32 and in any order; a sum of 2048 products of unit vectors is off by less
# than this.
_ROUNDING = 2e-5
_SCORE_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class SegmentMatch:
    """A stretch of a track that answers a query.

    Attributes:
        rank: 1 for the best.
        score: inner product of the query and the stretch's vector.
        track: the file.
        start_s, end_s: the stretch.
        row: the row of its vector, for `VectorIndex.vectors_at`; good until the next compaction.
    """

    rank: int
    score: float
    track: Track
    start_s: float
    end_s: float
    row: int


@dataclass(frozen=True)
class Wanted:
    """Which hits are wanted.

    Attributes:
        top: how many at most.
        per_segment: every segment may be a hit; otherwise only the best one of each track.
        min_score: none below it; None for no limit.
        allow: only tracks for which it is true; None for all.

    Raises:
        ValueError: top is not positive or min_score is not a number.
    """

    top: int
    per_segment: bool = False
    min_score: float | None = None
    allow: Callable[[Track], bool] | None = None

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top must be at least 1, not {self.top}")
        if self.min_score is not None and math.isnan(self.min_score):
            raise ValueError("min_score must be a number, not NaN")


def find_hits(
    query: np.ndarray, *, wanted: Wanted, folder: Path, catalog: Catalog, parts: MappedParts, nearest: Nearest
) -> list[SegmentMatch]:
    """Return the best hits for a query, exactly: no segment that was left out scores better.

    The nearest rows are fetched, more of them each time, until enough hits score clearly above every row not
    fetched. So a track with thousands of good segments, tracks that are not allowed, or a tie at the end of
    the list cost time only.

    Args:
        query: [shape=(dim,)] float32.
        wanted: which hits.
        folder: of the index, for messages.
        catalog: inside a transaction.
        parts: mapped as this transaction sees them.
        nearest: the fast search.

    Returns:
        Hits by score from the best, then path, then row.
    """
    pool = _Pool(query, folder=folder, catalog=catalog, parts=parts, allow=wanted.allow)
    margin = _ROUNDING * max(1.0, float(np.linalg.norm(query)))
    k = 4 * wanted.top + 32
    while True:
        rows, floor = nearest(query, k)
        pool.take_in(rows)
        hits = pool.hits(per_segment=wanted.per_segment)
        if wanted.min_score is not None:
            hits = [hit for hit in hits if hit[0] >= wanted.min_score]
        n_sure = sum(score > floor + margin for score, _, _ in hits)
        out_of_range = wanted.min_score is not None and floor + margin < wanted.min_score
        if n_sure >= wanted.top or floor == -math.inf or out_of_range:
            return [pool.hit(rank, hit) for rank, hit in enumerate(hits[: wanted.top], start=1)]
        k *= 4


class _Pool:
    """The rows fetched so far, their exact scores, and the tracks that own them."""

    def __init__(
        self,
        query: np.ndarray,
        *,
        folder: Path,
        catalog: Catalog,
        parts: MappedParts,
        allow: Callable[[Track], bool] | None,
    ) -> None:
        self._query = query
        self._folder = folder
        self._catalog = catalog
        self._parts = parts
        self._allow = allow
        self._scores: dict[int, float] = {}
        self._owners: dict[int, tuple[int, float, float]] = {}
        self._tracks: dict[int, Track] = {}
        self._allowed: set[int] = set()

    def take_in(self, rows: np.ndarray) -> None:
        """Look up the rows that are new."""
        new = [row for row in rows.tolist() if row not in self._scores]
        for first in range(0, len(new), _SCORE_BLOCK_ROWS):
            block = new[first : first + _SCORE_BLOCK_ROWS]
            scores = inner_products(self._parts.take(np.array(block, dtype=np.int64)), self._query)
            self._scores.update(zip(block, scores.tolist(), strict=True))
        owners = self._catalog.owners(new)
        if len(owners) < len(new):
            raise damaged(self._folder, f"{len(new) - len(owners)} rows belong to no segment")
        self._owners.update(owners)
        keys = {key for key, _, _ in owners.values()} - self._tracks.keys()
        tracks = self._catalog.tracks_of(sorted(keys))
        if len(tracks) < len(keys):
            raise damaged(self._folder, f"segments belong to {len(keys) - len(tracks)} tracks that are not there")
        self._tracks.update(tracks)
        self._allowed.update(key for key, track in tracks.items() if self._allow is None or self._allow(track))

    def hits(self, *, per_segment: bool) -> list[tuple[float, bytes, int]]:
        """Return (score, path, row) of the hits so far, in order."""
        found = []
        for row, score in self._scores.items():
            key = self._owners[row][0]
            if key in self._allowed:
                found.append((score, self._tracks[key].path, row))
        found.sort(key=lambda hit: (-hit[0], hit[1], hit[2]))
        if per_segment:
            return found
        best: dict[bytes, tuple[float, bytes, int]] = {}
        for hit in found:
            best.setdefault(hit[1], hit)
        return list(best.values())

    def hit(self, rank: int, found: tuple[float, bytes, int]) -> SegmentMatch:
        """Return a hit in full."""
        score, _, row = found
        key, start_s, end_s = self._owners[row]
        return SegmentMatch(rank=rank, score=score, track=self._tracks[key], start_s=start_s, end_s=end_s, row=row)
