"""Backbone features of prepared chunks are those of the audio that they were made from."""

from __future__ import annotations

import numpy as np
import torch

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.two_tower import TwoTowerModel
from scripts.recipes.default.data import Shard, make_collection
from scripts.recipes.default.features import chunk_features, mobile_net


def test_features_of_a_stored_chunk_are_those_of_its_waveform() -> None:
    model = TwoTowerModel.from_pretrained(DEFAULT_MODEL_DIR)
    rng = np.random.default_rng(0)
    chunks = (0.1 * rng.standard_normal((2, model.chunk_samples))).astype(np.float32)
    front_end = mobile_net(model).front_end
    log_power = front_end.power(torch.from_numpy(chunks)).add(front_end.spec.log_floor).log()
    shard = Shard(
        name="synth-0",
        mel=log_power.numpy().astype(np.float16),
        clip_of=np.arange(2),
        audioset=np.array([[0.0, 1.0], [1.0, 0.0]]),
        music=np.full((2, 1), np.nan),
        labels=[("a",), ("b",)],
        groups=["a", "b"],
    )
    found = np.concatenate(chunk_features(model, make_collection([shard], held_out=0.0)))
    np.testing.assert_allclose(found, model.chunk_features(chunks), atol=0.02)
