"""Decode clips once into a cache on disk: float16 samples in one memory-mapped file, at the sample rate of a model.

The size of the cache is known from the headers of the clips before anything is decoded (`cache_size`), so that a run
can announce it. `WaveformStore.open` refuses to decode clips that would not fit on the disk.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.datasets.audio import Normalization, clip_duration_s, load_clip, random_crop
from retrieval.datasets.base import DatasetError, TaggedClip

__all__ = ["CacheSize", "WaveformStore", "cache_size", "check_free_space"]

_SAMPLES_FILE, _INDEX_FILE = "audio.f16", "audio.json"
_SAMPLE_BYTES = 2


@dataclass(frozen=True)
class CacheSize:
    """Size of the decoded audio of clips, by their headers.

    Attributes:
        n_bytes: size of the decoded audio in bytes. A clip without a stated duration counts as `max_clip_s`.
        n_cut: clips that are longer than `max_clip_s`, and are cut.
        n_unknown: clips that state no duration.
    """

    n_bytes: int
    n_cut: int
    n_unknown: int


def cache_size(clips: Sequence[TaggedClip], *, sample_rate_hz: int, max_clip_s: float | None) -> CacheSize:
    """Return the size of the decoded audio of clips. Reads their headers only.

    Args:
        clips: the clips.
        sample_rate_hz: sample rate of the cache.
        max_clip_s: seconds of a clip that are decoded, from its start; None decodes all of it.

    Raises:
        DatasetError: a clip is an array without a declared sample rate, or is not a waveform.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        durations = list(pool.map(clip_duration_s, clips))
    longest_s = math.inf if max_clip_s is None else max_clip_s
    known = [duration_s for duration_s in durations if duration_s is not None]
    n_unknown = len(durations) - len(known)
    total_s = sum(min(duration_s, longest_s) for duration_s in known) + n_unknown * (max_clip_s or 0.0)
    return CacheSize(
        n_bytes=math.ceil(total_s * sample_rate_hz) * _SAMPLE_BYTES,
        n_cut=sum(duration_s > longest_s for duration_s in known),
        n_unknown=n_unknown,
    )


def check_free_space(folder: Path, n_bytes: int) -> None:
    """Check that a folder, which need not exist yet, has space for `n_bytes` bytes.

    Raises:
        DatasetError: it has less; the message has both figures.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if n_bytes > free:
        raise DatasetError(
            f"the decoded audio needs {n_bytes / 1e9:,.1f} GB, but {existing} has {free / 1e9:,.1f} GB free: "
            "free some space, decode less of each clip (--max-clip SECONDS), or use another disk (--cache-dir DIR)"
        )


class WaveformStore:
    """Waveforms by clip number. float16 has a rounding error 66 dB below each sample, less than audio codecs have."""

    def __init__(self, folder: Path, offsets: np.ndarray, *, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self._offsets = offsets
        # An empty file cannot be mapped; a clip has at least one sample.
        self._samples = np.memmap(folder / _SAMPLES_FILE, dtype="<f2", mode="r", shape=(int(offsets[-1]),))

    @classmethod
    def open(
        cls,
        clips: Sequence[TaggedClip],
        folder: Path,
        *,
        sample_rate_hz: int,
        normalize: Normalization = "none",
        max_clip_s: float | None = None,
        on_clip: Callable[[int, int], None] | None = None,
    ) -> WaveformStore:
        """Open the store of a folder, or decode the clips into it if it has none or one of other clips.

        Args:
            clips: the clips, in the order of their numbers.
            folder: folder of the two files of the store.
            sample_rate_hz: sample rate of the store.
            normalize: level of each clip; see `retrieval.datasets.audio.normalized`.
            max_clip_s: seconds of a clip that are decoded, from its start; None decodes all of it.
            on_clip: called after each decoded clip with (done, total).

        Raises:
            AudioDecodeError: a clip cannot be decoded.
            DatasetError: a clip is not a waveform, or the disk has too little space; nothing has been decoded then.
        """
        key = _key(clips, sample_rate_hz=sample_rate_hz, normalize=normalize, max_clip_s=max_clip_s)
        try:
            index = json.loads((folder / _INDEX_FILE).read_text(encoding="utf-8"))
            if index["key"] == key and (folder / _SAMPLES_FILE).stat().st_size == _SAMPLE_BYTES * index["offsets"][-1]:
                return cls(folder, np.array(index["offsets"]), sample_rate_hz=sample_rate_hz)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            pass  # missing or damaged: decode again
        size = cache_size(clips, sample_rate_hz=sample_rate_hz, max_clip_s=max_clip_s)
        check_free_space(folder, size.n_bytes)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _INDEX_FILE).unlink(missing_ok=True)

        def decoded(clip: TaggedClip) -> np.ndarray:
            waveform = load_clip(clip, sample_rate_hz=sample_rate_hz, duration_s=max_clip_s, normalize=normalize)
            return waveform.astype("<f2")

        lengths = []
        n_workers = os.cpu_count() or 1
        at_once = 2 * n_workers  # no more decoded clips wait in memory
        with (folder / _SAMPLES_FILE).open("wb") as file, ThreadPoolExecutor(n_workers) as pool:
            for first in range(0, len(clips), at_once):
                for waveform in pool.map(decoded, clips[first : first + at_once]):
                    file.write(waveform.tobytes())
                    lengths.append(len(waveform))
                    if on_clip is not None:
                        on_clip(len(lengths), len(clips))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        # The index is written last: an unfinished store has none.
        (folder / _INDEX_FILE).write_text(json.dumps({"key": key, "offsets": offsets.tolist()}), encoding="utf-8")
        return cls(folder, offsets, sample_rate_hz=sample_rate_hz)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def waveform(self, clip: int) -> np.ndarray:
        """Return a clip's whole waveform, float32 [shape=(n_samples,)] in [-1, 1]."""
        return self._samples[self._offsets[clip] : self._offsets[clip + 1]].astype(np.float32)

    def crop(self, clip: int, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Return a random crop, padded with zeros where the clip is shorter, float32 [shape=(n_samples,)]."""
        whole = self._samples[self._offsets[clip] : self._offsets[clip + 1]]
        return random_crop(whole, n_samples, rng).astype(np.float32)


def _key(clips: Sequence[TaggedClip], *, sample_rate_hz: int, normalize: str, max_clip_s: float | None) -> str:
    """Return a digest of everything that determines the content of the store."""
    digest = hashlib.sha256(repr((sample_rate_hz, normalize, max_clip_s)).encode())
    for clip in clips:
        status = clip.path.stat()
        entry = (os.fspath(clip.path.resolve()), status.st_size, status.st_mtime_ns, clip.array_rate_hz)
        digest.update(repr(entry).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
