"""Published checkpoints -> the state of our modules: pure functions on names and tensors, strict on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "EFFICIENTAT_KEYS",
    "PANNS_KEYS",
    "VGGISH_KEYS",
    "WON_DENSE2_KEYS",
    "WON_DENSE_KEYS",
    "KeyNames",
    "PublishedError",
    "check_names",
    "musicnn2019_state",
]


class PublishedError(ValueError):
    """A checkpoint is not what its name promises; the message says which file or entry is wrong, and how."""


@dataclass(frozen=True)
class KeyNames:
    """A translation between the names of a published state dict and ours.

    Attributes:
        prefixes: (theirs, ours); the first prefix that matches is replaced.
        inner: (theirs, ours), replaced wherever it occurs.
        dropped: tables of the front end, which follow from the MelSpec and are not loaded.
    """

    prefixes: tuple[tuple[str, str], ...]
    inner: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()

    def ours(self, key: str) -> str:
        """Return our name of a published key."""
        for theirs, ours in self.inner:
            key = key.replace(theirs, ours)
        theirs, ours = next((pair for pair in self.prefixes if key.startswith(pair[0])), ("", ""))
        return ours + key[len(theirs) :]

    def theirs(self, key: str) -> str:
        """Return the published name of our key."""
        theirs, ours = next((pair for pair in self.prefixes if key.startswith(pair[1])), ("", ""))
        key = theirs + key[len(ours) :]
        for their_part, our_part in self.inner:
            key = key.replace(our_part, their_part)
        return key

    def state(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a published state under our names, without the front end."""
        return {self.ours(key): value for key, value in published.items() if key not in self.dropped}


_WON_FRONT_END = ("spec.spectrogram.window", "spec.mel_scale.fb")
WON_DENSE_KEYS = KeyNames((("dense.", "head."), ("", "backbone.")), dropped=_WON_FRONT_END)
WON_DENSE2_KEYS = KeyNames((("dense2.", "head."), ("", "backbone.")), dropped=_WON_FRONT_END)
EFFICIENTAT_KEYS = KeyNames(
    (("classifier.2.", "head.0."), ("classifier.5.", "head.3."), ("", "backbone.")),
    inner=((".conc_se_layers.0.fc", ".fc"),),
)
PANNS_KEYS = KeyNames(
    (("fc_audioset.", "head."), ("", "backbone.")),
    dropped=(
        "spectrogram_extractor.stft.conv_real.weight",
        "spectrogram_extractor.stft.conv_imag.weight",
        "logmel_extractor.melW",
    ),
)
VGGISH_KEYS = KeyNames((("", ""),))


def check_names(expected: set[str], found: set[str], *, what: str) -> None:
    """Check that two sets of names are equal.

    Args:
        expected: the names that are needed.
        found: the names that are there.
        what: the checkpoint, as the error message names it.

    Raises:
        PublishedError: names are missing or unknown; the message lists the first four of each.
    """
    wrong = []
    for names, verb in ((expected - found, "lacks"), (found - expected, "has unknown entries")):
        if names:
            some = ", ".join(sorted(names)[:4])
            wrong.append(f"{verb} {some}" + (f" and {len(names) - 4} more" if len(names) > 4 else ""))
    if wrong:
        raise PublishedError(f"{what} {' and '.join(wrong)}")


def _norm(published: Mapping[str, np.ndarray], theirs: str, ours: str) -> dict[str, Tensor]:
    names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    state = {f"{ours}.{b}": torch.from_numpy(published[f"{theirs}/{a}"].copy()) for a, b in names.items()}
    state[f"{ours}.num_batches_tracked"] = torch.tensor(0)
    return state


def _layer(published: Mapping[str, np.ndarray], theirs: str, ours: str) -> dict[str, Tensor]:
    kernel = published[f"{theirs}/kernel"]
    # Dense: (in, out) -> (out, in). Convolution: (time, mel, in, out) -> (out, in, mel, time).
    kernel = kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 1, 0)
    return {
        f"{ours}.weight": torch.from_numpy(np.ascontiguousarray(kernel)),
        f"{ours}.bias": torch.from_numpy(published[f"{theirs}/bias"].copy()),
    }


def _numbered(name: str, i: int) -> str:
    return name if i == 0 else f"{name}_{i}"


def _musicnn2019_names() -> set[str]:
    layers = [*(_numbered("conv2d", i) for i in range(8)), *(_numbered("dense", i) for i in range(2))]
    norms = [_numbered("batch_normalization", i) for i in range(11)]
    names = {f"{layer}/{part}" for layer in layers for part in ("kernel", "bias")}
    return names | {f"{norm}/{part}" for norm in norms for part in ("gamma", "beta", "moving_mean", "moving_variance")}


def musicnn2019_state(
    published: Mapping[str, np.ndarray], *, what: str = "this musicnn 2019 checkpoint"
) -> dict[str, Tensor]:
    """Return the state of a `TaggerNetwork` of `Musicnn2019`, converted from musicnn's TensorFlow variables.

    TensorFlow numbers layers in the order of their construction: five of the front end, three in the middle, two dense.

    Args:
        published: the variables by name.
        what: the checkpoint, as the error message names it.

    Raises:
        PublishedError: variables are missing or unknown.
    """
    check_names(_musicnn2019_names(), set(published), what=what)
    # The middle convolutions take (time, channel) as a picture with one channel: (7, n_in, 1, 64).
    middle = {f"conv2d_{i}/kernel": published[f"conv2d_{i}/kernel"].transpose(0, 2, 1, 3) for i in (5, 6, 7)}
    published = {**published, **middle}
    ours = [f"front.{i}" for i in range(5)] + [f"mid.{i}" for i in range(3)]
    state = _norm(published, "batch_normalization", "backbone.spec_bn")
    for i, name in enumerate(ours):
        state |= _layer(published, _numbered("conv2d", i), f"backbone.{name}.conv")
        state |= _norm(published, _numbered("batch_normalization", i + 1), f"backbone.{name}.bn")
    state |= _norm(published, "batch_normalization_9", "backbone.pool_bn")
    state |= _norm(published, "batch_normalization_10", "backbone.dense_bn")
    return state | _layer(published, "dense", "backbone.dense1") | _layer(published, "dense_1", "head")
