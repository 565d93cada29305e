"""The training clips: shards on disk, and all shards as one collection of backbone features, labels and shares."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from scripts.recipes.default.packs import EXHAUSTIVE_PACKS, PACK_SHARE

__all__ = ["Collection", "Shard", "is_held_out", "load_shards", "make_collection", "write_shard"]

_SEGMENT_CHUNKS = 2


@dataclass(frozen=True)
class Shard:
    """The clips of one pack, or of a part of one.

    Attributes:
        name: the pack, or the pack and, after a hyphen, the part.
        features: of all chunks by the frozen backbone, float16 [shape=(n_chunks, feature_dim)].
        clip_of: the clip of each chunk, rising [shape=(n_chunks,)].
        music: logits of the music teachers, NaN for clips that they did not process [shape=(n_clips, n_music_tags)].
        labels: labels of each clip.
        groups: recording, artist or rendered piece of each clip.
    """

    name: str
    features: np.ndarray
    clip_of: np.ndarray
    music: np.ndarray
    labels: list[tuple[str, ...]]
    groups: list[str]

    @property
    def pack(self) -> str:
        """The pack that the clips belong to."""
        return self.name.split("-")[0]


def write_shard(shard: Shard, folder: Path) -> None:
    """Write a shard to a folder, which gets its name last, so that a folder of that name is complete."""
    temporary = folder.with_name(folder.name + ".part")
    temporary.mkdir(parents=True, exist_ok=True)
    np.savez(temporary / "clips.npz", features=shard.features, clip_of=shard.clip_of, music=shard.music)
    (temporary / "clips.json").write_text(
        json.dumps({"labels": shard.labels, "groups": shard.groups}), encoding="utf-8"
    )
    os.replace(temporary, folder)


def load_shards(cache_dir: Path) -> list[Shard]:
    """Return the complete shards of a cache, sorted by name."""
    shards = []
    for folder in sorted(p for p in cache_dir.iterdir() if p.is_dir() and p.suffix != ".part"):
        table = json.loads((folder / "clips.json").read_text(encoding="utf-8"))
        with np.load(folder / "clips.npz", allow_pickle=False) as arrays:
            labels = [tuple(labels) for labels in table["labels"]]
            shards.append(
                Shard(folder.name, arrays["features"], arrays["clip_of"], arrays["music"], labels, table["groups"])
            )
    return shards


@dataclass(frozen=True)
class Collection:
    """The clips of all shards.

    Attributes:
        features: of the chunks of each clip, float16 [shape=(n_chunks, feature_dim)].
        labels: labels of each clip.
        packs: pack of each clip.
        music: logits of the music teachers, NaN where they did not process a clip [shape=(n_clips, n_music_tags)].
        share: probability that a clip is drawn; 0 for held-out clips [shape=(n_clips,)].
        held_out: True for clips that are kept from training, for validation and calibration [shape=(n_clips,)].
    """

    features: list[np.ndarray]
    labels: list[tuple[str, ...]]
    packs: list[str]
    music: np.ndarray
    share: np.ndarray
    held_out: np.ndarray

    def used(self, names: Sequence[str], clips: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return which labels the pack of each clip uses, bool [shape=(len(clips), len(names))].

        A label that a pack never uses separates packs, not sounds: if "violin" occurs in rendered clips only and every
        recorded clip counts as a negative, the model learns to detect the renderer.
        """
        own = {pack: np.array([n in self.vocabularies[pack] for n in names], dtype=bool) for pack in set(self.packs)}
        return np.stack([own[self.packs[i]] for i in clips])

    def exhaustive(self, clips: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return which clips have complete labels, bool [shape=(len(clips),)]."""
        return np.array([self.packs[i] in EXHAUSTIVE_PACKS for i in clips], dtype=bool)

    @cached_property
    def vocabularies(self) -> dict[str, set[str]]:
        """The labels that each pack uses."""
        words: dict[str, set[str]] = {}
        for pack, labels in zip(self.packs, self.labels, strict=True):
            words.setdefault(pack, set()).update(labels)
        return words

    @cached_property
    def contrasted(self) -> set[str]:
        """The labels of packs with complete labels, which are learnt by contrast."""
        return {label for pack, labels in self.vocabularies.items() if pack in EXHAUSTIVE_PACKS for label in labels}

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw different training clips by their shares [shape=(count,)]."""
        return rng.choice(len(self.labels), size=count, replace=False, p=self.share)

    def clip_features(self) -> np.ndarray:
        """Return the mean features of each clip's chunks, float32 [shape=(n_clips, feature_dim)]."""
        return np.stack([chunks.mean(axis=0, dtype=np.float32) for chunks in self.features])

    def segment_features(self, clips: Sequence[int] | np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the mean features of a random segment of each clip, float32 [shape=(n, feature_dim)].

        A segment is two neighbouring chunks, as in the model, or the only one.
        """
        rows = []
        for i in clips:
            chunks = self.features[i]
            start = rng.integers(max(1, len(chunks) - _SEGMENT_CHUNKS + 1))
            rows.append(chunks[start : start + _SEGMENT_CHUNKS].mean(axis=0, dtype=np.float32))
        return np.stack(rows)


def is_held_out(group: str, fraction: float) -> bool:
    """Return whether a group belongs to the fraction kept from training. The answer depends on its name alone."""
    return int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) < fraction * 2**32


def make_collection(shards: list[Shard], *, held_out: float, leave_out: Sequence[str] = ()) -> Collection:
    """Join shards.

    Args:
        shards: the shards.
        held_out: fraction of groups (recordings, artists, rendered pieces) kept from training.
        leave_out: packs that are kept from training completely.
    """
    features: list[np.ndarray] = []
    labels: list[tuple[str, ...]] = []
    packs: list[str] = []
    groups: list[str] = []
    for shard in shards:
        ends = np.searchsorted(shard.clip_of, np.arange(len(shard.labels)), side="right")
        features += np.split(shard.features, ends[:-1])
        labels += shard.labels
        groups += shard.groups
        packs += [shard.pack] * len(shard.labels)
    kept = np.array(
        [p in leave_out or is_held_out(g, held_out) for p, g in zip(packs, groups, strict=True)], dtype=bool
    )
    share = np.zeros(len(labels))
    for pack in sorted(set(packs)):
        members = np.array([p == pack for p in packs]) & ~kept
        if members.any():
            share[members] = PACK_SHARE[pack] / members.sum()
    share /= share.sum()
    return Collection(features, labels, packs, np.concatenate([s.music for s in shards]), share, kept)
