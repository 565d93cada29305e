"""Sample-level CNNs: very short filters straight on 59049 = 3^10 samples, plain or with squeeze and excitation.

Lee, Park, Kim, Nam, "Sample-level deep convolutional neural networks for music auto-tagging using raw waveforms",
SMC 2017; Kim, Lee, Nam, "Sample-level CNN architectures for music auto-tagging using raw waveforms", ICASSP 2018; in
the form of Won, Ferraro, Bogdanov, Serra, SMC 2020.

Verified against the published implementation: logits (tests/golden).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.backbones.base import check_waveform
from encoders.backbones.blocks import NumberedLayers

__all__ = ["SampleCNN", "SampleCNNSE"]

# Channels before and after layers 1 to 11. The first has a stride of 3 samples, the next nine pool by 3, and the last
# has filters of one step.
_WIDTHS = (1, 128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512)


class _Conv(nn.Module):
    def __init__(self, n_in: int, n_out: int, *, kernel: int = 3, stride: int = 1, pool: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, kernel, stride=stride, padding=kernel // 2)
        self.bn = nn.BatchNorm1d(n_out)
        self.pool = nn.MaxPool1d(pool)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(torch.relu(self.bn(self.conv(x))))


class _SqueezeExcite(nn.Module):
    """A residual block whose channels are scaled by gains computed from their means over time (Kim et al. 2018)."""

    def __init__(self, n_in: int, n_out: int, *, kernel: int = 3, stride: int = 1, pool: int = 1) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(n_in, n_out, kernel, stride=stride, padding=kernel // 2)
        self.bn_1 = nn.BatchNorm1d(n_out)
        self.conv_2 = nn.Conv1d(n_out, n_out, kernel, padding=kernel // 2)
        self.bn_2 = nn.BatchNorm1d(n_out)
        self.dense1 = nn.Linear(n_out, n_out)
        self.dense2 = nn.Linear(n_out, n_out)
        self.resized = stride != 1 or n_in != n_out
        if self.resized:
            self.conv_3 = nn.Conv1d(n_in, n_out, kernel, stride=stride, padding=kernel // 2)
            self.bn_3 = nn.BatchNorm1d(n_out)
        self.pool = nn.MaxPool1d(pool)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn_2(self.conv_2(torch.relu(self.bn_1(self.conv_1(x)))))
        gain = torch.sigmoid(self.dense2(torch.relu(self.dense1(y.mean(2)))))
        shortcut = self.bn_3(self.conv_3(x)) if self.resized else x
        return self.pool(torch.relu(y * gain.unsqueeze(2) + shortcut))


class _SampleLevel(NumberedLayers):
    """Eleven blocks.

    With the published input length, one step is left at the end. The mean over time allows longer waveforms: a linear
    head on the plain form then averages its logits over them.
    """

    dim = 512
    sample_rate_hz = 16000
    input_samples = 3**10
    min_samples = 3**10 - 2  # the first, padded convolution reaches one sample beyond both ends
    sequence_dim = 512

    def __init__(self, block: type[_Conv] | type[_SqueezeExcite]) -> None:
        super().__init__()
        last = len(_WIDTHS) - 2
        self.add_layers(
            block(n_in, n_out, kernel=1 if i == last else 3, stride=1 if i else 3, pool=3 if 0 < i < last else 1)
            for i, (n_in, n_out) in enumerate(pairwise(_WIDTHS))
        )
        self.dropout = nn.Dropout(0.5)

    def _maps(self, waveform: Tensor) -> Tensor:
        """Return feature maps [shape=(batch, 512, n_steps)]."""
        return self.through_layers(check_waveform(waveform, self).unsqueeze(1))

    def forward(self, waveform: Tensor) -> Tensor:
        return self.dropout(self._maps(waveform).mean(2))

    def sequence(self, waveform: Tensor) -> Tensor:
        return self._maps(waveform).transpose(1, 2)


class SampleCNN(_SampleLevel):
    """The plain form: waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, 512)]."""

    def __init__(self) -> None:
        super().__init__(_Conv)


class SampleCNNSE(_SampleLevel):
    """With squeeze and excitation: waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, 512)]."""

    def __init__(self) -> None:
        super().__init__(_SqueezeExcite)
        self.dense1 = nn.Linear(512, 512)
        self.bn = nn.BatchNorm1d(512)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.dropout(F.relu(self.bn(self.dense1(self._maps(waveform).mean(2)))))
