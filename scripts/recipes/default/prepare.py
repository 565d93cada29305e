"""Clips -> what training reads: log-mel chunks and the teachers' logits, one shard a pack, made once and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from encoders.audio import load_audio, stream_chunks
from encoders.backbones.mobilenet import MobileNet
from encoders.tagger import Tagger
from scripts.recipes.default.clips import MUSIC_PACKS, TRAINING_PACKS, TrainingClip, training_clips
from scripts.recipes.default.single_sounds import render_single_sounds
from scripts.recipes.default.synth import SynthClip, render_clips
from scripts.recipes.default.teachers import MusicTeacher, to_16khz

__all__ = ["Shard", "load_shards", "prepare_packs", "prepare_rendered"]

SAMPLE_RATE_HZ = 32000
RENDERED_SHARD = 500
# How each pack is rendered, and how many of its clips to one that is asked for: single sounds are short.
RENDERED_PACKS = {"synth": (render_clips, 1), "single": (render_single_sounds, 2)}


@dataclass(frozen=True)
class Shard:
    """The clips of one pack.

    ``mel`` [shape=(n_chunks, n_mels, n_frames)] float16 log-mel chunks (memory-mapped); ``clip_of`` [shape=(n_chunks,)]
    the clip of each; ``audioset`` [shape=(n_clips, 527)] and ``music`` [shape=(n_clips, n_music_tags)], NaN where no
    music teacher listened, hold logits.
    """

    name: str
    mel: np.ndarray
    clip_of: np.ndarray
    audioset: np.ndarray
    music: np.ndarray
    labels: list[tuple[str, ...]]
    groups: list[str]


@dataclass(frozen=True)
class _Heard:
    waveform: np.ndarray
    labels: tuple[str, ...]
    group: str


def _heard(clips: Iterable[TrainingClip]) -> Iterator[_Heard]:
    for clip in clips:
        yield _Heard(load_audio(clip.path, sample_rate_hz=SAMPLE_RATE_HZ), clip.labels, clip.group)


def _heard_rendered(clips: Iterable[SynthClip], pack: str, first: int) -> Iterator[_Heard]:
    for i, clip in enumerate(clips):
        yield _Heard(clip.waveform, clip.labels, f"{pack}/{first + i}")


@torch.inference_mode()
def _write(folder: Path, heard: Iterable[_Heard], teacher: Tagger, music: list[MusicTeacher], n_music: int) -> None:
    mels: list[np.ndarray] = []
    clip_of: list[int] = []
    audioset: list[np.ndarray] = []
    music_logits: list[np.ndarray] = []
    labels: list[tuple[str, ...]] = []
    groups: list[str] = []
    assert isinstance(teacher.backbone, MobileNet)
    front_end = teacher.backbone.front_end
    for clip in heard:
        chunks = np.stack([chunk.samples for chunk in stream_chunks(clip.waveform, sample_rate_hz=SAMPLE_RATE_HZ)])
        mel = front_end.power(torch.from_numpy(chunks)).add(front_end.spec.log_floor).log()
        mels.append(mel.numpy().astype(np.float16))
        clip_of += [len(labels)] * len(mel)
        whole = clip.waveform if len(clip.waveform) >= 160000 else chunks[0]
        audioset.append(teacher(torch.from_numpy(whole)[None])[0].numpy())
        if music:
            low_rate = to_16khz(whole)
            music_logits.append(np.concatenate([t.logits(low_rate) for t in music]))
        else:
            music_logits.append(np.full(n_music, np.nan, np.float32))
        labels.append(clip.labels)
        groups.append(clip.group)
    temporary = folder.with_name(folder.name + ".part")
    temporary.mkdir(parents=True, exist_ok=True)
    np.save(temporary / "mel.npy", np.concatenate(mels))
    np.savez(temporary / "clips.npz", clip_of=clip_of, audioset=np.stack(audioset), music=np.stack(music_logits))
    (temporary / "clips.json").write_text(json.dumps({"labels": labels, "groups": groups}), encoding="utf-8")
    os.replace(temporary, folder)


def prepare_packs(
    audio_dir: Path,
    cache_dir: Path,
    *,
    teacher: Tagger,
    music_teachers: list[MusicTeacher],
    on_shard: Callable[[str], None] = print,
) -> None:
    """Write the shards of the recorded packs that are not in ``cache_dir`` yet; the music pack hears every teacher."""
    n_music = sum(len(t.tags) for t in music_teachers)
    clips = list(training_clips(audio_dir))
    for pack in TRAINING_PACKS:
        folder = cache_dir / pack
        if not folder.is_dir():
            music = music_teachers if pack in MUSIC_PACKS else []
            _write(folder, _heard(c for c in clips if c.pack == pack), teacher, music, n_music)
        on_shard(pack)


def prepare_rendered(
    soundfonts: list[Path],
    cache_dir: Path,
    *,
    count: int,
    seed: int,
    teacher: Tagger,
    n_music: int,
    on_shard: Callable[[str], None] = print,
) -> None:
    """Write the shards of ``count`` rendered pieces and twice as many single sounds that ``cache_dir`` lacks."""
    for pack, (rendered, times) in RENDERED_PACKS.items():
        for first in range(0, times * count, RENDERED_SHARD):
            folder = cache_dir / f"{pack}-{seed}-{first:06d}"
            if not folder.is_dir():
                n = min(RENDERED_SHARD, times * count - first)
                clips = rendered(soundfonts, count=n, seed=seed * 1_000_000 + first)
                _write(folder, _heard_rendered(clips, pack, first), teacher, [], n_music)
            on_shard(folder.name)


def load_shards(cache_dir: Path) -> list[Shard]:
    """Open every finished shard of a cache, by name."""
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
