"""A build that finds nothing new, over many indexed files: time and peak memory; one JSON line at the end.

    python -m scripts.bench.refresh [--files 50000] [--folders 500] [--runs 3]

Makes a folder of small files and an index that holds them all as they are, with random vectors under the fingerprint of
the shipped model, then runs ``retrieve index build`` on it. Every file is unchanged, so nothing is decoded or embedded.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from encoders.checkpoint import fingerprint
from index import Manifest, Track, VectorIndex

DIM = 256


def make_files(folder: Path, *, n_files: int, n_folders: int) -> list[Path]:
    """Write files of one byte with the names of songs; return their paths."""
    paths = []
    for number in range(n_files):
        path = folder / f"{number % n_folders:04}" / f"{number:06}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        paths.append(path)
    return paths


def make_index(place: Path, paths: list[Path]) -> None:
    """Make an index of the files as they are, with one random vector a file."""
    rng = np.random.default_rng(0)
    spans = np.array([[0.0, 5.0]])
    with VectorIndex.create(place, Manifest(encoder=fingerprint(), encoder_name="refresh", dim=DIM)) as index:
        for first in range(0, len(paths), 1000):
            some = paths[first : first + 1000]
            vectors = rng.standard_normal((len(some), 1, DIM)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
            entries = []
            for path, rows in zip(some, vectors, strict=True):
                status = path.stat()
                track = Track(os.fsencode(path), status.st_size, status.st_mtime_ns, path.stem, 5.0, title=path.stem)
                entries.append((track, spans, rows))
            index.add_many(entries)


def refresh(folder: Path, place: Path) -> float:
    """Run the build; return its wall seconds."""
    command = [sys.executable, "-m", "retrieval", "index", "build", str(folder), "--index", str(place), "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    took_s = time.perf_counter() - started
    summary = json.loads(done.stdout)
    if any(summary[name] for name in ("added", "updated", "moved", "removed", "kept", "skipped")):
        raise RuntimeError(f"the build found something to do: {summary}")
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--folders", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, place = Path(temporary) / "music", Path(temporary) / "index"
        make_index(place, make_files(folder, n_files=args.files, n_folders=args.folders))
        times_s = [refresh(folder, place) for _ in range(args.runs)]
    # Of the largest child, in KiB (in bytes on macOS); this process only ran the builds.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(
        json.dumps(
            {
                "bench": "refresh",
                "files": args.files,
                "wall_s": round(statistics.median(times_s), 2),
                "peak_rss_mb": round(peak),
            }
        )
    )


if __name__ == "__main__":
    main()
