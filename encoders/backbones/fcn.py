"""FCN: a fully convolutional tagger on 29 s of log-mel.

Choi, Fazekas, Sandler, "Automatic tagging using deep convolutional neural networks", ISMIR 2016, in the form of
Won, Ferraro, Bogdanov, Serra, "Evaluation of CNN-based automatic music tagging models", SMC 2020.

Verified against the published implementation: logits (tests/golden).
"""

from __future__ import annotations

from torch import Tensor, nn

from encoders.backbones.base import check_waveform
from encoders.backbones.blocks import WON_MEL, ConvPool2d, NumberedLayers
from encoders.mel import LogMel

__all__ = ["FCN"]


class FCN(NumberedLayers):
    """Waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, 64)].

    The poolings reduce 29 s to one step. Audio of 41 s or more has several steps, and their maximum is taken.
    """

    dim = 64
    sample_rate_hz = 16000
    input_samples = 29 * 16000
    # The poolings divide time by 4 * 4 * 4 * 5 * 4 = 1280; the first frame is centred on the first sample.
    min_samples = 1279 * 256
    mel = WON_MEL

    def __init__(self) -> None:
        super().__init__()
        self.front_end = LogMel(WON_MEL)
        self.spec_bn = nn.BatchNorm2d(1)
        self.add_layers(
            [
                ConvPool2d(1, 64, (2, 4)),
                ConvPool2d(64, 128, (2, 4)),
                ConvPool2d(128, 128, (2, 4)),
                ConvPool2d(128, 128, (3, 5)),
                ConvPool2d(128, 64, (4, 4)),
            ]
        )
        self.dropout = nn.Dropout(0.5)

    def forward(self, waveform: Tensor) -> Tensor:
        log_mel = self.front_end(check_waveform(waveform, self))
        return self.dropout(self.through_layers(self.spec_bn(log_mel.unsqueeze(1))).amax((2, 3)))
