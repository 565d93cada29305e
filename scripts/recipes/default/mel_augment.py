"""Augmentation of log-mel power: mixing, gain, spectral tilt, noise, shifts and masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MelAugment"]


@dataclass(frozen=True)
class MelAugment:
    """Random changes of log-mel power, before the front end's scaling.

    Attributes:
        gain_db: largest gain, up or down.
        colour_db: largest change of a smooth curve over frequency.
        noise_probability: probability of added noise.
        shift_bands: largest shift along frequency.
        time_mask_frames: longest masked stretch of time.
        band_mask: largest number of masked bands.
    """

    gain_db: float = 12.0
    colour_db: float = 8.0
    noise_probability: float = 0.3
    shift_bands: int = 2
    time_mask_frames: int = 60
    band_mask: int = 10

    def __call__(self, log_power: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return changed log power, for which the labels are still valid [shape=(batch, n_mels, n_frames)]."""
        n, bands, frames = log_power.shape
        to_ln = 0.1 * 2.302585
        uniform = torch.rand(n, 8, generator=generator)
        x = log_power + ((uniform[:, 0] * 2 - 1) * self.gain_db * to_ln)[:, None, None]
        # A smooth curve over frequency, like that of another microphone or room.
        knots = (torch.rand(n, 1, 5, generator=generator) * 2 - 1) * self.colour_db * to_ln
        curve = torch.nn.functional.interpolate(knots, size=bands, mode="linear", align_corners=True)
        x = x + curve.transpose(1, 2)
        noisy = uniform[:, 1] < self.noise_probability
        level = x.mean((1, 2)) + (uniform[:, 2] * 4 - 6)
        tilt = torch.linspace(0, 1, bands) * (uniform[:, 3:4] * 3 - 1.5)
        noise = level[:, None, None] + tilt[:, :, None] + 0.5 * torch.randn(n, bands, frames, generator=generator)
        x = torch.where(noisy[:, None, None], torch.logaddexp(x, noise), x)
        silence = float(torch.log(torch.tensor(1e-5)))
        for i in range(n):
            # Mel bands are nearly logarithmic above 1 kHz, so a shift along frequency is a small change of pitch.
            shift = int(torch.randint(-self.shift_bands, self.shift_bands + 1, (1,), generator=generator))
            start = int(torch.randint(0, frames, (1,), generator=generator))
            x[i] = torch.roll(x[i], (shift, start), (0, 1))
            width = int(uniform[i, 4] * self.time_mask_frames)
            at = int(uniform[i, 5] * (frames - width))
            x[i, :, at : at + width] = silence
            width = int(uniform[i, 6] * self.band_mask)
            at = int(uniform[i, 7] * (bands - width))
            x[i, at : at + width] = silence
        return x.clamp_min(silence)

    def mix(self, a: Tensor, b: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the log of the sum of two powers, the second up to 10 dB softer [shape=(batch, n_mels, n_frames)]."""
        drop = torch.rand(len(a), 1, 1, generator=generator) * 10 * 0.2302585
        level = a.amax((1, 2), keepdim=True) - b.amax((1, 2), keepdim=True)
        return torch.logaddexp(a, b + level - drop)
