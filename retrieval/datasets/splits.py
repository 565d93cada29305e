"""Split data sets into training and validation clips, and hold out tags for zero-shot evaluation.

Split names are compared without case. "train" and "training" are training splits; "val", "valid", "validation", "dev"
and "development" are validation splits; "test", "testing", "eval" and "evaluation" are test splits, which are never
used unless the caller names them. Training splits with any other name ("fold1", "a") have to be named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from retrieval.datasets.base import DatasetError, TaggedClip, TaggedClips, format_names
from retrieval.datasets.label_leakage import LeakageFilter

__all__ = [
    "HeldOut",
    "TrainingSplits",
    "choose_splits",
    "concat_datasets",
    "hold_out_tags",
    "split_by_group",
]

TRAIN_NAMES = frozenset({"train", "training"})
VALIDATION_NAMES = frozenset({"val", "valid", "validation", "dev", "development"})
TEST_NAMES = frozenset({"test", "testing", "eval", "evaluation"})
VALIDATION_SHARE = 0.1
"""Share of the recordings of a data set without a validation split that are held out for validation."""


@dataclass(frozen=True)
class TrainingSplits:
    """The clips of a training run.

    Attributes:
        train: clips to train on.
        validation: clips to validate on.
        notes: decisions that the split names do not determine, one line each, for the user.
    """

    train: TaggedClips
    validation: TaggedClips
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class HeldOut:
    """A data set whose labels lack the zero-shot tags.

    Attributes:
        clips: the clips that still have a label, with the labels that may be trained on.
        zero_shot: the excluded tags, sorted.
        removed: every tag that is no longer a label -> the zero-shot tag that it is or leaks.
        unlabelled: clips, with their original labels, that have no label left.
    """

    clips: TaggedClips
    zero_shot: tuple[str, ...]
    removed: dict[str, str]
    unlabelled: tuple[TaggedClip, ...]

    @property
    def train_tags(self) -> tuple[str, ...]:
        """The tags that may be trained on, sorted."""
        return self.clips.tags


def split_by_group(dataset: TaggedClips, fractions: Mapping[str, float], *, seed: int) -> TaggedClips:
    """The same clips with new splits; the clips of a group (a clip without one is its own) stay together.

    Groups are shuffled, and each goes to the split that is furthest behind its share of clips; labels are not
    stratified. The result depends on the groups, the fractions and the seed, not on the order of the clips.

    Args:
        dataset: the clips.
        fractions: split -> share of the clips; they add up to 1.
        seed: of the shuffling.

    Raises:
        ValueError: shares that are not positive or do not add up to 1.
        DatasetError: fewer groups than splits.
    """
    if any(share <= 0 for share in fractions.values()) or not math.isclose(sum(fractions.values()), 1.0):
        raise ValueError(f"shares of splits are positive and add up to 1, not {dict(fractions)}")
    sizes: dict[str, int] = {}
    for clip in dataset.clips:
        sizes[_group(clip)] = sizes.get(_group(clip), 0) + 1
    if len(sizes) < len(fractions):
        raise DatasetError(f"{dataset.name} has {len(sizes)} groups of clips: too few for {len(fractions)} splits")
    order = np.random.default_rng(seed).permutation(sorted(sizes))
    filled = dict.fromkeys(fractions, 0)
    split_of = {}
    for group in map(str, order):
        split = min(filled, key=lambda name: (filled[name] + sizes[group]) / fractions[name])
        filled[split] += sizes[group]
        split_of[group] = split
    clips = tuple(replace(clip, split=split_of[_group(clip)]) for clip in dataset.clips)
    return replace(dataset, clips=clips)


def concat_datasets(datasets: Sequence[TaggedClips]) -> TaggedClips:
    """Return several data sets as one; a clip that two of them list is taken once, with the labels of both.

    Data sets of the same name are distinguished by a number.
    """
    if len(datasets) == 1:
        return datasets[0]
    clips: dict[Path, TaggedClip] = {}
    for dataset, name in zip(datasets, _distinct_names(datasets), strict=True):
        for clip in dataset.clips:
            group = f"{name}/{clip.group}" if clip.group else ""
            before = clips.get(clip.path)
            labels = clip.labels if before is None else tuple(dict.fromkeys((*before.labels, *clip.labels)))
            clips[clip.path] = replace(clip, group=group, labels=labels, dataset=name)
    return TaggedClips(
        clips=tuple(clips.values()),
        name=" + ".join(dataset.name for dataset in datasets),
        dropped=tuple(line for dataset in datasets for line in dataset.dropped),
    )


def choose_splits(
    datasets: Sequence[TaggedClips], *, train: Sequence[str] = (), validation: Sequence[str] = (), seed: int
) -> TrainingSplits:
    """Choose the training and validation clips of each data set, and join them.

    A data set without splits is divided by group: a tenth of its groups, and at least one, is for validation. The
    training split of a data set without a validation split is divided likewise. Test splits are not used.

    Args:
        datasets: one or more.
        train: names of training splits. A data set that has none of them trains on the splits whose name says so; see
            the module.
        validation: names of validation splits, likewise.
        seed: seed of the division by group.

    Raises:
        DatasetError: some clips of a data set have a split and others have none; it has no training split, or splits of
            unclear use, and `train` names none of its splits; a name is in both lists, or in no data set; a file is
            trained on by one data set and held out by another; a split has no labels.
    """
    both = sorted({name.casefold() for name in train} & {name.casefold() for name in validation})
    if both:
        raise DatasetError(f"the split {both[0]!r} is in both --train-split and --val-split: give it to one of them")
    for name in (*train, *validation):
        if not any(_named(dataset, [name]) for dataset in datasets):
            listed = "; ".join(f"{dataset.name} has {_listed(dataset) or 'no splits'}" for dataset in datasets)
            raise DatasetError(f"there is no split {name!r}: {listed}")
    chosen = [_choose(dataset, train=train, validation=validation, seed=seed) for dataset in datasets]
    _check_overlap(datasets, chosen)
    return TrainingSplits(
        train=concat_datasets([splits.train for splits in chosen]),
        validation=concat_datasets([splits.validation for splits in chosen]),
        notes=(*(note for splits in chosen for note in splits.notes), *_shared_groups(datasets, chosen)),
    )


def _choose(dataset: TaggedClips, *, train: Sequence[str], validation: Sequence[str], seed: int) -> TrainingSplits:
    without = [str(clip.path) for clip in dataset.clips if clip.split is None]
    if len(without) == len(dataset):
        return _divided(dataset, seed=seed, what=f"{dataset.name} names no splits")
    if without:
        raise DatasetError(
            f"{len(without)} of {len(dataset)} clips of {dataset.name} have no split ({format_names(without)}): "
            "fill in their split, or remove the column to have all clips split by group"
        )
    names = dataset.splits
    named = _named(dataset, train)
    training = named or [name for name in names if name.casefold() in TRAIN_NAMES]
    validating = _named(dataset, validation) or [
        name for name in names if name.casefold() in VALIDATION_NAMES and name not in training
    ]
    unclear = [name for name in names if name.casefold() not in TRAIN_NAMES | VALIDATION_NAMES | TEST_NAMES]
    if not training or (unclear and not named):
        raise DatasetError(
            f"{dataset.name} has the splits {_listed(dataset)}: say which to train on with --train-split NAME, "
            "and which to validate on with --val-split NAME"
        )
    unused = {name: count for name, count in names.items() if name not in (*training, *validating)}
    notes = [f"{dataset.name}: the split {name!r} ({count} clips) is not used" for name, count in unused.items()]
    if validating:
        return TrainingSplits(dataset.of_split(*training), dataset.of_split(*validating), tuple(notes))
    divided = _divided(dataset.of_split(*training), seed=seed, what=f"{dataset.name} has no validation split")
    return replace(divided, notes=(*divided.notes, *notes))


def _named(dataset: TaggedClips, wanted: Sequence[str]) -> list[str]:
    """Return the splits of a data set whose names are wanted, without case."""
    folded = {name.casefold() for name in wanted}
    return [split for split in dataset.splits if split.casefold() in folded]


def _listed(dataset: TaggedClips) -> str:
    return ", ".join(f"{name} ({count})" for name, count in dataset.splits.items())


def _shared_groups(datasets: Sequence[TaggedClips], chosen: Sequence[TrainingSplits]) -> list[str]:
    """Return a note for each data set that has clips of one recording in both splits."""
    notes = []
    for dataset, splits in zip(datasets, chosen, strict=True):
        trained, held_out = ({_group(clip) for clip in part.clips} for part in (splits.train, splits.validation))
        if shared := sorted(trained & held_out):
            notes.append(
                f"{dataset.name}: {len(shared)} groups have clips in both splits ({format_names(shared)}), "
                "so its validation is optimistic"
            )
    return notes


def _divided(dataset: TaggedClips, *, seed: int, what: str) -> TrainingSplits:
    """Return nine tenths and one tenth of the groups, but at least one group each."""
    groups = len({_group(clip) for clip in dataset.clips})
    share = max(VALIDATION_SHARE, 1 / max(2, groups))
    divided = split_by_group(dataset, {"train": 1 - share, "val": share}, seed=seed)
    train, validation = divided.of_split("train"), divided.of_split("val")
    note = f"{what}: {len(train)} clips for training, {len(validation)} for validation, split by group with seed {seed}"
    return TrainingSplits(train, validation, (note,))


def _check_overlap(datasets: Sequence[TaggedClips], chosen: Sequence[TrainingSplits]) -> None:
    """Check that no file is trained on by one data set and held out by another."""
    trained = {clip.path for splits in chosen for clip in splits.train.clips}
    for dataset, splits in zip(datasets, chosen, strict=True):
        own = {clip.path for clip in splits.train.clips}
        leaked = [str(clip.path) for clip in dataset.clips if clip.path in trained and clip.path not in own]
        if leaked:
            raise DatasetError(
                f"{len(leaked)} files are held out by {dataset.name} but trained on by another data set "
                f"({format_names(leaked)}): give them the same split in both"
            )


def _distinct_names(datasets: Sequence[TaggedClips]) -> list[str]:
    names = [dataset.name for dataset in datasets]
    return [
        f"{name} ({names[:number].count(name) + 1})" if name in names[:number] else name
        for number, name in enumerate(names)
    ]


def hold_out_tags(dataset: TaggedClips, tags: Sequence[str], *, leakage: LeakageFilter | None = None) -> HeldOut:
    """Remove zero-shot tags, and the tags that leak them, from the labels.

    The clips stay, with their other labels: a zero-shot tag may be audible in training, but it is never named.

    Args:
        dataset: the training clips.
        tags: the zero-shot tags.
        leakage: finds the tags that leak them; None removes the tags alone.

    Raises:
        DatasetError: no clip has one of the tags, or no label is left.
    """
    known = set(dataset.tags)
    foreign = [tag for tag in tags if tag not in known]
    if foreign:
        raise DatasetError(f"no clip of {dataset.name} has the tags to exclude: {format_names(foreign)}")
    zero_shot = tuple(sorted(set(tags)))
    removed = {tag: tag for tag in zero_shot}
    others = sorted(known - set(zero_shot))
    removed |= {} if leakage is None else {tag: leaked[0] for tag, leaked in leakage.leaks(others).items()}
    kept, unlabelled = [], []
    for clip in dataset.clips:
        labels = tuple(label for label in clip.labels if label not in removed)
        if labels:
            kept.append(replace(clip, labels=labels))
        else:
            unlabelled.append(clip)
    if not kept:
        raise DatasetError(
            f"excluding {len(removed)} tags leaves no clip of {dataset.name} with a label: exclude fewer"
        )
    return HeldOut(replace(dataset, clips=tuple(kept)), zero_shot, removed, tuple(unlabelled))


def _group(clip: TaggedClip) -> str:
    return clip.group or str(clip.path)
