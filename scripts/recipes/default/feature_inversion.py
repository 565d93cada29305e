"""Synthetic backbone features of every AudioSet class, found by inverting the teacher's head.

The training clips contain few of AudioSet's 527 classes, and a head that is trained on them alone forgets the others:
on packs that were left out of training, mAP fell to a third of the teacher's. Since the teacher's head is known,
gradient ascent from the features of real clips finds features that it assigns to any class. A penalty keeps them near
the distribution of the clips.

Source: data-free distillation, Yin et al., "Dreaming to distill", CVPR 2020; here in feature space, not from pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["SyntheticFeatures", "invert_features"]


@dataclass(frozen=True)
class SyntheticFeatures:
    """Features and what the teacher's head makes of them.

    Attributes:
        features: float32 [shape=(n, feature_dim)].
        logits: the teacher's logits, float32 [shape=(n, n_classes)].
    """

    features: np.ndarray
    logits: np.ndarray


def invert_features(
    head: nn.Module,
    real: np.ndarray,
    *,
    per_class: int = 24,
    steps: int = 150,
    distance_weight: float = 0.02,
    seed: int,
) -> SyntheticFeatures:
    """Return synthetic features of every class, and mixtures of two. All work is done on the CPU.

    Args:
        head: the teacher's head, from features to logits [shape=(n, n_classes)], on the CPU.
        real: features of real clips [shape=(n_real, feature_dim)].
        per_class: number of vectors per class; there are as many mixtures.
        steps: of gradient ascent.
        distance_weight: weight of the squared distance from the starting point, in standard deviations of the clips.
        seed: of starting points and target logits.
    """
    rng = np.random.default_rng(seed)
    pool = torch.from_numpy(real)
    std = pool.std(0).clamp_min(1e-3)
    with torch.inference_mode():
        real_logits = head(pool)
    n_classes = real_logits.shape[1]
    # The target logit lies between two standard deviations above the mean and the highest value of a real clip.
    target_low = real_logits.mean(0) + 2 * real_logits.std(0)
    target_high = torch.maximum(real_logits.max(0).values, torch.tensor(1.0))
    classes = torch.arange(n_classes).repeat_interleave(per_class)
    uniform = torch.from_numpy(rng.random(len(classes)).astype(np.float32))
    target = target_low[classes] + uniform * (target_high - target_low)[classes]
    start = pool[torch.from_numpy(rng.integers(len(pool), size=len(classes)))].clone()
    moved = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([moved], lr=0.03)
    for _ in range(steps):
        logits = head(moved)
        own = logits.gather(1, classes[:, None])[:, 0]
        distance = ((moved - start) / std).square().mean(1)
        loss = ((target - own).clamp_min(0) + distance_weight * distance).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    alone = moved.detach()
    partner = alone[torch.from_numpy(rng.permutation(len(alone)))]
    share = torch.from_numpy(rng.uniform(0.3, 0.7, (len(alone), 1)).astype(np.float32))
    features = torch.cat([alone, share * alone + (1 - share) * partner])
    return SyntheticFeatures(features.numpy(), _logits(head, features))


@torch.inference_mode()
def _logits(head: nn.Module, features: Tensor) -> np.ndarray:
    return head(features).numpy()
