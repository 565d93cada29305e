"""A miniature dataset whose tags can be heard, and words for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from encoders.text.word_vectors import WordVectors
from retrieval.datasets.base import TaggedClip, TaggedClips

TAGS = ("low", "middle", "high", "noise")
HZ = {"low": 150.0, "middle": 700.0, "high": 3000.0}
RATE_HZ = 16000


def sound(labels: tuple[str, ...], seed: int, *, seconds: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    x = 0.003 * rng.standard_normal(len(t))
    for label in labels:
        if label == "noise":
            x += 0.1 * rng.standard_normal(len(t))
        else:
            x += 0.2 * np.sin(2 * np.pi * HZ[label] * rng.uniform(0.95, 1.05) * t + rng.uniform(0, 6))
    return x.astype(np.float32)


def tagged_clips(folder: Path, n: int = 12) -> TaggedClips:
    """Clips as .npy arrays, two of three for training."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for i in range(n):
        labels = (TAGS[i % 4],) if i % 3 else (TAGS[i % 4], TAGS[(i + 1) % 4])
        path = folder / f"{i:02}.npy"
        if not path.exists():  # another process may read it by now
            np.save(path, sound(labels, i), allow_pickle=False)
        clips.append(TaggedClip(path, labels, "val" if i % 3 == 2 else "train", f"{i}", RATE_HZ))
    return TaggedClips(clips=tuple(clips), name="tones")


def words_file(folder: Path) -> Path:
    """A file of words that knows the tags, "treble" (nearly "high") and nothing else."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((len(TAGS) + 1, 12)).astype(np.float32)
    vectors[-1] = vectors[2] + 0.1 * vectors[0]
    tokens = [*TAGS, "treble"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "words.safetensors"
    WordVectors.from_floats(
        tokens, vectors, np.full(len(tokens), 1 / len(tokens)), kind="word2vec", source="test"
    ).save(path)
    return path
