"""The clips of all shards: which may be contrasted, drawn and averaged, and the files that they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.recipes.default.collection import (
    Collection,
    Shard,
    is_held_out,
    load_shards,
    make_collection,
    write_shard,
)
from scripts.recipes.default.packs import PACK_SHARE, TRAINING_PACKS


@pytest.fixture
def collection(make_shard: object) -> Collection:
    assert callable(make_shard)
    packs = [
        make_shard("music", [("rock", "piano"), ("jazz",)]),
        make_shard("orchestra_notes", [("cello",), ("flute",)]),
        make_shard("single-1-000000", [("violin",), ("cello",)]),
    ]
    return make_collection(packs, held_out=0.0)


def test_a_label_is_used_where_its_pack_uses_it(collection: Collection) -> None:
    used = collection.used(["cello", "flute", "violin", "rock"], [0, 2, 4])
    assert used.tolist() == [[False, False, False, True], [True, True, False, False], [True, False, True, False]]


def test_clips_of_some_packs_have_complete_labels(collection: Collection) -> None:
    assert collection.exhaustive([0, 2, 5]).tolist() == [False, True, True]


def test_packs_weigh_their_shares(collection: Collection) -> None:
    assert collection.packs == ["music"] * 2 + ["orchestra_notes"] * 2 + ["single"] * 2
    assert collection.share.sum() == pytest.approx(1)
    assert collection.share[0] / collection.share[2] == pytest.approx(
        PACK_SHARE["music"] / PACK_SHARE["orchestra_notes"]
    )


def test_every_pack_has_a_share() -> None:
    assert set(TRAINING_PACKS) < set(PACK_SHARE)
    assert sum(PACK_SHARE.values()) == pytest.approx(1)


def test_groups_are_held_out_whole_and_never_drawn(recipe_collection: Collection) -> None:
    assert 0 < recipe_collection.held_out.sum() < 45
    drawn = {int(i) for seed in range(50) for i in recipe_collection.draw(8, np.random.default_rng(seed))}
    assert not drawn & set(np.flatnonzero(recipe_collection.held_out))
    assert is_held_out("one artist", 0.5) == is_held_out("one artist", 0.5)


def test_a_segment_is_two_neighbouring_chunks() -> None:
    chunks = np.arange(5, dtype=np.float16)[:, None] ** 2
    shard = Shard("music", chunks, np.array([0, 0, 0, 0, 1]), np.zeros((2, 1)), [(), ()], ["a", "b"])
    collection = make_collection([shard], held_out=0.0)
    assert [len(features) for features in collection.features] == [4, 1]
    found = {float(collection.segment_features([0], np.random.default_rng(seed))[0, 0]) for seed in range(30)}
    assert found == {0.5, 2.5, 6.5}
    assert collection.segment_features([1], np.random.default_rng(0)).tolist() == [[16.0]]
    assert collection.clip_features().tolist() == [[3.5], [16.0]]


def test_a_shard_that_is_written_is_read_again(make_shard: object, tmp_path: Path) -> None:
    assert callable(make_shard)
    shard = make_shard("music", [("rock", "piano"), ()])
    write_shard(shard, tmp_path / "music")
    (tmp_path / "esc.part").mkdir()  # of an interrupted run
    (read,) = load_shards(tmp_path)
    assert (read.name, read.pack, read.labels, read.groups) == ("music", "music", shard.labels, shard.groups)
    for ours, theirs in ((read.features, shard.features), (read.music, shard.music), (read.clip_of, shard.clip_of)):
        np.testing.assert_array_equal(ours, theirs)


def test_labels_of_packs_with_complete_labels_are_contrasted(collection: Collection) -> None:
    assert collection.contrasted == {"cello", "flute", "violin"}
