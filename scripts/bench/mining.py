"""Measure the time to mine negatives, for each policy, in milliseconds an anchor.

    python -m scripts.bench.mining
    python -m scripts.bench.mining --clips 100000 --anchors 64

Anchors are tags, and the candidates are all clips: the large direction of the two. Embeddings are random unit vectors,
which leaves more semi-hard candidates than trained ones would. The policies take turns, so that a change of the
machine's load affects all of them. The last line is JSON with the median of the runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch

from retrieval.training.config import NEGATIVES
from retrieval.training.mining import Miner

TARGET_MS = 2.0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--tags", type=int, default=200)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--anchors", type=int, default=32, help="anchors of a batch")
    parser.add_argument("--count", type=int, default=4, help="negatives an anchor")
    parser.add_argument("--runs", type=int, default=15)
    return parser.parse_args()


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Return random unit vectors [shape=(n, dim)] float32."""
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    options = parsed()
    rng = np.random.default_rng(0)
    vectors = unit(rng, options.clips, options.dim), unit(rng, options.tags, options.dim)
    has_tag = rng.random((options.clips, options.tags)) < 0.02
    has_tag[np.arange(options.tags) % options.clips, np.arange(options.tags)] = True
    miners = {name: Miner(name, has_tag, has_tag) for name in NEGATIVES}
    ms: dict[str, list[float]] = {name: [] for name in NEGATIVES}
    for _ in range(options.runs + 1):
        tags = rng.integers(options.tags, size=options.anchors)
        clips = np.array([rng.choice(np.flatnonzero(has_tag[:, tag])) for tag in tags])
        for name, miner in miners.items():
            began_s = time.perf_counter()
            miner.clips_for_tags(tags, clips, vectors, rng, count=options.count)
            ms[name].append(1e3 * (time.perf_counter() - began_s) / options.anchors)
    print(
        json.dumps(
            {
                "clips": options.clips,
                "dim": options.dim,
                "anchors": options.anchors,
                "ms_an_anchor": {name: round(statistics.median(values[1:]), 3) for name, values in ms.items()},
                "target_ms": TARGET_MS,
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main()
