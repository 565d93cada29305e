"""Splits by recording, and tags held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from encoders.text.unknown import UnknownWordsError
from retrieval.datasets.base import DatasetError, TaggedClip, TaggedClips
from retrieval.datasets.label_leakage import LeakageFilter
from retrieval.datasets.splits import TrainingSplits, choose_splits, concat_datasets, hold_out_tags, split_by_group


class Synonyms:
    """Word vectors in which fiddle and violin are the same, and other words have a direction of their own or none."""

    dim = 26

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        """One axis a first letter."""
        rows = np.zeros((len(phrases), self.dim), np.float32)
        for row, phrase in zip(rows, phrases, strict=True):
            if phrase.startswith("x"):
                raise UnknownWordsError([phrase], {})
            row[ord({"fiddle": "v"}.get(phrase, phrase)[0]) - ord("a")] = 1
        return rows


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
    assert (alone.zero_shot, alone.train_tags) == (("violin",), ("drums", "fiddle", "folk", "slow"))
    assert (len(alone.clips), alone.unlabelled) == (4, ())
    both = hold_out_tags(dataset, ["violin"], leakage=LeakageFilter(["violin"], Synonyms()))
    assert both.removed == {"violin": "violin", "fiddle": "violin"}
    assert [clip.labels for clip in both.clips.clips] == [("slow",), ("folk",), ("drums",)]
    assert [clip.path.name for clip in both.unlabelled] == ["2"]
    assert both.unlabelled[0].labels == ("fiddle",)
    assert both.train_tags == ("drums", "folk", "slow")


def test_what_cannot_be_held_out() -> None:
    dataset = clips_of([("violin",), ("drums",)])
    with pytest.raises(DatasetError, match="tags to exclude: horn"):
        hold_out_tags(dataset, ["horn"])
    with pytest.raises(DatasetError, match="exclude fewer"):
        hold_out_tags(dataset, ["violin", "drums"])


def with_splits(*splits: str | None, name: str = "small", folder: str = "") -> TaggedClips:
    """Three clips of each split, each a group of its own."""
    clips = [
        TaggedClip(Path(f"{folder}{name}-{split}-{n}"), (f"tag {n}",), split, group=f"{split}-{n}")
        for split in splits
        for n in range(3)
    ]
    return TaggedClips(tuple(clips), name)


def names_in(part: TaggedClips) -> set[str | None]:
    return {clip.path.name.split("-")[1] for clip in part.clips}


@pytest.mark.parametrize(
    ("splits", "train", "validation"),
    [
        (("train", "val", "test"), {"train"}, {"val"}),
        (("training", "validation", "test"), {"training"}, {"validation"}),
        (("Train", "Val", "Test"), {"Train"}, {"Val"}),
        (("TRAIN", "dev"), {"TRAIN"}, {"dev"}),
        (("training", "test"), {"training"}, {"training"}),
        (("train", "evaluation"), {"train"}, {"train"}),
    ],
)
def test_test_splits_are_never_trained_on(splits: tuple[str, ...], train: set[str], validation: set[str]) -> None:
    chosen = choose_splits([with_splits(*splits)], seed=0)
    assert names_in(chosen.train) == train and names_in(chosen.validation) == validation
    assert not {clip.path for clip in chosen.train.clips} & {clip.path for clip in chosen.validation.clips}
    unused = set(splits) - train - validation
    assert all(any(f"the split {name!r} (3 clips) is not used" in note for note in chosen.notes) for name in unused)


@pytest.mark.parametrize(
    "splits", [("dev", "test"), ("test",), ("fold1", "fold2", "fold5"), ("a", "b"), ("train", "extra", "test")]
)
def test_unclear_splits_are_refused_with_what_there_is(splits: tuple[str, ...]) -> None:
    with pytest.raises(DatasetError, match=rf"{splits[0]} \(3\).*--train-split NAME.*--val-split NAME"):
        choose_splits([with_splits(*splits)], seed=0)


def test_named_splits_are_taken_whatever_their_case() -> None:
    folds = with_splits("Fold1", "fold2", "fold5")
    chosen = choose_splits([folds], train=["fold1", "fold2"], validation=["FOLD5"], seed=0)
    assert names_in(chosen.train) == {"Fold1", "fold2"} and names_in(chosen.validation) == {"fold5"}
    alone = choose_splits([folds], train=["fold1"], seed=0)
    assert names_in(alone.train) == names_in(alone.validation) == {"Fold1"}
    assert choose_splits([with_splits("train", "test")], validation=["test"], seed=0).validation.splits == {"test": 3}
    with pytest.raises(DatasetError, match="no split 'fold3': small has Fold1"):
        choose_splits([folds], train=["fold3"], seed=0)
    with pytest.raises(DatasetError, match="'val' is in both"):
        choose_splits([folds], train=["val"], validation=["VAL"], seed=0)
    with pytest.raises(DatasetError, match="no split 'train': small has no splits"):
        choose_splits([with_splits(None)], train=["train"], seed=0)


def test_a_data_set_without_splits_is_divided_by_group_beside_one_with_them() -> None:
    plain, split = with_splits(None, name="plain"), with_splits("train", "val", name="split")
    alone, beside = choose_splits([plain], seed=7), choose_splits([split, plain], seed=7)
    assert (len(alone.train), len(alone.validation)) == (2, 1)
    assert (len(beside.train), len(beside.validation)) == (5, 4)
    assert {clip.path for clip in alone.train.clips} < {clip.path for clip in beside.train.clips}
    assert "plain names no splits: 2 clips for training, 1 for validation" in alone.notes[0]
    assert alone.notes == beside.notes
    large = TaggedClips(tuple(TaggedClip(Path(str(n)), ("x",), group=str(n // 2)) for n in range(80)), "large")
    divided = choose_splits([large], seed=1)
    assert (len(divided.train), len(divided.validation)) == (72, 8)
    assert not {clip.group for clip in divided.train.clips} & {clip.group for clip in divided.validation.clips}


def test_data_sets_with_other_names_of_splits_are_combined() -> None:
    folds, usual = with_splits("fold1", "fold2", name="folds"), with_splits("train", "val", "test", name="usual")
    both = choose_splits([folds, usual], train=["fold1"], validation=["fold2"], seed=0)
    assert names_in(both.train) == {"fold1", "train"} and names_in(both.validation) == {"fold2", "val"}
    assert any("usual: the split 'test'" in note for note in both.notes)
    other = with_splits("a", "b", name="other")
    with pytest.raises(DatasetError, match=r"other has the splits a \(3\), b \(3\): .*--train-split NAME"):
        choose_splits([folds, other], train=["fold1"], validation=["fold2"], seed=0)
    every = choose_splits([folds, other], train=["fold1", "a"], validation=["fold2", "b"], seed=0)
    assert names_in(every.train) == {"fold1", "a"} and names_in(every.validation) == {"fold2", "b"}
    with pytest.raises(DatasetError, match=r"no split 'c': folds has fold1 .*; other has a"):
        choose_splits([folds, other], train=["fold1", "c"], seed=0)


def test_a_recording_in_both_splits_is_noted() -> None:
    clips = [TaggedClip(Path(f"{i}.wav"), ("x",), "train" if i % 2 else "val", group=f"r{i // 2}") for i in range(6)]
    shared = choose_splits([TaggedClips(tuple(clips), "cut")], seed=0)
    assert "cut: 3 groups have clips in both splits (r0, r1, r2), so its validation is optimistic" in shared.notes
    apart = tuple(replace(clip, group=clip.path.name) for clip in clips)
    assert choose_splits([TaggedClips(apart, "cut")], seed=0).notes == ()


def test_clips_without_a_split_among_others_are_refused() -> None:
    some = with_splits("train", None, "val")
    with pytest.raises(DatasetError, match=r"3 of 9 clips of small have no split .*fill in .*or remove the column"):
        choose_splits([some], seed=0)
    with pytest.raises(DatasetError, match="3 of 9 clips"):
        choose_splits([some], train=["train"], validation=["val"], seed=0)


def test_a_file_is_not_trained_on_by_one_data_set_and_held_out_by_another() -> None:
    one = with_splits("train", "val", name="one")
    other = replace(one, name="other", clips=tuple(replace(clip, split="train") for clip in one.clips[3:]))
    with pytest.raises(DatasetError, match="2 files are held out by one but trained on by another"):
        choose_splits([one, other], seed=0)


def test_a_clip_of_two_data_sets_is_taken_once() -> None:
    dataset = with_splits("train")
    other = replace(dataset, clips=(replace(dataset.clips[0], labels=("extra",)),), dropped=("a row",))
    both = concat_datasets([dataset, other])
    assert len(both) == 3 and both.clips[0].labels == ("tag 0", "extra") and both.dropped == ("a row",)
    assert {clip.dataset for clip in both.clips} == {"small", "small (2)"}
    assert isinstance(choose_splits([dataset, with_splits("val", name="more")][:1], seed=0), TrainingSplits)
