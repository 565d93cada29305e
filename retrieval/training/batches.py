"""Compose batches: clips, tags, mined negatives and the pairs that count, determined by seed, epoch and number.

A run that was interrupted and resumed therefore sees the batches of an uninterrupted one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retrieval.datasets.waveforms import WaveformStore
from retrieval.training.augment import WaveformAugment, mixup
from retrieval.training.config import BatchConfig
from retrieval.training.labels import LabelTable
from retrieval.training.mining import Miner, Vectors, balanced_weights

__all__ = ["Batch", "BatchMaker"]

_CANDIDATES = 4
"""Negatives drawn for each anchor, of which one that is not in the batch yet is taken."""


@dataclass(frozen=True)
class Batch:
    """The input of one step.

    Attributes:
        clips: numbers of the clips [shape=(n,)].
        tags: columns of the label table that the clips are contrasted with, sorted [shape=(n_columns,)].
        waveforms: float32 [shape=(n, crop_samples)].
        targets: how much of each tag of the table each crop has, in [0, 1]; fractions occur only where clips are mixed
            [shape=(n, n_tags)].
        unknown: share of each crop that may have the tag without being labelled with it, in [0, 1]: its data set does
            not use the tag, or the clip has a near-synonym of it [shape=(n, n_tags)].
        seed: of random choices within the model.
    """

    clips: np.ndarray
    tags: np.ndarray
    waveforms: np.ndarray
    targets: np.ndarray
    unknown: np.ndarray
    seed: int


class BatchMaker:
    """Make the batches of a run; of `n_processes` processes each makes every `n_processes`-th.

    Args:
        config: composition of a batch.
        labels: of all clips.
        sounds: waveforms of all clips.
        miner: draws negatives; None gives batches with all tags and without mined clips, for a closed-set tagger.
        augment: changes the crops.
        process: number of this process.
        n_processes: how many there are.
    """

    def __init__(
        self,
        config: BatchConfig,
        labels: LabelTable,
        sounds: WaveformStore,
        *,
        miner: Miner | None = None,
        augment: WaveformAugment | None = None,
        process: int = 0,
        n_processes: int = 1,
    ) -> None:
        self.config, self.labels, self.sounds = config, labels, sounds
        self.miner, self.augment = miner, augment or WaveformAugment()
        self.process, self.n_processes = process, n_processes
        # A clip without a tag is a negative example for a tagger, but cannot be an anchor.
        self._clips = np.arange(len(labels.has_tag)) if miner is None else np.flatnonzero(labels.has_tag.any(1))
        self._balance = balanced_weights(labels.has_tag) if config.clip_sampling == "balanced" else None
        self._order: tuple[int, np.ndarray] = (-1, self._clips)

    def __len__(self) -> int:
        """Return the batches of an epoch for one process.

        With "random" clip sampling every clip is drawn once an epoch. Where the batch size does not divide the clips,
        the batches of the last round are filled up with the first clips of the epoch's order.
        """
        return -(-len(self._clips) // (self._drawn * self.n_processes))

    @property
    def _drawn(self) -> int:
        return self.config.size if self.miner is None else self.config.drawn

    def make(self, epoch: int, index: int, vectors: Vectors | None = None) -> Batch:
        """Make a batch.

        Args:
            epoch, index: which one; the same numbers always give the same batch.
            vectors: what negatives are mined over; None draws random negatives.
        """
        number = index * self.n_processes + self.process
        rng = np.random.default_rng([self.config.seed, 1, epoch, number])
        clips = self._draw_clips(epoch, number, rng)
        if self.miner is None:
            tags = np.arange(len(self.labels.tags))
        else:
            clips, tags = self._with_negatives(self.miner, clips, self._draw_tags(clips, rng), vectors, rng)
        waveforms = np.stack([self._crop(int(clip), rng) for clip in clips])
        targets = self.labels.has_tag[clips].astype(np.float32)
        excluded = self.labels.excluded[clips].astype(np.float32)
        if self.config.mixup > 0:
            both = np.concatenate([targets, excluded], axis=1)
            waveforms, both = mixup(
                waveforms, both, alpha=self.config.mixup_alpha, probability=self.config.mixup, rng=rng
            )
            targets, excluded = np.split(both, 2, axis=1)
        return Batch(clips, tags, waveforms, targets, excluded - targets, seed=int(rng.integers(2**31)))

    def _draw_clips(self, epoch: int, number: int, rng: np.random.Generator) -> np.ndarray:
        if self._balance is not None:
            count = min(self._drawn, int((self._balance > 0).sum()))
            return rng.choice(len(self._balance), size=count, replace=False, p=self._balance)
        places = np.arange(number * self._drawn, (number + 1) * self._drawn)
        return np.unique(self._epoch_order(epoch).take(places, mode="wrap"))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        known, order = self._order
        if known != epoch:
            order = np.random.default_rng([self.config.seed, 2, epoch]).permutation(self._clips)
            self._order = epoch, order
        return order

    def _draw_tags(self, clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the tags of the clips that become columns."""
        chosen = []
        for clip in clips:
            own = np.flatnonzero(self.labels.has_tag[clip])
            count = {"one": 1, "all": len(own), "stochastic": int(rng.integers(1, len(own) + 1))}
            chosen.append(rng.choice(own, size=count[self.config.tag_sampling], replace=False))
        return np.unique(np.concatenate(chosen))

    def _with_negatives(
        self, miner: Miner, clips: np.ndarray, tags: np.ndarray, vectors: Vectors | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return clips and tags with mined negatives: clips for the batch's tags, tags for the batch's clips."""
        has_tag = self.labels.has_tag
        positives = np.array([rng.choice(np.flatnonzero(has_tag[clip])) for clip in clips])
        more_tags = miner.tags_for_clips(clips, positives, vectors, rng, count=self.config.mined_tags)
        every_tag = np.unique(np.concatenate([tags, *more_tags])).astype(np.int64)
        if len(every_tag) == 1:  # batch norm needs two rows: any other tag, masked if it is not a reliable negative
            others = np.setdiff1d(np.arange(has_tag.shape[1]), every_tag)
            every_tag = np.sort(np.append(every_tag, rng.choice(others)))
        missing = self.config.size - len(clips) if self.config.mined_share else 0
        return self._with_clips(miner, clips, tags, vectors, rng, missing=missing), every_tag

    def _with_clips(
        self,
        miner: Miner,
        clips: np.ndarray,
        tags: np.ndarray,
        vectors: Vectors | None,
        rng: np.random.Generator,
        *,
        missing: int,
    ) -> np.ndarray:
        """Return the clips and up to `missing` more that are negatives of the tags, which take turns."""
        if missing <= 0:
            return np.sort(clips)
        anchors = rng.permutation(np.tile(tags, 2 + missing // len(tags)))[: 2 * missing]
        holders = np.array([rng.choice(clips[self.labels.has_tag[clips, tag]]) for tag in anchors])
        chosen = set(clips.tolist())
        for found in miner.clips_for_tags(anchors, holders, vectors, rng, count=_CANDIDATES):
            fresh = [int(clip) for clip in found if int(clip) not in chosen]
            chosen |= set(fresh[:1])
            if len(chosen) == len(clips) + missing:
                break
        return np.array(sorted(chosen), dtype=np.int64)

    def _crop(self, clip: int, rng: np.random.Generator) -> np.ndarray:
        crop = self.sounds.crop(clip, self.config.crop_samples, rng)
        seed = int(rng.integers(2**63))
        if not self.augment.active:
            return crop
        return self.augment(crop, sample_rate_hz=self.sounds.sample_rate_hz, rng=np.random.default_rng(seed))
