"""A small collection for the tests of the recipe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from scripts.recipes.default.collection import Collection, Shard, make_collection

NAMES = ("low", "high", "noise")
FEATURES = 30

MakeShard = Callable[[str, list[tuple[str, ...]]], Shard]


@pytest.fixture
def make_shard() -> MakeShard:
    """A function that makes a shard of one chunk a clip from its name and the labels of its clips."""

    def make(name: str, labels: list[tuple[str, ...]]) -> Shard:
        n = len(labels)
        features = np.random.default_rng(n).normal(size=(n, 4)).astype(np.float16)
        groups = [f"{name}{i}" for i in range(n)]
        music = np.random.default_rng(n + 1).normal(size=(n, 3)).astype(np.float32)
        return Shard(name, features, np.arange(n), music, labels, groups)

    return make


@pytest.fixture
def recipe_collection() -> Collection:
    """Ninety clips of three chunks, whose features say which of three labels they have; a third of them is music."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, FEATURES)) * 2
    shards = []
    for name, music in (("synth-0", False), ("single-0", False), ("music", True)):
        kinds = np.arange(30) % 3
        chunks = np.repeat(centres[kinds], 3, axis=0) + rng.normal(size=(90, FEATURES))
        logits = np.eye(3)[kinds][:, :2] * 4 + rng.normal(0, 0.3, (30, 2)) if music else np.full((30, 2), np.nan)
        shards.append(
            Shard(
                name=name,
                features=chunks.astype(np.float16),
                clip_of=np.repeat(np.arange(30), 3),
                music=logits.astype(np.float32),
                labels=[(NAMES[kind],) for kind in kinds],
                groups=[f"{name}/{i}" for i in range(30)],
            )
        )
    return make_collection(shards, held_out=0.2)
