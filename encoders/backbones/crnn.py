"""CRNN: four convolutions, then a recurrent network over time, on 29 s of log-mel.

Choi, Fazekas, Sandler, Cho, "Convolutional recurrent neural networks for music classification", ICASSP 2017, in the
form of Won, Ferraro, Bogdanov, Serra, "Evaluation of CNN-based automatic music tagging models", SMC 2020.

Verified against the published implementation: logits (tests/golden).
"""

from __future__ import annotations

from torch import Tensor, nn

from encoders.backbones.base import check_waveform
from encoders.backbones.blocks import WON_MEL, ConvPool2d, NumberedLayers
from encoders.mel import LogMel

__all__ = ["CRNN"]


class CRNN(NumberedLayers):
    """Waveform at 16 kHz [shape=(batch, n_samples)] -> the last state of the upper GRU [shape=(batch, 32)]."""

    dim = 32
    sample_rate_hz = 16000
    input_samples = 29 * 16000
    min_samples = 95 * 256  # 96 centred frames: pooling by 2, 3, 4 and 4 leaves one
    mel = WON_MEL
    sequence_dim = 32

    def __init__(self) -> None:
        super().__init__()
        self.front_end = LogMel(WON_MEL)
        self.spec_bn = nn.BatchNorm2d(1)
        self.add_layers(
            [
                ConvPool2d(1, 64, (2, 2)),
                ConvPool2d(64, 128, (3, 3)),
                ConvPool2d(128, 128, (4, 4)),
                ConvPool2d(128, 128, (4, 4)),
            ]
        )
        self.layer5 = nn.GRU(128, 32, num_layers=2, batch_first=True)
        self.dropout = nn.Dropout(0.5)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.dropout(self.sequence(waveform)[:, -1])

    def sequence(self, waveform: Tensor) -> Tensor:
        """Return the states of the upper GRU [shape=(batch, n_steps, 32)]; a step is 96 frames, 1.536 s."""
        log_mel = self.front_end(check_waveform(waveform, self))
        maps = self.through_layers(self.spec_bn(log_mel.unsqueeze(1)))
        states, _ = self.layer5(maps.squeeze(2).transpose(1, 2))
        return states
