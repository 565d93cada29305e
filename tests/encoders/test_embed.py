"""The one way from audio to vectors: files and waveforms alike, in batches, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from encoders import DEFAULT_MODEL_DIR, TwoTowerModel
from encoders.embed import embed_audio, map_chunks

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = 8_000


class RecordingEncoder:
    """Level and peak of each chunk; records the sizes of the batches."""

    fingerprint = "5ca1ab1e" * 4
    sample_rate_hz = RATE_HZ
    chunk_s = 2.0
    segment_chunks = 3

    def __init__(self) -> None:
        self.batches: list[int] = []

    def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
        assert chunks.dtype == np.float32 and chunks.shape[1:] == (16_000,)
        self.batches.append(len(chunks))
        return np.stack([np.abs(chunks).mean(1) + 0.01, np.abs(chunks).max(1)], axis=1)

    def segment_vectors(self, features: np.ndarray) -> np.ndarray:
        n = max(1, len(features) - self.segment_chunks + 1)
        segments = np.stack([features[i : i + self.segment_chunks].mean(0) for i in range(n)])
        return (segments / np.linalg.norm(segments, axis=1, keepdims=True)).astype(np.float32)


def noise(duration_s: float, *, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, round(duration_s * RATE_HZ))
    return (samples * np.linspace(0.1, 1, len(samples))).astype(np.float32)


def test_a_file_and_its_waveform_give_the_same_vectors(tmp_path: Path) -> None:
    waveform = noise(13.0)
    soundfile.write(tmp_path / "a.wav", waveform, RATE_HZ, subtype="FLOAT")
    seconds: list[float] = []
    of_file = embed_audio(tmp_path / "a.wav", model=RecordingEncoder(), batch_chunks=3, on_progress=seconds.append)
    of_array = embed_audio(waveform.astype(np.float64), model=RecordingEncoder())
    np.testing.assert_allclose(of_file.vectors, of_array.vectors, atol=1e-6)
    assert of_file.duration_s == of_array.duration_s == 13.0
    # Chunks of 2 s from 0 to 12 s and the last second's from 11 s; three of them are a segment.
    assert of_file.spans_s.tolist() == [[0, 6], [2, 8], [4, 10], [6, 12], [8, 13]]
    assert seconds == [6.0, 12.0, 13.0]


@pytest.mark.parametrize("chunks", [1, 5, 8])
def test_batches_are_bounded_whatever_the_length(chunks: int) -> None:
    encoder = RecordingEncoder()
    embed_audio(noise(2.0 * 17), model=encoder, batch_chunks=chunks)
    assert max(encoder.batches) == chunks and sum(encoder.batches) == 17


def test_any_function_of_chunks_can_be_mapped() -> None:
    outputs, spans_s, duration_s = map_chunks(
        noise(7.0), lambda chunks: chunks[:, ::4000], sample_rate_hz=RATE_HZ, chunk_s=3.0
    )
    assert outputs.shape == (3, 6) and spans_s.tolist() == [[0, 3], [3, 6], [4, 7]] and duration_s == 7.0
    np.testing.assert_array_equal(outputs.ravel()[:12], noise(7.0)[: 6 * RATE_HZ : 4000])


def test_what_is_not_a_waveform_is_refused() -> None:
    with pytest.raises(ValueError, match="int64 have no certain full scale"):
        embed_audio(np.zeros(16000, np.int64), model=RecordingEncoder())


@pytest.fixture(scope="module")
def model() -> TwoTowerModel:
    return TwoTowerModel.from_pretrained(DEFAULT_MODEL_DIR)


def test_clips_are_encoded_in_batches_with_progress(model: TwoTowerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    clips = [rng.normal(0, 0.1, n * 160_000) for n in (1, 5)]
    sizes: list[int] = []
    features = TwoTowerModel.chunk_features

    def recorded(self: TwoTowerModel, chunks: np.ndarray) -> np.ndarray:
        sizes.append(len(chunks))
        return features(self, chunks)

    monkeypatch.setattr(TwoTowerModel, "chunk_features", recorded)
    done: list[tuple[int, int]] = []
    vectors = model.encode_audio(clips, batch_size=2, on_progress=lambda n, of: done.append((n, of)))
    assert sizes == [1, 2, 2, 1] and done == [(1, 2), (2, 2)]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[1], model.encode_audio(clips[1])[0], atol=1e-5)
    assert model.encode_audio([]).shape == (0, model.config.dim)
    integers = np.round(clips[0] * 32_768).astype(np.int16)
    for same in (integers, np.stack([integers, integers]), np.stack([integers, -integers], axis=1)):
        np.testing.assert_allclose(model.encode_audio(same), model.encode_audio(integers / 32_768), atol=1e-5)
    with pytest.raises(ValueError, match="int64 have no certain full scale"):
        model.encode_audio(np.zeros(1000, np.int64))


def test_a_long_file_costs_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """The peak of a process after 40 s, and after 8 more minutes of audio (held whole: 550 MB more)."""
    for name, minutes in (("short", 2 / 3), ("long", 8)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(round(minutes * 60 * RATE_HZ), np.int16), RATE_HZ)
    code = (
        "import resource, sys, torch\n"
        "from encoders import DEFAULT_MODEL_DIR, TwoTowerModel\n"
        "torch.set_num_threads(1)\n"
        "model = TwoTowerModel.from_pretrained(DEFAULT_MODEL_DIR)\n"
        "for name in sys.argv[1:]:\n"
        "    model.encode_audio(name, batch_size=4)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    files = [str(tmp_path / f"{name}.wav") for name in ("short", "long")]
    done = subprocess.run(
        [sys.executable, "-c", code, *files], cwd=ROOT, check=True, timeout=240, capture_output=True, text=True
    )
    short_kb, long_kb = (int(line) for line in done.stdout.split())
    assert long_kb - short_kb < 60_000
