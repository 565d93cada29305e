"""What published taggers know of clips, as linear maps of the frozen backbone's features.

The AudioSet tagger is the backbone's own head. The tags of the music taggers, which have networks of their own, are
predicted by ridge regression from the principal components of the features, fitted on music that both have heard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from scripts.recipes.default.collection import Collection

__all__ = ["Head", "Knowledge", "MusicMap", "Scaler", "fit_music", "fit_scaler", "learn_knowledge"]

CLIP_STD = 8.0


@dataclass(frozen=True)
class Scaler:
    """Features to scaled principal components.

    Attributes:
        mean: of the features [shape=(feature_dim,)].
        inverse_std: one over their standard deviation [shape=(feature_dim,)].
        components: directions, divided by their damped standard deviation [shape=(n_components, feature_dim)].
    """

    mean: np.ndarray
    inverse_std: np.ndarray
    components: np.ndarray

    def coordinates(self, features: np.ndarray) -> np.ndarray:
        """Return scaled components, float32 [shape=(n, n_components)], of features [shape=(n, feature_dim)]."""
        standard = ((features - self.mean) * self.inverse_std).clip(-CLIP_STD, CLIP_STD)
        return (standard @ self.components.T).astype(np.float32)


def fit_scaler(features: np.ndarray, share: np.ndarray, *, n_components: int, damping: int) -> Scaler:
    """Fit the scaling and the principal components.

    Args:
        features: of clips [shape=(n, feature_dim)].
        share: weight of each clip, summing to 1 [shape=(n,)].
        n_components: how many are kept.
        damping: number of the component whose variance is added to that of each before the division, so that weak
            components, which are mostly noise, are not brought to the size of strong ones.
    """
    mean = share @ features
    std = np.sqrt(share @ (features - mean) ** 2)
    inverse_std = 1 / np.maximum(std, 1e-6)
    standard = ((features - mean) * inverse_std).clip(-CLIP_STD, CLIP_STD)
    values, vectors = np.linalg.eigh((share[:, None] * standard).T @ standard)
    order = np.argsort(values)[::-1][:n_components]
    scale = 1 / np.sqrt(values[order] + values[order[min(damping, len(order)) - 1]])
    components = scale[:, None] * vectors[:, order].T
    return Scaler(mean.astype(np.float32), inverse_std.astype(np.float32), components.astype(np.float32))


@dataclass(frozen=True)
class Head:
    """The AudioSet tagger's head: logits = weight2 hardswish(weight1 features + bias1) + bias2."""

    weight1: np.ndarray
    bias1: np.ndarray
    weight2: np.ndarray
    bias2: np.ndarray

    @classmethod
    def of(cls, head: nn.Module) -> Head:
        """Take the weights of Linear, Hardswish, Dropout, Linear."""
        assert isinstance(head, nn.Sequential)
        first, last = head[0], head[3]
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        arrays = (x.detach().numpy() for x in (first.weight, first.bias, last.weight, last.bias))
        return cls(*arrays)

    def hidden(self, features: np.ndarray) -> np.ndarray:
        """Return the hidden layer [shape=(n, hidden)] of features, of which the first columns are taken."""
        inputs = torch.from_numpy(features[:, : self.weight1.shape[1]] @ self.weight1.T + self.bias1)
        return torch.nn.functional.hardswish(inputs).numpy()

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return logits [shape=(n, n_classes)]."""
        return self.hidden(features) @ self.weight2.T + self.bias2


@dataclass(frozen=True)
class MusicMap:
    """The music tags of scaled components: logits = components weight' + bias.

    Attributes:
        weight: [shape=(n_tags, n_components)].
        bias: [shape=(n_tags,)].
        correlation: with the teachers' logits on held-out music, mean over tags; NaN without held-out music.
    """

    weight: np.ndarray
    bias: np.ndarray
    correlation: float

    def logits(self, coordinates: np.ndarray) -> np.ndarray:
        """Return logits [shape=(n, n_tags)] of scaled components [shape=(n, n_components)]."""
        return coordinates @ self.weight.T + self.bias


def fit_music(coordinates: np.ndarray, logits: np.ndarray, held_out: np.ndarray, *, penalty: float) -> MusicMap:
    """Fit the music tags by ridge regression on the clips that the teachers have processed and that are not held out.

    Args:
        coordinates: scaled components of clips [shape=(n, n_components)].
        logits: of the teachers, NaN in the rows of other clips [shape=(n, n_tags)].
        held_out: clips that are only used for the correlation, bool [shape=(n,)].
        penalty: on squared weights, for logits of standard deviation 1.
    """
    known = np.isfinite(logits).all(axis=1)
    fit, check = known & ~held_out, known & held_out
    x, y = coordinates[fit].astype(np.float64), logits[fit].astype(np.float64)
    x_mean, y_mean, y_std = x.mean(0), y.mean(0), np.maximum(y.std(0), 1e-6)
    centred = x - x_mean
    gram = centred.T @ centred + penalty * np.eye(x.shape[1])
    weight = np.linalg.solve(gram, centred.T @ ((y - y_mean) / y_std)).T * y_std[:, None]
    bias = y_mean - weight @ x_mean
    music = MusicMap(weight.astype(np.float32), bias.astype(np.float32), float("nan"))
    if check.sum() < 3:
        return music
    predicted, wanted = music.logits(coordinates[check]), logits[check]
    predicted, wanted = predicted - predicted.mean(0), wanted - wanted.mean(0)
    size = np.sqrt((predicted**2).sum(0) * (wanted**2).sum(0))
    return MusicMap(music.weight, music.bias, float(((predicted * wanted).sum(0) / np.maximum(size, 1e-9)).mean()))


@dataclass(frozen=True)
class Knowledge:
    """All classes of the taggers for any clip.

    Attributes:
        scaler: features to scaled components.
        head: of the AudioSet tagger, with the classes that are used.
        music: of the music tags that are used.
        mean: of the logits over training clips by their shares, AudioSet's first [shape=(n_classes,)].
        std: their standard deviation [shape=(n_classes,)].
    """

    scaler: Scaler
    head: Head
    music: MusicMap
    mean: np.ndarray
    std: np.ndarray

    def standard_logits(self, features: np.ndarray) -> np.ndarray:
        """Return standardised logits of all classes [shape=(n, n_classes)] of features [shape=(n, feature_dim)]."""
        return (_logits(self.head, self.music, self.scaler, features) - self.mean) / self.std


def _logits(head: Head, music: MusicMap, scaler: Scaler, features: np.ndarray) -> np.ndarray:
    return np.concatenate([head.logits(features), music.logits(scaler.coordinates(features))], axis=1)


def learn_knowledge(
    collection: Collection, head: nn.Module, *, n_components: int, damping: int, penalty: float
) -> Knowledge:
    """Fit the scaling, the music tags and the moments of all logits on the clips of a collection.

    Args:
        collection: the clips; `music` has the teachers' logits.
        head: the AudioSet tagger's head.
        n_components: see `fit_scaler`.
        damping: see `fit_scaler`.
        penalty: see `fit_music`.
    """
    features = collection.clip_features()
    scaler = fit_scaler(features, collection.share, n_components=n_components, damping=damping)
    music = fit_music(scaler.coordinates(features), collection.music, collection.held_out, penalty=penalty)
    of_head = Head.of(head)
    logits = _logits(of_head, music, scaler, features)
    mean = collection.share @ logits
    std = np.sqrt(collection.share @ (logits - mean) ** 2)
    return Knowledge(scaler, of_head, music, mean.astype(np.float32), np.maximum(std, 1e-6).astype(np.float32))
