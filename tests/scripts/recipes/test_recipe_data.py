"""Which pairs may be contrasted: labels of the same pack, where a missing label means absence."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.recipes.default.data import Collection, Shard, make_collection


def shard(name: str, labels: list[tuple[str, ...]]) -> Shard:
    n = len(labels)
    return Shard(
        name=name,
        mel=np.zeros((n, 2, 3), np.float16),
        clip_of=np.arange(n),
        audioset=np.arange(n * 2, dtype=np.float32).reshape(n, 2),
        music=np.full((n, 1), np.nan),
        labels=labels,
        groups=[f"{name}{i}" for i in range(n)],
    )


@pytest.fixture
def collection() -> Collection:
    packs = [
        shard("music", [("rock", "piano"), ("jazz",)]),
        shard("orchestra_notes", [("cello",), ("flute",)]),
        shard("single-1-000000", [("violin",), ("cello",)]),
    ]
    return make_collection(packs, held_out=0.0)


def test_a_label_is_used_where_its_pack_uses_it(collection: Collection) -> None:
    names = ["cello", "flute", "violin", "rock"]
    used = collection.used(names, [(0,), (2,), (4,), (2, 4)])
    assert used.tolist() == [
        [False, False, False, True],
        [True, True, False, False],
        [True, False, True, False],
        [True, False, False, False],  # a mixture: both packs must use it
    ]


def test_a_mixture_is_exhaustive_if_its_parts_are(collection: Collection) -> None:
    assert collection.exhaustive([(0,), (2,), (2, 5), (2, 1)]).tolist() == [False, True, True, False]


def test_packs_weigh_their_shares(collection: Collection) -> None:
    assert collection.packs == ["music"] * 2 + ["orchestra_notes"] * 2 + ["single"] * 2
    assert collection.share.sum() == pytest.approx(1)
    assert collection.share[0] > collection.share[2]
