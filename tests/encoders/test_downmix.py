"""Channels mixed to one: ordinary audio by the mean, opposite polarity without loss, the same in any buffers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from audio_files import RATE_HZ, level, noise, pitch_hz, streamed, tone

from encoders.audio import load_audio
from encoders.downmix import LARGEST_SAMPLE, Downmix


def mixed(samples: np.ndarray, *, buffer: int | None = None, rate_hz: int = RATE_HZ) -> np.ndarray:
    mix = Downmix(sample_rate_hz=rate_hz, channels=samples.shape[1])
    step = buffer or len(samples)
    parts = [part for i in range(0, len(samples), step) for part in mix.push(samples[i : i + step])]
    return np.concatenate([*parts, *mix.last()])


def energy(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


@pytest.mark.parametrize(
    "gains", [(1.0, -1.0), (1.0, -0.9), (0.3, -0.25), (1.0, 1.0, -1.0, -1.0), (1.0, -1.0, 0.0, 0.0, 1.0, -1.0)]
)
def test_opposite_polarity_keeps_its_energy(gains: tuple[float, ...]) -> None:
    x = noise(3 * RATE_HZ)
    channels = np.stack([gain * x for gain in gains], axis=1)
    found = mixed(channels)
    assert energy(found) == pytest.approx(np.mean(np.abs(gains)) ** 2 * energy(x), rel=1e-4)
    np.testing.assert_allclose(found, np.mean(np.abs(gains)) * x, atol=1e-5)


@pytest.mark.parametrize("correlation", [-0.45, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("right", [0.0, 0.3, 1.0])
def test_ordinary_stereo_is_the_mean_to_the_bit(correlation: float, right: float) -> None:
    one, other = noise(2 * RATE_HZ), noise(2 * RATE_HZ, seed=1)
    second = right * (correlation * one + np.sqrt(1 - correlation**2) * other)
    channels = np.stack([one, second], axis=1).astype(np.float32)
    np.testing.assert_array_equal(mixed(channels), (channels[:, 0] + channels[:, 1]) * np.float32(0.5))


def test_the_rule_has_no_jump() -> None:
    """The mixed energy over the correlation of two equally loud channels changes in small steps."""
    one, other = noise(RATE_HZ), noise(RATE_HZ, seed=1)
    found = []
    for correlation in np.linspace(-1.0, 0.0, 101):
        second = correlation * one + np.sqrt(1 - correlation**2) * other
        found.append(energy(mixed(np.stack([one, second], axis=1).astype(np.float32))) / energy(one))
    assert min(found) > 0.15 and np.abs(np.diff(found)).max() < 0.1


@pytest.mark.parametrize("buffer", [1, 997, 32_000, 100_000])
def test_buffers_do_not_matter(buffer: int) -> None:
    n = RATE_HZ // 8 if buffer == 1 else 4 * RATE_HZ + 77
    x = noise(n)
    sign = np.where(np.arange(n) // (2 * RATE_HZ) % 2, 1.0, -1.0)  # polarity changes with the third second
    channels = np.stack([x, sign * x], axis=1).astype(np.float32)
    np.testing.assert_array_equal(mixed(channels, buffer=buffer), mixed(channels))


def test_a_change_of_polarity_does_not_click() -> None:
    x = tone(4.0)
    channels = np.stack([x, np.where(np.arange(len(x)) < 2 * RATE_HZ, x, -0.9 * x)], axis=1).astype(np.float32)
    found = mixed(channels)
    assert np.abs(np.diff(found)).max() < 1.2 * np.abs(np.diff(x)).max()
    assert energy(found[2 * RATE_HZ + 1_000 :]) > 0.8 * energy(x)


def test_many_channels_at_a_high_rate_stay_small() -> None:
    mix = Downmix(sample_rate_hz=192_000, channels=64)
    blocks = list(mix.push(np.ones((192_000, 64), np.float32)))
    assert max(map(len, blocks)) * 64 <= 1 << 21 and sum(map(len, blocks)) == 192_000


def test_damaged_samples_are_bounded() -> None:
    channels = np.full((100, 2), 0.5, np.float32)
    channels[3] = (np.nan, 0.5)
    channels[4] = (np.inf, -np.inf)
    channels[5] = 3e38
    found = mixed(channels)
    assert found[3:6].tolist() == [0.25, 0.0, LARGEST_SAMPLE] and (np.delete(found, [3, 4, 5]) == 0.5).all()


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_file_of_opposite_channels_is_heard(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"opposite.{suffix}"
    sf.write(path, np.stack([tone(3.0), -tone(3.0)], axis=1), RATE_HZ)
    whole = load_audio(path)
    assert level(whole) == pytest.approx(0.5, rel=0.02)
    assert pitch_hz(whole[:RATE_HZ]) == pytest.approx(440, abs=2)
    if suffix in ("wav", "flac"):
        for buffer_s in (0.013, 0.7):
            np.testing.assert_array_equal(streamed(path, buffer_s=buffer_s), whole)
        for start_s in (0.4, 1.25):
            np.testing.assert_array_equal(load_audio(path, start_s=start_s), whole[round(start_s * RATE_HZ) :])
