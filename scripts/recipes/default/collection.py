"""All prepared clips as one collection: drawing batches, and the teachers' standardised logits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scripts.recipes.default.clips import EXHAUSTIVE_PACKS
from scripts.recipes.default.prepare import Shard

__all__ = ["PACK_SHARE", "Collection", "is_held_out", "make_collection"]

# How much of a batch each pack gives: real music and sounds weigh more than what is rendered or single notes.
PACK_SHARE = {
    "music": 0.43,
    "single": 0.18,
    "synth": 0.12,
    "ambience": 0.10,
    "esc": 0.07,
    "orchestra_notes": 0.05,
    "lofi_notes": 0.03,
    "sms_sounds": 0.02,
}


@dataclass(frozen=True)
class Collection:
    """Clips of all shards.

    ``z`` [shape=(n_clips, n_classes)]: the teachers' logits, NaN where unheard, each class standardised by
    ``class_mean`` and ``class_spread`` [shape=(n_classes,)], which follow the packs' shares. ``share``
    [shape=(n_clips,)]: how often a clip is drawn. ``held_out`` [shape=(n_clips,)]: True for clips kept for
    calibration; no group is on both sides.
    """

    shards: list[Shard]
    chunks: list[list[tuple[int, int]]]
    labels: list[tuple[str, ...]]
    packs: list[str]
    z: np.ndarray
    class_mean: np.ndarray
    class_spread: np.ndarray
    share: np.ndarray
    held_out: np.ndarray

    def used(self, names: Sequence[str], clips: Sequence[tuple[int, ...]]) -> np.ndarray:
        """Return whether a label belongs to the words of a sound's packs [shape=(len(clips), len(names))].

        A label that a pack never uses tells packs apart, not sounds: where "violin" is only ever rendered, a model that
        may take every recorded clip for its opposite learns to hear the renderer.

        Args:
            names: labels.
            clips: for each sound the clips that it is mixed of; all their packs must use the label.
        """
        own = {pack: np.array([n in self.vocabularies[pack] for n in names]) for pack in set(self.packs)}
        return np.stack([np.all([own[self.packs[i]] for i in parts], axis=0) for parts in clips])

    def exhaustive(self, clips: Sequence[tuple[int, ...]]) -> np.ndarray:
        """Return which sounds come from packs that say all that is heard [shape=(len(clips),)]."""
        return np.array([all(self.packs[i] in EXHAUSTIVE_PACKS for i in parts) for parts in clips])

    @cached_property
    def vocabularies(self) -> dict[str, set[str]]:
        """The labels that each pack uses."""
        words: dict[str, set[str]] = {}
        for pack, labels in zip(self.packs, self.labels, strict=True):
            words.setdefault(pack, set()).update(labels)
        return words

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw different training clips by their shares [shape=(count,)]."""
        return rng.choice(len(self.labels), size=count, replace=False, p=self.share)

    def mel(self, clips: Sequence[int] | np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return log mel power of one random chunk a clip, float32 [shape=(n, n_mels, n_frames)]."""
        picked = [self.chunks[i][rng.integers(len(self.chunks[i]))] for i in clips]
        return np.stack([self.shards[s].mel[row] for s, row in picked]).astype(np.float32)


def is_held_out(group: str, fraction: float) -> bool:
    """Return whether a group is among the fraction that is kept from training: always the same ones."""
    return int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) < fraction * 2**32


def _moments(logits: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each class's mean and spread over the clips that its teacher heard, by their shares."""
    heard = np.isfinite(logits)
    weight = heard * share[:, None]
    weight = weight / np.maximum(weight.sum(0), 1e-12)
    filled = np.where(heard, logits, 0)
    mean = (weight * filled).sum(0)
    spread = np.sqrt((weight * (filled - mean) ** 2).sum(0))
    return mean.astype(np.float32), np.maximum(spread, 1e-6).astype(np.float32)


def make_collection(shards: list[Shard], *, held_out: float, leave_out: Sequence[str] = ()) -> Collection:
    """Join shards.

    Args:
        shards: as prepared.
        held_out: fraction of groups (tracks, rendered pieces) kept from training for calibration.
        leave_out: packs kept from training altogether, for the development of the recipe.
    """
    labels: list[tuple[str, ...]] = []
    packs: list[str] = []
    groups: list[str] = []
    chunks: list[list[tuple[int, int]]] = []
    for s, shard in enumerate(shards):
        first = len(labels)
        labels += shard.labels
        groups += shard.groups
        packs += [shard.name.split("-")[0]] * len(shard.labels)
        chunks += [[] for _ in shard.labels]
        for row, clip in enumerate(shard.clip_of):
            chunks[first + int(clip)].append((s, row))
    kept = np.array(
        [p in leave_out or is_held_out(g, held_out) for p, g in zip(packs, groups, strict=True)], dtype=bool
    )
    share = np.zeros(len(labels))
    for pack in sorted(set(packs)):
        members = np.array([p == pack for p in packs]) & ~kept
        if members.any():
            share[members] = PACK_SHARE[pack] / members.sum()
    share /= share.sum()
    logits = np.concatenate([np.concatenate([s.audioset, s.music], 1) for s in shards])
    mean, spread = _moments(logits, share)
    z = ((logits - mean) / spread).astype(np.float32)
    return Collection(shards, chunks, labels, packs, z, mean, spread, share, kept)
