"""Single sounds: drum machines sound as drums do, tunes stay in their instrument's range, and a seed fixes all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.recipes.default import single_sounds
from scripts.recipes.default.single_sounds import drum_machine_hit, render_single_sounds
from scripts.recipes.default.synth import DRUM_KEYS, PROGRAM_TAGS, SAMPLE_RATE_HZ, key_range


def centroid_hz(sound: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float((power * np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE_HZ)).sum() / power.sum())


@pytest.mark.parametrize(
    ("name", "low_hz", "high_hz"), [("bass drum", 30, 1500), ("snare drum", 500, 11000), ("hi-hat", 8000, 15500)]
)
def test_a_drum_machine_plays_where_its_drums_sound(name: str, low_hz: float, high_hz: float) -> None:
    for seed in range(25):
        hit = drum_machine_hit(name, np.random.default_rng(seed))
        assert np.abs(hit).max() == pytest.approx(1)
        assert low_hz < centroid_hz(hit) < high_hz
        # It dies away: the last tenth holds next to nothing.
        assert np.square(hit[-len(hit) // 10 :]).sum() < 0.02 * np.square(hit).sum()
        assert np.array_equal(hit, drum_machine_hit(name, np.random.default_rng(seed)))


def test_tunes_stay_in_range() -> None:
    for seed in range(60):
        program = list(PROGRAM_TAGS)[seed % len(PROGRAM_TAGS)]
        low, high = key_range(program)
        notes = single_sounds._pitched(np.random.default_rng(seed), program, 3.0)
        assert notes
        assert all(low <= note.key <= high and 0 <= note.start_s < 3.5 for note in notes)


def test_common_instruments_and_drums_have_names() -> None:
    assert set(single_sounds._COMMON) <= {tags.split(";")[0] for tags in PROGRAM_TAGS.values()}
    assert set(single_sounds._ALSO) <= set(DRUM_KEYS)


def test_a_missing_soundfont_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    # The library itself is an extra and needs the system's FluidSynth; nothing of it is reached here.
    monkeypatch.setitem(sys.modules, "fluidsynth", types.ModuleType("fluidsynth"))
    with pytest.raises(FileNotFoundError, match=r"none\.sf2 is missing"):
        next(render_single_sounds([tmp_path / "none.sf2"], count=1, seed=1))
