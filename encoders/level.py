"""The level rule of a model: the gain of each chunk that is too quiet for the network, as data in the model's config.

A network is trained on audio as it is published, most of which lies between 30 and 5 dB below full scale, and knows
less about the same sound at -60 dB. The rule raises the quiet chunk, and leaves every chunk alone that lies where
training audio does, and silence and noise floors. It follows from the chunk alone: the vectors of a file depend neither
on what is read with it nor on where reading starts, and training, indexing, tagging and queries apply it at the same
place, at the entrance of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["DEFAULT_LEVEL", "LevelRule"]

_SMALLEST_POWER = 1e-14  # -140 dB


@dataclass(frozen=True, kw_only=True)
class LevelRule:
    """A curve from the level of a chunk to the level at which the network gets it.

    The level is the mean power of the blocks that are at most `gate_db` below the loudest one, after the chunk's mean
    is subtracted, in dB relative to a square wave at full scale: silence between sounds does not count.

    Attributes:
        points_db: corners (level, new level) of the curve, both rising; straight between them. Below the first corner
            and above the last, the gain is that of the corner.
        block_s: length of a block in seconds; the rest of a chunk that fills no block does not count.
        gate_db: how far below the loudest block the others count.

    Raises:
        ValueError: the curve has fewer than two corners, or does not rise, or a number is not positive.
    """

    points_db: tuple[tuple[float, float], ...]
    block_s: float = 0.1
    gate_db: float = 20.0

    def __post_init__(self) -> None:
        steps = zip(self.points_db, self.points_db[1:], strict=False)
        if len(self.points_db) < 2 or not all(a[0] < b[0] and a[1] <= b[1] for a, b in steps):
            raise ValueError(f"points_db={self.points_db}: a level rule has at least two corners, at rising levels")
        if not (self.block_s > 0 and self.gate_db > 0):
            raise ValueError(f"block_s={self.block_s} and gate_db={self.gate_db} must be positive")

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> LevelRule:
        """Return the rule of a config.

        Raises:
            ValueError: a field is unknown, missing or wrong.
        """
        try:
            points = tuple((float(level), float(new)) for level, new in fields["points_db"])
            return cls(points_db=points, **{name: float(v) for name, v in fields.items() if name != "points_db"})
        except (KeyError, TypeError) as error:
            raise ValueError(f"{fields} is not a level rule of this version ({error})") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON data."""
        points = [[float(level), float(new)] for level, new in self.points_db]
        return {"block_s": float(self.block_s), "gate_db": float(self.gate_db), "points_db": points}

    def level_db(self, waveforms: Tensor, *, sample_rate_hz: int) -> Tensor:
        """Return the level of waveforms [shape=(n, n_samples)] in dB [shape=(n,)], at least -140."""
        n_samples = waveforms.shape[1]
        size = max(1, min(round(self.block_s * sample_rate_hz), n_samples))
        n_blocks = n_samples // size
        centred = waveforms.detach().float() - waveforms.detach().float().mean(1, keepdim=True)
        blocks = centred[:, : n_blocks * size].reshape(-1, n_blocks, size)
        powers = blocks.square_().mean(2).clamp_min(_SMALLEST_POWER)
        counts = powers >= powers.amax(1, keepdim=True) * 10 ** (-self.gate_db / 10)
        return 10 * torch.log10((powers * counts).sum(1) / counts.sum(1))

    def gain_db(self, level_db: Tensor) -> Tensor:
        """Return the gain at a level; both in dB, any shape."""
        corners = torch.tensor(self.points_db, dtype=torch.float32, device=level_db.device)
        levels, new = corners[:, 0].contiguous(), corners[:, 1]
        inside = level_db.clamp(float(levels[0]), float(levels[-1])).contiguous()
        upper = torch.searchsorted(levels, inside).clamp(1, len(levels) - 1)
        share = (inside - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
        return torch.lerp(new[upper - 1], new[upper], share) - inside

    @torch.no_grad()
    def gains(self, waveforms: Tensor, *, sample_rate_hz: int) -> Tensor:
        """Return the factor of each waveform [shape=(n, n_samples)], float32 [shape=(n,)], exactly 1 for no gain."""
        gain_db = self.gain_db(self.level_db(waveforms, sample_rate_hz=sample_rate_hz))
        return torch.where(gain_db.abs() < 1e-3, 1.0, 10 ** (gain_db / 20))

    def __call__(self, waveforms: Tensor, *, sample_rate_hz: int) -> Tensor:
        """Return waveforms at their new levels [shape=(n, n_samples)]."""
        gains = self.gains(waveforms, sample_rate_hz=sample_rate_hz)
        if gains.device.type == "cpu" and bool((gains == 1.0).all()):  # elsewhere, asking would cost more
            return waveforms
        return waveforms * gains[:, None].to(waveforms.dtype)


DEFAULT_LEVEL = LevelRule(points_db=((-85.0, -85.0), (-65.0, -32.0), (-32.0, -32.0)))
"""Nothing changes above -32 dB; from there to -65 dB, chunks are raised to -32 dB; below, the gain falls to none at -85
dB.

The corners were chosen on one half of each pack (`scripts.bench.level`). Full gain down to -75 dB hears more at -60 dB,
but was rejected, with both halves in view: noise floors at -75 and -80 dB are no longer silence then.
"""
