"""A cold query as a whole process, beside `import torch`, in one run; one JSON line at the end.

    python -m scripts.bench.query [--segments 100000] [--runs 9]

Makes an index of random unit vectors (ten segments a track), then runs `retrieve "acoustic guitar"` and
`python -c "import torch"` in turn. Figures are medians of wall seconds; the ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from encoders import TextEncoder
from index import Manifest, Track, VectorIndex

SEGMENTS_PER_TRACK = 10
FORBIDDEN = ("torch", "transformers", "gensim", "librosa")


def make_index(path: Path, n_segments: int) -> None:
    """Write an index of the default model's shape, filled with random unit vectors."""
    encoder = TextEncoder.load()
    rng = np.random.default_rng(1)
    spans = np.stack([np.arange(SEGMENTS_PER_TRACK) * 5.0, np.arange(SEGMENTS_PER_TRACK) * 5.0 + 10], 1)
    items = []
    for i in range(n_segments // SEGMENTS_PER_TRACK):
        vectors = rng.normal(size=(SEGMENTS_PER_TRACK, encoder.dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        track = Track(f"/music/{i:06d}.mp3".encode(), 1, 1, f"{i:064x}", 55.0, title=f"Track {i}")
        items.append((track, spans, vectors))
    with VectorIndex.create(path, Manifest(encoder.fingerprint, "default", encoder.dim)) as index:
        for first in range(0, len(items), 1000):
            index.add_many(items[first : first + 1000])


def seconds(command: list[str]) -> float:
    """Run a command once and return its wall time."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def modules_of(query: list[str]) -> list[str]:
    """Return which of the heavy libraries a query imports."""
    code = (
        "import sys; sys.argv = sys.argv[1:]\n"
        "from retrieval.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print(*[m for m in {FORBIDDEN!r} if m in sys.modules], file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code, *query], check=True, capture_output=True, text=True)
    return run.stderr.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        make_index(index, args.segments)
        retrieve = str(Path(sys.executable).with_name("retrieve"))
        query = [retrieve, "acoustic guitar", "--index", str(index)]
        torch = [sys.executable, "-c", "import torch"]
        seconds(query)
        seconds(torch)
        pairs = [(seconds(query), seconds(torch)) for _ in range(args.runs)]
        heavy = modules_of(query)
    print(
        json.dumps(
            {
                "bench": "query",
                "segments": args.segments,
                "runs": args.runs,
                "query_s": round(statistics.median(q for q, _ in pairs), 3),
                "import_torch_s": round(statistics.median(t for _, t in pairs), 3),
                "ratio": round(statistics.median(q / t for q, t in pairs), 3),
                "heavy_modules": heavy,
            }
        )
    )


if __name__ == "__main__":
    main()
