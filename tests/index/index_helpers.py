"""What the index tests share: readable vectors, tracks, and a look at every byte of a folder."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from index import Manifest, Track, VectorIndex
from index.search import inner_products
from index.vector_index import MAX_PART_ROWS

DIM = 8
MANIFEST = Manifest(encoder="ab" * 32, encoder_name="test model", dim=DIM)


def track(path: str | bytes, **known: object) -> Track:
    values: dict = {
        "size_bytes": 1000,
        "mtime_ns": 1,
        "content_hash": f"hash of {path!r}",
        "duration_s": 30.0,
    }
    return Track(path=path, **{**values, **known})  # type: ignore[arg-type]


def spans(n: int) -> np.ndarray:
    """Segments of ten seconds every five."""
    starts = 5.0 * np.arange(n)
    return np.stack([starts, starts + 10.0], axis=1)


def units(n: int, *, seed: int, dim: int = DIM) -> np.ndarray:
    """Random unit vectors [shape=(n, dim)]."""
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def toward(*weights: float) -> np.ndarray:
    """The unit vector with these first coordinates [shape=(DIM,)]."""
    vector = np.zeros(DIM, dtype=np.float32)
    vector[: len(weights)] = weights
    return vector / np.linalg.norm(vector)


def new_index(path: Path, *, n_tracks: int = 0, n_segments: int = 3, max_part_rows: int = MAX_PART_ROWS) -> VectorIndex:
    """An index open for writing, with tracks t0.flac, t1.flac ... of vectors units(n_segments, seed=i)."""
    index = VectorIndex.create(path, MANIFEST, max_part_rows=max_part_rows)
    for i in range(n_tracks):
        index.add(track(f"t{i}.flac"), spans(n_segments), units(n_segments, seed=i))
    return index


def bytes_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and modification time of every file."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}


def exact_top_k(vectors: np.ndarray, query: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The oracle of every search: all scores and a full sort; ties go to the smaller row number.

    Args:
        vectors: rows [shape=(n, dim)] float32.
        query: [shape=(dim,)] float32.
        k: how many rows are wanted.

    Returns:
        Scores [shape=(min(k, n),)] float32, largest first, and row numbers [shape=(min(k, n),)] int64.
    """
    scores = inner_products(vectors, query)
    order = np.lexsort((np.arange(len(vectors)), -scores))[:k]
    return scores[order], order


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Writes beyond this size fail, as they do on a full disk, until the block is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)
