"""Short-chunk CNN: small convolutions with max pooling, or strided residual blocks, on 3.7 s of log-mel.

Won, Ferraro, Bogdanov, Serra, "Evaluation of CNN-based automatic music tagging models", SMC 2020; the
blocks are those of VGG (Simonyan and Zisserman 2015) and ResNet (He et al. 2016), the longer architectures share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from encoders.backbones.base import Backbone, check_waveform
from encoders.backbones.fcn import WON_MEL
from encoders.mel import LogMel

__all__ = ["WON_MEL_128", "ConvPool2d", "ResidualConv2d", "ShortChunkCNN", "ShortChunkCNNRes"]

WON_MEL_128 = replace(WON_MEL, n_mels=128)


class ConvPool2d(nn.Module):
    """3 × 3 convolution, batch norm, ReLU, max pooling by ``pool`` = (mel, time), what is left over being dropped."""

    def __init__(self, n_in: int, n_out: int, pool: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.bn = nn.BatchNorm2d(n_out)
        self.pool = nn.MaxPool2d(pool)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(torch.relu(self.bn(self.conv(x))))


class ResidualConv2d(nn.Module):
    """Two 3 × 3 convolutions, the first strided by (mel, time), beside a strided 3 × 3 convolution as shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1)
        self.bn_1 = nn.BatchNorm2d(n_out)
        self.conv_2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.bn_2 = nn.BatchNorm2d(n_out)
        self.conv_3 = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1)
        self.bn_3 = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn_2(self.conv_2(torch.relu(self.bn_1(self.conv_1(x)))))
        return torch.relu(y + self.bn_3(self.conv_3(x)))


class _ShortChunk(Backbone):
    """What both forms share: seven blocks, each halving mel and time, the maximum over time, one dense layer."""

    dim = 512
    sample_rate_hz = 16000
    input_samples = 59049
    mel = WON_MEL_128
    sequence_dim = 512

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.front_end = LogMel(WON_MEL_128)
        self.spec_bn = nn.BatchNorm2d(1)
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5, self.layer6, self.layer7 = blocks
        self.dense1 = nn.Linear(512, 512)
        self.bn = nn.BatchNorm1d(512)
        self.dropout = nn.Dropout(0.5)

    def _maps(self, waveform: Tensor) -> Tensor:
        """Feature maps [shape=(batch, 512, n_steps)]."""
        x = self.spec_bn(self.front_end(check_waveform(waveform, self)).unsqueeze(1))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5, self.layer6, self.layer7):
            x = layer(x)
        return x.squeeze(2)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.dropout(torch.relu(self.bn(self.dense1(self._maps(waveform).amax(2)))))

    def sequence(self, waveform: Tensor) -> Tensor:
        return self._maps(waveform).transpose(1, 2)


_WIDTHS = (1, 128, 128, 256, 256, 256, 256, 512)


class ShortChunkCNN(_ShortChunk):
    """The plain form: waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, 512)]."""

    min_samples = 127 * 256  # 128 centred frames: seven halvings leave one

    def __init__(self) -> None:
        super().__init__([ConvPool2d(n_in, n_out) for n_in, n_out in pairwise(_WIDTHS)])


class ShortChunkCNNRes(_ShortChunk):
    """The residual form: waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, 512)]."""

    min_samples = 257  # the padded strides always leave a frame; the front end reflects 256 samples

    def __init__(self) -> None:
        super().__init__([ResidualConv2d(n_in, n_out) for n_in, n_out in pairwise(_WIDTHS)])
