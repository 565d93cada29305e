"""Scores of a model directory for clips and tags: of two towers, and of a closed-set tagger."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders.audio import AudioDecodeError
from encoders.checkpoint import CONFIG_FILE, TAGGER_FILES, TAGGER_TYPE, ModelDirError, check_model_dir
from encoders.embed import Audio, AudioEncoder, embed_audio
from encoders.loading import load_model
from encoders.text.tower import TextEncoder, UnknownWordsError
from retrieval.closed_set_tagging import ClosedSetTagger
from retrieval.datasets.audio import load_clip
from retrieval.datasets.base import DatasetError, TaggedClip
from retrieval.tagging import LabelError

__all__ = ["OnBad", "OnClip", "Scored", "model_kind", "score_clips", "unknown_tags"]

OnClip = Callable[[int, int], None]
"""Called with the clips done and their number."""
OnBad = Callable[[TaggedClip, Exception], None]
"""Called with a clip that cannot be read, and why; without it such a clip ends the scoring."""


@dataclass(frozen=True)
class Scored:
    """`scores` [shape=(n_clips, n_tags)] float64, of the clips that could be read: `kept` [shape=(n_clips,)] are their
    places in what was given."""

    scores: np.ndarray
    kept: np.ndarray


@dataclass(frozen=True)
class _Work:
    """What every scorer gets."""

    model_dir: Path
    clips: Sequence[TaggedClip]
    tags: Sequence[str]
    device: str
    on_clip: OnClip
    on_bad: OnBad | None
    cache_dir: Path | None


def score_clips(
    model_dir: str | os.PathLike[str],
    clips: Sequence[TaggedClip],
    tags: Sequence[str],
    *,
    device: str = "auto",
    on_clip: OnClip | None = None,
    on_bad: OnBad | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Scored:
    """How well each tag fits each clip, in the opinion of a model.

    Args:
        model_dir: a model directory of any known kind.
        clips: what to listen to.
        tags: what to ask for.
        device: where the model runs; "auto" takes a GPU where there is one.
        on_clip: told of the progress.
        on_bad: told of clips that cannot be read, which are then left out.
        cache_dir: where clip vectors are kept from one run to the next; nothing is kept by default.

    Raises:
        ModelDirError: the directory holds no model of a known kind, or a damaged one.
        LabelError: the model cannot judge some tags; :func:`unknown_tags` finds them beforehand.
        AudioDecodeError, DatasetError: a clip cannot be read, and there is no `on_bad`.
        DeviceError: there is no such device.
    """
    place = Path(model_dir)
    work = _Work(
        model_dir=place,
        clips=clips,
        tags=tags,
        device=device,
        on_clip=on_clip or (lambda done, total: None),
        on_bad=on_bad,
        cache_dir=Path(cache_dir) if cache_dir else None,
    )
    return _SCORERS[model_kind(place)](work)


def model_kind(model_dir: Path) -> str:
    """The kind of model in a directory, by the `model_type` of its config.json.

    Raises:
        ModelDirError: there is no model, or one of a kind that nothing here scores with.
    """
    config = model_dir / CONFIG_FILE
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelDirError(f"there is no model in {model_dir}: it has no {CONFIG_FILE}") from None
    except (OSError, ValueError) as error:
        raise ModelDirError(f"{config} cannot be read ({error}): copy the model again") from None
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind not in _SCORERS:
        raise ModelDirError(f"{model_dir} holds a model of the kind {kind!r}; known are {', '.join(sorted(_SCORERS))}")
    return str(kind)


def unknown_tags(model_dir: str | os.PathLike[str], tags: Sequence[str]) -> list[str]:
    """The tags that the model cannot judge at all, in order."""
    place = Path(model_dir)
    return _UNKNOWN[model_kind(place)](place, tags)


# Two towers: a tag's calibrated log-odds, averaged over a clip's segments. The logit is linear in the audio vector, so
# that is the logit of the mean vector.


def _two_tower_scores(work: _Work) -> Scored:
    text = TextEncoder.load(work.model_dir)
    strange = _two_tower_unknown(work.model_dir, work.tags)
    if strange:
        raise LabelError(f"labels out of the model's vocabulary: {', '.join(map(repr, strange))}; leave them out")
    label_vectors = text.encode(list(work.tags))
    model: AudioEncoder = load_model(work.model_dir, device=work.device)

    def mean_vector(clip: TaggedClip) -> np.ndarray:
        return embed_audio(_audio_of(clip, sample_rate_hz=model.sample_rate_hz), model=model).vectors.mean(axis=0)

    vectors, kept = _of_clips(work, mean_vector, fingerprint=text.fingerprint)
    return Scored(text.calibration.logits(vectors, label_vectors).astype(np.float64), kept)


def _two_tower_unknown(model_dir: Path, tags: Sequence[str]) -> list[str]:
    text = TextEncoder.load(model_dir)
    strange = []
    for tag in tags:
        try:
            text.phrase_vectors([tag])
        except UnknownWordsError:
            strange.append(tag)
    return strange


def _audio_of(clip: TaggedClip, *, sample_rate_hz: int) -> Audio:
    """Return the path of a clip's file, which is streamed, or the waveform of its array."""
    return load_clip(clip, sample_rate_hz=sample_rate_hz) if clip.path.suffix.lower() == ".npy" else clip.path


# A closed-set tagger: its own tags' probabilities, averaged over a clip's segments.


def _tagger_scores(work: _Work) -> Scored:
    strange = _tagger_unknown(work.model_dir, work.tags)
    if strange:
        raise LabelError(f"no tags of this tagger: {', '.join(map(repr, strange))}; leave them out")
    tagger = ClosedSetTagger.from_dir(work.model_dir, device=work.device)
    columns = tagger.columns(work.tags)

    def judged(clip: TaggedClip) -> np.ndarray:
        return tagger.judge(_audio_of(clip, sample_rate_hz=tagger.sample_rate_hz))

    probabilities, kept = _of_clips(work, judged, fingerprint=str(tagger.fingerprint))
    return Scored(probabilities[:, columns], kept)


def _tagger_unknown(model_dir: Path, tags: Sequence[str]) -> list[str]:
    check_model_dir(model_dir, files=TAGGER_FILES)
    own = json.loads((model_dir / CONFIG_FILE).read_text(encoding="utf-8")).get("tag_names", [])
    known = {tag.casefold() for tag in own}
    return [tag for tag in tags if tag.casefold() not in known]


def _of_clips(
    work: _Work, compute: Callable[[TaggedClip], np.ndarray], *, fingerprint: str
) -> tuple[np.ndarray, np.ndarray]:
    """What a model computes of each clip that can be read [shape=(n_kept, n_values)], and their places."""
    kept, rows = [], []
    for place, clip in enumerate(work.clips):
        try:
            rows.append(_cached(clip, work.cache_dir, compute=compute, fingerprint=fingerprint))
            kept.append(place)
        except (AudioDecodeError, DatasetError) as error:
            if work.on_bad is None:
                raise
            work.on_bad(clip, error)
        work.on_clip(place + 1, len(work.clips))
    if not rows:
        raise DatasetError(f"not one of the {len(work.clips)} clips can be read")
    return np.stack(rows), np.array(kept)


def _cached(
    clip: TaggedClip, cache_dir: Path | None, *, compute: Callable[[TaggedClip], np.ndarray], fingerprint: str
) -> np.ndarray:
    """What is computed of a clip, from the cache if the model and the file are the same."""
    if cache_dir is None:
        return compute(clip)
    try:
        status = clip.path.stat()
    except OSError:
        return compute(clip)  # its error names the file
    key = (fingerprint, os.fspath(clip.path.resolve()), status.st_size, status.st_mtime_ns, clip.array_rate_hz)
    kept = cache_dir / (hashlib.sha256(repr(key).encode("utf-8", "surrogateescape")).hexdigest()[:40] + ".npy")
    try:
        return np.load(kept, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or a damaged file, which is written anew
    vector = compute(clip)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache_dir, suffix=".part", delete=False) as file:
        np.save(file, vector, allow_pickle=False)
    os.replace(file.name, kept)
    return vector


_SCORERS: dict[str, Callable[[_Work], Scored]] = {"earmark-two-tower": _two_tower_scores, TAGGER_TYPE: _tagger_scores}
_UNKNOWN: dict[str, Callable[[Path, Sequence[str]], list[str]]] = {
    "earmark-two-tower": _two_tower_unknown,
    TAGGER_TYPE: _tagger_unknown,
}
