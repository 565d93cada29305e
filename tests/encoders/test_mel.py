"""Front ends against librosa, and the errors of a wrong spec."""

from __future__ import annotations

import dataclasses

import librosa
import numpy as np
import pytest
import torch

from encoders.backbones.blocks import WON_MEL
from encoders.backbones.mobilenet import EFFICIENTAT_MEL
from encoders.backbones.musicnn import MUSICNN2019_MEL
from encoders.mel import LogMel, MelSpec, mel_filterbank


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.1, 16000).astype(np.float32)


@pytest.mark.parametrize(("spec", "htk", "norm"), [(WON_MEL, True, None), (MUSICNN2019_MEL, False, "slaney")])
def test_filterbank_is_librosas(spec: MelSpec, htk: bool, norm: str | None) -> None:
    theirs = librosa.filters.mel(
        sr=spec.sample_rate_hz,
        n_fft=spec.n_fft,
        n_mels=spec.n_mels,
        fmin=spec.f_min_hz,
        fmax=spec.f_max_hz,
        htk=htk,
        norm=norm,
    )
    np.testing.assert_allclose(mel_filterbank(spec), theirs, atol=2e-6)


def test_power_is_librosas(noise: np.ndarray) -> None:
    spec = MUSICNN2019_MEL
    theirs = librosa.feature.melspectrogram(
        y=noise, sr=spec.sample_rate_hz, n_fft=spec.n_fft, hop_length=spec.hop_samples, n_mels=spec.n_mels
    )
    ours = LogMel(spec).power(torch.from_numpy(noise)[None])[0].numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-7)


def test_window_shorter_than_the_fft_is_centred(noise: np.ndarray) -> None:
    spec = dataclasses.replace(EFFICIENTAT_MEL, pre_emphasis=0.0)
    stft = torch.stft(
        torch.from_numpy(noise)[None],
        spec.n_fft,
        spec.hop_samples,
        spec.window_samples,
        torch.hann_window(spec.window_samples, periodic=False),
        return_complex=True,
    )
    expected = torch.from_numpy(mel_filterbank(spec)) @ stft.abs().square()
    torch.testing.assert_close(LogMel(spec).power(torch.from_numpy(noise)[None]), expected, rtol=1e-4, atol=1e-6)


def test_frames_from_the_first_sample_and_magnitudes(noise: np.ndarray) -> None:
    spec = dataclasses.replace(EFFICIENTAT_MEL, pre_emphasis=0.0, centred=False, magnitude=True)
    ours = LogMel(spec).power(torch.from_numpy(noise)[None])[0].numpy()
    starts = range(0, len(noise) - spec.window_samples + 1, spec.hop_samples)
    window = np.hanning(spec.window_samples)
    spectra = [np.abs(np.fft.rfft(noise[i : i + spec.window_samples] * window, spec.n_fft)) for i in starts]
    np.testing.assert_allclose(ours, mel_filterbank(spec) @ np.stack(spectra, 1), rtol=1e-3, atol=1e-5)


def test_magnitudes_of_silence_have_a_gradient() -> None:
    waveform = torch.zeros(1, 2000, requires_grad=True)
    LogMel(dataclasses.replace(EFFICIENTAT_MEL, magnitude=True))(waveform).sum().backward()
    assert waveform.grad is not None and waveform.grad.isfinite().all()


def test_a_block_has_500_frames() -> None:
    assert LogMel(EFFICIENTAT_MEL)(torch.zeros(1, 160_000)).shape == (1, 128, 500)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mel_scale": "bark"}, "mel_scale must be"),
        ({"log": "log2"}, "log must be"),
        ({"f_max_hz": 20_000.0}, "half of sample_rate_hz"),
        ({"window_samples": 2048}, "must not exceed n_fft"),
    ],
)
def test_wrong_specs_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(EFFICIENTAT_MEL, **change)
