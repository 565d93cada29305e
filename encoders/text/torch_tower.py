"""The text tower in torch: the word lookup and the two layers. `encoders.text.tower` is the same network in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from encoders.text.word_vectors import WordVectors

__all__ = ["TextTower", "WordLookup"]


class WordLookup(nn.Module):
    """Token ids to unit phrase vectors: the weighted mean of word vectors.

    The first words have 8-bit codes, the others product codes; see `encoders.text.word_vectors.WordVectors`.

    Args:
        vocab_size: number of tokens.
        word_dim: length of a vector.
        product_words: how many of the tokens, the last ones, have product codes.
        product_parts: bytes of a product code.
        product_part_dim: dimensions of a part.
    """

    codes: Tensor
    scales: Tensor
    weights: Tensor
    product_codes: Tensor
    product_centroids: Tensor
    product_rotation: Tensor

    def __init__(
        self,
        *,
        vocab_size: int,
        word_dim: int,
        product_words: int = 0,
        product_parts: int = 0,
        product_part_dim: int = 0,
    ) -> None:
        super().__init__()
        n_coded = vocab_size - product_words
        self.has_products = product_words > 0
        self.register_buffer("codes", torch.zeros(n_coded, word_dim, dtype=torch.int8))
        self.register_buffer("scales", torch.zeros(n_coded))
        self.register_buffer("weights", torch.zeros(vocab_size))
        if self.has_products:
            shape = (product_parts, 256, product_part_dim)
            rotation = torch.zeros(product_parts * product_part_dim, word_dim, dtype=torch.float16)
            self.register_buffer("product_codes", torch.zeros(product_words, product_parts, dtype=torch.uint8))
            self.register_buffer("product_centroids", torch.zeros(shape, dtype=torch.float16))
            self.register_buffer("product_rotation", rotation)

    @torch.no_grad()
    def take(self, words: WordVectors) -> None:
        """Take over word vectors; those of subwords are no part of this module."""
        for name, array in words.tensors().items():
            getattr(self, name).copy_(torch.from_numpy(array))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors as `WordVectors.from_tensors` takes them."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.named_buffers()}

    def vectors(self, input_ids: Tensor) -> Tensor:
        """Return word vectors [shape=(..., word_dim)] of ids [shape=(...)]."""
        coded = input_ids.clamp(max=len(self.codes) - 1)
        vectors = self.codes[coded].to(self.scales.dtype) * self.scales[coded].unsqueeze(-1)
        if not self.has_products:
            return vectors
        codes = self.product_codes[(input_ids - len(self.codes)).clamp(min=0)].long()
        parts = self.product_centroids[torch.arange(codes.shape[-1], device=codes.device), codes]
        decoded = parts.to(vectors.dtype).flatten(-2) @ self.product_rotation.to(vectors.dtype)
        return torch.where((input_ids < len(self.codes)).unsqueeze(-1), vectors, decoded)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return unit vectors [shape=(n, word_dim)] of ids and mask [shape=(n, n_tokens)]; padding has weight 0."""
        weights = self.weights[input_ids]
        if attention_mask is not None:
            weights = weights * attention_mask
        return F.normalize((weights.unsqueeze(-1) * self.vectors(input_ids)).sum(1), dim=-1)


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
