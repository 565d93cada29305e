"""The training data: every clip of the packs as features of the frozen backbone, with the music teachers' logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from encoders.audio import load_audio, stream_chunks
from encoders.backbones.mobilenet import MobileNet
from encoders.level import DEFAULT_LEVEL
from scripts.recipes.default import grooves
from scripts.recipes.default.collection import Shard, write_shard
from scripts.recipes.default.open_excerpts import open_excerpts
from scripts.recipes.default.packs import MUSIC_PACKS, OPEN_MUSIC, TRAINING_PACKS, training_clips
from scripts.recipes.default.settings import TAPS
from scripts.recipes.default.single_sounds import render_single_sounds
from scripts.recipes.default.synth import SAMPLE_RATE_HZ, SynthClip, render_clips
from scripts.recipes.default.teachers import MusicTeacher, load_audioset_teacher, to_16khz

__all__ = ["Embedder", "write_open_music_shards", "write_recorded_shards", "write_rendered_shards"]

_SHARD_CLIPS = 500
_RENDERED_PACKS: dict[str, tuple[Callable[..., Iterator[SynthClip]], int]] = {
    "synth": (render_clips, 1),
    "single": (render_single_sounds, 2),
    "grooves": (grooves.render_clips, 1),
}
"""Pack -> its renderer, and its clips per clip asked for: single sounds are short, so there are twice as many."""
_MIN_TEACHER_SAMPLES = 5 * SAMPLE_RATE_HZ


@dataclass(frozen=True)
class _Clip:
    waveform: np.ndarray
    labels: tuple[str, ...]
    group: str


class Embedder:
    """Chunks of a waveform to features, as in the model: the level rule, then the published backbone with its taps.

    Args:
        weights_dir: folder of the published checkpoints.
    """

    def __init__(self, weights_dir: Path) -> None:
        backbone = MobileNet(taps=TAPS)
        backbone.load_state_dict(load_audioset_teacher(weights_dir).backbone.state_dict())
        self._backbone = backbone.inference_copy()

    @torch.inference_mode()
    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Return features, float16 [shape=(n_chunks, feature_dim)], of samples at 32 kHz [shape=(n_samples,)]."""
        chunks = np.stack([chunk.samples for chunk in stream_chunks(waveform, sample_rate_hz=SAMPLE_RATE_HZ)])
        levelled = DEFAULT_LEVEL(torch.from_numpy(chunks), sample_rate_hz=SAMPLE_RATE_HZ)
        return self._backbone(levelled).numpy().astype(np.float16)


def _shard(
    name: str, clips: Iterable[_Clip], embed: Embedder, teachers: list[MusicTeacher], n_music_tags: int
) -> Shard:
    """Return a shard; without teachers, its music logits are NaN."""
    features: list[np.ndarray] = []
    music: list[np.ndarray] = []
    labels: list[tuple[str, ...]] = []
    groups: list[str] = []
    for clip in clips:
        features.append(embed(clip.waveform))
        if teachers:
            repeats = -(-_MIN_TEACHER_SAMPLES // len(clip.waveform))
            low_rate = to_16khz(np.tile(clip.waveform, repeats))
            music.append(np.concatenate([teacher.logits(low_rate) for teacher in teachers]))
        else:
            music.append(np.full(n_music_tags, np.nan, np.float32))
        labels.append(clip.labels)
        groups.append(clip.group)
    clip_of = np.repeat(np.arange(len(features)), [len(chunks) for chunks in features])
    return Shard(name, np.concatenate(features), clip_of, np.stack(music), labels, groups)


def write_recorded_shards(
    audio_dir: Path,
    cache_dir: Path,
    *,
    embed: Embedder,
    music_teachers: list[MusicTeacher],
    on_shard: Callable[[str], None],
) -> None:
    """Write the shards of the recorded packs that `cache_dir` lacks. Only music is heard by the music teachers.

    Raises:
        DatasetError: a pack is missing or its table cannot be read.
        AudioDecodeError: a clip cannot be decoded.
    """
    n_music_tags = sum(len(teacher.tags) for teacher in music_teachers)
    clips = list(training_clips(audio_dir))
    for pack in TRAINING_PACKS:
        folder = cache_dir / pack
        if not folder.is_dir():
            teachers = music_teachers if pack in MUSIC_PACKS else []
            of_pack = (
                _Clip(load_audio(clip.path, sample_rate_hz=SAMPLE_RATE_HZ), clip.labels, clip.group)
                for clip in clips
                if clip.pack == pack
            )
            write_shard(_shard(pack, of_pack, embed, teachers, n_music_tags), folder)
        on_shard(pack)


def write_open_music_shards(
    audio_dir: Path,
    cache_dir: Path,
    *,
    embed: Embedder,
    music_teachers: list[MusicTeacher],
    on_shard: Callable[[str], None],
) -> None:
    """Write the shards of the open music that `cache_dir` lacks.

    Raises:
        DatasetError: the pack is missing or its table cannot be read.
        AudioDecodeError: a track cannot be decoded.
    """
    excerpts = open_excerpts(audio_dir / OPEN_MUSIC)
    for first in range(0, len(excerpts), _SHARD_CLIPS):
        folder = cache_dir / f"{OPEN_MUSIC}-{first:06d}"
        if not folder.is_dir():
            clips = (
                _Clip(excerpt.load(sample_rate_hz=SAMPLE_RATE_HZ), excerpt.labels, excerpt.group)
                for excerpt in excerpts[first : first + _SHARD_CLIPS]
            )
            write_shard(_shard(folder.name, clips, embed, music_teachers, 0), folder)
        on_shard(folder.name)


def write_rendered_shards(
    soundfonts: list[Path],
    cache_dir: Path,
    *,
    count: int,
    seed: int,
    embed: Embedder,
    n_music_tags: int,
    on_shard: Callable[[str], None],
) -> None:
    """Write the shards of `count` rendered pieces and grooves and of twice as many single sounds that are missing.

    Raises:
        FileNotFoundError: a soundfont is missing.
        MmaMissingError: mma is missing.
    """
    for pack, (render, times) in _RENDERED_PACKS.items():
        for first in range(0, times * count, _SHARD_CLIPS):
            folder = cache_dir / f"{pack}-{seed}-{first:06d}"
            if not folder.is_dir():
                n = min(_SHARD_CLIPS, times * count - first)
                rendered = islice(render(soundfonts, count=n, seed=seed * 1_000_000 + first), n)
                clips = (_Clip(clip.waveform, clip.labels, f"{pack}/{first + i}") for i, clip in enumerate(rendered))
                write_shard(_shard(folder.name, clips, embed, [], n_music_tags), folder)
            on_shard(folder.name)
