"""Heads on a backbone's features: classifiers with one layer, two layers or attention, and the audio projection."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["AttentionHead", "AudioProjection", "LinearHead", "MLPHead"]


class LinearHead(nn.Linear):
    """Features [shape=(batch, dim)] -> logits [shape=(batch, n_classes)]."""

    takes_sequence = False

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__(dim, n_classes)


class MLPHead(nn.Sequential):
    """Features [shape=(batch, dim)] -> logits [shape=(batch, n_classes)]: Linear, Hardswish, Dropout, Linear.

    Args:
        dim: width of the features.
        n_classes: width of the logits.
        hidden: width of the hidden layer; `dim` by default.
        dropout: after the hidden layer.

    Source: the head of MobileNetV3 (Howard et al., ICCV 2019).
    """

    takes_sequence = False

    def __init__(self, dim: int, n_classes: int, *, hidden: int | None = None, dropout: float = 0.2) -> None:
        width = hidden or dim
        super().__init__(nn.Linear(dim, width), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(width, n_classes))


class AttentionHead(nn.Module):
    """Features through time [shape=(batch, n_steps, dim)] -> logits [shape=(batch, n_classes)].

    A dense layer embeds each step. Each class then averages its probabilities over time with weights of its own, which
    sum to 1: p = sum_t a_t sigmoid(c_t), a_t = sigmoid(v_t) / sum_s sigmoid(v_s). The logit is ln p - ln(1 - p).

    Source: decision-level single attention of Gururani, Sharma, Lerch, "An attention mechanism for musical instrument
    recognition", ISMIR 2019, as in `Attention.forward` of the authors' code (github.com/SiddGururani/AttentionMIC);
    after Kong, Xu, Wang, Plumbley, "Audio Set classification with attention model", ICASSP 2018. Their embedding is a
    stack of three layers with batch norm and a shortcut, which the backbone replaces here.
    """

    takes_sequence = True

    def __init__(self, dim: int, n_classes: int, *, hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.classifier = nn.Linear(hidden, n_classes)
        self.attention = nn.Linear(hidden, n_classes)

    def log_weights(self, sequence: Tensor) -> Tensor:
        """Return the logarithm of each class's weights over time [shape=(batch, n_steps, n_classes)]."""
        return self._log_weights(self.embedding(sequence))

    def _log_weights(self, embedded: Tensor) -> Tensor:
        return F.log_softmax(F.logsigmoid(self.attention(embedded)), dim=1)

    def forward(self, sequence: Tensor) -> Tensor:
        embedded = self.embedding(sequence)
        scores, log_weights = self.classifier(embedded), self._log_weights(embedded)
        # Both tails as logarithms: for a confident class, 1 - p would be 0 in float32.
        log_p = torch.logsumexp(log_weights + F.logsigmoid(scores), dim=1)
        log_not_p = torch.logsumexp(log_weights + F.logsigmoid(-scores), dim=1)
        return log_p - log_not_p


class AudioProjection(nn.Module):
    """Pooled features [shape=(n, feature_dim)] -> unit vectors [shape=(n, dim)]."""

    def __init__(self, *, feature_dim: int, hidden: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(feature_dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.fc2(self.dropout(F.hardswish(self.fc1(features)))), dim=-1)
