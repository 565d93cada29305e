"""The text tower of a composed space in numpy; `encoders.composed` is the same in torch, and says what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from encoders.arrays import sigmoid, unit

__all__ = ["ComposedSpec", "ComposedText"]


@dataclass(frozen=True)
class ComposedSpec:
    """Sizes and constants of a composed space, as in a model's config.

    Attributes:
        banks: names of the classes of each bank of taggers; a phrase has weights of sum 1 in each.
        anchors: labels that the trained part has learnt by contrast.
        rank: length of the fixed part.
        trained_dim: length of the trained part.
        components: principal components of the features.
        audio_hidden: width of the trained part of the audio tower.
        head_features: features that the published tagger's head takes.
        head_hidden: width of that head's hidden layer.
        clip_std: standardised features are clipped to this range.
        temperature: divides the cosines of phrase and class names.
        gain: of the trained part, for phrases far from every anchor and for anchors.
        gain_cosine: cosine to the nearest anchor at which the gain is in the middle.
        gain_width: width of the rise, as a cosine.
    """

    banks: tuple[tuple[str, ...], ...]
    anchors: tuple[str, ...] = ()
    rank: int = 96
    trained_dim: int = 96
    components: int = 256
    audio_hidden: int = 768
    head_features: int = 384
    head_hidden: int = 1280
    clip_std: float = 8.0
    temperature: float = 0.03
    gain: tuple[float, float] = (0.3, 2.0)
    gain_cosine: float = 0.75
    gain_width: float = 0.07

    @property
    def bank_sizes(self) -> list[int]:
        """Number of classes of each bank."""
        return [len(bank) for bank in self.banks]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, bank by bank."""
        return [name for bank in self.banks for name in bank]

    @property
    def n_anchors(self) -> int:
        """Number of anchors."""
        return len(self.anchors)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.rank + self.trained_dim

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ComposedSpec:
        """Return the spec of `to_dict`, also after JSON has made lists of its tuples.

        Raises:
            ValueError: a field is unknown or missing.
        """
        known = {field.name for field in fields(cls)}
        if not values.keys() <= known or "banks" not in values:
            odd = sorted(values.keys() - known) or ["banks"]
            raise ValueError(f"a composed space of another version: {', '.join(odd)}")
        plain = dict(values)
        plain["banks"] = tuple(tuple(bank) for bank in plain["banks"])
        plain["anchors"] = tuple(plain.get("anchors", ()))
        plain["gain"] = tuple(plain.get("gain", cls.gain))
        return cls(**plain)


class ComposedText:
    """The text tower, from a model's tensors.

    Args:
        spec: of the config.
        tensors: by their names in the file, those of the text tower.
        trained: the trained part: phrase vectors [shape=(n, word_dim)] to vectors [shape=(n, trained_dim)].
    """

    def __init__(self, spec: ComposedSpec, tensors: Mapping[str, np.ndarray], trained: Any) -> None:
        self._spec, self._trained = spec, trained
        self._classes, self._parts, self._anchors, self._fixed_covariance, self._trained_covariance = (
            tensors[f"text_tower.{name}"].astype(np.float32)
            for name in ("class_vectors", "class_parts", "anchors", "composed_covariance", "trained_covariance")
        )

    def __call__(self, words: np.ndarray) -> np.ndarray:
        """Return unit vectors [shape=(n, dim)] of phrase vectors [shape=(n, word_dim)]."""
        fixed = _standardised(self._composed(words), self._fixed_covariance)
        trained = _standardised(unit(self._trained(words)), self._trained_covariance)
        return unit(np.concatenate([fixed, self._gain(words) * trained], axis=1))

    def _composed(self, words: np.ndarray) -> np.ndarray:
        cosines = words @ self._classes.T / self._spec.temperature
        ends = np.cumsum(self._spec.bank_sizes)[:-1]
        weights = np.concatenate([_softmax(bank) for bank in np.split(cosines, ends, axis=1)], axis=1)
        return weights @ self._parts

    def _gain(self, words: np.ndarray) -> np.ndarray:
        low, high = self._spec.gain
        if not len(self._anchors):
            return np.full((len(words), 1), high, np.float32)
        nearest = (words @ self._anchors.T).max(axis=1, keepdims=True)
        rise = sigmoid((nearest - self._spec.gain_cosine) / self._spec.gain_width)
        return (low + (high - low) * rise).astype(np.float32)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _standardised(vectors: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    variance = np.einsum("nd,de,ne->n", vectors, covariance, vectors)
    return vectors / np.sqrt(np.maximum(variance, 1e-12))[:, None]
