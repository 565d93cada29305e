"""What the index tests share: readable vectors, tracks, and a look at every byte of a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from index import Manifest, Track, VectorIndex

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


def new_index(path: Path, *, n_tracks: int = 0, n_segments: int = 3) -> VectorIndex:
    """An index open for writing, with tracks t0.flac, t1.flac ... of vectors units(n_segments, seed=i)."""
    index = VectorIndex.create(path, MANIFEST)
    for i in range(n_tracks):
        index.add(track(f"t{i}.flac"), spans(n_segments), units(n_segments, seed=i))
    return index


def bytes_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and modification time of every file."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}
