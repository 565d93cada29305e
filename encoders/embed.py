"""One sound file as vectors, and the model that makes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from encoders.allocator import keep_freed_memory

if TYPE_CHECKING:
    from encoders.audio import AudioChunk
    from encoders.two_tower import TwoTowerModel

__all__ = [
    "AudioEncoder",
    "DeviceError",
    "FileEmbedding",
    "chunk_form",
    "embed_file",
    "load_model",
    "no_progress_bars",
    "usable_device",
]

_BATCH_CHUNKS = 32


class AudioEncoder(Protocol):
    """What is asked of an audio tower; :class:`encoders.two_tower.TwoTowerModel` is one."""

    def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
        """Features [shape=(n_chunks, feature_dim)] of waveforms [shape=(n_chunks, n_samples)] in [-1, 1]."""

    def segment_vectors(self, features: np.ndarray) -> np.ndarray:
        """Unit vectors [shape=(n_segments, dim)] of one file's features [shape=(n_chunks, feature_dim)]."""


class DeviceError(ValueError):
    """A device that is not there, or that torch was not built for."""


@dataclass(frozen=True)
class FileEmbedding:
    """A file's segments: `spans_s` [shape=(n_segments, 2)], unit `vectors` [shape=(n_segments, dim)] float32."""

    spans_s: np.ndarray
    vectors: np.ndarray
    duration_s: float


def load_model(model_dir: Path, *, device: str = "auto", share_cores: bool = False) -> TwoTowerModel:
    """The whole model, ready on `device`: a torch device, or "auto" for a GPU where there is one.

    `share_cores` leaves half of the processor's cores to others, such as decoding workers: when both want all of them,
    torch's threads wait for each other (an index build on two cores was a fifth slower).

    Raises:
        ModelDirError: its files are missing or damaged.
        DeviceError: there is no such device here.
    """
    from encoders.checkpoint import check_model_dir

    check_model_dir(model_dir)  # before torch, which takes seconds to import
    import torch

    name = usable_device(device)
    from encoders.two_tower import TwoTowerModel

    keep_freed_memory()
    if share_cores:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    with no_progress_bars():
        model = TwoTowerModel.from_pretrained(model_dir)
    torch.nn.Module.to(model, name)  # model.to, which a decorator of transformers hides from type checkers
    return model


def usable_device(device: str) -> str:
    """The torch device that is meant, tried out: a GPU where there is one, for "auto".

    Raises:
        DeviceError: there is no such device here.
    """
    import torch

    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"the device {device!r} cannot be used here: {reason}") from None
    return name


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Loading takes a tenth of a second: transformers' bar for it would only stand between a user's lines."""
    from transformers.utils import logging

    were_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            logging.enable_progress_bar()


def chunk_form(model: object) -> tuple[int, float]:
    """Sample rate and length in seconds of the chunks that a model hears; the usual ones where it does not say."""
    from encoders.audio import CHUNK_S, SAMPLE_RATE_HZ

    return int(getattr(model, "sample_rate_hz", SAMPLE_RATE_HZ)), float(getattr(model, "chunk_s", CHUNK_S))


def embed_file(path: str | os.PathLike[str], *, model: AudioEncoder) -> FileEmbedding:
    """The unit vectors of all segments of a file. The waveform is streamed: memory does not grow with it.

    Raises:
        AudioDecodeError: the file cannot be read as sound.
    """
    from encoders.audio import segment_spans, stream_chunks

    sample_rate_hz, chunk_s = chunk_form(model)
    duration_s = 0.0

    def timed_chunks() -> Iterator[AudioChunk]:
        nonlocal duration_s
        duration_s = yield from stream_chunks(path, sample_rate_hz=sample_rate_hz, chunk_s=chunk_s)

    chunks = timed_chunks()
    features: list[np.ndarray] = []
    spans: list[tuple[float, float]] = []
    while batch := list(islice(chunks, _BATCH_CHUNKS)):
        features.append(np.asarray(model.chunk_features(np.stack([chunk.samples for chunk in batch]))))
        spans.extend((chunk.start_s, chunk.end_s) for chunk in batch)
    return FileEmbedding(
        spans_s=segment_spans(np.asarray(spans)),
        vectors=np.asarray(model.segment_vectors(np.concatenate(features))),
        duration_s=duration_s,
    )
