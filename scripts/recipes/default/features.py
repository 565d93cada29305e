"""What the default recipe's backbone makes of prepared clips."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from encoders.backbones.mobilenet import MobileNet
from encoders.two_tower import TwoTowerModel
from scripts.recipes.default.collection import Collection

__all__ = ["chunk_features", "mobile_net", "scaled_mel"]


def mobile_net(model: TwoTowerModel) -> MobileNet:
    """Return the model's backbone; the default recipe trains this one alone."""
    backbone = model.audio_tower.backbone
    assert isinstance(backbone, MobileNet)
    return backbone


def scaled_mel(model: TwoTowerModel, log_power: Tensor) -> Tensor:
    """Return log power [shape=(n, n_mels, n_frames)] as the model's front end scales it."""
    spec = mobile_net(model).front_end.spec
    return (log_power + spec.offset) * spec.scale


def chunk_features(model: TwoTowerModel, collection: Collection, *, batch_chunks: int = 32) -> list[np.ndarray]:
    """Return each clip's features [shape=(n_chunks, feature_dim)] of the unaugmented audio."""
    model.eval()
    features: list[np.ndarray] = []
    for shard in collection.shards:
        rows = [
            model.mel_features(scaled_mel(model, torch.from_numpy(shard.mel[i : i + batch_chunks].astype(np.float32))))
            for i in range(0, len(shard.mel), batch_chunks)
        ]
        joined = np.concatenate(rows)
        features += [joined[shard.clip_of == clip] for clip in range(len(shard.labels))]
    return features
