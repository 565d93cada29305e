"""The contract of every backbone: waveforms at its own sample rate in, features out."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from encoders.mel import MelSpec

__all__ = ["Backbone", "check_chunk_length", "check_waveform"]


class Backbone(nn.Module):
    """A network from waveforms [shape=(batch, n_samples)] in [-1, 1] to features [shape=(batch, dim)].

    The features are the input of the last fully connected layer of the published tagger: a backbone with a linear head
    is that tagger.

    Attributes:
        dim: width of the features.
        sample_rate_hz: sample rate of the waveforms.
        input_samples: the published input length.
        min_samples: the shortest waveform that leaves every layer at least one frame.
        fixed_length: whether the architecture takes exactly `input_samples`.
        mel: the log-mel front end; None where the network reads samples or has a front end of its own.
        sequence_dim: width of `sequence`; None where the network keeps no time axis.
    """

    dim: int
    sample_rate_hz: int
    input_samples: int
    min_samples: int
    fixed_length: bool = False
    mel: MelSpec | None = None
    sequence_dim: int | None = None

    @property
    def default_chunk_s(self) -> float:
        """Length in seconds of the chunks that audio is cut into by default: the published input length."""
        return self.input_samples / self.sample_rate_hz

    @property
    def front_end_name(self) -> str:
        """The front end in a few words, for a table."""
        if self.mel is None:
            return "samples"
        return f"{self.mel.n_mels} mels every {1000 * self.mel.hop_samples / self.sample_rate_hz:.3g} ms"

    @property
    def front_end_config(self) -> dict[str, Any]:
        """The front end as JSON data: its `kind`, its sample rate, and every number that its output depends on."""
        if self.mel is None:
            return {"kind": "samples", "sample_rate_hz": self.sample_rate_hz}
        return {"kind": "log_mel", **self.mel.to_dict()}

    @property
    def build_options(self) -> dict[str, Any]:
        """The keywords, as JSON data, with which `registry.build_backbone` builds this architecture again."""
        return {}

    def inference_copy(self) -> Backbone:
        """Return an independent copy in eval mode, which may be rearranged to run faster.

        Its features agree with those of the original in eval mode up to rounding. It does not follow later changes of
        the original's weights or device.
        """
        return copy.deepcopy(self).eval()

    def forward(self, waveform: Tensor) -> Tensor:
        """Return features [shape=(batch, dim)] of waveforms [shape=(batch, n_samples)].

        Raises:
            ValueError: wrong shape, too short, or not the fixed length.
        """
        raise NotImplementedError

    def sequence(self, waveform: Tensor) -> Tensor:
        """Return features through time [shape=(batch, n_steps, sequence_dim)], before the network's pooling over time.

        Raises:
            TypeError: the network keeps no time axis.
            ValueError: wrong shape, too short, or not the fixed length.
        """
        raise TypeError(f"{type(self).__name__} keeps no time axis: give it a linear or mlp head")


def check_waveform(waveform: Tensor, backbone: Backbone) -> Tensor:
    """Return the waveform if the backbone can take it.

    The values are not checked, because a search for NaN would stall a GPU; `TaggerNetwork.check` does that for a
    user's audio.

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


def check_chunk_length(backbone: Backbone, *, sample_rate_hz: int, chunk_s: float) -> None:
    """Check that a backbone takes chunks of this sample rate and length.

    Raises:
        ValueError: it does not; the message names the rate or length that it takes.
    """
    name, n = type(backbone).__name__, round(chunk_s * sample_rate_hz)
    if sample_rate_hz != backbone.sample_rate_hz:
        raise ValueError(f"sample_rate_hz={sample_rate_hz}: {name} takes {backbone.sample_rate_hz} Hz")
    if n < backbone.min_samples or (backbone.fixed_length and n != backbone.input_samples):
        word, wanted = (
            ("exactly", backbone.input_samples) if backbone.fixed_length else ("at least", backbone.min_samples)
        )
        raise ValueError(f"chunk_s={chunk_s}: {name} takes {word} {wanted} samples ({wanted / sample_rate_hz:.3f} s)")
