"""Decide which clip has which tag, and which (clip, tag) pairs are not reliable negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoders.text.phrases import PhraseEncoder, phrase_vectors
from retrieval.datasets.base import DatasetError, TaggedClips, format_names

__all__ = ["LabelTable", "known_tags", "label_table", "synonym_matrix"]


@dataclass(frozen=True)
class LabelTable:
    """Labels of a data set as matrices.

    Attributes:
        tags: names of the columns.
        has_tag: whether a clip has a tag [shape=(n_clips, n_tags)] bool.
        excluded: pairs that may not serve as negatives [shape=(n_clips, n_tags)] bool: tags that the clip has, their
            synonyms, and tags whose absence is unknown.
    """

    tags: tuple[str, ...]
    has_tag: np.ndarray
    excluded: np.ndarray

    @classmethod
    def of(cls, tags: Sequence[str], has_tag: np.ndarray, synonyms: np.ndarray | None = None) -> LabelTable:
        """Return a table that excludes each clip's tags and their synonyms [shape=(n_tags, n_tags)] as negatives."""
        excluded = has_tag.copy()
        if synonyms is not None:
            excluded = (has_tag.astype(np.int64) @ synonyms.astype(np.int64)) > 0
        return cls(tuple(tags), has_tag, excluded)


def synonym_matrix(vectors: np.ndarray, *, threshold: float) -> np.ndarray:
    """Return which pairs of tags are near-synonyms by the cosine of their text vectors.

    Args:
        vectors: unit vectors of the tags [shape=(n_tags, dim)].
        threshold: cosine from which two tags are synonyms.

    Returns:
        [shape=(n_tags, n_tags)] bool; every tag is its own synonym.
    """
    synonyms = vectors @ vectors.T >= threshold
    np.fill_diagonal(synonyms, True)
    return synonyms


def label_table(
    clips: TaggedClips,
    tags: Sequence[str],
    vectors: np.ndarray | None,
    *,
    synonym_cosine: float,
    missing_labels: str,
) -> LabelTable:
    """Return the label table of clips.

    Args:
        clips: of one or several data sets.
        tags: the columns.
        vectors: unit text vectors of the tags [shape=(n_tags, dim)], by which near-synonyms are excluded as negatives;
            None excludes none.
        synonym_cosine: see `synonym_matrix`.
        missing_labels: with "unknown", a tag that no clip of a data set has is not a negative for its clips: a label
            that one data set alone uses would otherwise separate data sets, not sounds. "negative" takes it as absent.

    Raises:
        DatasetError: no clip has one of the tags.
    """
    synonyms = None if vectors is None else synonym_matrix(vectors, threshold=synonym_cosine)
    table = LabelTable.of(tags, clips.truth(tags), synonyms)
    if missing_labels == "unknown":
        names = np.array([clip.dataset for clip in clips.clips])
        for name in np.unique(names):
            rows = names == name
            table.excluded[rows] |= ~table.has_tag[rows].any(0)
    return table


def known_tags(encoder: PhraseEncoder, tags: Sequence[str], *, drop_unknown: bool) -> tuple[list[str], list[str]]:
    """Return the tags that have a text vector, and those that have none.

    Raises:
        DatasetError: some have none and `drop_unknown` is false, or fewer than two have one; the message names them.
    """
    vectors = phrase_vectors(encoder, tags)
    known, unknown = list(vectors), [tag for tag in tags if tag not in vectors]
    if unknown and (not drop_unknown or not known):
        raise DatasetError(
            f"{len(unknown)} of {len(tags)} labels are out of the vocabulary: {format_names(map(repr, unknown))}; "
            "choose another vocabulary with --text, or leave such labels out with --drop-unknown-labels"
        )
    if len(known) < 2:
        raise DatasetError(f"there is only one label, {known[0]!r}: contrastive training needs at least two")
    return known, unknown
