"""What the checks of an index cost: opening, refreshing, searching, known files, verifying; one JSON line at the end.

    python -m scripts.bench.index_checks [--tracks N] [--segments N] [--runs N]

An index of random unit vectors is made in a temporary folder. Times are in milliseconds; of what is done more than once
it is the median.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from index import Manifest, Track, VectorIndex
from retrieval.indexing.away import AbsentDisks
from retrieval.indexing.commit import commit_known
from retrieval.indexing.decode_pool import Hashed
from retrieval.library.scan import AudioFile

DIM = 256


def main() -> None:
    """Measure, and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=10_000, help="tracks of the index (default 10,000)")
    parser.add_argument("--segments", type=int, default=5, help="segments of a track (default 5)")
    parser.add_argument("--runs", type=int, default=200, help="repetitions (default 200)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "index")
        make(place, n_tracks=options.tracks, n_segments=options.segments)
        values = measure(place, n_tracks=options.tracks, n_segments=options.segments, n_runs=options.runs)
    print(json.dumps({"tracks": options.tracks, "segments": options.tracks * options.segments, "dim": DIM, **values}))


def make(place: Path, *, n_tracks: int, n_segments: int) -> None:
    """Make the index; the content hash of track i is "hash i"."""
    random = np.random.default_rng(0)
    with VectorIndex.create(place, Manifest(encoder="0" * 64, encoder_name="none", dim=DIM)) as index:
        for first in range(0, n_tracks, 1000):
            entries = []
            for number in range(first, min(first + 1000, n_tracks)):
                vectors = units(random, n_segments)
                starts = 5.0 * np.arange(n_segments)
                entries.append((track_of(number), np.stack([starts, starts + 10.0], axis=1), vectors))
            index.add_many(entries)


def measure(place: Path, *, n_tracks: int, n_segments: int, n_runs: int) -> dict[str, float]:
    """Return name -> milliseconds."""
    random = np.random.default_rng(1)
    queries = units(random, n_runs)
    values = {"open": timed(lambda: VectorIndex.open(place).close(), n_runs)}
    with VectorIndex.open(place) as reader, VectorIndex.open(place, read_only=False) as writer:
        reader.vectors_at([0])
        values["refresh, nothing new"] = timed(lambda: reader.vectors_at([0]), n_runs)
        refreshes, first_searches = [], []
        for number in range(20):
            writer.update(track_of(number).path, track_of(number))
            refreshes.append(timed(lambda: reader.vectors_at([0]), 1))
            first_searches.append(timed(lambda number=number: reader.search(queries[number % n_runs]), 1))  # type: ignore[misc]
        values["refresh, after a commit"] = median(refreshes)
        values["search, after a commit"] = median(first_searches)
        values["search, again"] = timed(lambda: reader.search(queries[0]), n_runs)
        absent = AbsentDisks()
        began_s = time.perf_counter()
        for number in range(n_tracks):
            track = track_of(number)
            file = AudioFile(track.file, track.size_bytes, track.mtime_ns + 1)
            commit_known(writer, Hashed(file, track.content_hash, f"audio {number}", {}), absent=absent)
        values["commit of a known file"] = (time.perf_counter() - began_s) * 1000.0 / n_tracks
        values["verify"] = timed(reader.verify, 1)
    return {f"{name} (ms)": round(value, 4) for name, value in values.items()}


def timed(call: Callable[[], object], n_runs: int) -> float:
    """Return the median time of a call in milliseconds."""
    times_s = []
    for _ in range(n_runs):
        began_s = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - began_s)
    return 1000.0 * median(times_s)


def track_of(number: int) -> Track:
    """Return the record of a track."""
    return Track(
        path=f"/music/{number}.flac".encode(), size_bytes=1, mtime_ns=1, content_hash=f"hash {number}", duration_s=30.0
    )


def units(random: np.random.Generator, n: int) -> np.ndarray:
    """Return random unit vectors [shape=(n, DIM)], float32."""
    vectors = random.standard_normal((n, DIM)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


if __name__ == "__main__":
    main()
