"""Mask bands and frames of log-mel spectrograms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SpecAugment"]


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """Bands and stretches of frames replaced by the clip's lowest value.

    Frames are masked only where the clip sounds: a mask over the silence that pads a short note would hide nothing, and
    a mask
    of the mean over a note would add a sound. Masking with a constant is the published method, without time warping.

    Attributes:
        band_masks, time_masks: number of masks a spectrogram.
        band_share, time_share: greatest width of a mask, as a share of the bands and of the sounding frames.

    Source: Park et al. 2019, section 2.
    """

    band_masks: int = 2
    time_masks: int = 2
    band_share: float = 0.15
    time_share: float = 0.1

    def __call__(self, log_mel: Tensor, *, seed: int) -> Tensor:
        """Mask spectrograms [shape=(batch, n_mels, n_frames)]; a seed masks the same places on any device."""
        batch, n_mels, n_frames = log_mel.shape
        generator = torch.Generator().manual_seed(seed)
        first, last = _sounding_frames(log_mel)
        bands = torch.zeros(batch, n_mels, dtype=torch.bool)
        frames = torch.zeros(batch, n_frames, dtype=torch.bool)
        for _ in range(self.band_masks):
            bands |= _stretch(
                torch.zeros(batch), torch.full((batch,), float(n_mels)), self.band_share, n_mels, generator
            )
        for _ in range(self.time_masks):
            frames |= _stretch(first, last, self.time_share, n_frames, generator)
        masked = (bands.unsqueeze(2) | frames.unsqueeze(1)).to(log_mel.device)
        return torch.where(masked, log_mel.amin((1, 2), keepdim=True), log_mel)


def _sounding_frames(log_mel: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first frame, and the one after the last, that is above the clip's lowest level [shape=(batch,)]."""
    level = log_mel.detach().float().mean(1).cpu()
    low, high = level.amin(1, keepdim=True), level.amax(1, keepdim=True)
    sounds = level > low + 0.1 * (high - low)
    sounds |= ~sounds.any(1, keepdim=True)  # a constant spectrogram sounds throughout
    place = torch.arange(level.shape[1], dtype=torch.float32)
    inf = torch.full_like(level, float("inf"))
    return torch.where(sounds, place, inf).amin(1), torch.where(sounds, place, -inf).amax(1) + 1


def _stretch(first: Tensor, last: Tensor, share: float, n: int, generator: torch.Generator) -> Tensor:
    """Return a random stretch within [first, last) of each clip, at most `share` of it long [shape=(batch, n)] bool."""
    length = last - first
    width = torch.rand(len(first), generator=generator) * share * length
    start = first + torch.rand(len(first), generator=generator) * (length - width)
    place = torch.arange(n)
    return (place >= start.unsqueeze(1)) & (place < (start + width).unsqueeze(1))
