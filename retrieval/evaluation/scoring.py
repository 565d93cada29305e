"""Score clips of a dataset with a tagger, with a cache of what is computed from the audio."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders.audio import AudioDecodeError
from encoders.embed import Audio
from retrieval.datasets.audio import load_clip
from retrieval.datasets.base import DatasetError, TaggedClip
from retrieval.tagger import Tagger

__all__ = ["OnBad", "OnClip", "Scored", "score_clips"]

OnClip = Callable[[int, int], None]
"""Called after each clip with (done, total)."""
OnBad = Callable[[TaggedClip, Exception], None]
"""Called with a clip that cannot be read and its error; without it the error is raised."""


@dataclass(frozen=True)
class Scored:
    """The scores of the clips that could be read.

    Attributes:
        scores: probabilities, float64 [shape=(n_kept, n_tags)].
        kept: positions of these clips in the input [shape=(n_kept,)].
    """

    scores: np.ndarray
    kept: np.ndarray


def score_clips(
    tagger: Tagger,
    clips: Sequence[TaggedClip],
    tags: Sequence[str],
    *,
    on_clip: OnClip | None = None,
    on_bad: OnBad | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Scored:
    """Return the probability of each tag in each clip.

    Args:
        tagger: of any kind.
        clips: files or arrays.
        tags: labels that the tagger knows (`Tagger.unknown_labels`).
        on_clip: called after each clip.
        on_bad: called with clips that cannot be read, which are then left out.
        cache_dir: keeps the features of clips for later runs; nothing is kept by default, or if the tagger has no
            fingerprint.

    Raises:
        LabelError: the tagger cannot score some tags.
        AudioDecodeError, DatasetError: a clip cannot be read and there is no `on_bad`, or no clip can be read.
        DeviceError: the device cannot be used.
    """
    tagger.resolve(tags)  # before the audio is decoded
    cache = Path(cache_dir) if cache_dir and tagger.fingerprint else None
    kept, features = [], []
    for position, clip in enumerate(clips):
        try:
            features.append(_features(tagger, clip, cache))
            kept.append(position)
        except (AudioDecodeError, DatasetError) as error:
            if on_bad is None:
                raise
            on_bad(clip, error)
        if on_clip is not None:
            on_clip(position + 1, len(clips))
    if not features:
        raise DatasetError(f"none of the {len(clips)} clips can be read")
    return Scored(tagger.score_features(np.stack(features), tags), np.array(kept))


def _features(tagger: Tagger, clip: TaggedClip, cache_dir: Path | None) -> np.ndarray:
    """Return `Tagger.clip_features` of a clip, from the cache if tagger and file have not changed."""
    if cache_dir is None:
        return tagger.clip_features(_audio(tagger, clip))
    try:
        status = clip.path.stat()
    except OSError:
        return tagger.clip_features(_audio(tagger, clip))  # raises an error that names the file
    key = (tagger.fingerprint, os.fspath(clip.path.resolve()), status.st_size, status.st_mtime_ns, clip.array_rate_hz)
    file = cache_dir / (hashlib.sha256(repr(key).encode("utf-8", "surrogateescape")).hexdigest()[:40] + ".npy")
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        pass  # missing or damaged: it is written again
    features = tagger.clip_features(_audio(tagger, clip))
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache_dir, suffix=".part", delete=False) as part:
        np.save(part, features, allow_pickle=False)
    os.replace(part.name, file)
    return features


def _audio(tagger: Tagger, clip: TaggedClip) -> Audio:
    """Return the path of a sound file, which is streamed, or the waveform of an array."""
    return load_clip(clip, sample_rate_hz=tagger.sample_rate_hz) if clip.path.suffix.lower() == ".npy" else clip.path
