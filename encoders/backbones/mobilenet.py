"""MobileNetV3 on log-mel spectrograms, as in EfficientAT.

Schmid, Koutini, Widmer, "Efficient large-scale audio tagging via transformer-to-CNN knowledge distillation",
ICASSP 2023; the architecture is Howard et al., "Searching for MobileNetV3", ICCV 2019, Table 1.

Verified against the published implementation at widths 0.4 and 1: front end, features and logits (tests/golden); with
the published weights at width 0.4, once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from encoders.backbones.base import Backbone, check_waveform
from encoders.mel import LogMel, MelSpec

__all__ = ["EFFICIENTAT_MEL", "MobileNet"]

EFFICIENTAT_MEL = MelSpec(
    sample_rate_hz=32000,
    n_fft=1024,
    window_samples=800,
    hop_samples=320,
    n_mels=128,
    f_min_hz=0.0,
    f_max_hz=15000.0,
    mel_scale="kaldi",
    window_periodic=False,
    pre_emphasis=0.97,
    log="ln",
    log_floor=1e-5,
    offset=4.5,
    scale=0.2,
)
_CHUNK_S = 5.0
_MOST_BANDS = 8  # of a tapped layer


@dataclass(frozen=True)
class _Block:
    kernel: int
    expanded: int
    out: int
    squeeze: bool
    hard_swish: bool
    stride: int


# MobileNetV3-Large (Howard et al. 2019, Table 1) at width 1. Other widths scale the channels.
_BLOCKS = (
    _Block(3, 16, 16, False, False, 1),
    _Block(3, 64, 24, False, False, 2),
    _Block(3, 72, 24, False, False, 1),
    _Block(5, 72, 40, True, False, 2),
    _Block(5, 120, 40, True, False, 1),
    _Block(5, 120, 40, True, False, 1),
    _Block(3, 240, 80, False, True, 2),
    _Block(3, 200, 80, False, True, 1),
    _Block(3, 184, 80, False, True, 1),
    _Block(3, 184, 80, False, True, 1),
    _Block(3, 480, 112, True, True, 1),
    _Block(3, 672, 112, True, True, 1),
    _Block(5, 672, 160, True, True, 2),
    _Block(5, 960, 160, True, True, 1),
    _Block(5, 960, 160, True, True, 1),
)


def _multiple_of_8(channels: float) -> int:
    """Round to a multiple of 8 without losing more than a tenth, as MobileNet does for every layer."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _conv(n_in: int, n_out: int, kernel: int, *, stride: int = 1, groups: int = 1, act: type | None) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(n_in, n_out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(n_out, eps=1e-3, momentum=0.01),
    ]
    if act is not None:
        layers.append(act(inplace=True))
    return nn.Sequential(*layers)


def _statistics(x: Tensor) -> Tensor:
    """Return a tapped layer's features of its output [shape=(batch, channels, n_bands, n_steps)]."""
    bands = x.mean(3)
    if bands.shape[2] > _MOST_BANDS:
        bands = nn.functional.adaptive_avg_pool1d(bands, _MOST_BANDS)
    std = x.var((2, 3), unbiased=False).add(1e-6).sqrt()
    return torch.cat([bands.flatten(1), std], dim=1)


class _SqueezeExcitation(nn.Module):
    """Channel gates from the mean over frequency and time (Hu et al. 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class _InvertedResidual(nn.Module):
    def __init__(self, n_in: int, block: _Block, width: float) -> None:
        super().__init__()
        expanded, n_out = _multiple_of_8(block.expanded * width), _multiple_of_8(block.out * width)
        act = nn.Hardswish if block.hard_swish else nn.ReLU
        layers: list[nn.Module] = []
        if expanded != n_in:
            layers.append(_conv(n_in, expanded, 1, act=act))
        layers.append(_conv(expanded, expanded, block.kernel, stride=block.stride, groups=expanded, act=act))
        if block.squeeze:
            layers.append(_SqueezeExcitation(expanded, _multiple_of_8(expanded // 4)))
        layers.append(_conv(expanded, n_out, 1, act=None))
        self.block = nn.Sequential(*layers)
        self.n_out = n_out
        self.residual = block.stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return x + y if self.residual else y


class MobileNet(Backbone):
    """Waveform at 32 kHz [shape=(batch, n_samples)] -> features [shape=(batch, dim)].

    The features are the published ones, means over time and frequency, and then those of the taps: of each tapped layer
    the means over time in frequency bands, channel by channel, and the channels' standard deviations over time and
    frequency. Lower layers know timbre and level that the last one, which was trained to tell classes, has given up.

    Args:
        width: factor of the numbers of channels. Without taps, `dim` is 384 at width 0.4 (mn04) and 960 at width 1
            (mn10).
        mel: the front end.
        taps: layers of `features` whose statistics are features too.

    Raises:
        ValueError: there is no such layer.
    """

    def __init__(self, *, width: float = 0.4, mel: MelSpec = EFFICIENTAT_MEL, taps: Sequence[int] = ()) -> None:
        super().__init__()
        self.width = width
        self.taps = tuple(taps)
        self.front_end = LogMel(mel)
        channels = _multiple_of_8(16 * width)
        layers: list[nn.Module] = [_conv(1, channels, 3, stride=2, act=nn.Hardswish)]
        n_bands = (mel.n_mels + 1) // 2
        tapped = {0: channels * (1 + min(n_bands, _MOST_BANDS))}
        for block in _BLOCKS:
            residual = _InvertedResidual(channels, block, width)
            layers.append(residual)
            channels = residual.n_out
            n_bands = -(-n_bands // block.stride)
            tapped[len(layers) - 1] = channels * (1 + min(n_bands, _MOST_BANDS))
        unknown = [tap for tap in self.taps if tap not in tapped]
        if unknown:
            raise ValueError(f"taps={list(self.taps)}: the layers before the last are 0 to {len(layers) - 1}")
        self.sequence_dim = 6 * channels
        self.dim = self.sequence_dim + sum(tapped[tap] for tap in self.taps)
        layers.append(_conv(channels, self.sequence_dim, 1, act=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.mel = mel
        self.sample_rate_hz = mel.sample_rate_hz
        self.input_samples = 10 * mel.sample_rate_hz
        # Every convolution is padded; the reflection at the ends needs more than half a frame.
        self.min_samples = mel.n_fft // 2 + 1 + (1 if mel.pre_emphasis else 0)

    @property
    def default_chunk_s(self) -> float:
        """5 s: the network takes any length, and a segment of two such chunks is as long as the published input."""
        return _CHUNK_S

    @property
    def build_options(self) -> dict[str, Any]:
        """The width, the front end and the taps."""
        return {"width": self.width, "mel": self.front_end.spec.to_dict(), "taps": list(self.taps)}

    def inference_copy(self) -> MobileNet:
        """Return a copy with batch norms folded into the convolutions and channels last: twice as fast."""
        fused = copy.deepcopy(self).eval()
        for module in list(fused.modules()):
            if isinstance(module, nn.Sequential) and len(module) >= 2 and isinstance(module[1], nn.BatchNorm2d):
                convolution = module[0]
                assert isinstance(convolution, nn.Conv2d)
                module[0] = fuse_conv_bn_eval(convolution, module[1])
                module[1] = nn.Identity().eval()
        return fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def from_mel(self, log_mel: Tensor) -> Tensor:
        """Return features [shape=(batch, dim)] of log-mel [shape=(batch, n_mels, n_frames)]."""
        x = log_mel.unsqueeze(1)
        found: dict[int, Tensor] = {}
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.taps:
                found[number] = _statistics(x)
        return torch.cat([x.mean((2, 3)), *(found[tap] for tap in self.taps)], dim=1)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.from_mel(self.front_end(check_waveform(waveform, self)))

    def sequence(self, waveform: Tensor) -> Tensor:
        """Return mean features over frequency [shape=(batch, n_steps, dim)]; a step is 32 frames."""
        log_mel = self.front_end(check_waveform(waveform, self))
        return self.features(log_mel.unsqueeze(1)).mean(2).transpose(1, 2)
