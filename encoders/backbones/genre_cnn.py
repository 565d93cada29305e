"""GenreCNN: five convolutions and two fully connected layers on 3 s of log-mel, for one label a clip.

There is no publication to verify it against: the tests hold its layers, its first weights and the contract of all
backbones.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from encoders.backbones.base import Backbone, check_waveform
from encoders.backbones.blocks import ConvPool2d
from encoders.mel import LogMel, MelSpec

__all__ = ["GENRE_MEL", "GenreCNN"]

GENRE_MEL = MelSpec(
    sample_rate_hz=22050,
    n_fft=2048,
    window_samples=2048,
    hop_samples=512,
    n_mels=128,
    f_min_hz=0.0,
    f_max_hz=11025.0,
    mel_scale="slaney",
    area_norm=True,
)
_WIDTHS = (1, 32, 64, 128, 256, 256)


class GenreCNN(Backbone):
    """Waveform of 3 s at 22.05 kHz [shape=(batch, 66150)] -> hidden layer [shape=(batch, 512)], >= 0.

    Five blocks of a 3 × 3 convolution, batch norm, ReLU and 2 × 2 max pooling leave 4 × 4 positions, which the first
    fully connected layer takes; a linear head is the second one. Train its logits with a softmax loss
    (`torch.nn.functional.cross_entropy`). Weights are drawn from a normal distribution whose variance preserves that of
    the signal through ReLU.

    Source: He, Zhang, Ren, Sun, ICCV 2015, equation 10.
    """

    dim = 512
    sample_rate_hz = 22050
    input_samples = min_samples = 3 * 22050
    fixed_length = True
    mel = GENRE_MEL

    def __init__(self, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.front_end = LogMel(GENRE_MEL)
        self.spec_bn = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(*(ConvPool2d(n_in, n_out) for n_in, n_out in pairwise(_WIDTHS)))
        self.fc1 = nn.Linear(256 * 4 * 4, self.dim)
        self.dropout = nn.Dropout(dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    @property
    def build_options(self) -> dict[str, Any]:
        """The dropout before the last layer."""
        return {"dropout": self.dropout.p}

    def forward(self, waveform: Tensor) -> Tensor:
        log_mel = self.front_end(check_waveform(waveform, self))
        maps = self.blocks(self.spec_bn(log_mel.unsqueeze(1)))
        return self.dropout(torch.relu(self.fc1(maps.flatten(1))))
