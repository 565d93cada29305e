"""Small stand-ins for the towers, with vectors that can be read: one axis a word, one axis a pitch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import index
from encoders.calibration import Calibration
from encoders.text.tower import UnknownWordsError
from encoders.text.unknown import LeftOut

AXES = ("low", "middle", "high", "noisy")
PITCHES_HZ = (220.0, 880.0, 3520.0)
FINGERPRINT = "d0b1e" * 4


class WordAxes:
    """The text tower: each word of AXES is an axis; a phrase is the unit vector amid its words."""

    fingerprint = FINGERPRINT
    dim = len(AXES)
    # A cosine of 0.5 is a probability of 0.5; one of 0.9 is nearly certain.
    calibration = Calibration(np.zeros(len(AXES)), np.eye(len(AXES)), slope=20.0, offset=-10.0)

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        rows = []
        for phrase in phrases:
            known = [word for word in phrase.split() if word in AXES]
            if not known:
                raise UnknownWordsError(phrase.split(), {})
            rows.append(unit(*known))
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def unknown_words(self, phrase: str) -> list[str]:
        return [word for word in phrase.split() if word not in AXES]

    def left_out(self, phrase: str) -> LeftOut:
        return LeftOut(tuple(self.unknown_words(phrase)))

    def respelled(self, phrase: str) -> tuple[str, dict[str, str]]:
        return phrase, {}

    def tag_names(self) -> list[str]:
        return list(AXES)


class PitchEar:
    """The audio tower: how much of each pitch there is in a chunk, one pitch an axis."""

    fingerprint = FINGERPRINT
    sample_rate_hz = 32_000
    chunk_s = 5.0
    segment_chunks = 2

    def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(chunks, axis=1)) ** 2
        bins = [round(pitch_hz * chunks.shape[1] / 32000) for pitch_hz in PITCHES_HZ]
        features = np.zeros((len(chunks), len(AXES)))
        features[:, : len(bins)] = power[:, bins]
        return features

    def segment_vectors(self, features: np.ndarray) -> np.ndarray:
        segments = features if len(features) < 2 else (features[:-1] + features[1:]) / 2
        return (segments / np.linalg.norm(segments, axis=1, keepdims=True)).astype(np.float32)


def unit(*words: str, **weights: float) -> np.ndarray:
    """`unit("low", "high")`, `unit(low=3, high=4)`: the unit vector with these weights (1 by default)."""
    vector = np.zeros(len(AXES))
    for word, weight in {**dict.fromkeys(words, 1.0), **weights}.items():
        vector[AXES.index(word)] += weight
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def pitches(*which: str, duration_s: float, rate_hz: int = 32000) -> np.ndarray:
    """Sine tones of these names together, [shape=(n,)] float32."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    tones = [np.sin(2 * np.pi * PITCHES_HZ[AXES.index(name)] * time_s) for name in which]
    return (np.sum(tones, axis=0) * 0.3).astype(np.float32)


def make_index(folder: Path, tracks: dict[str | bytes, list[np.ndarray]]) -> Path:
    """An index whose tracks have these vectors, a segment every 5 s; a track's content hash is its name."""
    manifest = index.Manifest(encoder=FINGERPRINT, encoder_name="doubles", dim=len(AXES))
    with index.VectorIndex.create(folder, manifest) as made:
        for name, vectors in tracks.items():
            starts_s = np.arange(len(vectors)) * 5.0
            track = index.Track(
                path=name if isinstance(name, bytes) else name.encode(),
                size_bytes=1,
                mtime_ns=1,
                content_hash=str(name),
                duration_s=float(starts_s[-1] + 10.0),
                title=f"Title of {name!r}",
                artist="Artist",
            )
            made.add(track, np.stack([starts_s, starts_s + 10.0], axis=1), np.stack(vectors))
    return folder
