"""The sound of all clips, decoded once: float16 in one file that is mapped into memory, at the model's rate."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from retrieval.datasets.audio import Level, load_clip, random_crop
from retrieval.datasets.base import TaggedClip

__all__ = ["WaveformStore"]

_SAMPLES, _INDEX = "audio.f16", "audio.json"


class WaveformStore:
    """Waveforms by the number of their clip; float16 keeps 66 dB below each sample, less than what codecs leave."""

    def __init__(self, folder: Path, offsets: np.ndarray, *, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self._offsets = offsets
        # An empty file cannot be mapped; a clip has at least one sample.
        self._samples = np.memmap(folder / _SAMPLES, dtype="<f2", mode="r", shape=(int(offsets[-1]),))

    @classmethod
    def open(
        cls,
        clips: Sequence[TaggedClip],
        folder: Path,
        *,
        sample_rate_hz: int,
        level: Level = "none",
        longest_s: float | None = None,
        on_clip: Callable[[int, int], None] | None = None,
    ) -> WaveformStore:
        """Open the store in a folder, or decode the clips into it if it is not there or belongs to other clips.

        Args:
            clips: in the order of their numbers.
            folder: where the two files lie.
            sample_rate_hz: of the store.
            level: of each clip; see ``retrieval.datasets.audio.normalised``.
            longest_s: no more of a clip is kept than this, from its beginning.
            on_clip: told of each clip that was decoded, and of how many there are.

        Raises:
            AudioDecodeError, DatasetError: a clip cannot be read.
        """
        key = _key(clips, sample_rate_hz=sample_rate_hz, level=level, longest_s=longest_s)
        try:
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            if index["key"] == key and (folder / _SAMPLES).stat().st_size == 2 * index["offsets"][-1]:
                return cls(folder, np.array(index["offsets"]), sample_rate_hz=sample_rate_hz)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            pass  # not there, or damaged: made again
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _INDEX).unlink(missing_ok=True)

        def decoded(clip: TaggedClip) -> np.ndarray:
            waveform = load_clip(clip, sample_rate_hz=sample_rate_hz, duration_s=longest_s, level=level)
            return waveform.astype("<f2")

        lengths = []
        with (folder / _SAMPLES).open("wb") as file, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for first in range(0, len(clips), 64):  # so that no more than 64 clips wait in memory
                for waveform in pool.map(decoded, clips[first : first + 64]):
                    file.write(waveform.tobytes())
                    lengths.append(len(waveform))
                    if on_clip is not None:
                        on_clip(len(lengths), len(clips))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        # The index comes last: a store that was not finished has none.
        (folder / _INDEX).write_text(json.dumps({"key": key, "offsets": offsets.tolist()}), encoding="utf-8")
        return cls(folder, offsets, sample_rate_hz=sample_rate_hz)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def waveform(self, clip: int) -> np.ndarray:
        """Return a clip's whole waveform, float32 [shape=(n_samples,)] in [-1, 1]."""
        return self._samples[self._offsets[clip] : self._offsets[clip + 1]].astype(np.float32)

    def crop(self, clip: int, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Return a crop from a random place, padded with zeros if need be, float32 [shape=(n_samples,)]."""
        whole = self._samples[self._offsets[clip] : self._offsets[clip + 1]]
        return random_crop(whole, n_samples, rng).astype(np.float32)


def _key(clips: Sequence[TaggedClip], *, sample_rate_hz: int, level: str, longest_s: float | None) -> str:
    """Return a digest of everything that the store's bytes depend on."""
    digest = hashlib.sha256(repr((sample_rate_hz, level, longest_s)).encode())
    for clip in clips:
        status = clip.path.stat()
        entry = (os.fspath(clip.path.resolve()), status.st_size, status.st_mtime_ns, clip.array_rate_hz)
        digest.update(repr(entry).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
