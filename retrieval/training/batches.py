"""Batches: which clips, which tags, which negatives, which pairs count; all of it follows from seed, epoch and number.

So a run that was stopped and resumed sees the batches that an uninterrupted one sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.datasets.waveforms import WaveformStore
from retrieval.training.augment import WaveformAugment, mixup
from retrieval.training.mining import Miner, balanced_weights, pick

__all__ = ["TAG_SAMPLING", "Batch", "BatchMaker", "BatchSettings", "LabelTable", "near_synonyms"]

TAG_SAMPLING = ("one", "all", "stochastic")
CLIP_SAMPLING = ("random", "balanced")


def near_synonyms(words: np.ndarray, *, threshold: float) -> np.ndarray:
    """Return which pairs of tags mean nearly the same, by the cosine of their text vectors.

    Args:
        words: unit vectors of the tags [shape=(n_tags, word_dim)].
        threshold: from this cosine on they do.

    Returns:
        [shape=(n_tags, n_tags)] bool; every tag is its own synonym.
    """
    alike = words @ words.T >= threshold
    np.fill_diagonal(alike, True)
    return alike


@dataclass(frozen=True)
class LabelTable:
    """Which clip has which tag, and which pairs are no safe negatives.

    Attributes:
        tags: names of the columns.
        has_tag: [shape=(n_clips, n_tags)] bool.
        forbidden: pairs of a clip and a tag that it has or that is a near-synonym of one that it has; the same shape.
    """

    tags: tuple[str, ...]
    has_tag: np.ndarray
    forbidden: np.ndarray

    @classmethod
    def of(cls, tags: Sequence[str], has_tag: np.ndarray, alike: np.ndarray | None = None) -> LabelTable:
        """Make the table; ``alike`` [shape=(n_tags, n_tags)] says which tags are near-synonyms, by default none."""
        forbidden = has_tag.copy() if alike is None else (has_tag.astype(np.int64) @ alike.astype(np.int64)) > 0
        return cls(tuple(tags), has_tag, forbidden)


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """How batches are made.

    Attributes:
        size: clips in a batch, mined ones included.
        crop_samples: length of what is heard of a clip.
        clip_sampling: "random" takes every clip once an epoch; "balanced" draws a tag first, then one of its clips.
        tag_sampling: tags of a clip that are asked for: "one", "all", or "stochastic" (a random number of them).
        mined_share: share of the batch that are clips drawn as negatives of the batch's tags.
        mined_tags: tags drawn as negatives for each clip.
        mixup: probability that a clip is mixed with another.
        mixup_alpha: of the shares; see ``augment.mixup``.
        seed: of everything.
    """

    size: int = 32
    crop_samples: int = 160000
    clip_sampling: str = "random"
    tag_sampling: str = "all"
    mined_share: float = 0.25
    mined_tags: int = 1
    mixup: float = 0.0
    mixup_alpha: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(f"--batch {self.size}: a batch has 2 clips or more")
        if self.clip_sampling not in CLIP_SAMPLING:
            raise ValueError(f"clip sampling {self.clip_sampling!r}: choose one of {', '.join(CLIP_SAMPLING)}")
        if self.tag_sampling not in TAG_SAMPLING:
            raise ValueError(f"--tags-per-clip {self.tag_sampling}: choose one of {', '.join(TAG_SAMPLING)}")
        if not 0.0 <= self.mined_share < 1.0:
            raise ValueError(f"mined_share={self.mined_share}: a share of the batch below 1")

    @property
    def drawn(self) -> int:
        """Clips of a batch that are no mined negatives."""
        return max(1, self.size - round(self.size * self.mined_share))


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        clips: numbers of the clips [shape=(n,)].
        tags: columns of the label table [shape=(n_columns,)].
        waveforms: float32 [shape=(n, crop_samples)].
        targets: how much of each tag is in each sound, in [0, 1]; between them only where clips are mixed
            [shape=(n, n_columns)].
        ignore: pairs that are neither positives nor safe negatives [shape=(n, n_columns)] bool.
        seed: for what is random in the model.
    """

    clips: np.ndarray
    tags: np.ndarray
    waveforms: np.ndarray
    targets: np.ndarray
    ignore: np.ndarray
    seed: int


class BatchMaker:
    """Makes batches; one process of ``n_processes`` makes every ``n_processes``-th."""

    def __init__(
        self,
        settings: BatchSettings,
        labels: LabelTable,
        sounds: WaveformStore,
        *,
        miner: Miner | None = None,
        augment: WaveformAugment | None = None,
        process: int = 0,
        n_processes: int = 1,
    ) -> None:
        """Without a miner a batch has all tags and no mined negatives: what a tagger learns from."""
        self.settings, self.labels, self.sounds = settings, labels, sounds
        self.miner, self.augment = miner, augment or WaveformAugment()
        self.process, self.n_processes = process, n_processes
        # A clip without a tag teaches a tagger what it is not, but is no anchor.
        self._learnt = np.arange(len(labels.has_tag)) if miner is None else np.flatnonzero(labels.has_tag.any(1))

    def __len__(self) -> int:
        """How many batches an epoch has for one process."""
        return max(1, len(self._learnt) // (self._drawn * self.n_processes))

    @property
    def _drawn(self) -> int:
        return self.settings.size if self.miner is None else self.settings.drawn

    def make(self, epoch: int, index: int, vectors: tuple[np.ndarray, np.ndarray] | None = None) -> Batch:
        """Make a batch.

        Args:
            epoch, index: which one; the same always gives the same.
            vectors: unit vectors of all clips and all tags to mine over; None draws random negatives.
        """
        number = index * self.n_processes + self.process
        rng = np.random.default_rng([self.settings.seed, 1, epoch, number])
        clips = self._draw_clips(epoch, number, rng)
        if self.miner is None:
            tags = np.arange(len(self.labels.tags))
        else:
            clips, tags = self._with_negatives(clips, self._draw_tags(clips, rng), vectors, rng)
        waveforms = np.stack([self._heard(int(clip), rng) for clip in clips])
        targets = self.labels.has_tag[np.ix_(clips, tags)].astype(np.float32)
        unsafe = self.labels.forbidden[np.ix_(clips, tags)].astype(np.float32)
        if self.settings.mixup > 0:
            both = np.concatenate([targets, unsafe], axis=1)
            waveforms, both = mixup(
                waveforms, both, alpha=self.settings.mixup_alpha, probability=self.settings.mixup, rng=rng
            )
            targets, unsafe = both[:, : len(tags)], both[:, len(tags) :]
        ignore = (unsafe > 0) & (targets == 0)
        return Batch(clips, tags, waveforms, targets, ignore, seed=int(rng.integers(2**31)))

    def _draw_clips(self, epoch: int, number: int, rng: np.random.Generator) -> np.ndarray:
        if self.settings.clip_sampling == "balanced":
            weights = balanced_weights(self.labels.has_tag, np.ones(len(self.labels.tags), bool))
            return pick(weights, rng, count=self._drawn)
        order = np.random.default_rng([self.settings.seed, 2, epoch]).permutation(self._learnt)
        places = np.arange(number * self._drawn, (number + 1) * self._drawn)
        return np.unique(order.take(places, mode="wrap"))

    def _draw_tags(self, clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the columns that these clips ask for."""
        wanted = []
        for clip in clips:
            own = np.flatnonzero(self.labels.has_tag[clip])
            how_many = {"one": 1, "all": len(own), "stochastic": int(rng.integers(1, len(own) + 1))}
            wanted.append(rng.choice(own, size=how_many[self.settings.tag_sampling], replace=False))
        return np.unique(np.concatenate(wanted))

    def _with_negatives(
        self,
        clips: np.ndarray,
        tags: np.ndarray,
        vectors: tuple[np.ndarray, np.ndarray] | None,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the clips and tags with mined negatives: clips for the batch's tags, tags for the batch's clips."""
        assert self.miner is not None
        has_tag, count = self.labels.has_tag, self.settings.mined_tags
        more_tags = [
            self.miner.tags_for_clip(
                int(clip), int(rng.choice(np.flatnonzero(has_tag[clip]))), vectors, rng, count=count
            )
            for clip in (clips if count else ())
        ]
        chosen = set(clips.tolist())
        missing = self.settings.size - len(clips) if self.settings.mined_share else 0
        # Anchors take turns; one that finds no new clip loses its turn, and two rounds without a find end it.
        for tag in rng.permutation(np.tile(tags, 2 + missing // len(tags)))[: 4 * missing]:
            if missing <= 0:
                break
            holders = clips[has_tag[clips, tag]]
            found = self.miner.clips_for_tag(int(tag), int(rng.choice(holders)), vectors, rng, count=1)
            fresh = set(found.tolist()) - chosen
            chosen |= fresh
            missing -= len(fresh)
        every_tag = np.unique(np.concatenate([tags, *more_tags])).astype(np.int64)
        if len(every_tag) == 1:  # batch norm has no spread of one: any other tag, masked if it is no safe negative
            others = np.setdiff1d(np.arange(has_tag.shape[1]), every_tag)
            every_tag = np.sort(np.append(every_tag, rng.choice(others)))
        return np.array(sorted(chosen), dtype=np.int64), every_tag

    def _heard(self, clip: int, rng: np.random.Generator) -> np.ndarray:
        crop = self.sounds.crop(clip, self.settings.crop_samples, rng)
        seed = int(rng.integers(2**63))
        if not self.augment.active:
            return crop
        return self.augment(crop, sample_rate_hz=self.sounds.sample_rate_hz, rng=np.random.default_rng(seed))
