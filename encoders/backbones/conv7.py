"""Conv7: seven plain convolutions on up to 30 s of log-mel, the closed-set baseline of the retrieval model.

There is no publication to verify it against: the tests hold its layers, its steps and the contract of all backbones.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from encoders.backbones.base import Backbone, check_waveform
from encoders.backbones.blocks import ConvPool2d
from encoders.mel import LogMel, MelSpec

__all__ = ["CONV7_MEL", "Conv7"]

# 128 bands, so that seven halvings leave one. A hop of 32 ms, because the second convolution takes half of the time,
# in proportion to the number of frames.
CONV7_MEL = MelSpec(
    sample_rate_hz=16000, n_fft=1024, window_samples=1024, hop_samples=512, n_mels=128, f_min_hz=0.0, f_max_hz=8000.0
)
_WIDTHS = (1, 128, 256, 256, 256, 512, 512, 256)
_TIME_HALVINGS = 5  # seven would make a step of four seconds, and shorter clips impossible


class Conv7(Backbone):
    """Waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, 256)], >= 0.

    Seven blocks of a 3 × 3 convolution, batch norm, ReLU and max pooling. All halve frequency; the first five also
    halve time. The features are the mean plus the maximum over the remaining steps, so the network takes any length
    of at least one step (1 s); 30 s have 29 steps.
    """

    dim = 256
    sample_rate_hz = 16000
    input_samples = 30 * 16000
    min_samples = (2**_TIME_HALVINGS - 1) * 512  # the first frame is centred on the first sample
    mel = CONV7_MEL
    sequence_dim = 256

    def __init__(self) -> None:
        super().__init__()
        self.front_end = LogMel(CONV7_MEL)
        self.spec_bn = nn.BatchNorm2d(1)
        pools = [(2, 2 if i < _TIME_HALVINGS else 1) for i in range(len(_WIDTHS) - 1)]
        blocks = [ConvPool2d(n_in, n_out, pool) for (n_in, n_out), pool in zip(pairwise(_WIDTHS), pools, strict=True)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, waveform: Tensor) -> Tensor:
        steps = self.sequence(waveform)
        return steps.amax(1) + steps.mean(1)

    def sequence(self, waveform: Tensor) -> Tensor:
        """Return features of each step [shape=(batch, n_steps, 256)]; a step is 32 frames, 1.024 s."""
        log_mel = self.front_end(check_waveform(waveform, self))
        return self.blocks(self.spec_bn(log_mel.unsqueeze(1))).squeeze(2).transpose(1, 2)
