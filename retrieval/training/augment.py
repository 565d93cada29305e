"""Augment waveforms, seeded clip by clip: gain, filter, time and pitch, reverberation, noise, mixup.

audiomentations stretches and filters; its transforms draw from Python's global generator, so only their `apply` is
used, with parameters drawn here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

__all__ = ["WaveformAugment", "mixup"]

_REVERB_FLOOR_DB = 60.0


@dataclass(frozen=True, kw_only=True)
class WaveformAugment:
    """Probability of each change, 0 by default, and its range.

    Attributes:
        gain, filter, time_stretch, pitch_shift, reverb, noise: probability of the change.
        gain_db: greatest change of the level in either direction.
        stretch: greatest relative change of the speed; the length stays, cut or padded with silence.
        semitones: greatest shift in either direction.
        reverb_s: longest time in which the reverberation decays by 60 dB.
        noise_snr_db: range of the signal-to-noise ratio.
    """

    gain: float = 0.0
    filter: float = 0.0
    time_stretch: float = 0.0
    pitch_shift: float = 0.0
    reverb: float = 0.0
    noise: float = 0.0
    gain_db: float = 12.0
    stretch: float = 0.15
    semitones: float = 2.0
    reverb_s: float = 1.2
    noise_snr_db: tuple[float, float] = (5.0, 40.0)

    def __post_init__(self) -> None:
        for name in ("gain", "filter", "time_stretch", "pitch_shift", "reverb", "noise"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)}: a probability lies between 0 and 1")

    @classmethod
    def of_strength(cls, probability: float) -> WaveformAugment:
        """Return every change with the same probability, the costly stretching with half of it."""
        p = probability
        return cls(gain=p, filter=p, reverb=p, noise=p, time_stretch=p / 2, pitch_shift=p / 2)

    @property
    def active(self) -> bool:
        """Whether any change can happen."""
        return any(getattr(self, f.name) for f in fields(self)[:6])

    def __call__(self, waveform: np.ndarray, *, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        """Change a waveform.

        Args:
            waveform: [shape=(n_samples,)] float32 in [-1, 1].
            sample_rate_hz: its rate.
            rng: the only source of randomness.

        Returns:
            [shape=(n_samples,)] float32 in [-1, 1].
        """
        x = waveform.astype(np.float32, copy=True)
        steps: list[tuple[float, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]]] = [
            (self.pitch_shift, self._shifted),
            (self.time_stretch, self._stretched),
            (self.filter, self._filtered),
            (self.reverb, self._reverberated),
            (self.gain, self._louder),
            (self.noise, self._noisy),
        ]
        for probability, change in steps:
            # One draw a step, taken or not: a change of one probability leaves what other steps draw alone.
            seed, drawn = rng.integers(2**63), rng.random()
            if drawn < probability and x.any():
                x = change(x, sample_rate_hz, np.random.default_rng(seed))
        return np.clip(x, -1.0, 1.0)

    def _shifted(self, x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        from audiomentations import PitchShift

        transform = PitchShift(p=1.0)
        transform.parameters = {"should_apply": True, "num_semitones": rng.uniform(-self.semitones, self.semitones)}
        return _fitted(transform.apply(x, rate_hz), len(x))

    def _stretched(self, x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        from audiomentations import TimeStretch

        transform = TimeStretch(p=1.0, leave_length_unchanged=True)
        transform.parameters = {"should_apply": True, "rate": rng.uniform(1 / (1 + self.stretch), 1 + self.stretch)}
        return _fitted(transform.apply(x, rate_hz), len(x))

    def _filtered(self, x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        from audiomentations import HighPassFilter, LowPassFilter

        low = rng.random() < 0.5
        transform = (LowPassFilter if low else HighPassFilter)(p=1.0)
        # Octaves are drawn evenly.
        cutoff_hz = 2 ** rng.uniform(*np.log2((0.1 * rate_hz, 0.4 * rate_hz) if low else (40.0, 400.0)))
        transform.parameters = {"should_apply": True, "cutoff_freq": cutoff_hz, "rolloff": 12}
        return _fitted(transform.apply(x, rate_hz), len(x))

    def _reverberated(self, x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        """Convolve with noise that dies away exponentially (Moorer 1979), the direct sound first."""
        from scipy.signal import oaconvolve

        decay_s = rng.uniform(0.2, self.reverb_s)
        n = max(1, round(decay_s * rate_hz))
        tail = rng.standard_normal(n) * 10 ** (-_REVERB_FLOOR_DB / 20 * np.arange(n) / n)
        tail *= rng.uniform(0.1, 0.7) / max(1e-9, float(np.linalg.norm(tail)))
        tail[0] = 1.0
        wet = oaconvolve(x, tail.astype(np.float32))[: len(x)]
        return _at_level_of(wet, x)

    def _louder(self, x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        return x * np.float32(10 ** (rng.uniform(-self.gain_db, self.gain_db) / 20))

    def _noisy(self, x: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
        level = float(np.sqrt(np.mean(np.square(x)))) * 10 ** (-rng.uniform(*self.noise_snr_db) / 20)
        return x + np.float32(level) * rng.standard_normal(len(x), dtype=np.float32)


def mixup(
    waveforms: np.ndarray, targets: np.ndarray, *, alpha: float, probability: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mix clips of a batch with each other, and their targets likewise (Zhang et al. 2018, section 2).

    The shares lie in [0.5, 1] (lambda and 1 - lambda make the same pairs), so that a clip stays mostly itself.

    Args:
        waveforms: [shape=(n, n_samples)] float32.
        targets: [shape=(n, n_tags)], in [0, 1].
        alpha: of the Beta distribution that the shares are drawn from, > 0.
        probability: that a clip is mixed.
        rng: the only source of randomness.

    Returns:
        New waveforms and new targets, float32, of the same shapes.
    """
    n = len(waveforms)
    drawn = rng.beta(alpha, alpha, size=n)
    share = np.where(rng.random(n) < probability, np.maximum(drawn, 1 - drawn), 1.0).astype(np.float32)[:, None]
    other = rng.permutation(n)
    mixed = share * waveforms + (1 - share) * waveforms[other]
    return mixed.astype(np.float32), (share * targets + (1 - share) * targets[other]).astype(np.float32)


def _fitted(x: np.ndarray, n: int) -> np.ndarray:
    return np.pad(x[:n], (0, max(0, n - len(x)))).astype(np.float32)


def _at_level_of(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    energy = float(np.sum(np.square(x, dtype=np.float64)))
    wanted = float(np.sum(np.square(reference, dtype=np.float64)))
    return (x * np.sqrt(wanted / max(energy, 1e-12))).astype(np.float32)
