"""The text tower in torch: the word lookup and the two layers. `encoders.text.tower` is the same network in numpy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["TextTower", "WordLookup"]


class WordLookup(nn.Module):
    """Token ids to unit phrase vectors: the mean of 8-bit word vectors, weighted by smooth inverse frequency."""

    codes: Tensor
    scales: Tensor
    weights: Tensor

    def __init__(self, *, vocab_size: int, word_dim: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(vocab_size, word_dim, dtype=torch.int8))
        self.register_buffer("scales", torch.zeros(vocab_size))
        self.register_buffer("weights", torch.zeros(vocab_size))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return unit vectors [shape=(n, word_dim)] of ids and mask [shape=(n, n_tokens)]; padding has weight 0."""
        vectors = self.codes[input_ids].to(self.scales.dtype) * self.scales[input_ids].unsqueeze(-1)
        weights = self.weights[input_ids]
        if attention_mask is not None:
            weights = weights * attention_mask
        return F.normalize((weights.unsqueeze(-1) * vectors).sum(1), dim=-1)


class TextTower(nn.Module):
    """Word vectors [shape=(n, word_dim)] to unit vectors [shape=(n, dim)]: two fully connected layers."""

    def __init__(self, *, word_dim: int, hidden: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(word_dim, hidden)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, dim)
        self.norm2 = nn.BatchNorm1d(dim)

    def forward(self, words: Tensor) -> Tensor:
        hidden = self.dropout(torch.relu(self.norm1(self.fc1(words))))
        return F.normalize(self.norm2(self.fc2(hidden)), dim=-1)
