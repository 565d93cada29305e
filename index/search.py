"""From a query vector to segment matches: exact, by track or by segment, in the same order on every machine.

FAISS finds the nearest rows in float32; rows that may belong among the results are scored again in float64. This is
the only module that imports FAISS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from index.catalog import Catalog, RowRange, Track
from index.entries import Entry, stretches
from index.manifest import damaged
from index.vectors import MappedParts

__all__ = ["SearchParams", "SegmentMatch", "find_hits", "inner_products", "nearest_rows", "require_faiss"]

# FAISS and BLAS add in float32 and in any order; a sum of 2048 products of unit vectors is off by less than this.
_ROUNDING = 2e-5
_SCORED_ROWS = 4096


@dataclass(frozen=True)
class SegmentMatch:
    """A segment of a file that matches a query.

    Attributes:
        rank: 1 for the best.
        score: inner product of the query and the segment's vector.
        track: the file.
        start_s, end_s: the segment, seconds from the start of the file.
        row: the row of its vector, for `VectorIndex.vectors_at`; valid until the next compaction.
        entry: the entry of a cue sheet that the middle of the segment lies in, None if there is none.
    """

    rank: int
    score: float
    track: Track
    start_s: float
    end_s: float
    row: int
    entry: Entry | None = None


@dataclass(frozen=True)
class SearchParams:
    """Which matches a search returns.

    Attributes:
        top: how many at most.
        per_segment: every segment may match; otherwise only the best one of each track: of each entry where a cue sheet
            divides the file.
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


def require_faiss() -> ModuleType:
    """Import FAISS.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError('searching needs FAISS: install "earmark[cpu]" or "earmark[gpu]"') from error
    module: ModuleType = faiss
    return module


def inner_products(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the inner product of each row with a query; equal rows get equal bits wherever they stand.

    The sum is made in float64, row by row, in one fixed order. BLAS and FAISS add in an order that depends on the
    place of the row among its neighbours, so there two copies of a vector may differ in the last bit and a tie be
    broken by accident.

    Args:
        vectors: rows [shape=(n, dim)], float32.
        query: [shape=(dim,)], float32.

    Returns:
        [shape=(n,)] float32.
    """
    wide_query = np.asarray(query, dtype=np.float64)
    scores = np.empty(len(vectors), dtype=np.float32)
    for first in range(0, len(vectors), _SCORED_ROWS):
        rows = np.ascontiguousarray(vectors[first : first + _SCORED_ROWS], dtype=np.float64)
        scores[first : first + len(rows)] = np.sum(rows * wide_query, axis=1)
    return scores


def nearest_rows(
    query: np.ndarray, *, parts: MappedParts, k: int, excluded: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Return the nearest live rows of each part by FAISS.

    Args:
        query: [shape=(dim,)] float32.
        parts: the mapped rows.
        k: how many rows of each part at most, hence at least the k best of all.
        excluded: rows to leave out as stretches (first row, end row) [shape=(n, 2)].

    Returns:
        Row numbers [shape=(m,)] int64, and the score that no other row exceeds by more than rounding (-inf: there is
        no other row).
    """
    faiss = require_faiss()
    found: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    floor = -math.inf
    for part, rows, live in parts:
        if excluded is not None:
            inside = excluded[(excluded[:, 0] >= part.first_row) & (excluded[:, 0] < part.end_row)] - part.first_row
            if len(inside):  # a stretch lies in one part, as a track does
                starts, ends = (np.bincount(column, minlength=part.n_rows + 1) for column in inside.T)
                outside = np.cumsum(starts - ends)[: part.n_rows] == 0
                live = outside if live is None else outside & live
        n = min(k, part.n_rows)
        scores = np.empty(n, dtype=np.float32)
        places: np.ndarray = np.empty(n, dtype=np.int64)
        bits = None if live is None else np.packbits(live, bitorder="little")
        selector = () if bits is None else (faiss.IDSelectorBitmap(bits),)
        pointers = [faiss.swig_ptr(array) for array in (query, rows, scores, places)]
        faiss.knn_inner_product(*pointers[:2], len(query), 1, part.n_rows, n, *pointers[2:], *selector)
        if n < part.n_rows and places[-1] >= 0:  # -1 fills up where fewer than n rows are live
            floor = max(floor, float(scores[-1]))
        places = places[places >= 0]
        if len(places) < min(n, part.n_rows if live is None else int(live.sum())):
            places = np.append(places, _unscored(rows, query=query, live=live))
        found.append(places + part.first_row)
    return np.concatenate(found), floor


def _unscored(rows: np.ndarray, *, query: np.ndarray, live: np.ndarray | None) -> np.ndarray:
    """Return the places of live rows [shape=(m,)] whose score is not a number: FAISS passes over damaged ones so."""
    with np.errstate(over="ignore", invalid="ignore"):
        unscored = np.isnan(rows @ query)
    return np.flatnonzero(unscored if live is None else unscored & live)


def find_hits(
    query: np.ndarray,
    *,
    params: SearchParams,
    folder: Path,
    catalog: Catalog,
    parts: MappedParts,
    is_sound: Callable[[RowRange], bool],
) -> list[SegmentMatch]:
    """Return the best matches for a query, exactly: no segment that was left out scores better.

    The nearest rows are fetched, then the nearest of the others, until enough matches score clearly above every row
    that was not fetched. Rows that cannot add anything are left out of the next round: those fetched already, all rows
    of a track that is not allowed, and without `per_segment` all rows of a track whose best one is known.

    Args:
        query: [shape=(dim,)] float32.
        params: which matches are wanted.
        folder: of the index, for messages.
        catalog: inside a transaction.
        parts: mapped as this transaction sees them.
        is_sound: whether the rows of a track are those that were written; a track for which it is false never matches.

    Returns:
        Matches by score from the best, then path, then row.

    Raises:
        IndexDamagedError: a row belongs to no track or segment.
    """
    candidates = _CandidateSet(query, params=params, folder=folder, catalog=catalog, parts=parts, is_sound=is_sound)
    margin = candidates.margin
    k = 4 * params.top + 32
    while True:
        rows, floor = nearest_rows(query, parts=parts, k=k, excluded=candidates.seen())
        candidates.add(rows)
        out_of_range = params.min_score is not None and floor + margin < params.min_score
        if floor == -math.inf or out_of_range or candidates.count_above(floor + margin) >= params.top:
            return candidates.best()
        k *= 4


@dataclass(frozen=True)
class _Stretch:
    """Consecutive rows that match once: those of a track, or of one entry of it; `key` is the track's."""

    key: int
    first_row: int
    end_row: int
    entry: Entry | None = None


class _CandidateSet:
    """The rows that may be matches, their exact scores, and the stretches that own them, known by their first row."""

    def __init__(
        self,
        query: np.ndarray,
        *,
        params: SearchParams,
        folder: Path,
        catalog: Catalog,
        parts: MappedParts,
        is_sound: Callable[[RowRange], bool],
    ) -> None:
        self._query = query
        self._params = params
        self._folder = folder
        self._catalog = catalog
        self._parts = parts
        self._is_sound = is_sound
        self.margin = _ROUNDING * max(1.0, float(np.linalg.norm(query)))
        self._rows: np.ndarray = np.empty(0, dtype=np.int64)
        self._places: np.ndarray = np.empty(0, dtype=np.int64)
        self._scores: np.ndarray = np.empty(0, dtype=np.float32)
        self._tracks: dict[int, Track] = {}
        self._has_entries = catalog.entries.exist()
        self._ranges: dict[int, RowRange] = {}
        self._stretches: dict[int, _Stretch] = {}
        self._allowed: dict[int, bool] = {}
        self._seen: list[np.ndarray] = []

    def seen(self) -> np.ndarray | None:
        """Return the rows that need not be fetched again as stretches [shape=(n, 2)]; None if there are none."""
        return np.concatenate(self._seen) if self._seen else None

    def add(self, rows: np.ndarray) -> None:
        """Add rows that were not added before [shape=(n,)] int64; disallowed tracks and low scores are left out."""
        rows = np.sort(rows)
        owners = self._owners_of(rows)
        self._look_up([owner.key for owner, _ in owners])
        if self._params.per_segment:
            places = np.repeat([owner.first_row for owner, _ in owners], [n for _, n in owners]).astype(np.int64)
            allowed = np.repeat([self._allowed[owner.key] for owner, _ in owners], [n for _, n in owners]).astype(bool)
            self._seen.append(np.stack([rows, rows + 1], axis=1))
            rows, places = rows[allowed], places[allowed]
            scores = self._scores_of(rows)
            whole = [owner for owner, _ in owners if not self._allowed[owner.key]]
        else:
            whole = [owner for owner, _ in owners]
            best = [(owner.first_row, *self._best_of(owner)) for owner in whole if self._allowed[owner.key]]
            places = np.array([place for place, _, _ in best], dtype=np.int64)
            rows = np.array([row for _, row, _ in best], dtype=np.int64)
            scores = np.array([score for _, _, score in best], dtype=np.float32)
        if whole:
            self._seen.append(np.array([(owner.first_row, owner.end_row) for owner in whole], dtype=np.int64))
        if self._params.min_score is not None:
            kept = scores >= self._params.min_score
            rows, places, scores = rows[kept], places[kept], scores[kept]
        self._rows = np.concatenate([self._rows, rows])
        self._places = np.concatenate([self._places, places])
        self._scores = np.concatenate([self._scores, scores])

    def count_above(self, score: float) -> int:
        """Return how many candidates score above a number."""
        return int((self._scores > score).sum())

    def best(self) -> list[SegmentMatch]:
        """Return the best candidates in full, in order."""
        paths = {place: self._track_at(place).path for place in set(self._places.tolist())}
        number_of = {path: number for number, path in enumerate(sorted(set(paths.values())))}
        by_path = np.array([number_of[paths[place]] for place in self._places.tolist()], dtype=np.int64)
        order = np.lexsort((self._rows, by_path, -self._scores))[: self._params.top]
        rows = self._rows[order].tolist()
        segments = self._catalog.segments_at(rows)
        if len(segments) < len(rows):
            raise damaged(self._folder, f"{len(rows) - len(segments)} rows belong to no segment")
        found = zip(rows, self._places[order].tolist(), self._scores[order].tolist(), strict=True)
        return [
            SegmentMatch(
                rank=rank,
                score=score,
                track=self._track_at(place),
                start_s=segments[row].start_s,
                end_s=segments[row].end_s,
                row=row,
                entry=self._stretches[place].entry,
            )
            for rank, (row, place, score) in enumerate(found, start=1)
        ]

    def _track_at(self, place: int) -> Track:
        return self._tracks[self._stretches[place].key]

    def _owners_of(self, rows: np.ndarray) -> list[tuple[_Stretch, int]]:
        """Return the stretches that own sorted rows, and how many of the rows each of them owns."""
        owners = []
        i = 0
        while i < len(rows):
            owner = self._catalog.owner_of(int(rows[i]))
            if owner is None:
                raise damaged(self._folder, f"row {rows[i]} belongs to no track")
            for stretch in self._stretches_of(owner):
                end = int(np.searchsorted(rows, stretch.end_row))
                if end > i:
                    self._stretches[stretch.first_row] = stretch
                    owners.append((stretch, end - i))
                    i = end
        return owners

    def _stretches_of(self, owner: RowRange) -> list[_Stretch]:
        """Return the stretches of a track, by row, and note that the track is met."""
        self._ranges[owner.key] = owner
        entries = self._catalog.entries.of([owner.key]).get(owner.key) if self._has_entries else None
        if not entries:
            return [_Stretch(owner.key, owner.first_row, owner.end_row)]
        middles_s = np.array([(segment.start_s + segment.end_s) / 2 for segment in self._catalog.segments(owner)])
        return [
            _Stretch(owner.key, owner.first_row + first, owner.first_row + end, entry)
            for entry, first, end in stretches(entries, middles_s)
        ]

    def _look_up(self, keys: list[int]) -> None:
        """Fetch the tracks that are new, and find out once for each whether it may match."""
        new = sorted(set(keys) - self._tracks.keys())
        found = self._catalog.tracks_of(new)
        self._tracks.update(found)
        allow = self._params.allow
        for key, track in found.items():
            self._allowed[key] = (allow is None or allow(track)) and self._is_sound(self._ranges[key])

    def _scores_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the exact scores of rows; only some of the rows are in memory at a time."""
        pieces = [rows[first : first + _SCORED_ROWS] for first in range(0, len(rows), _SCORED_ROWS)]
        scores = [inner_products(self._parts.take(piece), self._query) for piece in pieces]
        return np.concatenate(scores) if scores else np.empty(0, dtype=np.float32)

    def _best_of(self, owner: _Stretch) -> tuple[int, float]:
        """Return the best row of a stretch, the first of equal ones, and its exact score."""
        vectors = self._parts.stretch(owner.first_row, n_rows=owner.end_row - owner.first_row)
        rough = vectors @ self._query
        near = np.flatnonzero(rough >= rough.max() - 2 * self.margin)
        scores = self._scores_of(owner.first_row + near)
        best = int(np.argmax(scores))
        return owner.first_row + int(near[best]), float(scores[best])
