"""Harmonic CNN: band-pass filters of learned width at the harmonics of every half semitone, on 5 s.

Won, Chun, Nieto, Serra, "Data-driven harmonic filters for audio representation learning", ICASSP 2020, in the
form of Won, Ferraro, Bogdanov, Serra, SMC 2020.

Verified against the published implementation: logits (tests/golden).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.backbones.base import check_waveform
from encoders.backbones.blocks import ConvPool2d, MaxOverTime

__all__ = ["HarmonicCNN", "HarmonicSTFT"]

_SAMPLE_RATE_HZ = 16000
_N_FFT = 512
_HOP_SAMPLES = 256
_N_HARMONICS = 6
_BANDS_PER_SEMITONE = 2
_LOWEST_MIDI = 24  # C1
# The equivalent rectangular bandwidth of the ear is 0.1079 f + 24.7 Hz (Glasberg and Moore 1990).
_BANDWIDTH_SLOPE = 0.1079
_BANDWIDTH_AT_ZERO_HZ = 24.7


def _midi(f_hz: float) -> int:
    """Return the MIDI key nearest to a frequency."""
    return round(69 + 12 * math.log2(f_hz / 440))


def _n_bands() -> int:
    """Return how many bands lie between the lowest key and the highest one with all harmonics below Nyquist."""
    return (_midi(_SAMPLE_RATE_HZ / (2 * _N_HARMONICS)) - _LOWEST_MIDI) * _BANDS_PER_SEMITONE


class HarmonicSTFT(nn.Module):
    """Waveform [shape=(batch, n_samples)] -> dB [shape=(batch, 6, 128, n_frames)]: harmonic by half semitone by time.

    The filter at frequency f is a triangle whose width is the ear's bandwidth at f divided by `bw_Q`, a learned number.
    """

    window: Tensor
    centres_hz: Tensor
    bins_hz: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.bw_Q = nn.Parameter(torch.ones(1))
        # All follow from the constants and are not saved in checkpoints.
        self.register_buffer("window", torch.empty(_N_FFT), persistent=False)
        self.register_buffer("centres_hz", torch.empty(_N_HARMONICS * _n_bands()), persistent=False)
        self.register_buffer("bins_hz", torch.empty(_N_FFT // 2 + 1), persistent=False)
        self.reset_tables()

    def reset_tables(self) -> None:
        """Compute the window and the frequencies from the constants."""
        self.window.copy_(torch.hann_window(_N_FFT))
        keys = _LOWEST_MIDI + torch.arange(_n_bands(), dtype=torch.float64) / _BANDS_PER_SEMITONE
        fundamentals_hz = 440 * 2 ** ((keys - 69) / 12)
        self.centres_hz.copy_((torch.arange(1, _N_HARMONICS + 1).unsqueeze(1) * fundamentals_hz).flatten())
        self.bins_hz.copy_(torch.arange(_N_FFT // 2 + 1) * (_SAMPLE_RATE_HZ / _N_FFT))

    def filters(self) -> Tensor:
        """Return triangles [shape=(6 * 128, 257)] in [0, 1], harmonic by harmonic."""
        width_hz = (_BANDWIDTH_SLOPE * self.centres_hz + _BANDWIDTH_AT_ZERO_HZ) / self.bw_Q
        away = (self.bins_hz - self.centres_hz.unsqueeze(1)).abs()
        return F.relu(1 - 2 * away / width_hz.unsqueeze(1))

    def forward(self, waveform: Tensor) -> Tensor:
        padded = F.pad(waveform.unsqueeze(1), (_N_FFT // 2, _N_FFT // 2), mode="reflect").squeeze(1)
        spectrum = torch.fft.rfft(padded.unfold(1, _N_FFT, _HOP_SAMPLES) * self.window)
        power = spectrum.real.square() + spectrum.imag.square()
        bands = self.filters() @ power.transpose(1, 2)
        return 10 * torch.log10(bands.clamp_min(1e-10)).unflatten(1, (_N_HARMONICS, -1))


class _ResidualPool2d(nn.Module):
    """Two 3 × 3 convolutions beside an identity shortcut, then max pooling by `pool` = (band, time)."""

    def __init__(self, width: int, pool: tuple[int, int]) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1)
        self.bn_1 = nn.BatchNorm2d(width)
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn_2 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(pool)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn_2(self.conv_2(torch.relu(self.bn_1(self.conv_1(x)))))
        return self.pool(torch.relu(y + x))


class HarmonicCNN(MaxOverTime):
    """Waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, 256)]."""

    dim = 256
    sample_rate_hz = _SAMPLE_RATE_HZ
    input_samples = 5 * _SAMPLE_RATE_HZ
    min_samples = 287 * _HOP_SAMPLES  # 288 centred frames: five halvings and two divisions by 3 leave one
    sequence_dim = 256

    def __init__(self) -> None:
        super().__init__()
        self.hstft = HarmonicSTFT()
        self.hstft_bn = nn.BatchNorm2d(_N_HARMONICS)
        self.add_layers(
            [
                ConvPool2d(_N_HARMONICS, 128),
                _ResidualPool2d(128, (2, 2)),
                _ResidualPool2d(128, (2, 2)),
                _ResidualPool2d(128, (2, 2)),
                ConvPool2d(128, 256),
                _ResidualPool2d(256, (2, 3)),
                _ResidualPool2d(256, (2, 3)),
            ]
        )
        self.add_dense(256)

    @property
    def front_end_name(self) -> str:
        """The front end in a few words, for a table."""
        return "learned harmonic filters"

    @property
    def front_end_config(self) -> dict[str, Any]:
        """The constants of `HarmonicSTFT`."""
        return {
            "kind": "harmonic_stft",
            "sample_rate_hz": _SAMPLE_RATE_HZ,
            "n_fft": _N_FFT,
            "hop_samples": _HOP_SAMPLES,
            "n_harmonics": _N_HARMONICS,
            "n_bands": _n_bands(),
            "bands_per_semitone": _BANDS_PER_SEMITONE,
            "lowest_midi": _LOWEST_MIDI,
        }

    def picture(self, waveform: Tensor) -> Tensor:
        return self.hstft_bn(self.hstft(check_waveform(waveform, self)))
