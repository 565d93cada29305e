"""VectorIndex: vectors of tracks on disk, committed one durable step at a time, and exact search over them.

Order of a commit: rows behind the committed ones of a part file, fsync, then the SQLite transaction that names them. A
process killed at any instant leaves either the state before or the state after, and possibly rows that the catalogue
does not reference.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.catalog import CATALOG_NAME, Catalog, RowRange, Segment, Skipped, Track
from index.cue_sheets import CueSheets
from index.files import PathLike, fsync_folder, printable
from index.lock import WriterLock
from index.maintenance import catalog_problems, checksum, compact_part, size_on_disk, vector_problems
from index.manifest import (
    MANIFEST_NAME,
    IndexDamagedError,
    IndexMissingError,
    Manifest,
    read_manifest,
    write_manifest,
)
from index.search import SearchParams, SegmentMatch, find_hits, require_faiss
from index.vectors import MappedParts, Part, append_rows, check_parts, checked_rows, remove_leftovers

__all__ = ["MAX_PART_ROWS", "IndexStats", "VectorIndex"]

MAX_PART_ROWS = 1 << 20
"""A part file is closed when it has this many rows (1 GiB at 256 dimensions), so that compaction needs little space."""


@dataclass(frozen=True)
class IndexStats:
    """Totals of an index.

    Attributes:
        n_partial: tracks whose segments do not cover all of the file.
        duration_s: the sum over its tracks.
        size_bytes: size of its files.
    """

    n_tracks: int
    n_partial: int
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

    Attributes:
        path: the folder.
        manifest: which encoder made it.
        read_only: whether writing is refused.
    """

    def __init__(
        self,
        path: Path,
        *,
        manifest: Manifest,
        catalog: Catalog,
        lock: WriterLock | None,
        max_part_rows: int = MAX_PART_ROWS,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.read_only = lock is None
        self._catalog = catalog
        self._lock = lock
        self._max_part_rows = max_part_rows
        self._parts = MappedParts(path, dim=manifest.dim)
        self._state: tuple[int, int, int] | None = None
        self._guard = threading.RLock()
        self._closed = False

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
        folder = Path(path)
        _require_vacant(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = WriterLock(folder)
        try:
            _require_vacant(folder)
            catalog = Catalog.make(folder, manifest)
            try:
                write_manifest(folder, manifest)
                fsync_folder(folder.absolute().parent)
            except BaseException:
                catalog.close()
                raise
        except BaseException:
            lock.release()
            raise
        return cls(folder, manifest=manifest, catalog=catalog, lock=lock, max_part_rows=max_part_rows)

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
        folder = Path(path)
        manifest = read_manifest(folder)
        manifest.require_encoder(encoder, path=folder)
        catalog = _open_catalog(folder, manifest, read_only=True)
        if read_only:
            return cls(folder, manifest=manifest, catalog=catalog, lock=None)
        catalog.close()
        lock = WriterLock(folder)
        try:
            catalog = _open_catalog(folder, manifest, read_only=False)
            if catalog.is_old:
                with catalog.writing():
                    catalog.migrate()
            with catalog.reading():
                remove_leftovers(folder, catalog.parts(), dim=manifest.dim)
        except BaseException:
            lock.release()
            raise
        return cls(folder, manifest=manifest, catalog=catalog, lock=lock, max_part_rows=max_part_rows)

    def __enter__(self) -> VectorIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files and give up the right to write. Safe to repeat."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._parts.clear()
            self._catalog.close()
            if self._lock is not None:
                self._lock.release()

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return self.manifest.dim

    # Look-ups

    def track(self, path: PathLike) -> Track | None:
        """Return the track at a path, if there is one."""
        with self._reading():
            return self._catalog.track(path)

    def tracks(self) -> list[Track]:
        """Return all tracks, by path."""
        with self._reading():
            return self._catalog.tracks()

    def find_content(self, content_hash: str) -> list[Track]:
        """Return the tracks whose file has this content, by path."""
        with self._reading():
            return self._catalog.find_content(content_hash)

    def find_audio(self, audio_hash: str) -> list[Track]:
        """Return the tracks with this audio, whatever their tags, by path."""
        with self._reading():
            return self._catalog.find_audio(audio_hash)

    def skipped(self) -> list[Skipped]:
        """Return all skipped files, by path."""
        with self._reading():
            return self._catalog.skipped()

    def skipped_at(self, path: PathLike) -> Skipped | None:
        """Return the skipped file at a path, if there is one."""
        with self._reading():
            return self._catalog.skipped_at(path)

    def segments(self, path: PathLike) -> list[Segment]:
        """Return the segments of the track at a path, in order; KeyError if no track is there."""
        with self._reading():
            return self._catalog.segments(self._row_range(path))

    def vectors(self, path: PathLike) -> np.ndarray:
        """Return a copy of the vectors of a track [shape=(n, dim)], in order; KeyError if none is there."""
        with self._reading():
            self._refresh()
            rows = self._row_range(path)
            return self._parts.stretch(rows.first_row, n_rows=rows.n_rows).copy()

    def vectors_at(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return a copy of rows (`SegmentMatch.row`) [shape=(len(rows), dim)]; IndexError if one is not there."""
        with self._reading():
            self._refresh()
            return self._parts.take(np.asarray(rows, dtype=np.int64))

    def sample_vectors(self, n: int) -> np.ndarray:
        """Return a copy of `n` vectors, evenly spaced over the index [shape=(min(n, n_segments), dim)]."""
        with self._reading():
            self._refresh()
            return self._parts.take(self._parts.live_rows(n))

    def stats(self) -> IndexStats:
        """Return the totals of the index."""
        with self._reading():
            totals = self._catalog.totals()
            size = size_on_disk(self.path, self._catalog.parts(), names=(MANIFEST_NAME, CATALOG_NAME))
        return IndexStats(*totals, size, self.dim, self.manifest.encoder, self.manifest.encoder_name)

    def verify(self) -> list[str]:
        """Check the catalogue, the files and every vector.

        Returns:
            One line a problem.

        Raises:
            IndexDamagedError: the catalogue cannot be read at all.
        """
        with self._guard:
            with self._reading():
                problems = catalog_problems(self._catalog)
                try:
                    self._refresh()
                except IndexDamagedError as error:
                    return [*problems, str(error)]
                ranges = self._catalog.row_ranges()
            # Outside the transaction: a writer must not wait until gigabytes have been read.
            return problems + vector_problems(ranges, parts=self._parts)

    @property
    def cue_sheets(self) -> CueSheets:
        """The cue sheets that divide files into entries."""
        return CueSheets(self._catalog, reading=self._reading, writing=self._writing)

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
        with self._reading():
            self._refresh()
            return find_hits(vector, params=params, folder=self.path, catalog=self._catalog, parts=self._parts)

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
        with self._writing():
            if not checked:
                return 0
            part = self._open_part()
            rows = np.concatenate([vectors for _, _, vectors in checked])
            append_rows(self.path, part, rows)
            first_row = part.end_row
            for track, spans, vectors in checked:
                self._catalog.upsert(track, spans=spans, first_row=first_row, checksum=checksum(vectors))
                first_row += len(vectors)
            self._catalog.set_part(Part(part.number, part.first_row, part.n_rows + len(rows)))
        return len(rows)

    def update(self, path: PathLike, track: Track) -> None:
        """Replace the record of the track at a path, its path too, and keep its vectors.

        Raises:
            KeyError: no track is there.
        """
        with self._writing():
            if not self._catalog.update(path, track):
                raise KeyError(printable(path))

    def remove(self, path: PathLike) -> bool:
        """Remove the track or the skipped file at a path; return False if there is none."""
        with self._writing():
            return self._catalog.delete(path)

    def remove_below(self, path: PathLike) -> int:
        """Remove, in one commit, the track or skipped file at a path and all below it; return how many."""
        place = os.fsencode(path)
        below = os.path.join(place, b"")
        with self._writing():
            files = [track.path for track in self._catalog.tracks()]
            files += [skipped.path for skipped in self._catalog.skipped()]
            removed = {file for file in files if file == place or file.startswith(below)}
            for file in removed:
                self._catalog.delete(file)
        return len(removed)

    def skip(self, path: PathLike, reason: str, size_bytes: int, mtime_ns: int, *, n_tries: int = 0) -> None:
        """Record a file that cannot be indexed, and why (`Skipped`).

        A track at its path is removed, unless another try may succeed (`n_tries` > 0).
        """
        with self._writing():
            self._catalog.skip(Skipped(os.fsencode(path), reason, size_bytes, mtime_ns, n_tries))

    def compact(self) -> int:
        """Rewrite the parts that have removed rows, one commit each; return how many rows left the disk."""
        n_dropped = 0
        with self._guard:
            with self._reading():
                starts = [first_row for first_row, _ in self._catalog.removed()]
                parts = self._catalog.parts()
            for part in parts:
                if not any(part.first_row <= start < part.end_row for start in starts):
                    continue
                with self._writing():
                    self._refresh()
                    n_dropped += sum(n for row, n in self._catalog.removed() if part.first_row <= row < part.end_row)
                    compact_part(self.path, part, catalog=self._catalog, parts=self._parts)
            with self._writing():
                self._refresh()  # unmaps the old files
                remove_leftovers(self.path, self._catalog.parts(), dim=self.dim)
        return n_dropped

    def _row_range(self, path: PathLike) -> RowRange:
        rows = self._catalog.row_range(path)
        if rows is None:
            raise KeyError(printable(path))
        return rows

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._guard:
            self._require_open()
            with self._catalog.reading():
                yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._guard:
            self._require_open()
            if self.read_only:
                raise PermissionError(
                    f"the index at {printable(self.path)} is open read-only: open it with read_only=False"
                )
            with self._catalog.writing():
                yield

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"the index at {printable(self.path)} is closed")

    def _refresh(self) -> None:
        """Map the rows that the catalogue names now; inside a transaction."""
        parts = self._catalog.parts()
        # Every time: reading a memory-mapped file past its end kills the process.
        check_parts(self.path, parts, dim=self.dim)
        state = self._catalog.state()
        if state != self._state:
            self._parts.refresh(parts, removed=self._catalog.removed())
            self._state = state

    def _open_part(self) -> Part:
        """Return the part to append to: the last one, or a new one if it is full."""
        parts = self._catalog.parts()
        if parts and parts[-1].n_rows < self._max_part_rows:
            return parts[-1]
        return Part(number=self._catalog.next_part(), first_row=parts[-1].end_row if parts else 0, n_rows=0)


def _open_catalog(folder: Path, manifest: Manifest, *, read_only: bool) -> Catalog:
    """Open the catalogue, having checked that it and the part files fit together."""
    catalog = Catalog(folder, read_only=read_only)
    try:
        with catalog.reading():
            catalog.require(manifest)
            check_parts(folder, catalog.parts(), dim=manifest.dim)
    except BaseException:
        catalog.close()
        raise
    return catalog


def _require_vacant(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{printable(folder)} is a file: give the folder of an index, or a new name")
    try:
        read_manifest(folder)
    except IndexMissingError:
        return
    raise FileExistsError(f"an index is already at {printable(folder)}: open it, or remove that folder first")
