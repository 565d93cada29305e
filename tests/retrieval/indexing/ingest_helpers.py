"""What the tests of index builds share: songs, looks into the index, and a stand-in for the network."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import soundfile as sf

from index import VectorIndex
from retrieval.indexing.types import BuildSummary

RATE_HZ = 16_000

# What a decoding process runs in place of its own code: one file crashes it, others make it stall, stop itself, or be
# killed. A name with "once" in it does so the first time only.
FAULTY = """
import json, os, signal, sys, time
sys.path[:] = json.loads(sys.argv[1])
import retrieval.indexing.decode_worker as worker
decode = worker.stream_chunks
def stream_chunks(path, **form):
    chunks = decode(path, **form)
    yield next(chunks)
    name = os.path.basename(path)
    if "once" not in name or not os.path.exists(path + ".tried"):
        open(path + ".tried", "w").close()
        if "crash" in name:
            os.abort()
        if "hang" in name:
            time.sleep(600)
        if "suspended" in name:
            os.kill(os.getpid(), signal.SIGSTOP)
        if "killed" in name:
            os.kill(os.getpid(), signal.SIGKILL)
    return (yield from chunks)
worker.stream_chunks = stream_chunks
worker.main()
"""


def worker_running(code: str) -> tuple[str, ...]:
    """The command of a decoding process that runs other code."""
    return (sys.executable, "-c", code, json.dumps(sys.path))


class Model:
    """Three numbers of a chunk: how rough it is, how loud, how high its peak. Counts what it is given."""

    sample_rate_hz = 32_000
    chunk_s = 5.0
    segment_chunks = 2

    def __init__(self, delay_s: float = 0.0) -> None:
        self.fingerprint: str | None = "5ca1ab1e" * 4
        self.delay_s = delay_s
        self.n_chunks = self.n_calls = self.n_files = 0

    def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
        assert chunks.dtype == np.float32
        assert chunks.shape[1:] == (160_000,)
        time.sleep(self.delay_s)
        self.n_chunks += len(chunks)
        self.n_calls += 1
        steps = np.abs(np.diff(chunks, axis=1)).mean(axis=1)
        return np.stack([steps, np.abs(chunks).mean(axis=1) + 0.01, np.abs(chunks).max(axis=1)], axis=1)

    def segment_vectors(self, features: np.ndarray) -> np.ndarray:
        self.n_files += 1
        segments = features if len(features) == 1 else (features[:-1] + features[1:]) / 2
        return (segments / np.linalg.norm(segments, axis=1, keepdims=True)).astype(np.float32)


def song(path: Path, *, duration_s: float = 6.0, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, round(duration_s * RATE_HZ))
    smooth = np.convolve(samples, np.ones(1 + seed % 7) / (1 + seed % 7), mode="same")
    sf.write(path, smooth, RATE_HZ)
    return path


def library(folder: Path, n_songs: int) -> Path:
    for number in range(n_songs):
        song(folder / f"{number:02}.wav", duration_s=3.0 + 4.0 * number, seed=number)
    return folder


def paths_in(index_path: Path) -> list[str]:
    with VectorIndex.open(index_path) as index:
        assert index.verify() == []
        return [track.file for track in index.tracks()]


def vectors_in(index_path: Path, path: Path) -> np.ndarray:
    with VectorIndex.open(index_path) as index:
        return index.vectors(path)


def counts(summary: BuildSummary) -> dict[str, int]:
    keys = ("added", "updated", "unchanged", "moved", "removed", "skipped", "transient")
    return {key: getattr(summary, key) for key in keys if getattr(summary, key)}
