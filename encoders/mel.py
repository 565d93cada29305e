"""Log-mel front ends as data: one frozen spec says everything that a checkpoint's input depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LogMel", "MelSpec", "mel_filterbank"]


@dataclass(frozen=True, kw_only=True)
class MelSpec:
    """Everything that turns a waveform into a log-mel spectrogram.

    ``mel_scale`` is ``"kaldi"`` (1127 ln(1 + f/700), triangles straight in mel), ``"htk"`` (the same scale, triangles
    straight in Hz) or ``"slaney"`` (linear below 1 kHz); ``area_norm`` divides each band by its width in Hz;
    ``pad_mode`` fills the half frames at both ends (``"reflect"`` or ``"constant"``), unless ``centred`` is false:
    then the first frame begins with the first sample and nothing is filled. ``magnitude`` gives the filters the
    spectrum's magnitude instead of its square. ``log`` is ``"ln"`` (ln(x + log_floor)), ``"db"``
    (10 log10(max(x, log_floor))) or ``"log10_scaled"`` (log10(1 + 10000 x)). The result is ``(log + offset) * scale``.
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
        """Return the fields as plain data (JSON)."""
        return asdict(self)


def _slaney_mel(f_hz: np.ndarray) -> np.ndarray:
    linear = f_hz / (200 / 3)
    return np.where(f_hz < 1000, linear, 15 + np.log(np.maximum(f_hz, 1e-9) / 1000) / (np.log(6.4) / 27))


def _slaney_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * (200 / 3), 1000 * np.exp((np.log(6.4) / 27) * (mel - 15)))


def _htk_mel(f_hz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(f_hz / 700.0)


def _htk_hz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * np.expm1(mel / 1127.0)


def mel_filterbank(spec: MelSpec) -> np.ndarray:
    """Return the triangular filters of a spec.

    Args:
        spec: the front end.

    Returns:
        float32 weights [shape=(n_mels, n_fft // 2 + 1)], >= 0, to be multiplied with a power spectrum.
    """
    to_mel: Callable[[np.ndarray], np.ndarray]
    to_hz: Callable[[np.ndarray], np.ndarray]
    to_mel, to_hz = (_slaney_mel, _slaney_hz) if spec.mel_scale == "slaney" else (_htk_mel, _htk_hz)
    bins_hz = np.arange(spec.n_fft // 2 + 1) * (spec.sample_rate_hz / spec.n_fft)
    low, high = to_mel(np.array([spec.f_min_hz, spec.f_max_hz], dtype=np.float64))
    edges_mel = np.linspace(low, high, spec.n_mels + 2)
    edges_hz = to_hz(edges_mel)
    # Kaldi's triangles are straight lines in mel; torchaudio's and librosa's are straight lines in Hz.
    edges, bins = (edges_mel, to_mel(bins_hz)) if spec.mel_scale == "kaldi" else (edges_hz, bins_hz)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = np.maximum(0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)))
    if spec.mel_scale == "kaldi":
        weights[:, -1] = 0  # Kaldi leaves the Nyquist bin out.
    if spec.area_norm:
        weights *= (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return weights.astype(np.float32)


class LogMel(nn.Module):
    """Waveform [shape=(batch, n_samples)] in [-1, 1] -> log-mel [shape=(batch, n_mels, n_frames)].

    n being n_samples less the one sample that pre-emphasis drops, n_frames = 1 + n // hop_samples where frames are
    centred and the ends padded, else 1 + (n - window_samples) // hop_samples.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.spec = spec
        # Both follow from the spec: they are no part of a checkpoint.
        self.register_buffer("window", torch.empty(spec.window_samples), persistent=False)
        self.register_buffer("filters", torch.empty(spec.n_mels, spec.n_fft // 2 + 1), persistent=False)
        self.reset_tables()

    def reset_tables(self) -> None:
        """Make the window and the filters from the spec."""
        self.window.copy_(torch.hann_window(self.spec.window_samples, periodic=self.spec.window_periodic))
        self.filters.copy_(torch.from_numpy(mel_filterbank(self.spec)))

    def power(self, waveform: Tensor) -> Tensor:
        """Return mel power (or magnitude), before the logarithm [shape=(batch, n_mels, n_frames)], >= 0."""
        spec = self.spec
        if spec.pre_emphasis:
            waveform = waveform[:, 1:] - spec.pre_emphasis * waveform[:, :-1]
        spectrum = torch.fft.rfft(self._frames(waveform), n=spec.n_fft)
        if spec.magnitude:
            return self.filters @ spectrum.abs().transpose(1, 2)
        # torch.stft and a complex modulus cost four times this.
        power = spectrum.real.square() + spectrum.imag.square()
        return self.filters @ power.transpose(1, 2)

    def _frames(self, waveform: Tensor) -> Tensor:
        """Windowed frames [shape=(batch, n_frames, n)], n <= n_fft."""
        spec = self.spec
        if not spec.centred:
            # Where the window lies in its frame changes phases, which nobody looks at.
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
