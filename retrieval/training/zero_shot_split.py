"""Tags that are held out from training, to see what a model makes of tags that it was never told of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from encoders.text.vocabulary import UnknownWordsError
from retrieval.datasets.base import DatasetError, TaggedClips
from retrieval.datasets.splits import hold_out_tags
from retrieval.training.text_encoder import PhraseEncoder

__all__ = ["Unseen", "vectors_of", "without_unseen"]


@dataclass(frozen=True)
class Unseen:
    """What was held out.

    Attributes:
        tags: the unseen tags, sorted.
        near_synonyms: tags that went with them, since they would give them away -> the unseen tag.
        clips_left_out: clips that have no other tag and are not learnt from.
    """

    tags: tuple[str, ...] = ()
    near_synonyms: dict[str, str] = field(default_factory=dict)
    clips_left_out: int = 0


def without_unseen(
    train: TaggedClips,
    validation: TaggedClips | None,
    tags: Sequence[str],
    *,
    phrases: PhraseEncoder,
    synonym_cosine: float,
) -> tuple[TaggedClips, Unseen]:
    """Take unseen tags and their near-synonyms out of the labels that are learnt; other labels of a clip stay.

    Args:
        train: the clips to learn from.
        validation: clips that may have the tags too; they are left as they are.
        tags: to hold out.
        phrases: their cosine says what is a near-synonym; a tag that they do not know has none.
        synonym_cosine: from which cosine on.

    Returns:
        The clips that still have a label, and what was held out.

    Raises:
        DatasetError: no clip has one of the tags, or no label is left.
    """
    clips = (*train.clips, *(() if validation is None else validation.clips))
    everything = replace(train, clips=clips)
    vectors = vectors_of(phrases, everything.tags)

    def cosine(one: str, other: str) -> float:
        return float(vectors[one] @ vectors[other]) if one in vectors and other in vectors else -1.0

    held = hold_out_tags(everything, tags, near_synonyms=cosine, threshold=synonym_cosine)
    stripped = [
        replace(clip, labels=tuple(label for label in clip.labels if label not in held.removed)) for clip in train.clips
    ]
    kept = tuple(clip for clip in stripped if clip.labels)
    if not kept:
        raise DatasetError(f"holding out {len(held.removed)} tags leaves no clip to learn from a label: hold out fewer")
    near = {tag: unseen for tag, unseen in held.removed.items() if tag != unseen}
    return replace(train, clips=kept), Unseen(held.unseen, near, len(stripped) - len(kept))


def vectors_of(phrases: PhraseEncoder, tags: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the unit vectors [shape=(dim,)] of the tags that have one."""
    found = {}
    for tag in tags:
        try:
            vector = phrases.encode([tag])[0]
        except UnknownWordsError:
            continue
        if vector.any():  # one of zeros points nowhere
            found[tag] = vector
    return found
