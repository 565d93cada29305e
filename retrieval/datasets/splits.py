"""Parts of a dataset: by recording, and with tags held out for the protocol of unseen tags."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from retrieval.datasets.base import DatasetError, TaggedClip, TaggedClips, named

__all__ = ["HeldOut", "NearSynonyms", "hold_out_tags", "split_by_group"]

NearSynonyms = Callable[[str, str], float] | Mapping[str, Iterable[str]]
"""A similarity of two tags, or for each unseen tag the tags that mean nearly the same."""


@dataclass(frozen=True)
class HeldOut:
    """A dataset whose labels lack the unseen tags.

    Attributes:
        clips: those that still have a label, with the labels that may be learnt.
        unseen: the tags held out, sorted.
        removed: every tag that no label has any more -> the unseen tag that it is or is near to.
        unlabelled: clips, as they were, that have no label left.
    """

    clips: TaggedClips
    unseen: tuple[str, ...]
    removed: dict[str, str]
    unlabelled: tuple[TaggedClip, ...]

    @property
    def seen(self) -> tuple[str, ...]:
        """The tags that may be learnt, sorted."""
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


def hold_out_tags(
    dataset: TaggedClips,
    tags: Sequence[str],
    *,
    near_synonyms: NearSynonyms | None = None,
    threshold: float = 0.8,
) -> HeldOut:
    """Take unseen tags, and tags that give them away, out of the labels that will be learnt from.

    Clips stay, with the labels that they have left: an unseen tag may be heard in training, it is only never named.

    Args:
        dataset: the clips to learn from; those to test with are left as they are.
        tags: the tags to hold out.
        near_synonyms: a similarity of two tags, at or above `threshold` of which a tag goes with the unseen one; or
            a dict from unseen tags to what goes with them.
        threshold: see there.

    Raises:
        DatasetError: a tag that no clip has, or no label is left at all.
    """
    known = set(dataset.tags)
    foreign = [tag for tag in tags if tag not in known]
    if foreign:
        raise DatasetError(f"no clip of {dataset.name} has the tags to hold out: {named(foreign)}")
    unseen = tuple(sorted(set(tags)))
    removed = {tag: tag for tag in unseen}
    for other in sorted(known - set(unseen)):
        near = _nearest(other, unseen, near_synonyms=near_synonyms, threshold=threshold)
        if near is not None:
            removed[other] = near
    kept, unlabelled = [], []
    for clip in dataset.clips:
        labels = tuple(label for label in clip.labels if label not in removed)
        if labels:
            kept.append(replace(clip, labels=labels))
        else:
            unlabelled.append(clip)
    if not kept:
        raise DatasetError(f"holding out {len(removed)} tags leaves no clip of {dataset.name} a label: hold out fewer")
    return HeldOut(replace(dataset, clips=tuple(kept)), unseen, removed, tuple(unlabelled))


def _nearest(other: str, unseen: Sequence[str], *, near_synonyms: NearSynonyms | None, threshold: float) -> str | None:
    """The unseen tag that `other` would give away, if any."""
    if near_synonyms is None:
        return None
    if isinstance(near_synonyms, Mapping):
        return next((tag for tag in unseen if other in set(near_synonyms.get(tag, ()))), None)
    similarity, tag = max((near_synonyms(tag, other), tag) for tag in unseen)
    return tag if similarity >= threshold else None


def _group(clip: TaggedClip) -> str:
    return clip.group or str(clip.path)
