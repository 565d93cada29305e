"""Exclude tags from training to evaluate how well a model scores tags that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from encoders.text.phrases import PhraseEncoder
from retrieval.datasets.base import DatasetError, TaggedClips
from retrieval.datasets.label_leakage import LeakageFilter
from retrieval.datasets.splits import hold_out_tags

__all__ = ["UnseenSplit", "exclude_unseen_tags"]


@dataclass(frozen=True)
class UnseenSplit:
    """What was excluded from training.

    Attributes:
        tags: the unseen tags, sorted.
        leaking_tags: other tags that were excluded because they leak an unseen tag -> that tag.
        clips_left_out: clips without another tag, which are not trained on.
    """

    tags: tuple[str, ...] = ()
    leaking_tags: dict[str, str] = field(default_factory=dict)
    clips_left_out: int = 0


def exclude_unseen_tags(
    train: TaggedClips,
    validation: TaggedClips | None,
    tags: Sequence[str],
    *,
    encoder: PhraseEncoder,
    synonym_cosine: float,
) -> tuple[TaggedClips, UnseenSplit]:
    """Remove unseen tags, and the tags that leak them, from the labels of the training clips.

    Args:
        train: training clips; their other labels stay.
        validation: validation clips, whose labels stay.
        tags: the unseen tags.
        encoder: gives the text vectors by which near-synonyms are found; a tag without a vector is compared by its
            words.
        synonym_cosine: cosine from which a tag is a near-synonym.

    Returns:
        The training clips that still have a label, and what was excluded.

    Raises:
        DatasetError: no clip has one of the tags, or no label is left.
    """
    every = replace(train, clips=(*train.clips, *(() if validation is None else validation.clips)))
    held = hold_out_tags(every, tags, leakage=LeakageFilter(tags, encoder, synonym_cosine=synonym_cosine))
    stripped = [
        replace(clip, labels=tuple(label for label in clip.labels if label not in held.removed)) for clip in train.clips
    ]
    kept = tuple(clip for clip in stripped if clip.labels)
    if not kept:
        raise DatasetError(f"excluding {len(held.removed)} tags leaves no training clip with a label: exclude fewer")
    leaking = {tag: unseen for tag, unseen in held.removed.items() if tag != unseen}
    return replace(train, clips=kept), UnseenSplit(held.zero_shot, leaking, len(stripped) - len(kept))
