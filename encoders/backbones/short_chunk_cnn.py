"""Short-chunk CNN: small convolutions with max pooling, or strided residual blocks, on 3.7 s of log-mel.

Won, Ferraro, Bogdanov, Serra, "Evaluation of CNN-based automatic music tagging models", SMC 2020.

Verified against the published implementation: logits (tests/golden).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from torch import Tensor, nn

from encoders.backbones.base import check_waveform
from encoders.backbones.blocks import WON_MEL_128, ConvPool2d, MaxOverTime, ResidualConv2d
from encoders.mel import LogMel

__all__ = ["ShortChunkCNN", "ShortChunkCNNRes"]

_WIDTHS = (1, 128, 128, 256, 256, 256, 256, 512)


class _ShortChunk(MaxOverTime):
    """Seven layers, each halving mel and time."""

    dim = 512
    sample_rate_hz = 16000
    input_samples = 59049
    mel = WON_MEL_128
    sequence_dim = 512

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.front_end = LogMel(WON_MEL_128)
        self.spec_bn = nn.BatchNorm2d(1)
        self.add_layers(layers)
        self.add_dense(512)

    def picture(self, waveform: Tensor) -> Tensor:
        return self.spec_bn(self.front_end(check_waveform(waveform, self)).unsqueeze(1))


class ShortChunkCNN(_ShortChunk):
    """The plain form: waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, 512)]."""

    min_samples = 127 * 256  # 128 centred frames: seven halvings leave one

    def __init__(self) -> None:
        super().__init__(ConvPool2d(n_in, n_out) for n_in, n_out in pairwise(_WIDTHS))


class ShortChunkCNNRes(_ShortChunk):
    """The residual form: waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, 512)]."""

    min_samples = 257  # the padded strides always leave a frame; the front end reflects 256 samples

    def __init__(self) -> None:
        super().__init__(ResidualConv2d(n_in, n_out) for n_in, n_out in pairwise(_WIDTHS))
