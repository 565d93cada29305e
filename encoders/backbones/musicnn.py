"""musicnn: timbral and temporal filters on 3 s of log-mel, in its two published forms.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging", ISMIR late-breaking 2019
(TensorFlow), and its PyTorch variant in Won et al., SMC 2020, which swaps batch norm and ReLU, averages over frequency
before the temporal filters and uses odd kernels with even padding.

Verified against the published implementations (tests/golden): the logits of the 2020 form; the log-mel of the 2019
form, and its logits with the published weights, once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.backbones.base import Backbone, check_waveform
from encoders.backbones.blocks import WON_MEL
from encoders.mel import LogMel, MelSpec

__all__ = ["MUSICNN2019_MEL", "Musicnn", "Musicnn2019"]

MUSICNN2019_MEL = MelSpec(
    sample_rate_hz=16000,
    n_fft=512,
    window_samples=512,
    hop_samples=256,
    n_mels=96,
    f_min_hz=0.0,
    f_max_hz=8000.0,
    mel_scale="slaney",
    area_norm=True,
    pad_mode="constant",
    log="log10_scaled",
)


class _Timbral(nn.Module):
    """A tall filter over frequency, then the maximum over frequency: [batch, 1, mel, time] -> [batch, n_out, time]."""

    def __init__(self, n_out: int, height: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, n_out, (height, 7), padding=(0, 3))
        self.bn = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x))).amax(2)


class _Temporal(nn.Module):
    """The mean over frequency, then a long filter over time."""

    def __init__(self, n_out: int, length: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, n_out, length, padding=length // 2)
        self.bn = nn.BatchNorm1d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x.mean(2))))


class _Conv1d(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, 7, padding=3)
        self.bn = nn.BatchNorm1d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Musicnn(Backbone):
    """The 2020 variant: waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, hidden)].

    Args:
        mid_channels: 64 for MagnaTagATune, 512 for the Million Song Dataset.
        hidden: width of the features: 200 for MagnaTagATune, 500 for the Million Song Dataset.
    """

    sample_rate_hz = 16000
    input_samples = 3 * 16000
    # Every convolution keeps the length; the reflection at the ends needs more than half a frame.
    min_samples = WON_MEL.n_fft // 2 + 1
    mel = WON_MEL

    def __init__(self, *, mid_channels: int = 64, hidden: int = 200) -> None:
        super().__init__()
        self.mid_channels = mid_channels
        self.dim = hidden
        self.sequence_dim = 561 + 3 * mid_channels
        self.front_end = LogMel(WON_MEL)
        self.spec_bn = nn.BatchNorm2d(1)
        self.layers = nn.ModuleList(
            [_Timbral(204, 67), _Timbral(204, 38), _Temporal(51, 129), _Temporal(51, 65), _Temporal(51, 33)]
        )
        self.layer1 = _Conv1d(561, mid_channels)
        self.layer2 = _Conv1d(mid_channels, mid_channels)
        self.layer3 = _Conv1d(mid_channels, mid_channels)
        self.dense1 = nn.Linear(2 * self.sequence_dim, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(0.5)

    @property
    def build_options(self) -> dict[str, Any]:
        """The widths of the middle and the hidden layer."""
        return {"mid_channels": self.mid_channels, "hidden": self.dim}

    def _channels(self, waveform: Tensor) -> Tensor:
        mel = self.spec_bn(self.front_end(check_waveform(waveform, self)).unsqueeze(1))
        front = torch.cat([layer(mel) for layer in self.layers], 1)
        mid1 = self.layer1(front)
        mid2 = self.layer2(mid1) + mid1
        mid3 = self.layer3(mid2) + mid2
        return torch.cat([front, mid1, mid2, mid3], 1)

    def sequence(self, waveform: Tensor) -> Tensor:
        """Return front-end and middle channels of each frame [shape=(batch, n_frames, sequence_dim)]."""
        return self._channels(waveform).transpose(1, 2)

    def forward(self, waveform: Tensor) -> Tensor:
        x = self._channels(waveform)
        x = torch.cat([x.amax(2), x.mean(2)], 1)
        return self.dropout(torch.relu(self.bn(self.dense1(x))))


# TensorFlow's batch normalisation adds 0.001 to the variance; PyTorch's default is 0.00001.
_TF_EPS = 1e-3


class _ReluThenNorm(nn.Module):
    """Convolution, ReLU, batch norm, in the order of the 2019 form; `pad` = (left, right) zeros in time."""

    def __init__(self, n_in: int, n_out: int, kernel: tuple[int, int], pad: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel)
        self.bn = nn.BatchNorm2d(n_out, eps=_TF_EPS)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(torch.relu(self.conv(F.pad(x, self.pad)))).amax(2, keepdim=True)


class Musicnn2019(Backbone):
    """The 2019 form: waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, 200)].

    The published model takes patches of 187 frames cut from a longer spectrogram. The last frame, half of which is
    padding, is therefore left out, so that 3 s give one patch.
    """

    dim = 200
    sample_rate_hz = 16000
    input_samples = 3 * 16000
    min_samples = MUSICNN2019_MEL.hop_samples
    mel = MUSICNN2019_MEL
    sequence_dim = 753

    def __init__(self) -> None:
        super().__init__()
        self.front_end = LogMel(MUSICNN2019_MEL)
        self.spec_bn = nn.BatchNorm2d(1, eps=_TF_EPS)
        block = partial(_ReluThenNorm, 1)
        # TensorFlow's "same" padding of an even kernel puts the odd zero on the right.
        self.front = nn.ModuleList(
            [
                block(204, (38, 7), (3, 3)),
                block(204, (67, 7), (3, 3)),
                block(51, (1, 128), (63, 64)),
                block(51, (1, 64), (31, 32)),
                block(51, (1, 32), (15, 16)),
            ]
        )
        self.mid = nn.ModuleList([_ReluThenNorm(n_in, 64, (1, 7), (3, 3)) for n_in in (561, 64, 64)])
        self.pool_bn = nn.BatchNorm1d(1506, eps=_TF_EPS)
        self.dense1 = nn.Linear(1506, 200)
        self.dense_bn = nn.BatchNorm1d(200, eps=_TF_EPS)
        self.dropout = nn.Dropout(0.5)

    def _channels(self, waveform: Tensor) -> Tensor:
        mel = self.spec_bn(self.front_end(check_waveform(waveform, self))[:, :, :-1].unsqueeze(1))
        front = torch.cat([layer(mel) for layer in self.front], 1)
        mid1 = self.mid[0](front)
        mid2 = self.mid[1](mid1) + mid1
        mid3 = self.mid[2](mid2) + mid2
        return torch.cat([front, mid1, mid2, mid3], 1).squeeze(2)

    def sequence(self, waveform: Tensor) -> Tensor:
        """Return front-end and middle channels of each frame [shape=(batch, n_frames, 753)]."""
        return self._channels(waveform).transpose(1, 2)

    def forward(self, waveform: Tensor) -> Tensor:
        x = self._channels(waveform)
        # The published weights have maximum and mean of a channel side by side.
        x = torch.stack([x.amax(2), x.mean(2)], 2).flatten(1)
        x = torch.relu(self.dense1(self.dropout(self.pool_bn(x))))
        return self.dropout(self.dense_bn(x))
