"""Log-mel front ends as data: one frozen spec holds everything that a checkpoint's input depends on."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LogMel", "MelSpec", "mel_filterbank"]


@dataclass(frozen=True, kw_only=True)
class MelSpec:
    """The parameters of a log-mel spectrogram. The result is (log + offset) * scale.

    Attributes:
        sample_rate_hz: of the waveform.
        n_fft: length of the Fourier transform in samples.
        window_samples: length of the Hann window, centred in the transform.
        hop_samples: distance between frames.
        n_mels: number of bands.
        f_min_hz, f_max_hz: edges of the lowest and the highest band.
        mel_scale: "htk" (1127 ln(1 + f / 700), triangles linear in Hz), "kaldi" (the same scale, triangles linear in
            mel) or "slaney" (linear below 1 kHz, logarithmic above, triangles linear in Hz).
        area_norm: divide each band by half its width in Hz.
        window_periodic: whether the window is periodic or symmetric.
        pre_emphasis: c in y[t] = x[t + 1] - c x[t], which drops one sample; 0 for none.
        pad_mode: how both ends are padded by half a frame: "reflect" or "constant" (zeros).
        log: "ln" (ln(x + log_floor)), "db" (10 log10(max(x, log_floor))) or "log10_scaled" (log10(1 + 10000 x)).
        log_floor: see `log`.
        offset, scale: applied after the logarithm.
        centred: whether frames are centred on multiples of the hop; if not, the first frame begins with the first
            sample and nothing is padded.
        magnitude: apply the filters to the magnitude of the spectrum instead of its square.
    """

    sample_rate_hz: int
    n_fft: int
    window_samples: int
    hop_samples: int
    n_mels: int
    f_min_hz: float
    f_max_hz: float
    mel_scale: str = "htk"
    area_norm: bool = False
    window_periodic: bool = True
    pre_emphasis: float = 0.0
    pad_mode: str = "reflect"
    log: str = "db"
    log_floor: float = 1e-10
    offset: float = 0.0
    scale: float = 1.0
    centred: bool = True
    magnitude: bool = False

    def __post_init__(self) -> None:
        if self.mel_scale not in ("kaldi", "htk", "slaney"):
            raise ValueError(f"mel_scale must be kaldi, htk or slaney, not {self.mel_scale!r}")
        if self.log not in ("ln", "db", "log10_scaled"):
            raise ValueError(f"log must be ln, db or log10_scaled, not {self.log!r}")
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"f_min_hz={self.f_min_hz}, f_max_hz={self.f_max_hz}: need 0 <= f_min_hz < f_max_hz <= "
                f"{self.sample_rate_hz / 2} (half of sample_rate_hz)"
            )
        if self.window_samples > self.n_fft:
            raise ValueError(f"window_samples={self.window_samples} must not exceed n_fft={self.n_fft}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON data."""
        return asdict(self)


def mel_filterbank(spec: MelSpec) -> np.ndarray:
    """Return the triangular filters of a spec, to be multiplied with a power spectrum.

    Returns:
        float32 weights [shape=(n_mels, n_fft // 2 + 1)], >= 0.

    Source: librosa, except for Kaldi's scale, which librosa lacks: MelBanks in kaldi's feat/mel-computations.cc.
    """
    return (_kaldi_filterbank(spec) if spec.mel_scale == "kaldi" else _librosa_filterbank(spec)).astype(np.float32)


def _kaldi_filterbank(spec: MelSpec) -> np.ndarray:
    bins_mel = _htk_mel(np.arange(spec.n_fft // 2 + 1) * (spec.sample_rate_hz / spec.n_fft))
    low, high = _htk_mel(np.array([spec.f_min_hz, spec.f_max_hz]))
    edges = np.linspace(low, high, spec.n_mels + 2)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = np.maximum(0, np.minimum((bins_mel - lower) / (centre - lower), (upper - bins_mel) / (upper - centre)))
    weights[:, -1] = 0  # Kaldi omits the Nyquist bin.
    if spec.area_norm:
        edges_hz = 700.0 * np.expm1(edges / 1127.0)
        weights *= (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return weights


def _htk_mel(f_hz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(f_hz / 700.0)


def _librosa_filterbank(spec: MelSpec) -> np.ndarray:
    # librosa takes almost a second to import, and the default model does not need it.
    from librosa.core.convert import mel_frequencies
    from librosa.filters import mel

    htk, limits = spec.mel_scale == "htk", {"fmin": spec.f_min_hz, "fmax": spec.f_max_hz}
    with warnings.catch_warnings():
        # Narrow bands may lie between two bins and stay empty. Published networks were trained with such bands.
        warnings.filterwarnings("ignore", message="Empty filters detected", category=UserWarning)
        # Any norm but "slaney" makes librosa import functions that numba compiles, which takes 12 s the first time.
        weights = mel(
            sr=spec.sample_rate_hz,
            n_fft=spec.n_fft,
            n_mels=spec.n_mels,
            htk=htk,
            norm="slaney",
            dtype=np.float64,
            **limits,
        )
    if not spec.area_norm:
        edges_hz = mel_frequencies(spec.n_mels + 2, htk=htk, **limits)
        weights *= (edges_hz[2:] - edges_hz[:-2])[:, None] / 2
    return weights


class LogMel(nn.Module):
    """Waveform [shape=(batch, n_samples)] in [-1, 1] -> log-mel [shape=(batch, n_mels, n_frames)].

    With n = n_samples, less one with pre-emphasis, n_frames is 1 + n // hop_samples if frames are centred, else
    1 + (n - window_samples) // hop_samples.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.spec = spec
        # Both follow from the spec and are not saved in checkpoints.
        self.register_buffer("window", torch.empty(spec.window_samples), persistent=False)
        self.register_buffer("filters", torch.empty(spec.n_mels, spec.n_fft // 2 + 1), persistent=False)
        self.reset_tables()

    def reset_tables(self) -> None:
        """Compute the window and the filters from the spec."""
        if self.filters.is_meta:
            return  # only shapes are wanted
        self.window.copy_(torch.hann_window(self.spec.window_samples, periodic=self.spec.window_periodic))
        self.filters.copy_(torch.from_numpy(mel_filterbank(self.spec)))

    def power(self, waveform: Tensor) -> Tensor:
        """Return mel power (or magnitude) before the logarithm [shape=(batch, n_mels, n_frames)], >= 0."""
        spec = self.spec
        if spec.pre_emphasis:
            waveform = waveform[:, 1:] - spec.pre_emphasis * waveform[:, :-1]
        spectrum = torch.fft.rfft(self._frames(waveform), n=spec.n_fft)
        if spec.magnitude:
            return self.filters @ spectrum.abs().transpose(1, 2)
        # torch.stft and a complex modulus take four times as long.
        power = spectrum.real.square() + spectrum.imag.square()
        return self.filters @ power.transpose(1, 2)

    def _frames(self, waveform: Tensor) -> Tensor:
        """Return windowed frames [shape=(batch, n_frames, n)], n <= n_fft."""
        spec = self.spec
        if not spec.centred:
            # The position of the window within the transform affects phases only, which are discarded.
            return waveform.unfold(1, spec.window_samples, spec.hop_samples) * self.window
        half = spec.n_fft // 2
        padded = F.pad(waveform.unsqueeze(1), (half, half), mode=spec.pad_mode).squeeze(1)
        left = (spec.n_fft - spec.window_samples) // 2
        window = F.pad(self.window, (left, spec.n_fft - spec.window_samples - left))
        return padded.unfold(1, spec.n_fft, spec.hop_samples) * window

    def compress(self, power: Tensor) -> Tensor:
        """Return mel power after the spec's logarithm, offset and scale; any shape."""
        spec = self.spec
        if spec.log == "ln":
            y = torch.log(power + spec.log_floor)
        elif spec.log == "db":
            y = 10 * torch.log10(power.clamp_min(spec.log_floor))
        else:
            y = torch.log10(1 + 10000 * power)
        return (y + spec.offset) * spec.scale

    def forward(self, waveform: Tensor) -> Tensor:
        return self.compress(self.power(waveform))
