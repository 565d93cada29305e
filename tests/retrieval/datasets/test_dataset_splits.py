"""Splits by recording, and tags held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.datasets.base import DatasetError, TaggedClip, TaggedClips
from retrieval.datasets.splits import hold_out_tags, split_by_group


def clips_of(labels: list[tuple[str, ...]]) -> TaggedClips:
    return TaggedClips(tuple(TaggedClip(Path(str(n)), names) for n, names in enumerate(labels)), "small")


def test_groups_stay_together_and_shares_are_kept() -> None:
    sizes = np.random.default_rng(0).integers(1, 6, size=80)
    clips = tuple(
        TaggedClip(Path(f"{group}-{n}"), ("x",), group=f"g{group}")
        for group, size in enumerate(sizes)
        for n in range(size)
    )
    dataset = TaggedClips(clips, "grouped")
    fractions = {"train": 0.7, "val": 0.1, "test": 0.2}
    split = split_by_group(dataset, fractions, seed=3)
    of_group: dict[str, set[str | None]] = {}
    for clip in split.clips:
        of_group.setdefault(clip.group, set()).add(clip.split)
    assert all(len(names) == 1 for names in of_group.values())
    for name, share in fractions.items():
        assert split.splits[name] / len(split) == pytest.approx(share, abs=0.03)
    turned = split_by_group(replace(dataset, clips=clips[::-1]), fractions, seed=3)
    assert {clip.path: clip.split for clip in turned.clips} == {clip.path: clip.split for clip in split.clips}
    assert split_by_group(dataset, fractions, seed=4) != split


def test_shares_must_make_sense() -> None:
    dataset = clips_of([("x",), ("y",)])
    with pytest.raises(ValueError, match="add up to 1"):
        split_by_group(dataset, {"train": 0.5, "test": 0.4}, seed=0)
    with pytest.raises(DatasetError, match="2 groups of clips: too few for 3"):
        split_by_group(dataset, {"a": 0.4, "b": 0.3, "c": 0.3}, seed=0)


def test_unseen_tags_leave_the_labels() -> None:
    dataset = clips_of([("violin", "slow"), ("fiddle", "folk"), ("fiddle",), ("drums",)])
    alone = hold_out_tags(dataset, ["violin"])
    assert (alone.unseen, alone.seen) == (("violin",), ("drums", "fiddle", "folk", "slow"))
    assert (len(alone.clips), alone.unlabelled) == (4, ())
    by_dict = hold_out_tags(dataset, ["violin"], near_synonyms={"violin": ["fiddle", "viola"]})
    by_call = hold_out_tags(
        dataset, ["violin"], near_synonyms=lambda tag, other: 0.9 if other == "fiddle" else 0.1, threshold=0.9
    )
    assert by_dict == by_call
    assert by_dict.removed == {"violin": "violin", "fiddle": "violin"}
    assert [clip.labels for clip in by_dict.clips.clips] == [("slow",), ("folk",), ("drums",)]
    assert [clip.path.name for clip in by_dict.unlabelled] == ["2"]
    assert by_dict.unlabelled[0].labels == ("fiddle",)
    assert by_dict.seen == ("drums", "folk", "slow")


def test_what_cannot_be_held_out() -> None:
    dataset = clips_of([("violin",), ("drums",)])
    with pytest.raises(DatasetError, match="tags to hold out: horn"):
        hold_out_tags(dataset, ["horn"])
    with pytest.raises(DatasetError, match="hold out fewer"):
        hold_out_tags(dataset, ["violin", "drums"])
