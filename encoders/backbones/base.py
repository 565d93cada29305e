"""What every backbone promises: a waveform at its own rate in, features out, clear errors for what it cannot take."""

from __future__ import annotations

from torch import Tensor, nn

from encoders.mel import MelSpec

__all__ = ["Backbone", "check_waveform"]


class Backbone(nn.Module):
    """A network from waveforms [shape=(batch, n_samples)] in [-1, 1] to features [shape=(batch, dim)].

    ``features`` is what the last fully connected layer of the published tagger sees: with a linear head on it, a
    backbone is that tagger.

    Attributes:
        dim: width of the features.
        sample_rate_hz: of the waveforms.
        input_samples: the published input length.
        min_samples: the shortest waveform that leaves every layer a frame.
        fixed_length: the architecture takes exactly ``input_samples``.
        mel: the front end; None where the network reads samples.
        sequence_dim: width of ``sequence``; None where the network keeps no time axis.
    """

    dim: int
    sample_rate_hz: int
    input_samples: int
    min_samples: int
    fixed_length: bool = False
    mel: MelSpec | None = None
    sequence_dim: int | None = None

    def forward(self, waveform: Tensor) -> Tensor:
        """Features [shape=(batch, dim)] of waveforms [shape=(batch, n_samples)].

        Raises:
            ValueError: wrong shape, too short, or not the fixed length.
        """
        raise NotImplementedError

    def sequence(self, waveform: Tensor) -> Tensor:
        """Features through time [shape=(batch, n_steps, sequence_dim)], before the network's own pooling over time.

        Raises:
            TypeError: the network keeps no time axis.
        """
        raise TypeError(f"{type(self).__name__} keeps no time axis: give it a linear or mlp head")


def check_waveform(waveform: Tensor, backbone: Backbone) -> Tensor:
    """Return the waveform if the backbone can take it; the message of the error says what would be right.

    Values are not looked at here (a NaN search would stall a GPU): taggers that take a user's audio do so at the door.

    Raises:
        ValueError: wrong shape, too short, or not the fixed length.
    """
    name, rate = type(backbone).__name__, backbone.sample_rate_hz
    if waveform.ndim != 2:
        raise ValueError(f"{name} takes waveforms [shape=(batch, n_samples)], not {tuple(waveform.shape)}")
    n = waveform.shape[1]
    if backbone.fixed_length and n != backbone.input_samples:
        raise ValueError(
            f"{name} takes exactly {backbone.input_samples} samples "
            f"({backbone.input_samples / rate:.2f} s at {rate} Hz), not {n}"
        )
    if n < backbone.min_samples:
        raise ValueError(
            f"{name} needs at least {backbone.min_samples} samples ({backbone.min_samples / rate:.2f} s at {rate} Hz), "
            f"this waveform has {n}: repeat or pad it first"
        )
    return waveform
