"""VectorIndex: vectors of tracks on disk, committed one durable step at a time, and exact search over them.

Order of a commit: rows behind the committed ones of a part file, fsync, then the SQLite transaction that names them. A
process killed at any instant leaves either the state before or the state after, and possibly rows that the catalogue
does not reference.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.catalog import CATALOG_NAME, RowRange, Segment, Skipped, Track
from index.cue_sheets import CueSheets
from index.files import PathLike, printable
from index.maintenance import Damage, check, compact_part, size_on_disk
from index.manifest import MANIFEST_NAME, Manifest, TrackDamagedError, repair_command
from index.search import SearchParams, SegmentMatch, find_hits, require_faiss
from index.store import Store
from index.vectors import Part, append_rows, checked_rows, checksum, remove_leftovers, unit_rows

__all__ = ["MAX_PART_ROWS", "IndexStats", "VectorIndex"]

MAX_PART_ROWS = 1 << 20
"""A part file is closed when it has this many rows (1 GiB at 256 dimensions), so that compaction needs little space."""


@dataclass(frozen=True)
class IndexStats:
    """Totals of an index.

    Attributes:
        n_partial: tracks whose segments do not cover all of the file.
        n_misdeclared: tracks whose header declares another duration than theirs.
        duration_s: the sum over its tracks.
        size_bytes: size of its files.
    """

    n_tracks: int
    n_partial: int
    n_misdeclared: int
    n_segments: int
    n_skipped: int
    n_removed_rows: int
    duration_s: float
    size_bytes: int
    dim: int
    encoder: str
    encoder_name: str


class VectorIndex:
    """An index on disk, made by `create` or `open`; a context manager.

    Threads may share one object: its methods run one after another. Each process opens its own; one of them may write
    while others read, and each method of a reader sees one committed state.

    Where another index of the same encoder has taken the place of the folder, a reader answers from that one. Each
    method raises IndexReplacedError where none is there, or one of another encoder, and where a writer has lost its
    folder.
    """

    def __init__(self, store: Store, *, max_part_rows: int = MAX_PART_ROWS) -> None:
        self._store = store
        self._max_part_rows = max_part_rows

    @classmethod
    def create(cls, path: Path, manifest: Manifest, *, max_part_rows: int = MAX_PART_ROWS) -> VectorIndex:
        """Make an empty index and open it for writing; take over a folder whose creation was cut short.

        Args:
            path: its folder.
            manifest: which encoder makes it.
            max_part_rows: after how many rows a new part file is begun.

        Raises:
            FileExistsError: an index, or a file, is there already.
            IndexBusyError: another process is making it.
            IndexDamagedError: the remains of an index are there.
        """
        return cls(Store.create(Path(path), manifest), max_part_rows=max_part_rows)

    @classmethod
    def open(
        cls, path: Path, *, encoder: str | None = None, read_only: bool = True, max_part_rows: int = MAX_PART_ROWS
    ) -> VectorIndex:
        """Open an index. Opening it to read alters nothing on disk, and neither does an opening that fails.

        Args:
            path: its folder.
            encoder: fingerprint of the model in use, which must have made the index; None accepts any.
            read_only: False to write too; leftovers of a killed writer are then removed, and a
                catalogue of an older Earmark is brought up to date.
            max_part_rows: after how many rows a new part file is begun.

        Raises:
            IndexMissingError: no index is there.
            IndexMismatchError: another model, or a newer Earmark, made it.
            IndexDamagedError: a file is missing, cut short or unreadable.
            IndexBusyError: another process is writing (only with read_only=False).
        """
        store = Store.open(Path(path), encoder=encoder, read_only=read_only)
        return cls(store, max_part_rows=max_part_rows)

    def __enter__(self) -> VectorIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files and give up the right to write. Safe to repeat."""
        self._store.close()

    @property
    def path(self) -> Path:
        """The folder."""
        return self._store.path

    @property
    def manifest(self) -> Manifest:
        """Which encoder made the index."""
        return self._store.manifest

    @property
    def read_only(self) -> bool:
        """Whether writing is refused."""
        return self._store.read_only

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return self.manifest.dim

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all calls inside see one committed state, so that rows found by one of them hold for the next.

        A writer in another process waits meanwhile: keep it short.
        """
        with self._store.reading(rows=True):
            yield

    # Look-ups

    def track(self, path: PathLike) -> Track | None:
        """Return the track at a path, if there is one."""
        with self._store.reading():
            return self._store.catalog.track(path)

    def tracks(self) -> list[Track]:
        """Return all tracks, by path."""
        with self._store.reading():
            return self._store.catalog.tracks()

    def find_content(self, content_hash: str) -> list[Track]:
        """Return the tracks whose file has this content, by path."""
        with self._store.reading():
            return self._store.catalog.find_content(content_hash)

    def find_audio(self, audio_hash: str) -> list[Track]:
        """Return the tracks with this audio, whatever their tags, by path."""
        with self._store.reading():
            return self._store.catalog.find_audio(audio_hash)

    def skipped(self) -> list[Skipped]:
        """Return all skipped files, by path."""
        with self._store.reading():
            return self._store.catalog.skipped()

    def skipped_at(self, path: PathLike) -> Skipped | None:
        """Return the skipped file at a path, if there is one."""
        with self._store.reading():
            return self._store.catalog.skipped_at(path)

    def segments(self, path: PathLike) -> list[Segment]:
        """Return the segments of the track at a path, in order; KeyError if no track is there."""
        with self._store.reading():
            return self._store.catalog.segments(self._row_range(path))

    def vectors(self, path: PathLike) -> np.ndarray:
        """Return a copy of the vectors of a track [shape=(n, dim)], in order; KeyError if none is there.

        Raises:
            TrackDamagedError: they are not those that were written.
        """
        with self._store.reading(rows=True):
            rows = self._row_range(path)
            if not self._store.is_sound(rows):
                shown, command = printable(self.path), repair_command(self.path)
                raise TrackDamagedError(
                    f"{printable(path)}: its vectors in the index at {shown} are damaged; run `{command}`"
                )
            return self._store.parts.stretch(rows.first_row, n_rows=rows.n_rows).copy()

    def is_sound(self, path: PathLike) -> bool:
        """Return whether the vectors of a track are those that were written; KeyError if none is there."""
        with self._store.reading(rows=True):
            return self._store.is_sound(self._row_range(path))

    @property
    def damaged_tracks(self) -> list[bytes]:
        """Paths of the tracks that searches have left out because their vectors are damaged, sorted."""
        return self._store.known_damaged()

    def vectors_at(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return a copy of rows (`SegmentMatch.row`) [shape=(len(rows), dim)]; IndexError if one is not there."""
        with self._store.reading(rows=True):
            return self._store.parts.take(np.asarray(rows, dtype=np.int64))

    def sample_vectors(self, n: int) -> np.ndarray:
        """Return a copy of `n` vectors, evenly spaced over the index [shape=(min(n, n_segments), dim)].

        Damaged vectors whose norm is not 1 are left out; there are fewer then.
        """
        with self._store.reading(rows=True):
            vectors = self._store.parts.take(self._store.parts.live_rows(n))
        return vectors[unit_rows(vectors)]

    def stats(self) -> IndexStats:
        """Return the totals of the index."""
        with self._store.reading():
            totals = self._store.catalog.totals()
            size = size_on_disk(self.path, self._store.catalog.parts(), names=(MANIFEST_NAME, CATALOG_NAME))
        return IndexStats(*totals, size, self.dim, self.manifest.encoder, self.manifest.encoder_name)

    def verify(self) -> list[str]:
        """Check the catalogue, the files and every vector.

        Returns:
            One line a problem.

        Raises:
            IndexDamagedError: the catalogue cannot be read at all.
        """
        return [str(damage) for damage in self.check()]

    def check(self, *, on_progress: Callable[[int, int], None] | None = None) -> Iterator[Damage]:
        """Check the catalogue, the files and every vector, and yield what is wrong as it is found.

        Others may write meanwhile, and the memory in use does not grow with the index: vectors are read some tracks at
        a time, each time in a transaction of its own.

        Args:
            on_progress: called with the number of rows checked and that of all.

        Raises:
            IndexDamagedError: the catalogue cannot be read at all.
        """
        return check(self._store, on_progress=on_progress)

    @property
    def cue_sheets(self) -> CueSheets:
        """The cue sheets that divide files into entries."""
        return CueSheets(self._store.catalog, reading=self._store.reading, writing=self._store.writing)

    # Search

    def search(
        self,
        query: np.ndarray,
        *,
        top: int = 10,
        per_segment: bool = False,
        min_score: float | None = None,
        allow: Callable[[Track], bool] | None = None,
    ) -> list[SegmentMatch]:
        """Return the tracks, or the segments, with the largest inner product with a query; exact.

        Args:
            query: [shape=(dim,)], of any norm.
            top: how many matches at most.
            per_segment: each segment may match; otherwise a track (or an entry of a cue sheet) matches once, with its
                best segment.
            min_score: no match below it.
            allow: only tracks for which it is true.

        Returns:
            Matches from the best; equal scores by path, then by place in the track.

        Raises:
            ValueError: the query has another shape or is not finite, top is not positive, or min_score is NaN.
            ImportError: FAISS is not installed.
        """
        vector = np.ascontiguousarray(query, dtype=np.float32)
        if vector.shape != (self.dim,) or not np.isfinite(vector).all():
            raise ValueError(f"query must have shape ({self.dim},) and finite numbers; its shape is {vector.shape}")
        params = SearchParams(top=top, per_segment=per_segment, min_score=min_score, allow=allow)
        require_faiss()  # before any file is read
        with self._store.reading(rows=True):
            return find_hits(
                vector,
                params=params,
                folder=self.path,
                catalog=self._store.catalog,
                parts=self._store.parts,
                is_sound=self._store.is_sound,
            )

    # Writing: each method is one durable commit

    def add(self, track: Track, spans: np.ndarray, vectors: np.ndarray) -> int:
        """Add a track with its vectors, in the place of the track or skipped file at its path.

        Args:
            track: the file.
            spans: start and end of each segment [shape=(n, 2)], seconds.
            vectors: one unit vector a segment [shape=(n, dim)], float32.

        Returns:
            How many segments were added.

        Raises:
            ValueError: a shape, a type or a value is wrong.
            PermissionError: the index is open read-only.
        """
        return self.add_many([(track, spans, vectors)])

    def add_many(self, entries: Sequence[tuple[Track, np.ndarray, np.ndarray]]) -> int:
        """Add several tracks in one commit, which is cheaper; all of them are there afterwards, or none.

        Args:
            entries: (track, spans, vectors) as `add` takes them.

        Returns:
            How many segments were added.
        """
        checked = [
            (track, *checked_rows(printable(track.path), spans=spans, vectors=vectors, dim=self.dim))
            for track, spans, vectors in entries
        ]
        with self._store.writing():
            if not checked:
                return 0
            part = self._open_part()
            rows = np.concatenate([vectors for _, _, vectors in checked])
            append_rows(self.path, part, rows)
            first_row = part.end_row
            for track, spans, vectors in checked:
                self._store.catalog.upsert(track, spans=spans, first_row=first_row, checksum=checksum(vectors))
                first_row += len(vectors)
            self._store.catalog.set_part(Part(part.number, part.first_row, part.n_rows + len(rows)))
        return len(rows)

    def update(self, path: PathLike, track: Track) -> None:
        """Replace the record of the track at a path, its path too, and keep its vectors.

        Raises:
            KeyError: no track is there.
        """
        with self._store.writing():
            if not self._store.catalog.update(path, track):
                raise KeyError(printable(path))

    def remove(self, path: PathLike) -> bool:
        """Remove the track or the skipped file at a path; return False if there is none."""
        with self._store.writing():
            return self._store.catalog.delete(path)

    def remove_below(self, path: PathLike) -> int:
        """Remove, in one commit, the track or skipped file at a path and all below it; return how many."""
        place = os.fsencode(path)
        below = os.path.join(place, b"")
        with self._store.writing():
            files = [track.path for track in self._store.catalog.tracks()]
            files += [skipped.path for skipped in self._store.catalog.skipped()]
            removed = {file for file in files if file == place or file.startswith(below)}
            for file in removed:
                self._store.catalog.delete(file)
        return len(removed)

    def skip(self, path: PathLike, reason: str, size_bytes: int, mtime_ns: int, *, n_tries: int = 0) -> None:
        """Record a file that cannot be indexed, and why (`Skipped`).

        A track at its path is removed, unless another try may succeed (`n_tries` > 0).
        """
        with self._store.writing():
            self._store.catalog.skip(Skipped(os.fsencode(path), reason, size_bytes, mtime_ns, n_tries))

    def compact(self) -> int:
        """Rewrite the parts that have removed rows, one commit each; return how many rows left the disk."""
        n_dropped = 0
        with self._store.guard:
            with self._store.reading():
                starts = [first_row for first_row, _ in self._store.catalog.removed()]
                parts = self._store.catalog.parts()
            for part in parts:
                if not any(part.first_row <= start < part.end_row for start in starts):
                    continue
                with self._store.writing():
                    self._store.refresh()
                    n_dropped += sum(
                        n for row, n in self._store.catalog.removed() if part.first_row <= row < part.end_row
                    )
                    compact_part(self.path, part, catalog=self._store.catalog, parts=self._store.parts)
            with self._store.writing():
                self._store.refresh()  # unmaps the old files
                remove_leftovers(self.path, self._store.catalog.parts(), dim=self.dim)
        return n_dropped

    def _row_range(self, path: PathLike) -> RowRange:
        rows = self._store.catalog.row_range(path)
        if rows is None:
            raise KeyError(printable(path))
        return rows

    def _open_part(self) -> Part:
        """Return the part to append to: the last one, or a new one if it is full."""
        parts = self._store.catalog.parts()
        if parts and parts[-1].n_rows < self._max_part_rows:
            return parts[-1]
        return Part(number=self._store.catalog.next_part(), first_row=parts[-1].end_row if parts else 0, n_rows=0)
