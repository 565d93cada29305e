"""Contrastive losses as functions of the score matrix of a batch, clips against tags, several positives a row.

All take cosines ``scores`` [shape=(n_clips, n_tags)], ``positive`` (True where the clip has the tag) and ``ignore``
(True where a pair may be a positive that nobody wrote down; it takes no part unless it is a positive), and go in both
directions: each clip against the tags and each tag against the clips.
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


def info_nce(scores: Tensor, positive: Tensor, ignore: Tensor, *, log_scale: Tensor) -> Tensor:
    """Return the multi-positive contrastive loss (Khosla et al. 2020, equation 2), the mean of both directions.

    Rows that lack positives or negatives do not count (among positives alone the loss would only even scores out); a
    batch without any gives 0.
    """
    logits = (scores * clamped_scale(log_scale)).masked_fill(ignore & ~positive, float("-inf"))
    negative = ~positive & ~ignore
    losses = []
    for dim in (1, 0):
        rows = positive.any(dim) & negative.any(dim)
        shares = torch.log_softmax(_rows(logits, rows, dim), 1)
        wanted = _rows(positive, rows, dim)
        losses.append(_mean_over_positives(-shares, wanted))
    return _mean(losses, scores)


def decoupled(scores: Tensor, positive: Tensor, ignore: Tensor, *, log_scale: Tensor) -> Tensor:
    """Return the contrastive loss without positives in the denominator (Yeh et al. 2022, equation 6), both directions.

    Rows that lack positives or negatives do not count.
    """
    logits = scores * clamped_scale(log_scale)
    negative = ~positive & ~ignore
    losses = []
    for dim in (1, 0):
        rows = positive.any(dim) & negative.any(dim)
        row_logits, wanted, others = (_rows(x, rows, dim) for x in (logits, positive, negative))
        against = torch.logsumexp(row_logits.masked_fill(~others, float("-inf")), 1, keepdim=True)
        losses.append(_mean_over_positives(against - row_logits, wanted))
    return _mean(losses, scores)


def sigmoid(scores: Tensor, positive: Tensor, ignore: Tensor, *, log_scale: Tensor, bias: Tensor) -> Tensor:
    """Return the pairwise sigmoid loss (Zhai et al. 2023, equation 3): the sum over pairs for each clip.

    One pair is one yes-or-no question, so that both directions are the same loss.
    """
    logits = scores * clamped_scale(log_scale) + bias
    signed = torch.where(positive, logits, -logits)
    losses = -F.logsigmoid(signed).masked_fill(ignore & ~positive, 0.0)
    return losses.sum() / max(1, len(scores))


def triplet(scores: Tensor, positive: Tensor, ignore: Tensor, *, margin: float) -> Tensor:
    """Return the hinge max(0, margin - s(a, p) + s(a, n)), the mean over the triplets that it is not 0 for.

    Averaging over active triplets only: Hermans, Beyer, Leibe 2017, section 2. Both directions; the mean of the two.
    """
    losses = []
    for hinge, valid in _hinges(scores, positive, ignore, margin):
        active = valid & (hinge > 0)
        losses.append(torch.where(active, hinge, torch.zeros_like(hinge)).sum() / active.sum().clamp_min(1))
    return (losses[0] + losses[1]) / 2


def active_share(scores: Tensor, positive: Tensor, ignore: Tensor, *, margin: float) -> Tensor:
    """Return the share of (anchor, positive, negative) triplets that violate the margin, both directions together.

    NaN where the batch has no triplet.
    """
    parts = [(((hinge > 0) & valid).sum(), valid.sum()) for hinge, valid in _hinges(scores, positive, ignore, margin)]
    return (parts[0][0] + parts[1][0]) / (parts[0][1] + parts[1][1])


def _hinges(scores: Tensor, positive: Tensor, ignore: Tensor, margin: float) -> list[tuple[Tensor, Tensor]]:
    """Return hinge arguments and which are triplets [shape=(n_pairs, n_candidates)]: clip->tag, then tag->clip."""
    negative = ~positive & ~ignore
    found = []
    for s, p, n in ((scores, positive, negative), (scores.T, positive.T, negative.T)):
        anchors, wanted = p.nonzero(as_tuple=True)
        found.append((margin - s[anchors, wanted].unsqueeze(1) + s[anchors], n[anchors]))
    return found


def _rows(x: Tensor, rows: Tensor, dim: int) -> Tensor:
    return x[rows] if dim == 1 else x.T[rows]


def _mean_over_positives(losses: Tensor, wanted: Tensor) -> Tensor | None:
    """Return the mean over rows of each row's mean over its positives; None without rows."""
    if not len(losses):
        return None
    return (torch.where(wanted, losses, torch.zeros_like(losses)).sum(1) / wanted.sum(1)).mean()


def _mean(losses: list[Tensor | None], scores: Tensor) -> Tensor:
    there = [loss for loss in losses if loss is not None]
    return torch.stack(there).mean() if there else (scores * 0).sum()
