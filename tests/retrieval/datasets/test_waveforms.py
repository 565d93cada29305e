"""The cache of decoded clips: its content, its size before it is written, and its bounds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from training_helpers import RATE_HZ, sound, tagged_clips

from retrieval.datasets.base import DatasetError, TaggedClip
from retrieval.datasets.waveforms import WaveformStore, cache_size, check_free_space


def test_the_store_keeps_what_it_decoded(tmp_path: Path) -> None:
    dataset = tagged_clips(tmp_path / "clips", n=3)
    done: list[int] = []
    store = WaveformStore.open(
        dataset.clips, tmp_path / "store", sample_rate_hz=RATE_HZ, on_clip=lambda i, n: done.append(i)
    )
    np.testing.assert_allclose(store.waveform(1), sound(dataset.clips[1].labels, 1), atol=1e-3)
    padded = store.crop(0, 2 * RATE_HZ, np.random.default_rng(0))
    assert not padded[-RATE_HZ // 2 :].any() and padded[:100].any()
    again = WaveformStore.open(
        dataset.clips, tmp_path / "store", sample_rate_hz=RATE_HZ, on_clip=lambda i, n: done.append(i)
    )
    assert done == [1, 2, 3] and len(again) == 3
    # Other clips, or an interrupted decoding, are decoded anew.
    fewer = WaveformStore.open(dataset.clips[:2], tmp_path / "store", sample_rate_hz=RATE_HZ)
    assert len(fewer) == 2
    (tmp_path / "store" / "audio.f16").write_bytes(b"\0\0")
    assert len(WaveformStore.open(dataset.clips[:2], tmp_path / "store", sample_rate_hz=RATE_HZ).waveform(1)) > 1000


def wav(folder: Path, name: str, seconds: float, rate_hz: int) -> TaggedClip:
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / name, np.full(round(seconds * rate_hz), 0.1), rate_hz, subtype="PCM_16")
    return TaggedClip(folder / name, ("low",))


@pytest.mark.parametrize(("max_clip_s", "n_cut"), [(None, 0), (2.0, 1), (0.25, 3)])
def test_the_size_announced_is_the_size_written(tmp_path: Path, max_clip_s: float | None, n_cut: int) -> None:
    clips = [wav(tmp_path, "a.wav", 3.0, 8000), wav(tmp_path, "b.flac", 0.5, 16000), *tagged_clips(tmp_path, n=1).clips]
    size = cache_size(clips, sample_rate_hz=RATE_HZ, max_clip_s=max_clip_s)
    store = WaveformStore.open(clips, tmp_path / "store", sample_rate_hz=RATE_HZ, max_clip_s=max_clip_s)
    assert size.n_bytes == pytest.approx((tmp_path / "store" / "audio.f16").stat().st_size, rel=0.001)
    assert (size.n_cut, size.n_unknown) == (n_cut, 0)
    longest_s = 3.0 if max_clip_s is None else max_clip_s
    assert [len(store.waveform(i)) for i in range(3)] == [round(min(s, longest_s) * RATE_HZ) for s in (3.0, 0.5, 1.5)]
    cut = WaveformStore.open(clips, tmp_path / "store", sample_rate_hz=RATE_HZ, max_clip_s=0.1)
    assert len(cut.waveform(0)) == RATE_HZ // 10  # the uncut store is not taken for it


def test_audio_that_does_not_fit_on_the_disk_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    rate_hz, n_samples = 1000, 500_000_000_000  # a sparse file of 1 TB that takes no space
    array = np.lib.format.open_memmap(tmp_path / "long.npy", mode="w+", dtype=np.int16, shape=(n_samples,))
    del array
    clip = TaggedClip(tmp_path / "long.npy", ("low",), array_rate_hz=rate_hz)
    size = cache_size([clip], sample_rate_hz=RATE_HZ, max_clip_s=None)
    assert size.n_bytes == 2 * RATE_HZ * n_samples // rate_hz
    with pytest.raises(DatasetError, match=r"needs 16,000\.0 GB, but .* has [\d,.]+ GB free: .*--cache-dir"):
        WaveformStore.open([clip], tmp_path / "no" / "store", sample_rate_hz=RATE_HZ)
    assert not (tmp_path / "no").exists()
    store = WaveformStore.open([clip], tmp_path / "store", sample_rate_hz=RATE_HZ, max_clip_s=1.0)
    assert len(store.waveform(0)) == RATE_HZ
    free = shutil.disk_usage(tmp_path).free
    check_free_space(tmp_path / "not" / "there", free // 2)


def test_a_clip_without_a_stated_duration_counts_in_full(tmp_path: Path) -> None:
    (tmp_path / "raw.mp3").write_bytes(b"not audio")
    clips = [TaggedClip(tmp_path / "raw.mp3", ("low",))]
    size = cache_size(clips, sample_rate_hz=RATE_HZ, max_clip_s=10.0)
    assert (size.n_bytes, size.n_unknown) == (20 * RATE_HZ, 1)
    with pytest.raises(DatasetError, match="does not state its sample rate"):
        cache_size([TaggedClip(tmp_path / "x.npy", ())], sample_rate_hz=RATE_HZ, max_clip_s=None)
