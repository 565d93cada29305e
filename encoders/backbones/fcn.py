"""FCN: fully convolutional tagger on 29 s of log-mel.

Choi, Fazekas, Sandler, "Automatic tagging using deep convolutional neural networks", ISMIR 2016, in the form of
Won, Ferraro, Bogdanov, Serra, "Evaluation of CNN-based automatic music tagging models", SMC 2020.
"""

from __future__ import annotations

from torch import Tensor, nn

from encoders.backbones.base import Backbone, check_waveform
from encoders.mel import LogMel, MelSpec

__all__ = ["FCN", "WON_MEL"]

WON_MEL = MelSpec(
    sample_rate_hz=16000, n_fft=512, window_samples=512, hop_samples=256, n_mels=96, f_min_hz=0.0, f_max_hz=8000.0
)


class _ConvPool(nn.Module):
    def __init__(self, n_in: int, n_out: int, pool: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.bn = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(pool)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.relu(self.bn(self.conv(x))))


class FCN(Backbone):
    """Waveform at 16 kHz [shape=(batch, n_samples)] -> features [shape=(batch, 64)].

    The poolings leave 29 s one step; audio of 41 s and more has several, and their maximum is taken.
    """

    dim = 64
    sample_rate_hz = 16000
    input_samples = 29 * 16000
    # The poolings shorten time 4 * 4 * 4 * 5 * 4 = 1280 times; the first frame is centred on the first sample.
    min_samples = 1279 * 256
    mel = WON_MEL

    def __init__(self) -> None:
        super().__init__()
        self.front_end = LogMel(WON_MEL)
        self.spec_bn = nn.BatchNorm2d(1)
        self.layer1 = _ConvPool(1, 64, (2, 4))
        self.layer2 = _ConvPool(64, 128, (2, 4))
        self.layer3 = _ConvPool(128, 128, (2, 4))
        self.layer4 = _ConvPool(128, 128, (3, 5))
        self.layer5 = _ConvPool(128, 64, (4, 4))
        self.dropout = nn.Dropout(0.5)

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.spec_bn(self.front_end(check_waveform(waveform, self)).unsqueeze(1))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5):
            x = layer(x)
        return self.dropout(x.amax((2, 3)))
