"""Front ends, blocks and base classes that several architectures share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from encoders.backbones.base import Backbone
from encoders.mel import MelSpec

__all__ = ["WON_MEL", "WON_MEL_128", "ConvPool2d", "MaxOverTime", "NumberedLayers", "ResidualConv2d"]

# The front ends of Won, Ferraro, Bogdanov, Serra, "Evaluation of CNN-based automatic music tagging models", SMC 2020.
WON_MEL = MelSpec(
    sample_rate_hz=16000, n_fft=512, window_samples=512, hop_samples=256, n_mels=96, f_min_hz=0.0, f_max_hz=8000.0
)
WON_MEL_128 = replace(WON_MEL, n_mels=128)


class ConvPool2d(nn.Module):
    """3 × 3 convolution, batch norm, ReLU, max pooling by `pool` = (mel, time).

    Source: VGG (Simonyan and Zisserman, ICLR 2015).
    """

    def __init__(self, n_in: int, n_out: int, pool: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.bn = nn.BatchNorm2d(n_out)
        self.pool = nn.MaxPool2d(pool)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(torch.relu(self.bn(self.conv(x))))


class ResidualConv2d(nn.Module):
    """Two 3 × 3 convolutions, the first strided by (mel, time), and a strided 3 × 3 convolution as the shortcut.

    Source: ResNet (He, Zhang, Ren, Sun, CVPR 2016).
    """

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


class NumberedLayers(Backbone):
    """A backbone with a stack of layers named `layer1`, `layer2`, ..., as in the checkpoints of Won et al. 2020."""

    n_layers: int

    def add_layers(self, layers: Iterable[nn.Module]) -> None:
        """Register the stack, from the input on."""
        self.n_layers = 0
        for layer in layers:
            self.n_layers += 1
            self.add_module(f"layer{self.n_layers}", layer)

    def through_layers(self, x: Tensor) -> Tensor:
        """Return the output of the last layer."""
        for i in range(1, self.n_layers + 1):
            x = self.get_submodule(f"layer{i}")(x)
        return x


class MaxOverTime(NumberedLayers):
    """Layers that leave one band; then the maximum over time, and a dense layer with batch norm and ReLU."""

    def add_dense(self, width: int) -> None:
        """Register the dense layer; call it after `add_layers`."""
        self.dense1 = nn.Linear(width, width)
        self.bn = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(0.5)

    def picture(self, waveform: Tensor) -> Tensor:
        """Return the input of the first layer [shape=(batch, n_channels, n_bands, n_frames)]."""
        raise NotImplementedError

    def _maps(self, waveform: Tensor) -> Tensor:
        """Return feature maps [shape=(batch, dim, n_steps)]."""
        return self.through_layers(self.picture(waveform)).squeeze(2)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.dropout(torch.relu(self.bn(self.dense1(self._maps(waveform).amax(2)))))

    def sequence(self, waveform: Tensor) -> Tensor:
        return self._maps(waveform).transpose(1, 2)
