"""Taggers: a backbone and a head, from waveforms to logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from encoders.backbones.base import Backbone, check_waveform
from encoders.backbones.registry import build_backbone
from encoders.heads import AttentionHead, LinearHead, MLPHead
from encoders.level import LevelRule

__all__ = ["HEADS", "TaggerNetwork", "build_tagger", "make_head"]

HEADS = ("linear", "mlp", "attention")


class TaggerNetwork(nn.Module):
    """A backbone with a head: from waveforms to logits.

    Args:
        backbone: any backbone.
        head: takes features [shape=(batch, dim)], or, if its `takes_sequence` is true, [shape=(batch, n_steps,
            sequence_dim)].
        level: the level rule of its waveforms; None, as in every published tagger, leaves their level.

    Attributes:
        takes_sequence: whether the head takes features through time.

    Raises:
        TypeError: the head needs a time axis and the backbone keeps none.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, *, level: LevelRule | None = None) -> None:
        super().__init__()
        self.takes_sequence = bool(getattr(head, "takes_sequence", False))
        if self.takes_sequence and backbone.sequence_dim is None:
            raise TypeError(f"{type(backbone).__name__} keeps no time axis: give it a linear or mlp head")
        self.backbone = backbone
        self.head = head
        self.level = level

    def forward(self, waveform: Tensor) -> Tensor:
        """Return logits [shape=(batch, n_classes)] of waveforms at the backbone's rate [shape=(batch, n_samples)].

        Raises:
            ValueError: wrong shape, too short, or not the fixed length.
        """
        if self.level is not None:
            waveform = self.level(waveform, sample_rate_hz=self.backbone.sample_rate_hz)
        return self.head(self.backbone.sequence(waveform) if self.takes_sequence else self.backbone(waveform))

    def check(self, waveform: Tensor, *, sample_rate_hz: int) -> Tensor:
        """Return a user's audio if the tagger can take it.

        Args:
            waveform: [shape=(batch, n_samples)] in [-1, 1].
            sample_rate_hz: of the waveform.

        Returns:
            The waveform.

        Raises:
            ValueError: wrong rate, wrong shape, too short, not the fixed length, NaN or infinite samples.
        """
        rate = self.backbone.sample_rate_hz
        if sample_rate_hz != rate:
            raise ValueError(
                f"{type(self.backbone).__name__} takes {rate} Hz, this audio has {sample_rate_hz} Hz: "
                f"resample it to {rate} Hz"
            )
        check_waveform(waveform, self.backbone)
        n_bad = int((~torch.isfinite(waveform)).sum())
        if n_bad:
            raise ValueError(f"{n_bad} samples are NaN or infinite: replace them, or decode the file again")
        return waveform


def make_head(head: str, backbone: Backbone, *, n_classes: int) -> nn.Module:
    """Return a head with fresh weights for a backbone.

    Args:
        head: one of `HEADS`.
        backbone: the backbone.
        n_classes: at least 1.

    Returns:
        The head, from features to logits [shape=(batch, n_classes)].

    Raises:
        ValueError: unknown head, or fewer classes than 1.
        TypeError: attention on a backbone that keeps no time axis.
    """
    if n_classes < 1:
        raise ValueError(f"n_classes={n_classes}: a tagger needs at least one class")
    if head == "linear":
        return LinearHead(backbone.dim, n_classes)
    if head == "mlp":
        return MLPHead(backbone.dim, n_classes)
    if head == "attention":
        if backbone.sequence_dim is None:
            raise TypeError(f"{type(backbone).__name__} keeps no time axis: give it a linear or mlp head")
        return AttentionHead(backbone.sequence_dim, n_classes)
    raise ValueError(f"unknown head {head!r}: choose one of {', '.join(HEADS)}")


def build_tagger(name: str, *, n_classes: int, head: str = "linear") -> TaggerNetwork:
    """Build a tagger with fresh weights, drawn from torch's global generator.

    Args:
        name: an architecture of the registry.
        n_classes: at least 1.
        head: "linear" (the published form of most), "mlp" or "attention" (over time).

    Returns:
        The tagger, from waveforms to logits [shape=(batch, n_classes)].

    Raises:
        ValueError: unknown name or head, or fewer classes than 1.
        TypeError: attention on an architecture that keeps no time axis.
    """
    backbone = build_backbone(name)
    return TaggerNetwork(backbone, make_head(head, backbone, n_classes=n_classes))
