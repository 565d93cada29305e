"""The demo library: the notation it is written in, and the files as they are shipped."""

from __future__ import annotations

from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile

from scripts.demo_music.notation import Note, grid, line, loop, picked, strummed
from scripts.demo_music.pieces import PIECES

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
CLIPS = sorted((SCRIPTS / "demo_library").glob("*.ogg"))


SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def test_line_reads_pitches_chords_rests_and_lengths() -> None:
    notes = line("C4:1 -:.5 Bb3+F#4! A0:2", velocity=80, gate=1.0)
    assert notes == [
        Note(0.0, 1.0, 60, 80),
        Note(1.5, 0.5, 58, 96),
        Note(1.5, 0.5, 66, 96),
        Note(2.0, 2.0, 21, 80),
    ]
    assert [note.start_beats for note in line("C4:2 -:1", times=3)] == [0, 3, 6]


@pytest.mark.parametrize("pitch", ["H4", "C", "4", "C##4", "c4"])
def test_line_refuses_what_is_no_pitch(pitch: str) -> None:
    with pytest.raises(ValueError, match="is not a pitch"):
        line(pitch)


def test_picked_strings_ring_until_they_are_plucked_again() -> None:
    notes = picked(["x32010"], "b1 2 b -", step_beats=1.0, velocity=80)
    # C major: the lowest string that is fretted is the fifth (C3), the first is E4, the second C4.
    assert [(note.start_beats, note.length_beats, note.key) for note in notes] == [
        (0.0, 2.0, 48),
        (0.0, 4.0, 64),
        (1.0, 3.0, 60),
        (2.0, 2.0, 48),
    ]


def test_strummed_down_from_the_low_string_and_up_from_the_high() -> None:
    notes = strummed(["022000"], "D-U-", step_beats=1.0, spread_beats=0.1)
    down = [note for note in notes if note.start_beats < 2]
    up = [note for note in notes if note.start_beats >= 2]
    assert [note.key for note in down] == [40, 47, 52, 55, 59, 64]
    assert [note.key for note in up] == [64, 59, 55, 52]
    assert down[1].start_beats == pytest.approx(0.1)


def test_grid_and_loop_repeat() -> None:
    notes = grid({36: "X..g"}, step_beats=0.25, times=2)
    assert [(note.start_beats, note.velocity) for note in notes] == [
        (0, 118),
        (0.75, 42),
        (1, 118),
        (1.75, 42),
    ]
    assert [note.start_beats for note in loop([Note(1, 1, 60, 80)], period_beats=4, times=3)] == [1, 5, 9]


def test_every_piece_is_rendered_and_described() -> None:
    assert [clip.name for clip in CLIPS] == [
        f"{number:02d} {piece.title.lower()}.ogg" for number, piece in enumerate(PIECES, start=1)
    ]
    assert len(CLIPS) >= 24
    assert sum(clip.stat().st_size for clip in CLIPS) <= 4e6
    for clip, piece in zip(CLIPS, PIECES, strict=True):
        tags = mutagen.File(clip)
        assert tags["title"] == [piece.title]
        assert tags["artist"] == ["Earmark demo"]
        assert tags["album"] == ["Earmark demo library"]
        assert tags["genre"] == [piece.genre]
        assert tags["instruments"] == list(piece.instruments)
        assert tags["comment"] == ["Instruments: " + ", ".join(piece.instruments)]


def test_the_demo_query_has_answers_and_names_do_not_give_them_away() -> None:
    assert sum("acoustic guitar" in piece.instruments for piece in PIECES) == 3
    words = {word for piece in PIECES for name in (*piece.instruments, piece.genre) for word in name.lower().split()}
    assert [clip.name for clip in CLIPS if words & set(clip.stem.split())] == []


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem)
def test_clips_sound_for_ten_seconds_without_clipping(clip: Path) -> None:
    samples, rate_hz = soundfile.read(clip)
    assert len(samples) == 10 * rate_hz
    assert np.abs(samples).max() < 0.99
    seconds = samples.mean(axis=1).reshape(10, rate_hz)
    level_db = 20 * np.log10(np.sqrt(np.mean(seconds**2, axis=1)))
    assert level_db.min() > -40
    assert -24 < 20 * np.log10(np.sqrt(np.mean(seconds**2))) < -14


def test_the_soundfont_is_credited() -> None:
    credits = (SCRIPTS / "demo_library" / "CREDITS.md").read_text(encoding="utf-8")
    for words in ("FluidR3", "Frank Wen", "MIT", "scripts.demo_music.render"):
        assert words in credits
