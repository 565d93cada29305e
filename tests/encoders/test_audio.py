"""The same samples streamed or whole, parts of files, the chunk and segment rules."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from audio_files import RATE_HZ, encode_with_av, noise, streamed, tone

from encoders import audio
from encoders.audio import (
    AudioDecodeError,
    load_audio,
    segment_spans,
    stream_audio,
    stream_chunks,
)


def oracle_blocks(waveform: np.ndarray, *, rate_hz: int) -> list[tuple[np.ndarray, float, float]]:
    """The chunk rule, written as it is said."""
    size, n = 5 * rate_hz, len(waveform)
    if n < size:
        padded = np.concatenate([waveform, np.zeros(max(0, rate_hz - n), np.float32)])
        return [(np.tile(padded, size // len(padded) + 1)[:size], 0.0, n / rate_hz)]
    starts = list(range(0, n - size + 1, size))
    if (n - starts[-1] - size) / rate_hz > 0.5:
        starts.append(n - size)
    return [(waveform[start : start + size], start / rate_hz, (start + size) / rate_hz) for start in starts]


# ---- streaming


@pytest.mark.parametrize("buffer_s", [0.013, 0.7, 10.0])
def test_streaming_equals_resampling_the_whole(tmp_path: Path, buffer_s: float) -> None:
    path = tmp_path / "noise.wav"
    stereo = np.stack([noise(44_100 * 7 + 123), noise(44_100 * 7 + 123, seed=1)], axis=1)
    sf.write(path, stereo, 44_100, subtype="FLOAT")
    whole = soxr.resample(stereo.mean(axis=1), 44_100, RATE_HZ, quality="HQ")
    parts = streamed(path, buffer_s=buffer_s)
    assert len(parts) == len(whole)
    np.testing.assert_allclose(parts, whole, atol=2e-6)


def test_buffers_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    sf.write(path, tone(9.0, rate_hz=16_000), 16_000)
    buffers = list(stream_audio(path, sample_rate_hz=RATE_HZ, buffer_s=2.0))
    assert max(len(buffer) for buffer in buffers) <= 2.1 * RATE_HZ
    assert min(len(buffer) for buffer in buffers) > 0


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "m4a"])
def test_a_part_is_the_part_of_the_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"noise.{suffix}"
    samples = noise(44_100 * 8)
    if suffix == "m4a":
        encode_with_av(path, samples, rate_hz=44_100, codec="aac", container="ipod")
    else:
        sf.write(path, samples, 44_100)
    whole = load_audio(path)
    for start_s, duration_s in [(0.0, 1.0), (0.4, 2.5), (3.217, 1.5), (6.5, None)]:
        part = load_audio(path, start_s=start_s, duration_s=duration_s)
        first = round(start_s * RATE_HZ)
        last = None if duration_s is None else first + round(duration_s * RATE_HZ)
        np.testing.assert_allclose(part, whole[first:last], atol=1e-4)


def test_a_part_past_the_end(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    sf.write(path, tone(2.0), RATE_HZ)
    assert len(load_audio(path, start_s=1.5, duration_s=10.0)) == RATE_HZ // 2
    for start_s in (2.0, 2.5, 100.0):
        with pytest.raises(AudioDecodeError, match=f"no audio after {start_s:g} s"):
            load_audio(path, start_s=start_s)


@pytest.mark.parametrize("keywords", [{"start_s": -1.0}, {"start_s": float("nan")}, {"duration_s": 0.0}])
def test_a_part_that_makes_no_sense(tmp_path: Path, keywords: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"start_s|duration_s"):
        load_audio(tmp_path / "any.wav", **keywords)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    with sf.SoundFile(path, "w", 8_000, 1) as sound:
        for _ in range(30):
            sound.write(np.zeros(60 * 8_000, np.float32))
    n_chunks = 0
    tracemalloc.start()
    try:
        for _ in stream_chunks(path):
            n_chunks += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n_chunks == 360  # half an hour: 230 MB as one array
    assert peak < 12e6


# ---- chunks and segments


@pytest.mark.parametrize("duration_s", [0.01, 0.4, 1.0, 3.3, 4.999, 5.0, 5.4, 5.5, 5.6, 10.0, 10.5001, 12.34, 21.0])
@pytest.mark.parametrize("rate_hz", [32_000, 44_100])
def test_blocks_follow_the_rule(tmp_path: Path, duration_s: float, rate_hz: int) -> None:
    path = tmp_path / "noise.wav"
    sf.write(path, noise(round(duration_s * rate_hz)), rate_hz, subtype="FLOAT")
    waveform = load_audio(path)
    expected = oracle_blocks(waveform, rate_hz=RATE_HZ)
    for chunks in (list(stream_chunks(path)), list(stream_chunks(waveform, sample_rate_hz=RATE_HZ))):
        assert len(chunks) == len(expected)
        for chunk, (samples, start_s, end_s) in zip(chunks, expected, strict=True):
            np.testing.assert_array_equal(chunk.samples, samples)
            assert chunk.samples.dtype == np.float32
            assert (chunk.start_s, chunk.end_s) == pytest.approx((start_s, end_s), abs=1e-9)


def test_the_blocks_tell_the_true_duration(tmp_path: Path) -> None:
    path = tmp_path / "noise.wav"
    sf.write(path, noise(RATE_HZ * 5 + 9_600), RATE_HZ)
    chunks = stream_chunks(path)
    assert next(chunks).end_s == 5.0
    with pytest.raises(StopIteration) as end:
        next(chunks)
    assert end.value.value == 5.3


def test_blocks_of_another_length() -> None:
    waveform = noise(16_000 * 7)
    chunks = list(stream_chunks(waveform, sample_rate_hz=16_000, chunk_s=3.0))
    assert [(chunk.start_s, chunk.end_s) for chunk in chunks] == [(0.0, 3.0), (3.0, 6.0), (4.0, 7.0)]


@pytest.mark.parametrize("waveform", [np.empty(0, np.float32), np.zeros((100, 100), np.float32)])
def test_blocks_of_no_waveform(waveform: np.ndarray) -> None:
    with pytest.raises(ValueError, match="waveform of shape"):
        list(stream_chunks(waveform, sample_rate_hz=RATE_HZ))


def test_windows_are_neighbouring_blocks() -> None:
    spans = np.array([[0.0, 5.0], [5.0, 10.0], [7.5, 12.5]])
    np.testing.assert_array_equal(segment_spans(spans), [[0.0, 10.0], [5.0, 12.5]])
    np.testing.assert_array_equal(segment_spans(spans[:1]), [[0.0, 5.0]])
    np.testing.assert_array_equal(segment_spans(np.array([[0.0, 0.3]])), [[0.0, 0.3]])


def test_only_light_modules_are_imported() -> None:
    code = "import sys, encoders.audio; print({'torch', 'librosa', 'av', 'faiss'} & set(sys.modules))"
    root = Path(audio.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
