"""Sounds, and files of them, for the tests of decoding."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from encoders.audio import (
    stream_audio,
)

RATE_HZ = 32_000


def tone(duration_s: float, *, rate_hz: int = RATE_HZ, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def noise(n_samples: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, n_samples).astype(np.float32)


def encode_with_av(path: Path, samples: np.ndarray, *, rate_hz: int, codec: str, container: str) -> None:
    """Writes mono samples as a lossy stereo file."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate_hz, layout="stereo", bit_rate=128_000)
        frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]), format="fltp", layout="stereo")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout="stereo", rate=rate_hz, frame_size=1024
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(piece))


def pitch_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE_HZ / len(samples))


def level(samples: np.ndarray) -> float:
    """The amplitude of a sine of the same energy."""
    return float(np.sqrt(2.0 * np.mean(np.square(samples, dtype=np.float64))))


def streamed(path: Path, *, sample_rate_hz: int = RATE_HZ, buffer_s: float = 10.0) -> np.ndarray:
    return np.concatenate(list(stream_audio(path, sample_rate_hz=sample_rate_hz, buffer_s=buffer_s)))
