"""Identify a training run by what it is made from, and refuse to resume or overwrite another one.

The identity is written before anything is decoded. It holds the settings that may not change, and SHA-256 digests of
the clips, their labels, the initial weights and the text encoder. A clip's digest covers its name, its size and its
first and last 64 KiB, so that identifying a large data set reads little of it, and moving the data set changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from encoders.checkpoint import CHECKSUMS_FILE, DEFAULT_MODEL_DIR, sha256_of
from retrieval.datasets.base import DatasetError, TaggedClip, TaggedClips
from retrieval.training.config import TrainConfig
from retrieval.training.text_encoder import SENTENCE_PREFIX

__all__ = [
    "AUDIO_FOLDER",
    "CHECKPOINTS_FOLDER",
    "CheckpointError",
    "claim_run",
    "finish_run",
    "release_run",
    "run_identity",
]

AUDIO_FOLDER, CHECKPOINTS_FOLDER = "audio", "checkpoints"
"""Parts of the working folder."""

_FILE = "run.json"
_SAMPLE_BYTES = 1 << 16


class CheckpointError(ValueError):
    """A run that cannot be started or resumed in a folder; the message says why and what to do."""


def run_identity(
    config: TrainConfig, train: TaggedClips, validation: TaggedClips | None, *, n_processes: int = 1
) -> dict[str, Any]:
    """Return what a run and the checkpoints that it resumes must share, by name.

    The number of processes is part of it: the steps of an epoch, and thereby the place in the data, follow from it.

    Raises:
        DatasetError: a clip cannot be read.
        OSError: the initial weights or the text encoder cannot be read.
    """
    held = () if validation is None else validation.clips
    return {
        **config.fixed_settings(),
        "number of processes (torchrun)": n_processes,
        "training clips": f"{len(train)} clips, sha256 {_clips_digest(train.clips)}",
        "validation clips": f"{len(held)} clips, sha256 {_clips_digest(held)}",
        "labels": f"{len(train.tags)} tags, sha256 {_labels_digest((*train.clips, *held))}",
        "initial weights (--init)": None if config.init is None else _digest_of(config.init),
        "text encoder (--text)": _text_digest(config) if config.contrastive or config.unseen_labels else None,
    }


def claim_run(config: TrainConfig, identity: dict[str, Any], *, resume: bool, writes: bool = True) -> None:
    """Check that a run may start, or resume, in its folders, and record its identity. Nothing else is touched.

    Args:
        config: of the run.
        identity: see `run_identity`.
        resume: continue an interrupted run.
        writes: record the identity; of several processes only one does.

    Raises:
        CheckpointError: `out` is a file or holds a finished model; without `resume`, the working folder holds an
            interrupted run; with it, it holds none or another one, and the message names what differs.
    """
    if config.out.exists() and not config.out.is_dir():
        raise CheckpointError(f"{config.out} is a file: choose another --out")
    file = config.work_dir / _FILE
    theirs = _read(file)
    if not resume:
        if (config.out / CHECKSUMS_FILE).exists():
            raise CheckpointError(f"{config.out} already holds a model: choose another --out")
        if theirs is not None and writes:
            raise CheckpointError(
                f"{config.work_dir} holds an interrupted run: "
                "continue it with --resume, delete it, or choose another --out"
            )
        if writes:
            config.work_dir.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f".{file.name}.partial")
            partial.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
            partial.replace(file)
        return
    if theirs is None:
        raise CheckpointError(f"{config.work_dir} has no run to resume: leave --resume out")
    for name in [*identity, *(name for name in theirs if name not in identity)]:
        ours = identity.get(name)
        if theirs.get(name) != ours:
            raise CheckpointError(
                f"{config.work_dir} is of another run: its {name} is {_short(theirs.get(name))}, here {_short(ours)}: "
                "give the same options and data, or choose another --out"
            )


def release_run(config: TrainConfig) -> None:
    """Withdraw the claim of a run that could not be prepared; decoded audio stays for the next start."""
    (config.work_dir / _FILE).unlink(missing_ok=True)
    with suppress(OSError):  # it is not empty
        config.work_dir.rmdir()


def finish_run(config: TrainConfig) -> None:
    """Remove the identity, decoded audio and checkpoints of a run; other files of its working folder stay."""
    for folder in (AUDIO_FOLDER, CHECKPOINTS_FOLDER):
        shutil.rmtree(config.work_dir / folder, ignore_errors=True)
    release_run(config)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}): delete its folder to start again") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} is damaged: delete its folder to start again")
    return values


def _clips_digest(clips: Sequence[TaggedClip]) -> str:
    digest = hashlib.sha256()
    for clip in clips:
        try:
            with clip.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                content = hashlib.sha256(file.read(_SAMPLE_BYTES))
                file.seek(max(0, size - _SAMPLE_BYTES))
                content.update(file.read(_SAMPLE_BYTES))
        except OSError as error:
            raise DatasetError(f"{clip.path} cannot be read ({error.strerror})") from None
        entry = (clip.dataset, clip.path.name, size, content.hexdigest(), clip.array_rate_hz)
        digest.update(repr(entry).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _labels_digest(clips: Sequence[TaggedClip]) -> str:
    return hashlib.sha256(repr([sorted(clip.labels) for clip in clips]).encode("utf-8", "surrogateescape")).hexdigest()


def _text_digest(config: TrainConfig) -> str:
    source = config.text_source
    if source is None:
        return _digest_of(DEFAULT_MODEL_DIR)
    name = str(source)
    return _digest_of(Path(name[len(SENTENCE_PREFIX) :] if name.startswith(SENTENCE_PREFIX) else name))


def _digest_of(source: Path) -> str:
    """Return the SHA-256 of a file, of a model directory's checksums, or of all files of another directory."""
    if not source.is_dir():
        return sha256_of(source)
    if (source / CHECKSUMS_FILE).is_file():
        return sha256_of(source / CHECKSUMS_FILE)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    listed = [(path.relative_to(source).as_posix(), sha256_of(path)) for path in files]
    return hashlib.sha256(repr(listed).encode("utf-8", "surrogateescape")).hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:100]}..."
