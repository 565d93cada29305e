"""Closed-form initialisation of both towers: the AudioSet teacher with ConSE scores, at low rank.

The teacher's standardised logits are linear in its hidden layer, z = A h + b, and the score of a phrase is z.p, where p
are the phrase's weights over the classes (`conse`). The 527 dimensions are reduced to `rank` by the singular vectors
that retain most of z.p over clips and phrases: with C the covariance of z, Q the second moment of p and C = L L', those
of L' Q L. This gives the last layer of the audio tower; the text tower is then fitted to the projections of p, which
needs words only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from encoders.two_tower import TwoTowerModel
from scripts.recipes.default.conse import class_weights
from scripts.recipes.default.phrase_sampling import PhraseBook

__all__ = ["LowRankSpace", "fit_text_tower", "init_projection", "low_rank_space"]

FREE_DIMS_SCALE = 0.02
MIXTURES = 20_000


@dataclass(frozen=True)
class LowRankSpace:
    """Projections into the common space.

    Attributes:
        audio: of standardised logits z, from the left [shape=(rank, 527)].
        text: of class weights p, from the right [shape=(527, rank)].
    """

    audio: np.ndarray
    text: np.ndarray

    def targets(self, phrases: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return unit vectors of phrases in the space [shape=(n, rank)], from unit word vectors."""
        vectors = class_weights(phrases, classes) @ self.text
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def low_rank_space(z: np.ndarray, weights: np.ndarray, share: np.ndarray, *, rank: int) -> LowRankSpace:
    """Return the space.

    Args:
        z: standardised AudioSet logits of varied audio [shape=(n_audio, 527)].
        weights: class weights of many phrases [shape=(n_phrases, 527)].
        share: weight of each phrase, with the sum 1 [shape=(n_phrases,)].
        rank: dimensions to retain.
    """
    covariance = np.cov(z.T.astype(np.float64)) + 1e-4 * np.eye(z.shape[1])
    moment = (weights * share[:, None]).T.astype(np.float64) @ weights
    lower = np.linalg.cholesky(covariance)
    basis, values, _ = np.linalg.svd(lower.T @ moment @ lower)
    basis = basis[:, :rank]
    # Audio and text each carry the square root of a direction's weight.
    balance = values[:rank] ** 0.25
    audio = (np.linalg.solve(lower, np.eye(len(lower))).T @ basis * balance).T
    return LowRankSpace(audio.astype(np.float32), (lower @ basis / balance).astype(np.float32))


@torch.no_grad()
def init_projection(
    projection: nn.Module, head: nn.Sequential, space: LowRankSpace, mean: np.ndarray, std: np.ndarray
) -> None:
    """Set the audio projection to the teacher's hidden layer and the low-rank space; other dimensions start small.

    Args:
        projection: the `AudioProjection`, on any device; its hidden layer must be as wide as the teacher's.
        head: the teacher's head (Linear, Hardswish, Dropout, Linear), on any device.
        space: of `low_rank_space`.
        mean: of the teacher's logits [shape=(527,)].
        std: of the teacher's logits [shape=(527,)].
    """
    hidden, last = head[0], head[3]
    assert isinstance(hidden, nn.Linear)
    assert isinstance(last, nn.Linear)
    projection.fc1.load_state_dict(hidden.state_dict())  # type: ignore[union-attr]
    weight = space.audio @ (last.weight.detach().cpu().numpy() / std[:, None])
    bias = space.audio @ ((last.bias.detach().cpu().numpy() - mean) / std)
    fc2: Any = projection.fc2
    fc2.weight.mul_(FREE_DIMS_SCALE)
    fc2.bias.zero_()
    fc2.weight[: len(weight)] = torch.from_numpy(weight).to(fc2.weight.device)
    fc2.bias[: len(bias)] = torch.from_numpy(bias).to(fc2.bias.device)


def fit_text_tower(
    model: TwoTowerModel,
    space: LowRankSpace,
    book: PhraseBook,
    classes: np.ndarray,
    *,
    steps: int,
    seed: int,
    log: Callable[[dict[str, Any]], None],
) -> None:
    """Fit the text tower to the targets of phrases and of mixtures of two phrases."""
    rng = np.random.default_rng([seed, 3])
    torch.manual_seed(seed)
    tower = model.text_tower.train()
    optimizer = torch.optim.AdamW(tower.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    one, two = (rng.choice(len(book.phrases), size=MIXTURES, p=p) for p in (book.share, None))
    mixed = book.vectors[one] * rng.random((MIXTURES, 1)) + book.vectors[two] * rng.random((MIXTURES, 1))
    mixed = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    vectors = np.concatenate([book.vectors, mixed]).astype(np.float32)
    words = torch.from_numpy(vectors).to(model.device)
    free = model.config.dim - space.text.shape[1]
    targets = F.pad(torch.from_numpy(space.targets(vectors, classes)), (0, free)).to(model.device)
    share = np.concatenate([0.75 * book.share, np.full(MIXTURES, 0.25 / MIXTURES)])
    for step in range(steps):
        rows = torch.from_numpy(rng.choice(len(words), size=512, p=share)).to(model.device)
        loss = (1 - (tower(words[rows]) * targets[rows]).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 199:
            log({"stage": "text initialisation", "step": step + 1, "of": steps, "loss": round(loss.item(), 4)})
    model.eval()
