"""The sound of a clip: files, arrays, crops and levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from encoders.audio import AudioDecodeError
from retrieval.datasets.audio import RMS_TARGET, load_clip, normalized, random_crop
from retrieval.datasets.base import DatasetError, TaggedClip

RATE_HZ = 8000
TONE = (0.4 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)


def array_clip(folder: Path, array: np.ndarray, *, rate_hz: int | None = RATE_HZ) -> TaggedClip:
    np.save(folder / "clip.npy", array)
    return TaggedClip(folder / "clip.npy", ("tone",), array_rate_hz=rate_hz)


@pytest.mark.parametrize(
    "array",
    [
        TONE,
        TONE.astype(np.float64)[None],
        np.stack([TONE, TONE], axis=1),
        np.stack([TONE * 2, TONE * 0]),
        np.round(TONE * 32768).astype(np.int16),
        np.round(TONE.astype(np.float64) * 2**31).astype(np.int32),
    ],
)
def test_arrays_sound_as_their_file_does(tmp_path: Path, array: np.ndarray) -> None:
    soundfile.write(tmp_path / "clip.wav", TONE, RATE_HZ, subtype="FLOAT")
    file = TaggedClip(tmp_path / "clip.wav", ("tone",))
    clip = array_clip(tmp_path, array)
    for rate_hz in (RATE_HZ, 16_000):
        read, expected = (load_clip(one, sample_rate_hz=rate_hz) for one in (clip, file))
        assert read.dtype == np.float32
        np.testing.assert_allclose(read, expected, atol=1e-3)
    part = load_clip(clip, sample_rate_hz=RATE_HZ, start_s=0.25, duration_s=0.5)
    np.testing.assert_allclose(part, TONE[2000:6000], atol=1e-4)


@pytest.mark.parametrize(
    ("array", "rate_hz", "message"),
    [
        (TONE, None, "give it with --array-rate"),
        (np.zeros((2, 2, 2)), RATE_HZ, "has the shape"),
        (np.zeros(0), RATE_HZ, "has the shape"),
        (np.array(["x"]), RATE_HZ, "samples of type <U1"),
        (np.array([0.0, np.nan]), RATE_HZ, "NaN or infinite"),
    ],
)
def test_arrays_that_are_no_waveform(tmp_path: Path, array: np.ndarray, rate_hz: int | None, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load_clip(array_clip(tmp_path, array, rate_hz=rate_hz), sample_rate_hz=RATE_HZ)


def test_files_that_are_no_sound(tmp_path: Path) -> None:
    clip = array_clip(tmp_path, np.array([{"a": 1}], dtype=object))  # numpy pickles such an array
    with pytest.raises(DatasetError, match="not an array of numbers"):
        load_clip(clip, sample_rate_hz=RATE_HZ)
    with pytest.raises(AudioDecodeError, match=r"nothing\.wav"):
        load_clip(TaggedClip(tmp_path / "nothing.wav", ("tone",)), sample_rate_hz=RATE_HZ)
    with pytest.raises(DatasetError, match="no audio after 2 s"):
        load_clip(array_clip(tmp_path, TONE), sample_rate_hz=RATE_HZ, start_s=2.0)


def test_crops_come_from_everywhere_and_are_the_seeds() -> None:
    waveform = np.arange(6.0)
    crops = [random_crop(waveform, 4, np.random.default_rng(seed)) for seed in range(40)]
    assert {int(crop[0]) for crop in crops} == {0, 1, 2}
    assert all(np.array_equal(crop, np.arange(4) + crop[0]) for crop in crops)
    np.testing.assert_array_equal(crops[7], random_crop(waveform, 4, np.random.default_rng(7)))
    padded = random_crop(waveform, 9, np.random.default_rng(0))
    np.testing.assert_array_equal(padded, [0, 1, 2, 3, 4, 5, 0, 0, 0])
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    random_crop(waveform, 9, one)
    random_crop(waveform, 4, other)
    assert one.random() == other.random()  # one draw either way
    with pytest.raises(ValueError, match="at least 1"):
        random_crop(waveform, 0, one)


def test_levels() -> None:
    assert np.abs(normalized(TONE, "peak")).max() == pytest.approx(1.0)
    assert np.sqrt(np.mean(normalized(TONE, "rms") ** 2)) == pytest.approx(RMS_TARGET, rel=1e-4)
    click = np.zeros(1000, dtype=np.float32)
    click[3] = -0.5
    assert normalized(click, "rms").min() == -1.0  # the peak allows no more
    np.testing.assert_array_equal(normalized(TONE, "none"), TONE)
    np.testing.assert_array_equal(normalized(np.zeros(4), "peak"), np.zeros(4))
    with pytest.raises(ValueError, match="none, peak, rms"):
        normalized(TONE, "loud")  # type: ignore[arg-type]
