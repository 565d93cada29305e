"""Imagined sounds: backbone features that the AudioSet teacher takes for each of its classes.

The clips hold few of AudioSet's 527 classes, and a head that has heard only them forgets the rest (measured: without
it, unheard packs fell to a third of the composed teacher's mAP). The teacher's head is known, so features for any
class can be found by gradient ascent from those of real clips (data-free distillation: Yin et al., "Dreaming to
distill", CVPR 2020, here in feature space), kept near the clips' distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Imagined", "imagine"]


@dataclass(frozen=True)
class Imagined:
    """``features`` [shape=(n, feature_dim)], the teacher's ``logits`` of them [shape=(n, n_classes)]."""

    features: np.ndarray
    logits: np.ndarray


def imagine(
    head: nn.Module,
    real: np.ndarray,
    *,
    per_class: int = 24,
    steps: int = 150,
    distance_weight: float = 0.02,
    seed: int,
) -> Imagined:
    """Imagine sounds of every class, and mixtures of two.

    Args:
        head: the teacher's head, features -> logits [shape=(n, n_classes)].
        real: features of real clips [shape=(n_real, feature_dim)].
        per_class: how many sounds of each class; as many mixtures come on top.
        steps: of gradient ascent.
        distance_weight: how dearly a feature pays for leaving the clips' distribution (squared, in spreads).
        seed: of starting points and aims.
    """
    rng = np.random.default_rng(seed)
    pool = torch.from_numpy(real)
    spread = pool.std(0).clamp_min(1e-3)
    with torch.inference_mode():
        real_logits = head(pool)
    n_classes = real_logits.shape[1]
    # A class heard clearly scores as its best real clips do, or two spreads above the mean where none has it.
    aim_low = real_logits.mean(0) + 2 * real_logits.std(0)
    aim_high = torch.maximum(real_logits.max(0).values, torch.tensor(1.0))
    classes = torch.arange(n_classes).repeat_interleave(per_class)
    aim = (
        aim_low[classes] + torch.from_numpy(rng.random(len(classes)).astype(np.float32)) * (aim_high - aim_low)[classes]
    )
    start = pool[torch.from_numpy(rng.integers(len(pool), size=len(classes)))].clone()
    moved = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([moved], lr=0.03)
    for _ in range(steps):
        logits = head(moved)
        own = logits.gather(1, classes[:, None])[:, 0]
        away = ((moved - start) / spread).square().mean(1)
        loss = ((aim - own).clamp_min(0) + distance_weight * away).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    alone = moved.detach()
    partner = alone[torch.from_numpy(rng.permutation(len(alone)))]
    share = torch.from_numpy(rng.uniform(0.3, 0.7, (len(alone), 1)).astype(np.float32))
    features = torch.cat([alone, share * alone + (1 - share) * partner])
    return Imagined(features.numpy(), _logits(head, features))


@torch.inference_mode()
def _logits(head: nn.Module, features: Tensor) -> np.ndarray:
    return head(features).numpy()
