"""Published checkpoints -> the state of our modules: pure functions on keys and tensors, strict on both sides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

__all__ = ["efficientat_state", "musicnn2019_state", "won2020_state"]

# Front-end tables follow from the MelSpec and are not loaded.
_WON_FRONT_END = ("spec.spectrogram.window", "spec.mel_scale.fb")


def efficientat_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert an EfficientAT MobileNetV3 state to that of ``MobileNetTagger``."""
    heads = {"classifier.2": "classifier.0", "classifier.5": "classifier.3"}
    state = {}
    for key, value in published.items():
        if key.startswith("features."):
            state["backbone." + key.replace(".conc_se_layers.0", "")] = value
        else:
            state[heads[key[:12]] + key[12:]] = value
    return state


def won2020_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a Won et al. 2020 state to that of ``FCNTagger`` or ``MusicnnTagger``: the keys are theirs."""
    return {key: value for key, value in published.items() if key not in _WON_FRONT_END}


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


def musicnn2019_state(published: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Convert musicnn's TensorFlow variables, by name, to the state of ``Musicnn2019Tagger``.

    TensorFlow numbers layers in the order of their making: five front-end blocks, three in the middle, two dense.
    """
    expected = 4 * 11 + 2 * 10
    if len(published) != expected:
        raise ValueError(f"a musicnn 2019 checkpoint has {expected} variables, this one has {len(published)}")

    def numbered(name: str, i: int) -> str:
        return name if i == 0 else f"{name}_{i}"

    # The middle convolutions see (time, channel) as a picture with one channel: (7, n_in, 1, 64).
    middle = {f"conv2d_{i}/kernel": published[f"conv2d_{i}/kernel"].transpose(0, 2, 1, 3) for i in (5, 6, 7)}
    published = {**published, **middle}
    ours = [f"front.{i}" for i in range(5)] + [f"mid.{i}" for i in range(3)]
    state = _norm(published, "batch_normalization", "spec_bn")
    for i, name in enumerate(ours):
        state |= _layer(published, numbered("conv2d", i), f"{name}.conv")
        state |= _norm(published, numbered("batch_normalization", i + 1), f"{name}.bn")
    state |= _norm(published, "batch_normalization_9", "pool_bn") | _norm(
        published, "batch_normalization_10", "dense_bn"
    )
    return state | _layer(published, "dense", "dense1") | _layer(published, "dense_1", "dense2")
