"""VectorIndex: vectors of tracks on disk, committed one durable step at a time, and exact search over them.

Order of a commit: rows behind the committed ones of a part file, fsync, then the SQLite transaction that
names them. A process killed at any instant leaves either the state before or the state after, and perhaps
rows that nobody names.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from index.catalog import Catalog
from index.files import PathLike, fsync_folder, printable
from index.lock import WriterLock
from index.maintenance import checksum, compact_part
from index.manifest import (
    IndexMissingError,
    Manifest,
    read_manifest,
    write_manifest,
)
from index.reader import IndexReader
from index.records import Skipped, Track, checked_rows
from index.search import SegmentMatch, Wanted, find_hits
from index.vectors import Part, append_rows, check_parts, remove_leftovers

__all__ = ["VectorIndex"]

# A part is closed when it has this many rows (1 GiB at 256 dimensions), so that compaction needs little
# free space.
_MAX_PART_ROWS = 1 << 20


class VectorIndex(IndexReader):
    """An index on disk; made by `create` or `open`, a context manager.

    Threads may share one object: its methods run one after another. Processes each open their own; one of
    them may write while others read, and each method of a reader sees one committed state.

    Attributes:
        path: the folder.
        manifest: what made it.
        read_only: whether writing is refused.
    """

    @classmethod
    def create(cls, path: Path, manifest: Manifest) -> VectorIndex:
        """Make an empty index and open it for writing; a folder whose creation was cut short is taken over.

        Raises:
            FileExistsError: an index, or something that is no folder, is there already.
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
        return cls(folder, manifest=manifest, catalog=catalog, lock=lock)

    @classmethod
    def open(cls, path: Path, *, encoder: str | None = None, read_only: bool = True) -> VectorIndex:
        """Open an index; to read it alters nothing on disk, and an opening that fails alters nothing either.

        Args:
            path: its folder.
            encoder: fingerprint of the model in use, which must have made the index; None accepts any.
            read_only: False to write too; leftovers of a killed writer are then removed.

        Raises:
            IndexMissingError: no index is there.
            IndexMismatchError: another model, or a newer Earmark, made it.
            IndexDamagedError: a file is missing, cut short or unreadable.
            IndexBusyError: somebody else is writing (only with read_only=False).
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
            with catalog.reading():
                remove_leftovers(folder, catalog.parts(), dim=manifest.dim)
        except BaseException:
            lock.release()
            raise
        return cls(folder, manifest=manifest, catalog=catalog, lock=lock)

    def __enter__(self) -> VectorIndex:
        return self

    # Writing: each method is one durable commit

    def add(self, track: Track, spans: np.ndarray, vectors: np.ndarray) -> int:
        """Add a track with its vectors, in the place of what its path was before.

        Args:
            track: the file.
            spans: start and end of each segment [shape=(n, 2)], seconds.
            vectors: one unit vector a segment [shape=(n, dim)], float32.

        Returns:
            How many segments were added.

        Raises:
            ValueError: a shape, a type or a number is not as said.
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
        checked = [(track, *checked_rows(track, spans, rows, dim=self.dim)) for track, spans, rows in entries]
        with self._writing():
            if not checked:
                return 0
            part = self._open_part()
            rows = np.concatenate([vectors for _, _, vectors in checked])
            append_rows(self.path, part, rows)
            first_row = part.end_row
            for track, spans, vectors in checked:
                self._catalog.put(track, spans=spans, first_row=first_row, checksum=checksum(vectors))
                first_row += len(vectors)
            self._catalog.set_part(Part(part.number, part.first_row, part.n_rows + len(rows)))
        return len(rows)

    def update(self, path: PathLike, track: Track) -> None:
        """Replace what is known of the track at a path, its path too, and keep its vectors.

        Raises:
            KeyError: no track is there.
        """
        with self._writing():
            if not self._catalog.change(path, track):
                raise KeyError(printable(path))

    def remove(self, path: PathLike) -> bool:
        """Forget the track or the skipped file at a path; False if there is none."""
        with self._writing():
            return self._catalog.drop(path)

    def skip(self, path: PathLike, reason: str, size_bytes: int, mtime_ns: int) -> None:
        """Note a file that cannot be indexed, and why; a track at its path is removed."""
        with self._writing():
            self._catalog.skip(Skipped(os.fsencode(path), reason, size_bytes, mtime_ns))

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
                self._refresh()  # unmaps the old files, which Windows would not let go otherwise
                remove_leftovers(self.path, self._catalog.parts(), dim=self.dim)
        return n_dropped

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
            top: how many hits at most.
            per_segment: each segment may be a hit; otherwise a track is one hit, at its best segment.
            min_score: no hit below it.
            allow: only tracks for which it is true.

        Returns:
            Hits from the best; equal scores by path, then by place in the track.

        Raises:
            ValueError: the query has another shape or is not finite, or top is not positive.
            ImportError: FAISS is not installed.
        """
        vector = np.ascontiguousarray(query, dtype=np.float32)
        if vector.shape != (self.dim,) or not np.isfinite(vector).all():
            raise ValueError(f"query must have shape ({self.dim},) and finite numbers; its shape is {vector.shape}")
        wanted = Wanted(top=top, per_segment=per_segment, min_score=min_score, allow=allow)
        _faiss()
        with self._reading():
            self._refresh()
            return find_hits(
                vector,
                wanted=wanted,
                folder=self.path,
                catalog=self._catalog,
                parts=self._parts,
                nearest=self._nearest,
            )

    def _nearest(self, query: np.ndarray, k: int) -> tuple[np.ndarray, float]:
        """Return at least the k best rows, and the score that no other row exceeds (-inf: none is left)."""
        faiss = _faiss()
        found: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        floor = -math.inf
        for part, rows, live_bits in self._parts:
            n = min(k, part.n_rows)
            scores = np.empty(n, dtype=np.float32)
            places = np.empty(n, dtype=np.int64)
            selector = () if live_bits is None else (faiss.IDSelectorBitmap(live_bits),)
            pointers = [faiss.swig_ptr(array) for array in (query, rows, scores, places)]
            faiss.knn_inner_product(*pointers[:2], self.dim, 1, part.n_rows, n, *pointers[2:], *selector)
            if n < part.n_rows and places[-1] >= 0:  # -1 fills up where fewer than n rows are live
                floor = max(floor, float(scores[-1]))
            found.append(places[places >= 0] + part.first_row)
        return np.concatenate(found), floor

    def _open_part(self) -> Part:
        """Return the part to append to: the last one, or a new one if it is full."""
        parts = self._catalog.parts()
        if parts and parts[-1].n_rows < _MAX_PART_ROWS:
            return parts[-1]
        return Part(number=self._catalog.next_part(), first_row=parts[-1].end_row if parts else 0, n_rows=0)


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise ImportError('searching needs FAISS: install "earmark[cpu]" or "earmark[gpu]"') from error
    module: ModuleType = faiss
    return module


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
