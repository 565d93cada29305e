"""Tracker modules: known by their marks, played once; what is none of them is said."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from encoders.audio import SAMPLE_RATE_HZ, AudioDecodeError, load_audio
from scripts.recipes.default.open_music_audio import NoModulePlayerError, Written, is_module, write_vorbis


def module() -> bytes:
    """A MOD of one pattern, in which a looped square wave sounds."""
    sample = bytes([64] * 16 + [192] * 16)
    used = bytes(22) + struct.pack(">HBBHH", len(sample) // 2, 0, 64, 0, len(sample) // 2)
    header = b"song".ljust(20, b"\0") + used + (bytes(28) + struct.pack(">H", 1)) * 30 + bytes([1, 127]) + bytes(128)
    note = bytes([0x01, 0xAC, 0x10, 0x00])  # period 428, sample 1
    return header + b"M.K." + note + bytes(1024 - 4) + sample


def written(file: Path) -> Written:
    try:
        return write_vorbis([file], file.with_suffix(".ogg"))
    except NoModulePlayerError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ["song.mod", "song.zik"])
def test_a_module_is_played_once(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(module())
    assert written(file).seconds == pytest.approx(64 * 0.12, abs=0.2), "64 rows of 6 ticks at 125 beats a minute"
    samples = load_audio(tmp_path / "song.ogg", sample_rate_hz=SAMPLE_RATE_HZ)
    pitch_hz = np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE_HZ / len(samples)
    assert pitch_hz == pytest.approx(7_093_789.2 / (2 * 428) / 32, rel=0.02)


def test_a_damaged_module_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "song.mod").write_bytes(b"nothing")
    with pytest.raises(AudioDecodeError, match="not a tracker module"):
        written(tmp_path / "song.mod")
    assert [path.name for path in tmp_path.iterdir()] == ["song.mod"]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"Extended Module: song", True),
        (b"IMPM", True),
        (bytes(44) + b"SCRM", True),
        (bytes(1080) + b"M.K.", True),
        (b"RIFF", False),
        (b"", False),
    ],
)
def test_a_module_is_known_by_its_mark(tmp_path: Path, head: bytes, expected: bool) -> None:
    (tmp_path / "song.zik").write_bytes(head)
    assert is_module(tmp_path / "song.zik") is expected
