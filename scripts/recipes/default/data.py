"""The training data: packs as shards of log-mel chunks and teacher logits, and all shards as one collection."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from encoders.audio import load_audio, stream_chunks
from encoders.backbones.mobilenet import MobileNet
from encoders.tagger import TaggerNetwork
from scripts.recipes.default.packs import EXHAUSTIVE_PACKS, MUSIC_PACKS, TRAINING_PACKS, TrainingClip, training_clips
from scripts.recipes.default.single_sounds import render_single_sounds
from scripts.recipes.default.synth import SAMPLE_RATE_HZ, SynthClip, render_clips
from scripts.recipes.default.teachers import MusicTeacher, to_16khz

__all__ = [
    "PACK_SHARE",
    "RENDERED_PACKS",
    "RENDERED_SHARD_CLIPS",
    "Collection",
    "Shard",
    "is_held_out",
    "load_shards",
    "make_collection",
    "write_recorded_shards",
    "write_rendered_shards",
]

RENDERED_SHARD_CLIPS = 500
RENDERED_PACKS = {"synth": (render_clips, 1), "single": (render_single_sounds, 2)}
"""Pack -> its renderer, and its clips per clip asked for: single sounds are short, so there are twice as many."""
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
"""Share of each pack in a batch: music and field recordings weigh more than rendered clips and single notes."""
_MIN_TEACHER_SAMPLES = 5 * SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Shard:
    """The clips of one pack, or of a part of a rendered pack.

    Attributes:
        name: the pack, or the pack, the seed and the first clip.
        mel: log-mel chunks, float16, memory-mapped [shape=(n_chunks, n_mels, n_frames)].
        clip_of: the clip of each chunk [shape=(n_chunks,)].
        audioset: logits of the AudioSet teacher [shape=(n_clips, 527)].
        music: logits of the music teachers, NaN for clips that they did not process [shape=(n_clips, n_music_tags)].
        labels: labels of each clip.
        groups: recording or rendered piece of each clip.
    """

    name: str
    mel: np.ndarray
    clip_of: np.ndarray
    audioset: np.ndarray
    music: np.ndarray
    labels: list[tuple[str, ...]]
    groups: list[str]


@dataclass(frozen=True)
class _Clip:
    waveform: np.ndarray
    labels: tuple[str, ...]
    group: str


def _recorded(clips: Iterable[TrainingClip]) -> Iterator[_Clip]:
    for clip in clips:
        yield _Clip(load_audio(clip.path, sample_rate_hz=SAMPLE_RATE_HZ), clip.labels, clip.group)


def _rendered(clips: Iterable[SynthClip], pack: str, first: int) -> Iterator[_Clip]:
    for i, clip in enumerate(clips):
        yield _Clip(clip.waveform, clip.labels, f"{pack}/{first + i}")


@torch.inference_mode()
def _write_shard(
    folder: Path, clips: Iterable[_Clip], teacher: TaggerNetwork, music: list[MusicTeacher], n_music_tags: int
) -> None:
    """Write one shard. The folder gets its name last, so that a folder of that name is complete."""
    mels: list[np.ndarray] = []
    clip_of: list[int] = []
    audioset: list[np.ndarray] = []
    music_logits: list[np.ndarray] = []
    labels: list[tuple[str, ...]] = []
    groups: list[str] = []
    assert isinstance(teacher.backbone, MobileNet)
    front_end = teacher.backbone.front_end
    for clip in clips:
        chunks = np.stack([chunk.samples for chunk in stream_chunks(clip.waveform, sample_rate_hz=SAMPLE_RATE_HZ)])
        mel = front_end.power(torch.from_numpy(chunks)).add(front_end.spec.log_floor).log()
        mels.append(mel.numpy().astype(np.float16))
        clip_of += [len(labels)] * len(mel)
        whole = clip.waveform if len(clip.waveform) >= _MIN_TEACHER_SAMPLES else chunks[0]
        audioset.append(teacher(torch.from_numpy(whole)[None])[0].numpy())
        if music:
            low_rate = to_16khz(whole)
            music_logits.append(np.concatenate([t.logits(low_rate) for t in music]))
        else:
            music_logits.append(np.full(n_music_tags, np.nan, np.float32))
        labels.append(clip.labels)
        groups.append(clip.group)
    temporary = folder.with_name(folder.name + ".part")
    temporary.mkdir(parents=True, exist_ok=True)
    np.save(temporary / "mel.npy", np.concatenate(mels))
    np.savez(temporary / "clips.npz", clip_of=clip_of, audioset=np.stack(audioset), music=np.stack(music_logits))
    (temporary / "clips.json").write_text(json.dumps({"labels": labels, "groups": groups}), encoding="utf-8")
    os.replace(temporary, folder)


def write_recorded_shards(
    audio_dir: Path,
    cache_dir: Path,
    *,
    teacher: TaggerNetwork,
    music_teachers: list[MusicTeacher],
    on_shard: Callable[[str], None],
) -> None:
    """Write the shards of the recorded packs that `cache_dir` lacks. The music teachers process the music pack only.

    Raises:
        DatasetError: a pack is missing or its table cannot be read.
        AudioDecodeError: a clip cannot be decoded.
    """
    n_music_tags = sum(len(t.tags) for t in music_teachers)
    clips = list(training_clips(audio_dir))
    for pack in TRAINING_PACKS:
        folder = cache_dir / pack
        if not folder.is_dir():
            music = music_teachers if pack in MUSIC_PACKS else []
            _write_shard(folder, _recorded(c for c in clips if c.pack == pack), teacher, music, n_music_tags)
        on_shard(pack)


def write_rendered_shards(
    soundfonts: list[Path],
    cache_dir: Path,
    *,
    count: int,
    seed: int,
    teacher: TaggerNetwork,
    n_music_tags: int,
    on_shard: Callable[[str], None],
) -> None:
    """Write the shards of `count` rendered pieces and of twice as many single sounds that `cache_dir` lacks.

    Raises:
        FileNotFoundError: a soundfont is missing.
    """
    for pack, (render, times) in RENDERED_PACKS.items():
        for first in range(0, times * count, RENDERED_SHARD_CLIPS):
            folder = cache_dir / f"{pack}-{seed}-{first:06d}"
            if not folder.is_dir():
                n = min(RENDERED_SHARD_CLIPS, times * count - first)
                clips = render(soundfonts, count=n, seed=seed * 1_000_000 + first)
                _write_shard(folder, _rendered(clips, pack, first), teacher, [], n_music_tags)
            on_shard(folder.name)


def load_shards(cache_dir: Path) -> list[Shard]:
    """Return the complete shards of a cache, sorted by name."""
    shards = []
    for folder in sorted(p for p in cache_dir.iterdir() if p.is_dir() and p.suffix != ".part"):
        table = json.loads((folder / "clips.json").read_text(encoding="utf-8"))
        with np.load(folder / "clips.npz", allow_pickle=False) as arrays:
            shards.append(
                Shard(
                    name=folder.name,
                    mel=np.load(folder / "mel.npy", mmap_mode="r", allow_pickle=False),
                    clip_of=arrays["clip_of"],
                    audioset=arrays["audioset"],
                    music=arrays["music"],
                    labels=[tuple(labels) for labels in table["labels"]],
                    groups=table["groups"],
                )
            )
    return shards


@dataclass(frozen=True)
class Collection:
    """The clips of all shards.

    Attributes:
        shards: the shards.
        chunks: shard and row of each chunk of each clip.
        labels: labels of each clip.
        packs: pack of each clip.
        z: standardised teacher logits, NaN where a teacher did not process the clip [shape=(n_clips, n_classes)].
        class_mean: mean of each class's logits, weighted by `share` [shape=(n_classes,)].
        class_std: standard deviation of each class's logits, weighted by `share` [shape=(n_classes,)].
        share: probability that a clip is drawn; 0 for held-out clips [shape=(n_clips,)].
        held_out: True for clips that are kept from training, for validation and calibration [shape=(n_clips,)].
    """

    shards: list[Shard]
    chunks: list[list[tuple[int, int]]]
    labels: list[tuple[str, ...]]
    packs: list[str]
    z: np.ndarray
    class_mean: np.ndarray
    class_std: np.ndarray
    share: np.ndarray
    held_out: np.ndarray

    def used(self, names: Sequence[str], clips: Sequence[tuple[int, ...]]) -> np.ndarray:
        """Return which labels the packs of each clip use, bool [shape=(len(clips), len(names))].

        A label that a pack never uses separates packs, not sounds: if "violin" occurs in rendered clips only and every
        recorded clip counts as a negative, the model learns to detect the renderer.

        Args:
            names: labels.
            clips: the clips that each mixture consists of; all their packs must use the label.
        """
        own = {pack: np.array([n in self.vocabularies[pack] for n in names]) for pack in set(self.packs)}
        return np.stack([np.all([own[self.packs[i]] for i in parts], axis=0) for parts in clips])

    def exhaustive(self, clips: Sequence[tuple[int, ...]]) -> np.ndarray:
        """Return which mixtures consist of clips with complete labels only, bool [shape=(len(clips),)]."""
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
        """Return the log-mel power of one random chunk of each clip, float32 [shape=(n, n_mels, n_frames)]."""
        picked = [self.chunks[i][rng.integers(len(self.chunks[i]))] for i in clips]
        return np.stack([self.shards[s].mel[row] for s, row in picked]).astype(np.float32)


def is_held_out(group: str, fraction: float) -> bool:
    """Return whether a group belongs to the fraction kept from training. The answer depends on its name alone."""
    return int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) < fraction * 2**32


def _moments(logits: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each class over the clips that its teacher processed, by their shares."""
    known = np.isfinite(logits)
    weight = known * share[:, None]
    weight = weight / np.maximum(weight.sum(0), 1e-12)
    filled = np.where(known, logits, 0)
    mean = (weight * filled).sum(0)
    std = np.sqrt((weight * (filled - mean) ** 2).sum(0))
    return mean.astype(np.float32), np.maximum(std, 1e-6).astype(np.float32)


def make_collection(shards: list[Shard], *, held_out: float, leave_out: Sequence[str] = ()) -> Collection:
    """Join shards.

    Args:
        shards: the shards.
        held_out: fraction of groups (recordings, rendered pieces) kept from training.
        leave_out: packs that are kept from training completely.
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
    mean, std = _moments(logits, share)
    z = ((logits - mean) / std).astype(np.float32)
    return Collection(shards, chunks, labels, packs, z, mean, std, share, kept)
