"""Each loss against its formula written out, for hard and graded targets; gradients against finite differences."""

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


@pytest.fixture(params=["hard", "graded"])
def batch(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(11)
    scores = torch.rand(6, 5, generator=generator, dtype=torch.float64) * 2 - 1
    positive = torch.rand(6, 5, generator=generator) < 0.3
    positive[2] = False  # a clip without a tag of the batch
    positive[:, 4] = False  # a tag that no clip has: negative for all
    unlabeled = torch.rand(6, 5, generator=generator) < 0.4
    unlabeled[0, 1] = True
    assert positive.any() and (unlabeled & positive).any() and (unlabeled & ~positive).any()
    if request.param == "hard":
        return scores, positive.double(), (unlabeled & ~positive).double()
    shares = torch.rand(6, 5, generator=generator, dtype=torch.float64)
    targets = torch.where(positive, shares, 0.0)
    parts = torch.rand(6, 5, generator=generator, dtype=torch.float64).masked_fill(~positive, 1.0)
    parts[4] = 0.5  # a mixture with a clip of which all is known
    return scores, targets, torch.where(unlabeled, parts * (1 - targets), 0.0)


Pairs = list[tuple[float, float]]
"""Scores with their weights."""


def both_ways(row_loss: Callable[[Pairs, Pairs], list[float]], batch: tuple[Tensor, ...]) -> float:
    """The mean of both directions: of the rows' weighted means, weighted by their greatest target."""
    totals = []
    for scores, targets, unknown in (batch, tuple(x.T for x in batch)):
        rows, row_weights = [], []
        for s, t, i in zip(scores.tolist(), targets.tolist(), unknown.tolist(), strict=True):
            positives = [(x, w) for x, w in zip(s, t, strict=True) if w > 0]
            negatives = [(x, 1 - w - u) for x, w, u in zip(s, t, i, strict=True) if w + u < 1]
            losses = row_loss(positives, negatives)
            if losses:
                weights = [w for _, w in positives]
                rows.append(sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights))
                row_weights.append(max(weights))
        totals.append(sum(w * x for w, x in zip(row_weights, rows, strict=True)) / sum(row_weights))
    return sum(totals) / 2


def test_info_nce_is_its_formula(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    scale = math.exp(float(LOG_SCALE))

    def row(positives: Pairs, negatives: Pairs) -> list[float]:
        if not negatives:
            return []
        total = sum(w * math.exp(scale * x) for x, w in [*positives, *negatives])
        return [-math.log(math.exp(scale * x) / total) for x, _ in positives]

    scores, targets, unknown = batch
    targets, unknown = targets.clone(), unknown.clone()
    targets[3] = (targets[3] > 0).double()
    unknown[3] = 1 - targets[3]  # a clip of a data set that uses no other tags
    assert targets[3].any()
    for given in (batch, (scores, targets, unknown)):
        assert info_nce(*given, log_scale=LOG_SCALE).item() == pytest.approx(both_ways(row, given), rel=1e-12)


def test_anchors_without_negatives_count_where_they_are_asked_for() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.7]], dtype=torch.float64)
    targets = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    zero = torch.tensor(0.0, dtype=torch.float64)
    p = torch.softmax(scores, 1)
    row_0, row_1 = -(p[0].log().mean()), -p[1, 1].log()
    q = torch.softmax(scores, 0)
    column_0, column_1 = -q[0, 0].log(), -(q[:, 1].log().mean())
    every = ((row_0 + row_1) / 2 + (column_0 + column_1) / 2) / 2
    assert info_nce(scores, targets, nothing, log_scale=zero, needs_negatives=False).item() == pytest.approx(
        every.item()
    )
    assert info_nce(scores, targets, nothing, log_scale=zero).item() == pytest.approx(((row_1 + column_0) / 2).item())


def test_decoupled_is_its_formula(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    scale = math.exp(float(LOG_SCALE))

    def row(positives: Pairs, negatives: Pairs) -> list[float]:
        if not negatives:
            return []
        against = math.log(sum(w * math.exp(scale * x) for x, w in negatives))
        return [against - scale * x for x, _ in positives]

    assert decoupled(*batch, log_scale=LOG_SCALE).item() == pytest.approx(both_ways(row, batch), rel=1e-12)


def test_sigmoid_is_its_formula(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, targets, unknown = batch
    scale, total = math.exp(float(LOG_SCALE)), 0.0
    for i in range(6):
        for j in range(5):
            w, z = float(targets[i, j]), scale * float(scores[i, j]) + float(BIAS)
            total += w * math.log(1 + math.exp(-z)) + (1 - w - float(unknown[i, j])) * math.log(1 + math.exp(z))
    assert sigmoid(*batch, log_scale=LOG_SCALE, bias=BIAS).item() == pytest.approx(total / 6, rel=1e-12)
    assert sigmoid(*(x.T for x in batch), log_scale=LOG_SCALE, bias=BIAS).item() == pytest.approx(total / 5, rel=1e-12)


def slow_hinges(batch: tuple[Tensor, ...]) -> list[list[tuple[float, float]]]:
    """Hinge arguments with the weights of their triplets, clip->tag and tag->clip."""
    ways = []
    for scores, targets, unknown in (batch, tuple(x.T for x in batch)):
        s, t, u = scores.numpy(), targets.numpy(), unknown.numpy()
        ways.append(
            [
                (MARGIN - s[a, p] + s[a, n], t[a, p] * (1 - t[a, n] - u[a, n]))
                for a in range(len(s))
                for p in np.flatnonzero(t[a] > 0)
                for n in range(s.shape[1])
                if n != p
            ]
        )
    return ways


def test_triplet_and_its_active_share_are_their_formulas(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    ways = slow_hinges(batch)
    means = [sum(h * w for h, w in way if h > 0) / sum(w for h, w in way if h > 0) for way in ways]
    assert triplet(*batch, margin=MARGIN).item() == pytest.approx(np.mean(means), rel=1e-12)
    share = sum(w for way in ways for h, w in way if h > 0) / sum(w for way in ways for _, w in way)
    assert active_share(*batch, margin=MARGIN).item() == pytest.approx(share)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "info_nce": lambda s, t, i: info_nce(s, t, i, log_scale=LOG_SCALE),
    "decoupled": lambda s, t, i: decoupled(s, t, i, log_scale=LOG_SCALE),
    "sigmoid": lambda s, t, i: sigmoid(s, t, i, log_scale=LOG_SCALE, bias=BIAS),
    "triplet": lambda s, t, i: triplet(s, t, i, margin=2.5),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_part_at_minus_40_db_counts_for_a_hundredth(name: str) -> None:
    """A clip that is mixed with 1% of another has almost the loss of the clip alone, not that of both tags."""
    generator = torch.Generator().manual_seed(5)
    scores = torch.rand(4, 4, generator=generator, dtype=torch.float64) * 2 - 1
    scores[0, 1] = -0.9  # a full positive here would be costly
    nothing = torch.zeros(4, 4, dtype=torch.bool)
    alone = torch.eye(4, dtype=torch.float64)
    mixed, full = alone.clone(), alone.clone()
    mixed[0, 0], mixed[0, 1] = 0.99, 0.01
    full[0, 1] = 1.0
    of_alone, of_mixed, of_full = (LOSSES[name](scores, targets, nothing).item() for targets in (alone, mixed, full))
    assert abs(of_full - of_alone) > 0.05
    assert abs(of_mixed - of_alone) < 0.04 * abs(of_full - of_alone)


def test_gradients_are_those_of_finite_differences(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, targets, unknown = batch
    scores = scores.clone().requires_grad_()
    log_scale, bias = LOG_SCALE.clone().requires_grad_(), BIAS.clone().requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda s, t: info_nce(s, targets, unknown, log_scale=t), (scores, log_scale))
    assert check(lambda s, t: decoupled(s, targets, unknown, log_scale=t), (scores, log_scale))
    assert check(lambda s, t, b: sigmoid(s, targets, unknown, log_scale=t, bias=b), (scores, log_scale, bias))
    assert check(lambda s: triplet(s, targets, unknown, margin=MARGIN), (scores,))


@pytest.mark.parametrize("name", LOSSES)
def test_unknown_pairs_have_no_gradient(name: str, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, targets, unknown = batch
    leaf = scores.clone().requires_grad_()
    LOSSES[name](leaf, targets, unknown).backward()
    assert leaf.grad is not None
    absent = targets == 0
    assert (unknown == 1).any() and (leaf.grad[unknown == 1] == 0).all()
    assert (leaf.grad[absent & (unknown < 1)] >= 0).all()
    assert (leaf.grad[absent & (unknown < 1)] > 0).any()


@pytest.mark.parametrize("name", LOSSES)
def test_the_unknown_part_of_a_mixture_is_no_negative(name: str) -> None:
    """Seven tenths of a clip may have the tag of the other three tenths: that is no evidence against the tag."""
    scores = torch.zeros(1, 2, dtype=torch.float64)
    targets = torch.tensor([[0.0, 0.3]], dtype=torch.float64)
    unlabeled = torch.tensor([[0.0, 0.7]], dtype=torch.float64)
    found = []
    for unknown in (unlabeled, torch.zeros_like(unlabeled)):
        leaf = scores.clone().requires_grad_()
        LOSSES[name](leaf, targets, unknown).backward()
        assert leaf.grad is not None
        found.append(float(leaf.grad[0, 1]))
    assert found[0] < 0 and found[0] <= found[1] + 1e-12
    if name in ("sigmoid", "decoupled", "info_nce"):
        assert found[0] < found[1]


@pytest.mark.parametrize("name", ["info_nce", "decoupled", "triplet"])
def test_a_batch_without_positives_is_zero_and_has_a_gradient(name: str) -> None:
    scores = torch.rand(3, 2, requires_grad=True)
    loss = LOSSES[name](scores, torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.bool))
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
