"""Arrays as waveforms: types, channels, what is refused; samples beyond full scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from audio_files import RATE_HZ, tone

from encoders.audio import load_audio, stream_chunks
from encoders.waveform import as_waveform, limited

SOUND = np.round(tone(1.0) * 32_768) / 32_768  # exact in every type of 16 bits or more


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (SOUND.astype(np.float32), 0.0),
        (SOUND.astype(np.float64), 0.0),
        (SOUND.astype(np.float16), 3e-4),
        ((SOUND * 2**15).astype(np.int16), 0.0),
        ((SOUND * 2**31).astype(np.int32), 0.0),
        ((SOUND * 2**15).astype(">i2"), 0.0),
        (np.round(SOUND * 128 + 128).astype(np.uint8), 0.5 / 128),
        (np.stack([SOUND, SOUND]), 0.0),
        (np.stack([SOUND, SOUND], axis=1), 0.0),
        ((np.stack([SOUND, -SOUND]) * 2**15).astype(np.int16), 0.0),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}" if isinstance(x, np.ndarray) else None,
)
def test_every_type_gives_the_same_waveform(array: np.ndarray, error: float) -> None:
    found = as_waveform(array, sample_rate_hz=RATE_HZ)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, SOUND, atol=error)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(100, np.int64), "int64 have no certain full scale: give floats"),
        (np.zeros(100, np.int8), "int8 have no"),
        (np.zeros(100, np.uint16), "uint16 have no"),
        (np.zeros(100, bool), "bool have no"),
        (np.zeros(100, complex), "complex128 have no"),
        (np.array(["x"]), "<U1 have no"),
        (np.zeros((100, 100)), r"at most 64 channels is needed, not \(100, 100\)"),
        (np.zeros((2, 2, 2)), "is needed"),
        (np.zeros((2, 0)), "n > 0"),
        (np.zeros(0), "n > 0"),
        (np.array([0.0, np.nan, np.inf]), "2 samples are NaN or infinite"),
        (np.array([[0.0, np.nan, 1.0], [0.0, 1.0, 1.0]]), "1 samples are NaN or infinite"),
    ],
)
def test_what_is_not_a_waveform_is_refused_with_the_remedy(array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_waveform(array, sample_rate_hz=RATE_HZ)


def test_samples_within_full_scale_are_not_copied() -> None:
    x = tone(1.0, level=1.0)
    assert limited(x) is x


@pytest.mark.parametrize("gain", [1.5, 4.0, 32_768.0, 2.0**31])
def test_beyond_full_scale_the_form_of_the_wave_stays(gain: float) -> None:
    x = tone(1.0, level=1.0)
    found = limited((x * gain).astype(np.float32))
    assert np.abs(found).max() <= 1.0
    np.testing.assert_allclose(found, x, atol=1e-3)


def test_one_damaged_sample_does_not_silence_the_rest() -> None:
    x = tone(1.0)
    damaged = x.copy()
    damaged[500] = 1e9
    found = limited(damaged)
    assert found[500] == 1.0
    np.testing.assert_array_equal(np.delete(found, 500), np.delete(x, 500))


def test_a_file_beyond_full_scale_keeps_its_form(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    sf.write(path, tone(6.0, level=4.0), RATE_HZ, subtype="FLOAT")
    np.testing.assert_array_equal(load_audio(path), tone(6.0, level=4.0))
    for chunk in stream_chunks(path):
        assert np.abs(chunk.samples).max() <= 1.0
    np.testing.assert_allclose(next(stream_chunks(path)).samples, tone(5.0, level=1.0), atol=1e-3)
