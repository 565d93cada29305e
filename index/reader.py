"""What can be asked of an index without a search: its tracks, their segments and vectors, its soundness."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from index.catalog import CATALOG_NAME, Catalog
from index.files import PathLike, printable
from index.lock import WriterLock
from index.maintenance import catalog_problems, size_on_disk, vector_problems
from index.manifest import MANIFEST_NAME, IndexDamagedError, Manifest
from index.records import Placed, Segment, Skipped, Track
from index.vectors import MappedParts, check_parts

__all__ = ["IndexReader", "IndexStats"]


@dataclass(frozen=True)
class IndexStats:
    """What an index holds; `duration_s` is the sum over its tracks, `size_bytes` what it takes on disk."""

    n_tracks: int
    n_segments: int
    n_skipped: int
    n_removed_rows: int
    duration_s: float
    size_bytes: int
    dim: int
    encoder: str
    encoder_name: str


class IndexReader:
    """The open files of an index and the look-ups in them; `VectorIndex` adds writing and searching.

    Each method sees one committed state, whatever a writer does meanwhile.
    """

    def __init__(self, path: Path, *, manifest: Manifest, catalog: Catalog, lock: WriterLock | None) -> None:
        self.path = path
        self.manifest = manifest
        self.read_only = lock is None
        self._catalog = catalog
        self._lock = lock
        self._parts = MappedParts(path, dim=manifest.dim)
        self._state: tuple[int, int, int] | None = None
        self._guard = threading.RLock()
        self._closed = False

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return self.manifest.dim

    def close(self) -> None:
        """Close the files and give up the right to write; more than once does no harm."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._parts.clear()
            self._catalog.close()
            if self._lock is not None:
                self._lock.release()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
            return self._catalog.segments(self._place(path))

    def vectors(self, path: PathLike) -> np.ndarray:
        """Return a copy of the vectors of a track [shape=(n, dim)], in order; KeyError if none is there."""
        with self._reading():
            self._refresh()
            place = self._place(path)
            return self._parts.stretch(place.first_row, n_rows=place.n_rows).copy()

    def vectors_at(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return a copy of rows (`SegmentMatch.row`) [shape=(len(rows), dim)]; IndexError if one is not there."""
        with self._reading():
            self._refresh()
            return self._parts.take(np.asarray(rows, dtype=np.int64))

    def stats(self) -> IndexStats:
        """Return what the index holds."""
        with self._reading():
            totals = self._catalog.totals()
            size = size_on_disk(self.path, self._catalog.parts(), names=(MANIFEST_NAME, CATALOG_NAME))
        return IndexStats(*totals, size, self.dim, self.manifest.encoder, self.manifest.encoder_name)

    def verify(self) -> list[str]:
        """Check the catalogue, the files and every vector; return what is wrong, a line each (none: sound).

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
                places = self._catalog.places()
            # Outside the transaction: a writer must not wait until gigabytes have been read.
            return problems + vector_problems(places, parts=self._parts)

    def _place(self, path: PathLike) -> Placed:
        place = self._catalog.place(path)
        if place is None:
            raise KeyError(printable(path))
        return place

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
