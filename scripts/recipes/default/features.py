"""Backbone features of the clips of a collection."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from encoders.backbones.mobilenet import MobileNet
from encoders.two_tower import TwoTowerModel
from scripts.recipes.default.data import Collection

__all__ = ["chunk_features", "mobile_net", "scaled_mel"]


def mobile_net(model: TwoTowerModel) -> MobileNet:
    """Return the model's backbone, which is a MobileNet in this recipe."""
    backbone = model.audio_tower.backbone
    assert isinstance(backbone, MobileNet)
    return backbone


def scaled_mel(model: TwoTowerModel, log_power: Tensor) -> Tensor:
    """Return log-mel power as the model's front end scales it [shape=(n, n_mels, n_frames)]."""
    spec = mobile_net(model).front_end.spec
    return (log_power + spec.offset) * spec.scale


@torch.inference_mode()
def chunk_features(model: TwoTowerModel, collection: Collection, *, batch_chunks: int = 32) -> list[np.ndarray]:
    """Return the features of each clip's chunks, without augmentation, float32 [shape=(n_chunks, feature_dim)]."""
    model.eval()
    network = model.inference_backbone()
    assert isinstance(network, MobileNet)
    features: list[np.ndarray] = []
    for shard in collection.shards:
        rows = []
        for i in range(0, len(shard.mel), batch_chunks):
            log_power = torch.from_numpy(shard.mel[i : i + batch_chunks].astype(np.float32))
            rows.append(network.from_mel(scaled_mel(model, log_power).to(model.device)).float().cpu().numpy())
        joined = np.concatenate(rows)
        features += [joined[shard.clip_of == clip] for clip in range(len(shard.labels))]
    return features
