"""Contrastive losses of the score matrix of a batch, clips against tags, with several and graded positives.

Every loss takes

- `scores`: cosines or log-odds [shape=(n_clips, n_tags)];
- `targets`: the share w of a clip that has a tag, in [0, 1] [shape=(n_clips, n_tags)]: 1 or 0, and fractions where
  clips are mixed (mixup);
- `unknown`: the share u of a clip of which it is not known whether it has the tag [shape=(n_clips, n_tags)], float or
  bool, with w + u <= 1;

and goes in both directions: each clip against the tags and each tag against the clips. A pair is a positive with the
weight w and a negative with the weight 1 - w - u, so that a part at -40 dB counts for about a hundredth, and an unknown
label does not count. For targets of 0 and 1 the losses are those that were published.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["MAX_LOG_SCALE", "active_share", "clamped_scale", "decoupled", "info_nce", "sigmoid", "triplet"]

MAX_LOG_SCALE = math.log(100.0)
"""The learned inverse temperature never exceeds 100 (Radford et al. 2021, section 2.5)."""


def clamped_scale(log_scale: Tensor) -> Tensor:
    """Return the inverse temperature, in (0, 100]; the gradient stops at the bound."""
    return log_scale.clamp(max=MAX_LOG_SCALE).exp()


def info_nce(
    scores: Tensor, targets: Tensor, unknown: Tensor, *, log_scale: Tensor, needs_negatives: bool = True
) -> Tensor:
    """Return the multi-positive contrastive loss, the mean of both directions.

    For an anchor i with logits z: sum_p w_ip (log sum_k (1 - u_ik) exp z_ik - z_ip) / sum_p w_ip. Anchors are averaged
    with the weight max_p w_ip.

    Args:
        scores, targets, unknown: see the module.
        log_scale: logarithm of the inverse temperature.
        needs_negatives: leave out anchors without a negative; among positives alone the loss would only make the scores
            equal.

    Returns:
        A scalar; 0 for a batch without an anchor that counts.

    Source: Khosla et al. 2020, equation 2.
    """
    logits = scores * clamped_scale(log_scale)
    losses = []
    for z, w, negative in _directions(logits, targets, _negative_weights(targets, unknown)):
        rows = (w > 0).any(1) & ((negative > 0).any(1) | (not needs_negatives))
        against = torch.logsumexp(z[rows] + (w + negative)[rows].log(), 1, keepdim=True)
        losses.append(_weighted_mean(against - z[rows], w[rows]))
    return _mean(losses, scores)


def decoupled(scores: Tensor, targets: Tensor, unknown: Tensor, *, log_scale: Tensor) -> Tensor:
    """Return the contrastive loss without positives in the denominator, the mean of both directions.

    For an anchor i with logits z: sum_p w_ip (log sum_n (1 - w_in - u_in) exp z_in - z_ip) / sum_p w_ip. Anchors
    without a negative do not count; the others are averaged with the weight max_p w_ip.

    Source: Yeh et al. 2022, equation 6.
    """
    logits = scores * clamped_scale(log_scale)
    losses = []
    for z, w, negative in _directions(logits, targets, _negative_weights(targets, unknown)):
        rows = (w > 0).any(1) & (negative > 0).any(1)
        against = torch.logsumexp(z[rows] + negative[rows].log(), 1, keepdim=True)
        losses.append(_weighted_mean(against - z[rows], w[rows]))
    return _mean(losses, scores)


def sigmoid(scores: Tensor, targets: Tensor, unknown: Tensor, *, log_scale: Tensor, bias: Tensor) -> Tensor:
    """Return the pairwise sigmoid loss, the sum over pairs for each clip: both directions are the same.

    For a pair with logit z: -w log sigmoid(z) - (1 - w - u) log sigmoid(-z).

    Source: Zhai et al. 2023, equation 3.
    """
    logits = scores * clamped_scale(log_scale) + bias
    losses = -targets * F.logsigmoid(logits) - _negative_weights(targets, unknown) * F.logsigmoid(-logits)
    return losses.sum() / max(1, len(scores))


def triplet(scores: Tensor, targets: Tensor, unknown: Tensor, *, margin: float) -> Tensor:
    """Return the hinge max(0, margin - s(a, p) + s(a, n)), averaged over the triplets for which it is above 0.

    A triplet has the weight w_ap (1 - w_an - u_an). The result is the mean of both directions.

    Source: Hermans, Beyer and Leibe 2017, section 2 (averaging over active triplets).
    """
    losses = []
    for hinge, weight in _hinges(scores, targets, unknown, margin):
        active = torch.where(hinge > 0, weight, torch.zeros_like(weight))
        total = active.sum()
        losses.append((active * hinge).sum() / torch.where(total > 0, total, torch.ones_like(total)))
    return (losses[0] + losses[1]) / 2


def active_share(scores: Tensor, targets: Tensor, unknown: Tensor, *, margin: float) -> Tensor:
    """Return the share of (anchor, positive, negative) triplets that violate the margin, over both directions.

    A triplet counts by its weight (see `triplet`). NaN where the batch has no triplet.
    """
    parts = [
        ((weight * (hinge > 0)).sum(), weight.sum()) for hinge, weight in _hinges(scores, targets, unknown, margin)
    ]
    return (parts[0][0] + parts[1][0]) / (parts[0][1] + parts[1][1])


def _negative_weights(targets: Tensor, unknown: Tensor) -> Tensor:
    """Return 1 - w - u, at least 0 [shape=(n_clips, n_tags)]."""
    return (1 - targets - unknown.to(targets.dtype)).clamp_min(0)


def _directions(*matrices: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    return matrices, tuple(matrix.T for matrix in matrices)


def _hinges(scores: Tensor, targets: Tensor, unknown: Tensor, margin: float) -> list[tuple[Tensor, Tensor]]:
    """Return hinge arguments and triplet weights [shape=(n_positive_pairs, n_candidates)] in both directions."""
    found = []
    for s, w, negative in _directions(scores, targets, _negative_weights(targets, unknown)):
        anchors, positives = (w > 0).nonzero(as_tuple=True)
        hinge = margin - s[anchors, positives].unsqueeze(1) + s[anchors]
        weight = w[anchors, positives].unsqueeze(1) * negative[anchors]
        # A graded positive is no negative of itself.
        weight = weight.scatter(1, positives.unsqueeze(1), 0.0)
        found.append((hinge, weight))
    return found


def _weighted_mean(losses: Tensor, weights: Tensor) -> Tensor | None:
    """Return the mean over anchors of each anchor's weighted mean over its positives; None without anchors."""
    if not len(losses):
        return None
    of_anchor = torch.where(weights > 0, weights * losses, torch.zeros_like(losses)).sum(1) / weights.sum(1)
    anchor_weight = weights.amax(1)
    return (anchor_weight * of_anchor).sum() / anchor_weight.sum()


def _mean(losses: list[Tensor | None], scores: Tensor) -> Tensor:
    there = [loss for loss in losses if loss is not None]
    return torch.stack(there).mean() if there else (scores * 0).sum()
