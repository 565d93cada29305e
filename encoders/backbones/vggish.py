"""VGGish: a small VGG on log-mel examples of 0.96 s.

Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017, in the form whose 128-wide
embedding was published with AudioSet.

Verified against the published implementation: log-mel examples and features (tests/golden).
"""

from __future__ import annotations

from torch import Tensor, nn

from encoders.backbones.base import Backbone, check_waveform
from encoders.mel import LogMel, MelSpec

__all__ = ["VGGISH_MEL", "VGGish"]

VGGISH_MEL = MelSpec(
    sample_rate_hz=16000,
    n_fft=512,
    window_samples=400,
    hop_samples=160,
    n_mels=64,
    f_min_hz=125.0,
    f_max_hz=7500.0,
    # Triangles are linear in mel, as in Kaldi; the Nyquist bin that Kaldi omits lies above the highest band.
    mel_scale="kaldi",
    centred=False,
    magnitude=True,
    log="ln",
    log_floor=0.01,
)
_EXAMPLE_FRAMES = 96


def _convolutions() -> nn.Sequential:
    layers: list[nn.Module] = []
    n_in = 1
    for widths in ((64,), (128,), (256, 256), (512, 512)):
        for n_out in widths:
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
            n_in = n_out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class VGGish(Backbone):
    """Waveform at 16 kHz [shape=(batch, n_samples)] -> mean embedding of its examples [shape=(batch, 128)], >= 0.

    Examples of 96 frames follow each other without overlap; remaining frames that do not fill an example are dropped.
    The last frame of an example of 0.96 s extends 15 ms beyond its end.
    """

    dim = 128
    sample_rate_hz = 16000
    input_samples = min_samples = (_EXAMPLE_FRAMES - 1) * 160 + 400  # one example
    mel = VGGISH_MEL
    sequence_dim = 128

    def __init__(self) -> None:
        super().__init__()
        self.front_end = LogMel(VGGISH_MEL)
        self.features = _convolutions()
        self.embeddings = nn.Sequential(
            nn.Linear(6 * 4 * 512, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 128), nn.ReLU()
        )

    def examples(self, waveform: Tensor) -> Tensor:
        """Return log-mel examples [shape=(batch, n_examples, 96, 64)]: time, then mel.

        Raises:
            ValueError: wrong shape, or too short for one example.
        """
        log_mel = self.front_end(check_waveform(waveform, self))
        return log_mel.unfold(2, _EXAMPLE_FRAMES, _EXAMPLE_FRAMES).permute(0, 2, 3, 1)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.sequence(waveform).mean(1)

    def sequence(self, waveform: Tensor) -> Tensor:
        """Return the embedding of each example [shape=(batch, n_examples, 128)]."""
        examples = self.examples(waveform)
        maps = self.features(examples.flatten(0, 1).unsqueeze(1))
        # The published weights come from TensorFlow, where channels are the last axis.
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1)).unflatten(0, examples.shape[:2])
