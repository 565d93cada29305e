"""Augmentation: one seed gives one sound, other random states are left alone, each change is what it says."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from retrieval.training.augment import WaveformAugment, mixup
from retrieval.training.spec_augment import SpecAugment

RATE_HZ = 16000
CHANGES = ("gain", "filter", "time_stretch", "pitch_shift", "reverb", "noise")


@pytest.fixture
def tone() -> np.ndarray:
    t = np.arange(RATE_HZ) / RATE_HZ
    return (0.2 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


def changed(augment: WaveformAugment, x: np.ndarray, seed: int) -> np.ndarray:
    return augment(x, sample_rate_hz=RATE_HZ, rng=np.random.default_rng(seed))


def loudest_hz(x: np.ndarray) -> float:
    middle = x[len(x) // 4 : 3 * len(x) // 4]
    return float(np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle)))))) * RATE_HZ / len(middle)


def level(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seeded_and_touches_no_global_state(name: str, tone: np.ndarray) -> None:
    augment = WaveformAugment(**{name: 1.0})
    random.seed(1)
    np.random.seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist()
    first, again, other = changed(augment, tone, 7), changed(augment, tone, 7), changed(augment, tone, 8)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    np.testing.assert_array_equal(first, again)
    assert first.shape == tone.shape and first.dtype == np.float32
    assert not np.array_equal(first, other) and not np.array_equal(first, tone)
    assert np.abs(first).max() <= 1


def test_nothing_happens_by_default_and_silence_stays_silent(tone: np.ndarray) -> None:
    np.testing.assert_array_equal(changed(WaveformAugment(), tone, 0), tone)
    assert not WaveformAugment().active and WaveformAugment.of_strength(0.3).active
    assert not changed(WaveformAugment(noise=1.0, reverb=1.0), np.zeros_like(tone), 0).any()


def test_gain_and_noise_are_in_their_ranges(tone: np.ndarray) -> None:
    gains = [level(changed(WaveformAugment(gain=1.0), tone, s)) / level(tone) for s in range(40)]
    assert 10 ** (-12 / 20) - 1e-6 <= min(gains) < 0.6 and 1.6 < max(gains) <= 10 ** (12 / 20) + 1e-6
    for seed in range(10):
        noise = changed(WaveformAugment(noise=1.0), tone, seed) - tone
        assert 4.5 < 20 * np.log10(level(tone) / level(noise)) < 40.5


def test_pitch_moves_the_tone_and_time_does_not(tone: np.ndarray) -> None:
    heard = [loudest_hz(changed(WaveformAugment(pitch_shift=1.0), tone, seed)) for seed in range(6)]
    assert all(440 * 2 ** (-2.2 / 12) < hz < 440 * 2 ** (2.2 / 12) for hz in heard)
    assert max(heard) - min(heard) > 10
    assert loudest_hz(changed(WaveformAugment(time_stretch=1.0), tone, 1)) == pytest.approx(440, abs=6)


def test_reverb_keeps_the_level_and_rings_on() -> None:
    click = np.zeros(RATE_HZ, np.float32)
    click[100] = 0.5
    wet = changed(WaveformAugment(reverb=1.0), click, 3)
    assert level(wet) == pytest.approx(level(click), rel=0.05)
    assert np.abs(wet[:100]).max() < 1e-6 and np.abs(wet[150:2000]).max() > 1e-4


def test_mixup_mixes_sounds_and_targets_alike() -> None:
    rng = np.random.default_rng(0)
    waveforms = rng.standard_normal((8, 50)).astype(np.float32)
    # Targets that are linear in the waveforms stay so, whatever is mixed.
    targets = waveforms[:, :3].copy()
    mixed, told = mixup(waveforms, targets, alpha=0.4, probability=1.0, rng=np.random.default_rng(1))
    np.testing.assert_allclose(mixed[:, :3], told, atol=1e-6)
    assert not np.allclose(mixed, waveforms)
    same, _ = mixup(waveforms, targets, alpha=0.4, probability=0.0, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(same, waveforms)


def test_spec_augment_masks_bands_and_frames_by_its_seed() -> None:
    log_mel = torch.rand(5, 40, 100, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    once, again, other = (SpecAugment()(log_mel, seed=s) for s in (9, 9, 10))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(once, again) and not torch.equal(once, other)
    for before, after in zip(log_mel, once, strict=True):
        masked = before != after
        assert torch.allclose(after[masked], before.min())
        bands, frames = masked.all(1), masked.all(0)
        assert torch.equal(masked, bands[:, None] | frames[None])
        assert bands.sum() <= 2 * 7 and frames.sum() <= 2 * 11


def test_a_probability_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise=1\.5: a probability lies between 0 and 1"):
        WaveformAugment(noise=1.5)


def test_spec_augment_masks_within_the_part_that_sounds() -> None:
    log_mel = torch.full((1, 20, 400), -10.0)
    log_mel[:, :, 100:140] = torch.rand(1, 20, 40, generator=torch.Generator().manual_seed(1))
    augment = SpecAugment(band_masks=0, time_masks=1, time_share=0.5)
    hidden = []
    for seed in range(50):
        masked = (augment(log_mel, seed=seed) != log_mel)[0].all(0)
        assert not masked[:100].any() and not masked[140:].any()
        assert masked.sum() <= 20
        hidden.append(int(masked.sum()))
    assert np.mean(hidden) > 6
