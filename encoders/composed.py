"""A space of two parts side by side: what published taggers know, held fixed, and a trained part.

The first part of an audio vector is a fixed projection of the standardised logits of taggers with fixed classes; the
first part of a text vector is the projection of the phrase's weights over these classes. Their inner product is the
composed score at low rank: the weighted mean of the logits (after ConSE: Norouzi et al., ICLR 2014). The second part
comes from a small adapter on the features of the frozen backbone and from a small text network. Training changes the
second part only, so that what the taggers know stays.

Audio vectors have the length 1, half of its square in each part. The parts of a text vector are divided by the standard
deviation of their scores over background audio, the second is multiplied by a gain, and the whole is brought to length
1: a cosine is, up to a factor of the phrase, the sum of both standardised scores.

`encoders.text.composed` is the text tower in numpy.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.text.composed import ComposedSpec
from encoders.text.phrases import PhraseEncoder, phrase_vectors
from encoders.text.torch_tower import TextTower

__all__ = ["ComposedProjection", "ComposedTextTower", "take_space"]


class ComposedProjection(nn.Module):
    """Pooled features [shape=(n, feature_dim)] -> unit vectors [shape=(n, rank + trained_dim)].

    The buffers are fixed by `scripts.recipes.default`; a model with fresh weights has zeros in them.

    Args:
        spec: the sizes.
        feature_dim: width of the features. The first `spec.head_features` are those of the published tagger.
        dropout: of the trained part.
    """

    mean: Tensor
    inverse_std: Tensor
    components: Tensor
    head_weight: Tensor
    head_bias: Tensor
    class_projection: Tensor
    component_projection: Tensor
    offset: Tensor

    def __init__(self, spec: ComposedSpec, *, feature_dim: int, dropout: float) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("inverse_std", torch.ones(feature_dim))
        self.register_buffer("components", torch.zeros(spec.components, feature_dim))
        self.register_buffer("head_weight", torch.zeros(spec.head_hidden, spec.head_features))
        self.register_buffer("head_bias", torch.zeros(spec.head_hidden))
        self.register_buffer("class_projection", torch.zeros(spec.rank, spec.head_hidden))
        self.register_buffer("component_projection", torch.zeros(spec.rank, spec.components))
        self.register_buffer("offset", torch.zeros(spec.rank))
        self.fc1 = nn.Linear(spec.components, spec.audio_hidden)
        self.fc2 = nn.Linear(spec.audio_hidden, spec.trained_dim)
        self.dropout = nn.Dropout(dropout)

    def coordinates(self, features: Tensor) -> Tensor:
        """Return scaled principal components of standardised features, clipped [shape=(n, components)]."""
        clip = self.spec.clip_std
        return ((features - self.mean) * self.inverse_std).clamp(-clip, clip) @ self.components.T

    def composed(self, features: Tensor, coordinates: Tensor) -> Tensor:
        """Return the fixed part, of length 1 [shape=(n, rank)]."""
        hidden = F.hardswish(features[..., : self.spec.head_features] @ self.head_weight.T + self.head_bias)
        from_classes = hidden @ self.class_projection.T
        return F.normalize(from_classes + coordinates @ self.component_projection.T + self.offset, dim=-1)

    def trained(self, coordinates: Tensor) -> Tensor:
        """Return the trained part, of length 1 [shape=(n, trained_dim)]."""
        return F.normalize(self.fc2(self.dropout(F.hardswish(self.fc1(coordinates)))), dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        coordinates = self.coordinates(features)
        parts = [self.composed(features, coordinates), self.trained(coordinates)]
        # Untrained buffers are zeros: dividing by the length keeps the vector a unit vector there, too.
        return F.normalize(torch.cat(parts, dim=-1), dim=-1)


class ComposedTextTower(nn.Module):
    """Phrase vectors [shape=(n, word_dim)] -> unit vectors [shape=(n, rank + trained_dim)].

    Args:
        spec: sizes and constants.
        word_dim: length of a phrase vector.
        hidden: width of the trained part.
        dropout: of the trained part.
    """

    class_vectors: Tensor
    class_parts: Tensor
    anchors: Tensor
    composed_covariance: Tensor
    trained_covariance: Tensor

    def __init__(self, spec: ComposedSpec, *, word_dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("class_vectors", torch.zeros(sum(spec.bank_sizes), word_dim))
        self.register_buffer("class_parts", torch.zeros(sum(spec.bank_sizes), spec.rank))
        self.register_buffer("anchors", torch.zeros(spec.n_anchors, word_dim))
        self.register_buffer("composed_covariance", torch.eye(spec.rank))
        self.register_buffer("trained_covariance", torch.eye(spec.trained_dim))
        self.trained = TextTower(word_dim=word_dim, hidden=hidden, dim=spec.trained_dim, dropout=dropout)

    @torch.no_grad()
    def read_names(self, encoder: PhraseEncoder) -> None:
        """Set the vectors of classes and anchors by an encoder of phrases; a name that it does not know has zeros."""
        found = phrase_vectors(encoder, [*self.spec.class_names, *self.spec.anchors])
        for buffer, names in ((self.class_vectors, self.spec.class_names), (self.anchors, self.spec.anchors)):
            for row, name in enumerate(names):
                buffer[row] = torch.from_numpy(found[name]) if name in found else 0.0

    def composed(self, words: Tensor) -> Tensor:
        """Return the fixed part: the projections of the classes, weighted [shape=(n, rank)]."""
        cosines = words @ self.class_vectors.T / self.spec.temperature
        weights = torch.cat([F.softmax(bank, dim=-1) for bank in cosines.split(self.spec.bank_sizes, dim=-1)], dim=-1)
        return weights @ self.class_parts

    def gain(self, words: Tensor) -> Tensor:
        """Return how much the trained part weighs beside the fixed one [shape=(n, 1)].

        It rises with the cosine of a phrase to the nearest label that the trained part has learnt.
        """
        low, high = self.spec.gain
        if not len(self.anchors):
            return words.new_full((*words.shape[:-1], 1), high)
        nearest = (words @ self.anchors.T).amax(-1, keepdim=True)
        return low + (high - low) * torch.sigmoid((nearest - self.spec.gain_cosine) / self.spec.gain_width)

    def forward(self, words: Tensor) -> Tensor:
        fixed = _standardised(self.composed(words), self.composed_covariance)
        trained = _standardised(self.trained(words), self.trained_covariance)
        return F.normalize(torch.cat([fixed, self.gain(words) * trained], dim=-1), dim=-1)


def take_space(target: ComposedTextTower, source: ComposedTextTower) -> None:
    """Copy what a text tower knows of the space, but not what depends on the word vectors that it reads."""
    for name in ("class_parts", "composed_covariance", "trained_covariance"):
        getattr(target, name).copy_(getattr(source, name))


def _standardised(vectors: Tensor, covariance: Tensor) -> Tensor:
    """Divide text vectors by the standard deviation of their scores over audio of this covariance."""
    variance = torch.einsum("...d,de,...e->...", vectors, covariance, vectors)
    return vectors / variance.clamp_min(1e-12).sqrt().unsqueeze(-1)
