"""What the tests of index builds share: songs, looks into the index, and a stand-in for the network."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile as sf

from index import VectorIndex
from retrieval.indexing.types import BuildSummary

RATE_HZ = 16_000

# What a decoding process runs in place of its own code: by a word in the name of the file, it crashes, hangs, stops
# itself, is killed, or gets its data slowly. A name with "header" in it does so before the first chunk, others after
# it; one with "once" in it does so the first time only.
FAULTY = """
import json, os, signal, sys, time
sys.path[:] = json.loads(sys.argv[1])
import retrieval.indexing.decode_worker as worker
decode = worker.stream_chunks
def fail(path):
    name = os.path.basename(path)
    if "once" in name and os.path.exists(path + ".tried"):
        return
    open(path + ".tried", "w").close()
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "abort" in name:
        os.abort()
    if "exit" in name:
        os._exit(3)
    if "hang" in name:
        time.sleep(600)
    if "loop" in name:
        with open(path, "rb", buffering=0) as file:
            while True:
                file.seek(0)
                file.read()
    if "stopped" in name:
        os.kill(os.getpid(), signal.SIGSTOP)
    if "killed" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "slow" in name:
        with open(path, "rb", buffering=0) as file:
            while file.read(os.path.getsize(path) // 12):
                time.sleep(0.25)
def stream_chunks(path, **form):
    chunks = decode(path, **form)
    if "header" in os.path.basename(path):
        fail(path)
    yield next(chunks)
    if "header" not in os.path.basename(path):
        fail(path)
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
    keys = ("added", "updated", "retagged", "unchanged", "moved", "removed", "skipped", "transient")
    return {key: getattr(summary, key) for key in keys if getattr(summary, key)}


def processes() -> dict[int, tuple[int, str]]:
    """Parent and state of every process of this machine."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
        return {int(pid): (int(parent), state) for pid, parent, state in map(str.split, listed.stdout.splitlines())}
    found = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # one that ends just now
            state, parent = place.read_text().rpartition(")")[2].split()[:2]
            found[int(place.parent.name)] = (int(parent), state)
    return found


def children_of(pid: int) -> list[int]:
    return [child for child, (parent, _) in processes().items() if parent == pid]


def is_running(pid: int) -> bool:
    _, state = processes().get(pid, (0, "Z"))
    return not state.startswith("Z")
