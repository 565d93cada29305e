"""A notation for music that is read into notes. The pieces of the demo library are written in it.

Times are in beats (quarter notes), pitches are MIDI keys (60 is C4), velocities run from 1 to 127.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

__all__ = [
    "BRUSH_KIT",
    "KIT",
    "ORCHESTRA_KIT",
    "ROCK_KIT",
    "SYNTH_KIT",
    "Note",
    "Part",
    "Piece",
    "drums",
    "grid",
    "line",
    "loop",
    "picked",
    "strummed",
]

KIT, ROCK_KIT, SYNTH_KIT, BRUSH_KIT, ORCHESTRA_KIT = 0, 16, 24, 40, 48  # programs of bank 128

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_GUITAR_KEYS = (40, 45, 50, 55, 59, 64)  # E2 A2 D3 G3 B3 E4, the sixth string first
_GRID_VELOCITIES = {"X": 118, "x": 92, "o": 70, "g": 42}


@dataclass(frozen=True)
class Note:
    """One note."""

    start_beats: float
    length_beats: float
    key: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """The part of one instrument. In bank 128, the drum kits, each key is a drum.

    `swell` shapes each long note of a bowed or blown instrument and gives it vibrato; `scoop_semitones`
    slides into each note from below.
    """

    program: int
    notes: Sequence[Note]
    bank: int = 0
    pan: int = 64
    volume: int = 100
    reverb: int = 45
    swell: bool = False
    scoop_semitones: float = 0.0


@dataclass(frozen=True)
class Piece:
    """A clip of the library. `room_size` is the reverberation, from 0 (dry) to 1 (cathedral)."""

    title: str
    genre: str
    instruments: tuple[str, ...]
    tempo_bpm: float
    parts: tuple[Part, ...]
    room_size: float = 0.4


def line(text: str, *, velocity: int = 84, start_beats: float = 0.0, gate: float = 0.95, times: int = 1) -> list[Note]:
    """Return the notes of a text like `C4:1 E4+G4:.5 -:2`.

    A token is pitches joined by `+`, or `-` for a rest, and a length in beats (default: that of the token before).
    A `!` after the pitches is an accent.

    Args:
        text: the tokens.
        velocity: of notes without an accent.
        start_beats: start of the first note.
        gate: sounding part of a length; above 1, notes overlap.
        times: repetitions of the text.

    Raises:
        ValueError: a pitch cannot be read.
    """
    notes: list[Note] = []
    now_beats, length_beats = start_beats, 1.0
    for token in text.split() * times:
        pitches, _, length = token.partition(":")
        length_beats = float(length) if length else length_beats
        accent = 16 if pitches.endswith("!") else 0
        for pitch in pitches.rstrip("!").split("+"):
            if pitch != "-":
                loudness = min(127, velocity + accent)
                notes.append(Note(now_beats, length_beats * gate, _key(pitch), loudness))
        now_beats += length_beats
    return notes


def loop(notes: Iterable[Note], *, period_beats: float, times: int) -> list[Note]:
    """Return the notes repeated every `period_beats`."""
    once = list(notes)
    return [replace(note, start_beats=note.start_beats + turn * period_beats) for turn in range(times) for note in once]


def picked(
    shapes: Sequence[str],
    pattern: str,
    *,
    step_beats: float = 0.5,
    velocity: int = 84,
    open_keys: Sequence[int] = _GUITAR_KEYS,
) -> list[Note]:
    """Return chord shapes (`x32010`, frets from the lowest string) fingerpicked by a pattern of string numbers.

    A token of the pattern is the strings plucked together: `1` is the highest string, `b` the lowest fretted one, `a`
    the next one, `-` none. A string sounds until it is plucked again or the chord changes.
    """
    steps = pattern.split()
    notes: list[Note] = []
    for bar, shape in enumerate(shapes):
        keys = _fretted(shape, open_keys)
        sounding = sorted(keys, reverse=True)
        names = {"b": sounding[0], "a": sounding[1]} | {str(string): string for string in keys}
        for step, token in enumerate(steps):
            for name in token.replace("-", ""):
                string = names[name]
                later = (i for i in range(step + 1, len(steps)) if string in _strings(steps[i], names))
                ring_steps = next(later, len(steps)) - step
                start_beats = (bar * len(steps) + step) * step_beats
                loudness = velocity + (10 if name == "b" else 4 if name == "1" else 0)
                notes.append(Note(start_beats, ring_steps * step_beats, keys[string], loudness))
    return notes


def strummed(
    shapes: Sequence[str],
    pattern: str,
    *,
    step_beats: float = 0.5,
    velocity: int = 88,
    spread_beats: float = 0.028,
) -> list[Note]:
    """Return guitar chords strummed by a pattern: `D` down, `U` up (high strings only), `x` muted, `-` none."""
    notes: list[Note] = []
    for bar, shape in enumerate(shapes):
        keys = _fretted(shape, _GUITAR_KEYS)
        for step, stroke in enumerate(pattern):
            if stroke == "-":
                continue
            ring_steps = next((i for i in range(step + 1, len(pattern)) if pattern[i] != "-"), len(pattern))
            length_beats = (ring_steps - step) * step_beats if stroke != "x" else 0.06
            strings = sorted(keys, reverse=stroke != "U")[: 4 if stroke == "U" else 6]
            loudness = velocity - (14 if stroke == "U" else 0) + (10 if step == 0 else 0)
            start_beats = (bar * len(pattern) + step) * step_beats
            for place, string in enumerate(strings):
                delay_beats = place * spread_beats
                notes.append(Note(start_beats + delay_beats, length_beats, keys[string], loudness - 2 * place))
    return notes


def grid(hits: Mapping[int, str], *, step_beats: float = 0.25, times: int = 1) -> list[Note]:
    """Return the notes of drum patterns, key -> pattern: `X` loud, `x` normal, `o` soft, `g` very soft, else silent."""
    notes: list[Note] = []
    for key, row in hits.items():
        row_notes = [
            Note(step * step_beats, step_beats, key, _GRID_VELOCITIES[sign])
            for step, sign in enumerate(row)
            if sign in _GRID_VELOCITIES
        ]
        notes += loop(row_notes, period_beats=len(row) * step_beats, times=times)
    return notes


def drums(notes: Sequence[Note], *, kit: int, volume: int = 100) -> Part:
    """Return a part for a drum kit."""
    return Part(program=kit, bank=128, notes=notes, volume=volume, reverb=35)


def _key(pitch: str) -> int:
    """Return the MIDI key of `C4`, `F#3` or `Bb2`."""
    try:
        letter, octave = pitch[0], int(pitch[-1])
        shift = {"": 0, "#": 1, "b": -1}[pitch[1:-1]]
        return 12 * (octave + 1) + _SEMITONES[letter] + shift
    except (IndexError, KeyError, ValueError):
        raise ValueError(f"{pitch!r} is not a pitch; write a letter, # or b, and an octave, such as F#3") from None


def _fretted(shape: str, open_keys: Sequence[int]) -> dict[int, int]:
    """Return string number -> key; string 1 is the last of `open_keys`, and strings with `x` are left out."""
    count = len(open_keys)
    return {count - place: open_keys[place] + int(fret) for place, fret in enumerate(shape) if fret not in "x "}


def _strings(token: str, names: Mapping[str, int]) -> set[int]:
    return {names[name] for name in token.replace("-", "")}
