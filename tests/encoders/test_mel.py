"""Front ends against other implementations of them, and the errors of a wrong spec."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import kaldi_native_fbank as kaldi
import numpy as np
import pytest
import torch
from librosa.filters import mel as librosa_mel
from scipy import fft, signal

from encoders.backbones.blocks import WON_MEL
from encoders.backbones.cnn14 import PANNS_MEL
from encoders.backbones.genre_cnn import GENRE_MEL
from encoders.backbones.mobilenet import EFFICIENTAT_MEL
from encoders.backbones.musicnn import MUSICNN2019_MEL
from encoders.backbones.vggish import VGGISH_MEL
from encoders.mel import LogMel, MelSpec, mel_filterbank


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.1, 32000).astype(np.float32)


def kaldi_energies(waveform: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Return Kaldi's mel energies [shape=(n_mels, n_frames)] of frames that begin at multiples of the hop."""
    options = kaldi.FbankOptions()
    frames, bands = options.frame_opts, options.mel_opts
    frames.samp_freq, frames.dither, frames.remove_dc_offset = spec.sample_rate_hz, 0.0, False
    frames.frame_length_ms = 1000 * spec.window_samples / spec.sample_rate_hz
    frames.frame_shift_ms = 1000 * spec.hop_samples / spec.sample_rate_hz
    frames.preemph_coeff, frames.window_type = spec.pre_emphasis, "hanning"
    bands.num_bins, bands.low_freq, bands.high_freq = spec.n_mels, spec.f_min_hz, spec.f_max_hz
    options.use_log_fbank, options.use_energy, options.use_power = False, False, not spec.magnitude
    fbank = kaldi.OnlineFbank(options)
    fbank.accept_waveform(spec.sample_rate_hz, waveform.tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)], 1)


def test_the_front_end_of_the_default_model_is_kaldis(noise: np.ndarray) -> None:
    spec = EFFICIENTAT_MEL
    # Kaldi applies pre-emphasis within a frame, whose first sample has a weight of 0. Our frames are centred on
    # multiples of the hop in the samples that pre-emphasis leaves; frame 2 is the first one without padding.
    start = 2 * spec.hop_samples - spec.window_samples // 2 + 1
    energies = kaldi_energies(noise[start:], spec)
    ours = LogMel(spec)(torch.from_numpy(noise)[None])[0, :, 2 : 2 + energies.shape[1]].numpy()
    assert ours.shape == (128, 97)
    np.testing.assert_allclose(ours, (np.log(energies + 1e-5) + 4.5) / 5, atol=2e-4)


def test_magnitudes_of_frames_from_the_first_sample_are_kaldis(noise: np.ndarray) -> None:
    # VGGish has a periodic window, which Kaldi has not.
    spec = dataclasses.replace(VGGISH_MEL, window_periodic=False)
    ours = LogMel(spec).power(torch.from_numpy(noise)[None])[0].numpy()
    np.testing.assert_allclose(ours, kaldi_energies(noise, spec), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("spec", [PANNS_MEL, MUSICNN2019_MEL, GENRE_MEL])
def test_power_is_that_of_scipys_spectrum_and_librosas_filters(spec: MelSpec, noise: np.ndarray) -> None:
    filters = librosa_mel(
        sr=spec.sample_rate_hz, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.f_min_hz, fmax=spec.f_max_hz
    )
    padded = np.pad(noise.astype(float), spec.n_fft // 2, mode=spec.pad_mode)  # type: ignore[call-overload]
    frames = np.lib.stride_tricks.sliding_window_view(padded, spec.n_fft)[:: spec.hop_samples]
    spectrum = fft.rfft(frames * signal.get_window("hann", spec.n_fft)).T
    ours = LogMel(spec).power(torch.from_numpy(noise)[None])[0].numpy()
    np.testing.assert_allclose(ours, filters @ np.abs(spectrum) ** 2, rtol=1e-3, atol=1e-6)


def test_htk_filters_are_torchaudios() -> None:
    # torchaudio.functional.melscale_fbanks(257, 0, 8000, 96, 16000, norm=None, mel_scale="htk"): triangles whose
    # corners are equally spaced in mel, by the formula with 2595 log10.
    bins_hz = np.arange(257) * 31.25
    corners_hz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 98) / 2595) - 1)
    expected = [np.interp(bins_hz, corners_hz[i : i + 3], [0, 1, 0]) for i in range(96)]
    np.testing.assert_allclose(mel_filterbank(WON_MEL), expected, atol=1e-6)


def test_a_window_shorter_than_the_transform_is_centred_in_it(noise: np.ndarray) -> None:
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


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("ln", lambda x: np.log(x + 1e-3)),
        ("db", lambda x: 10 * np.log10(np.maximum(x, 1e-3))),
        ("log10_scaled", lambda x: np.log10(1 + 10000 * x)),
    ],
)
def test_logarithms(log: str, expected: object) -> None:
    power = np.array([0.0, 1e-4, 0.5, 30.0])
    front_end = LogMel(dataclasses.replace(WON_MEL, log=log, log_floor=1e-3, offset=2.0, scale=0.5))
    assert callable(expected)
    np.testing.assert_allclose(front_end.compress(torch.from_numpy(power)).numpy(), (expected(power) + 2) / 2)


def test_magnitudes_of_silence_have_a_gradient() -> None:
    waveform = torch.zeros(1, 2000, requires_grad=True)
    LogMel(dataclasses.replace(EFFICIENTAT_MEL, magnitude=True))(waveform).sum().backward()
    assert waveform.grad is not None and waveform.grad.isfinite().all()


def test_a_chunk_has_500_frames() -> None:
    assert LogMel(EFFICIENTAT_MEL)(torch.zeros(1, 160_000)).shape == (1, 128, 500)


def test_librosa_is_loaded_for_its_filters_alone_and_compiles_nothing() -> None:
    code = """if True:
        import sys, torch
        from encoders.backbones.mobilenet import MobileNet
        from encoders.backbones.fcn import FCN
        from encoders.backbones.musicnn import Musicnn2019
        MobileNet()
        with torch.device("meta"):
            FCN()
        print("librosa" in sys.modules)
        FCN(), Musicnn2019()
        print("librosa" in sys.modules, "librosa.util.utils" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == ["False", "True", "False"]


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
