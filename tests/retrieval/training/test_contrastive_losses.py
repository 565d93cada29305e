"""Each loss against the same formula written out, and its gradient against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.training.losses import (
    active_share,
    clamped_scale,
    decoupled,
    info_nce,
    sigmoid,
    triplet,
)

LOG_SCALE = torch.tensor(1.2, dtype=torch.float64)
BIAS = torch.tensor(-2.0, dtype=torch.float64)
MARGIN = 0.35


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(11)
    scores = torch.rand(6, 5, generator=generator, dtype=torch.float64) * 2 - 1
    positive = torch.rand(6, 5, generator=generator) < 0.3
    positive[2] = False  # a clip without a tag of the batch
    positive[:, 4] = False  # a tag that no clip has: negative for all
    ignore = torch.rand(6, 5, generator=generator) < 0.2
    ignore[0, 1] = True
    assert positive.any() and (ignore & positive).any() and (ignore & ~positive).any()
    return scores, positive, ignore


def both_ways(row_loss: Callable[[list[float], list[float]], list[float]], batch: tuple[Tensor, ...]) -> float:
    """The mean of clip->tag and tag->clip, each the mean over rows of the row's mean over its positives."""
    totals = []
    for scores, positive, ignore in (batch, tuple(x.T for x in batch)):
        rows = []
        for s, p, i in zip(scores.tolist(), positive.tolist(), ignore.tolist(), strict=True):
            wanted = [x for x, yes in zip(s, p, strict=True) if yes]
            others = [x for x, yes, no in zip(s, p, i, strict=True) if not yes and not no]
            losses = row_loss(wanted, others)
            if losses:
                rows.append(sum(losses) / len(losses))
        totals.append(sum(rows) / len(rows))
    return sum(totals) / 2


def test_info_nce_is_its_formula(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    scale = math.exp(float(LOG_SCALE))

    def row(wanted: list[float], others: list[float]) -> list[float]:
        if not others:
            return []
        total = sum(math.exp(scale * x) for x in wanted + others)
        return [-math.log(math.exp(scale * x) / total) for x in wanted]

    scores, positive, ignore = batch
    ignore = ignore.clone()
    ignore[3] = True  # a clip of a dataset that knows no other tags
    assert positive[3].any()
    for given in (batch, (scores, positive, ignore)):
        assert info_nce(*given, log_scale=LOG_SCALE).item() == pytest.approx(both_ways(row, given), rel=1e-12)


def test_decoupled_is_its_formula(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    scale = math.exp(float(LOG_SCALE))

    def row(wanted: list[float], others: list[float]) -> list[float]:
        if not others:
            return []
        return [-scale * x + math.log(sum(math.exp(scale * y) for y in others)) for x in wanted]

    assert decoupled(*batch, log_scale=LOG_SCALE).item() == pytest.approx(both_ways(row, batch), rel=1e-12)


def test_sigmoid_is_its_formula(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, positive, ignore = batch
    scale, total = math.exp(float(LOG_SCALE)), 0.0
    for i in range(6):
        for j in range(5):
            if positive[i, j] or not ignore[i, j]:
                sign = 1 if positive[i, j] else -1
                total += math.log(1 + math.exp(-sign * (scale * float(scores[i, j]) + float(BIAS))))
    assert sigmoid(*batch, log_scale=LOG_SCALE, bias=BIAS).item() == pytest.approx(total / 6, rel=1e-12)
    assert sigmoid(*(x.T for x in batch), log_scale=LOG_SCALE, bias=BIAS).item() == pytest.approx(total / 5, rel=1e-12)
    assert scores.shape == (6, 5)


def slow_hinges(batch: tuple[Tensor, ...]) -> list[list[float]]:
    ways = []
    for scores, positive, ignore in (batch, tuple(x.T for x in batch)):
        s, p, i = scores.numpy(), positive.numpy(), ignore.numpy()
        ways.append(
            [
                MARGIN - s[a, w] + s[a, n]
                for a in range(len(s))
                for w in np.flatnonzero(p[a])
                for n in np.flatnonzero(~p[a] & ~i[a])
            ]
        )
    return ways


def test_triplet_and_its_active_share_are_their_formulas(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    ways = slow_hinges(batch)
    means = [np.mean([h for h in way if h > 0]) for way in ways]
    assert triplet(*batch, margin=MARGIN).item() == pytest.approx(np.mean(means), rel=1e-12)
    share = sum(h > 0 for way in ways for h in way) / sum(len(way) for way in ways)
    assert active_share(*batch, margin=MARGIN).item() == pytest.approx(share)


def test_gradients_are_those_of_finite_differences(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, positive, ignore = batch
    scores = scores.clone().requires_grad_()
    log_scale, bias = LOG_SCALE.clone().requires_grad_(), BIAS.clone().requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda s, t: info_nce(s, positive, ignore, log_scale=t), (scores, log_scale))
    assert check(lambda s, t: decoupled(s, positive, ignore, log_scale=t), (scores, log_scale))
    assert check(lambda s, t, b: sigmoid(s, positive, ignore, log_scale=t, bias=b), (scores, log_scale, bias))
    assert check(lambda s: triplet(s, positive, ignore, margin=MARGIN), (scores,))


@pytest.mark.parametrize("name", ["info_nce", "decoupled", "sigmoid", "triplet"])
def test_what_is_ignored_has_no_gradient(name: str, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, positive, ignore = batch
    leaf = scores.clone().requires_grad_()
    losses = {
        "info_nce": lambda: info_nce(leaf, positive, ignore, log_scale=LOG_SCALE),
        "decoupled": lambda: decoupled(leaf, positive, ignore, log_scale=LOG_SCALE),
        "sigmoid": lambda: sigmoid(leaf, positive, ignore, log_scale=LOG_SCALE, bias=BIAS),
        "triplet": lambda: triplet(leaf, positive, ignore, margin=2.5),
    }
    losses[name]().backward()
    assert leaf.grad is not None
    assert (leaf.grad[ignore & ~positive] == 0).all()
    assert (leaf.grad[~positive & ~ignore] >= 0).all()
    assert (leaf.grad[~positive & ~ignore] > 0).any()


@pytest.mark.parametrize("name", ["info_nce", "decoupled", "triplet"])
def test_a_batch_without_positives_is_zero_and_has_a_gradient(name: str) -> None:
    scores = torch.rand(3, 2, requires_grad=True)
    nothing = torch.zeros(3, 2, dtype=torch.bool)
    scale = torch.tensor(0.0)
    loss = {
        "info_nce": lambda: info_nce(scores, nothing, nothing, log_scale=scale),
        "decoupled": lambda: decoupled(scores, nothing, nothing, log_scale=scale),
        "triplet": lambda: triplet(scores, nothing, nothing, margin=0.2),
    }[name]()
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None and not scores.grad.any()


def test_the_temperature_is_clamped_at_one_hundred() -> None:
    high = torch.tensor(9.0, requires_grad=True)
    scale = clamped_scale(high)
    assert scale.item() == pytest.approx(100)
    scale.backward()
    assert high.grad is not None and high.grad.item() == 0
    assert clamped_scale(torch.tensor(0.5)).item() == pytest.approx(math.exp(0.5))
