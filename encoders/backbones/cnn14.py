"""CNN14: fourteen layers on the log-mel of general audio.

Kong, Cao, Iqbal, Wang, Wang, Plumbley, "PANNs: Large-scale pretrained audio neural networks for audio pattern
recognition", IEEE/ACM TASLP 28, 2020, Table 1.

Verified against the published implementation: features and logits (tests/golden).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.backbones.base import Backbone, check_waveform
from encoders.mel import LogMel, MelSpec

__all__ = ["CNN14", "PANNS_MEL"]

PANNS_MEL = MelSpec(
    sample_rate_hz=32000,
    n_fft=1024,
    window_samples=1024,
    hop_samples=320,
    n_mels=64,
    f_min_hz=50.0,
    f_max_hz=14000.0,
    mel_scale="slaney",
    area_norm=True,
)


class _ConvBlock(nn.Module):
    """Two 3 × 3 convolutions with batch norm and ReLU, then average pooling by `pool` × `pool`."""

    def __init__(self, n_in: int, n_out: int, *, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return x if self.pool == 1 else F.avg_pool2d(x, self.pool)


class CNN14(Backbone):
    """Waveform at 32 kHz [shape=(batch, n_samples)] -> the paper's embedding [shape=(batch, 2048)], >= 0."""

    dim = 2048
    sample_rate_hz = 32000
    input_samples = 10 * 32000
    min_samples = 31 * 320  # 32 centred frames: five halvings leave one
    mel = PANNS_MEL
    sequence_dim = 2048

    def __init__(self) -> None:
        super().__init__()
        self.front_end = LogMel(PANNS_MEL)
        self.bn0 = nn.BatchNorm2d(PANNS_MEL.n_mels)
        self.conv_block1 = _ConvBlock(1, 64, pool=2)
        self.conv_block2 = _ConvBlock(64, 128, pool=2)
        self.conv_block3 = _ConvBlock(128, 256, pool=2)
        self.conv_block4 = _ConvBlock(256, 512, pool=2)
        self.conv_block5 = _ConvBlock(512, 1024, pool=2)
        self.conv_block6 = _ConvBlock(1024, 2048, pool=1)
        self.fc1 = nn.Linear(2048, 2048)

    def forward(self, waveform: Tensor) -> Tensor:
        steps = self.sequence(waveform)
        x = F.dropout(steps.amax(1) + steps.mean(1), 0.5, self.training)
        return F.dropout(torch.relu(self.fc1(x)), 0.5, self.training)

    def sequence(self, waveform: Tensor) -> Tensor:
        """Return mean features over frequency [shape=(batch, n_steps, 2048)]; a step is 32 frames, 0.32 s."""
        log_mel = self.front_end(check_waveform(waveform, self))
        # The first norm takes bands as channels; the convolutions take them as columns of a picture.
        x = self.bn0(log_mel.unsqueeze(3)).permute(0, 3, 2, 1)
        blocks = (self.conv_block1, self.conv_block2, self.conv_block3)
        for block in (*blocks, self.conv_block4, self.conv_block5, self.conv_block6):
            x = F.dropout(block(x), 0.2, self.training)
        return x.mean(3).transpose(1, 2)
