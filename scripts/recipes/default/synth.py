"""Random pieces of music with exact instrument labels, rendered with General MIDI soundfonts.

Needs pyfluidsynth (extra `render`), the FluidSynth library and soundfonts (`scripts.soundfonts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "DRUM_KEYS",
    "PROGRAM_TAGS",
    "SAMPLE_RATE_HZ",
    "Note",
    "SynthClip",
    "key_range",
    "open_synth",
    "render",
    "render_clips",
]

SAMPLE_RATE_HZ = 32000

# General MIDI program -> tags, the most specific first. Sound effects are left out.
PROGRAM_TAGS: dict[int, str] = {
    0: "piano",
    1: "piano",
    2: "electric grand piano;piano",
    3: "honky-tonk piano;piano",
    4: "electric piano;keyboard",
    5: "electric piano;keyboard",
    6: "harpsichord;keyboard",
    7: "clavinet;keyboard",
    8: "celesta",
    9: "glockenspiel;mallet percussion",
    10: "music box",
    11: "vibraphone;mallet percussion",
    12: "marimba;mallet percussion",
    13: "xylophone;mallet percussion",
    14: "tubular bells;bell",
    15: "dulcimer;hammered dulcimer",
    16: "hammond organ;organ;electronic organ",
    17: "hammond organ;organ;electronic organ",
    18: "rock organ;organ",
    19: "church organ;pipe organ;organ",
    20: "reed organ;harmonium;organ",
    21: "accordion",
    22: "harmonica",
    23: "bandoneon;accordion",
    24: "acoustic guitar;classical guitar;guitar",
    25: "acoustic guitar;steel guitar;guitar",
    26: "jazz guitar;electric guitar;guitar",
    27: "clean electric guitar;electric guitar;guitar",
    28: "muted electric guitar;electric guitar;guitar",
    29: "overdriven guitar;electric guitar;guitar;distortion",
    30: "distorted guitar;electric guitar;guitar;distortion",
    32: "double bass;acoustic bass;bass",
    33: "bass guitar;electric bass;bass",
    34: "bass guitar;electric bass;bass",
    35: "fretless bass;bass guitar;bass",
    36: "slap bass;bass guitar;bass",
    38: "synth bass;synthesizer;bass",
    39: "synth bass;synthesizer;bass",
    40: "violin;bowed string instrument;strings",
    41: "viola;bowed string instrument;strings",
    42: "cello;bowed string instrument;strings",
    43: "double bass;bowed string instrument;strings",
    44: "tremolo strings;string section;strings",
    45: "pizzicato;pizzicato strings;strings",
    46: "harp",
    47: "timpani",
    48: "string section;orchestra;strings",
    49: "string section;orchestra;strings",
    50: "synth strings;synthesizer",
    51: "synth strings;synthesizer",
    52: "choir;vocals",
    53: "choir;vocals",
    54: "synth voice;synthesizer",
    55: "orchestra hit;orchestra",
    56: "trumpet;brass instrument",
    57: "trombone;brass instrument",
    58: "tuba;brass instrument",
    59: "muted trumpet;trumpet;brass instrument",
    60: "french horn;brass instrument",
    61: "brass section;brass instrument",
    62: "synth brass;synthesizer",
    63: "synth brass;synthesizer",
    64: "soprano saxophone;saxophone;woodwind instrument",
    65: "alto saxophone;saxophone;woodwind instrument",
    66: "tenor saxophone;saxophone;woodwind instrument",
    67: "baritone saxophone;saxophone;woodwind instrument",
    68: "oboe;woodwind instrument",
    69: "english horn;woodwind instrument",
    70: "bassoon;woodwind instrument",
    71: "clarinet;woodwind instrument",
    72: "piccolo;flute;woodwind instrument",
    73: "flute;woodwind instrument",
    74: "recorder;flute;woodwind instrument",
    75: "pan flute;flute",
    76: "blown bottle;flute",
    77: "shakuhachi;flute",
    78: "whistling",
    79: "ocarina;flute",
    80: "synth lead;synthesizer;chiptune",
    81: "synth lead;synthesizer",
    84: "synth lead;synthesizer",
    87: "synth lead;synthesizer",
    88: "synth pad;synthesizer;ambient",
    89: "synth pad;synthesizer;ambient",
    90: "synthesizer",
    91: "synth pad;choir;synthesizer",
    94: "synth pad;synthesizer;ambient",
    95: "synth pad;synthesizer;ambient",
    104: "sitar",
    105: "banjo",
    106: "shamisen",
    107: "koto",
    108: "kalimba;thumb piano",
    109: "bagpipes",
    110: "fiddle;violin;strings",
    111: "shehnai",
    112: "tinkle bell;bell",
    114: "steelpan;steel drums",
    115: "wood block;percussion",
    116: "taiko;drum;percussion",
    117: "tom-tom;drum;percussion",
    118: "synth drum;drum machine;drum",
}
_BASSES = (32, 33, 34, 35, 36, 38, 39, 43)
_RANGES: dict[range, tuple[int, int]] = {
    range(32, 40): (28, 50),
    range(42, 44): (36, 62),
    range(57, 59): (38, 64),
    range(8, 15): (60, 90),
    range(72, 80): (62, 90),
    range(115, 119): (40, 72),
}
# Drum-kit notes: name -> keys (General MIDI percussion map).
DRUM_KEYS: dict[str, tuple[int, ...]] = {
    "bass drum": (35, 36),
    "snare drum": (38, 40),
    "hi-hat": (42, 44, 46),
    "cymbal": (49, 51, 57, 59),
    "tom-tom": (41, 43, 45, 47, 48, 50),
    "hand clap": (39,),
    "tambourine": (54,),
    "cowbell": (56,),
    "bongo": (60, 61),
    "conga": (62, 63, 64),
    "timbales": (65, 66),
    "maracas": (70,),
    "claves": (75,),
    "wood block": (76, 77),
    "triangle": (80, 81),
}
_KIT = ("bass drum", "snare drum", "hi-hat")
_CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 11), (0, 3, 7, 10), (0, 5, 7))
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10))


@dataclass(frozen=True)
class SynthClip:
    """A rendered clip: waveform in [-1, 1] at 32 kHz [shape=(n_samples,)], and labels of its instruments."""

    waveform: np.ndarray
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """A note on a MIDI channel."""

    start_s: float
    end_s: float
    channel: int
    key: int
    velocity: int


def key_range(program: int) -> tuple[int, int]:
    """Return the lowest and the highest key of a program."""
    for programs, keys in _RANGES.items():
        if program in programs:
            return keys
    return 48, 84


def _part(rng: np.random.Generator, program: int, channel: int, key: int, beat_s: float, length_s: float) -> list[Note]:
    """Return one instrument's part: a melody, chords, an arpeggio or long notes."""
    low, high = key_range(program)
    scale = _SCALES[rng.integers(len(_SCALES))]
    pitches = [p for p in range(low, high + 1) if (p - key) % 12 in scale]
    style = "melody" if program in _BASSES else str(rng.choice(["melody", "melody", "chords", "arpeggio", "long"]))
    notes: list[Note] = []
    t, at = 0.0, int(rng.integers(len(pitches)))
    while t < length_s:
        beats = float(rng.choice([2, 4]) if style in ("chords", "long") else rng.choice([0.25, 0.5, 0.5, 1, 1, 2]))
        end = t + beats * beat_s * float(rng.uniform(0.5, 1.0))
        velocity = int(rng.integers(55, 122))
        if style == "chords":
            root = pitches[min(at, len(pitches) - 1)]
            for step in _CHORDS[rng.integers(len(_CHORDS))]:
                notes.append(Note(t, end, channel, min(root + step, 108), velocity))
        elif rng.random() > 0.1:
            notes.append(Note(t, end, channel, pitches[at], velocity))
        at = int(np.clip(at + rng.integers(-3, 4), 0, len(pitches) - 1))
        t += beats * beat_s
    return notes


def _drums(rng: np.random.Generator, names: list[str], beat_s: float, length_s: float) -> list[Note]:
    notes = []
    for name in names:
        key = int(rng.choice(DRUM_KEYS[name]))
        pattern = rng.random(16) < (0.55 if name == "hi-hat" else 0.28)
        pattern[int(rng.integers(4)) * 4] = True
        for step in range(int(length_s / (beat_s / 4))):
            if pattern[step % 16]:
                t = step * beat_s / 4
                notes.append(Note(t, t + beat_s / 4, 9, key, int(rng.integers(60, 125))))
    return notes


def _compose(rng: np.random.Generator, length_s: float) -> tuple[list[Note], dict[int, int], list[str]]:
    """Return notes, channel -> program, and labels of a random piece."""
    beat_s, key = 60 / float(rng.uniform(60, 170)), int(rng.integers(12))
    kind = rng.random()
    if kind < 0.12:
        names = [str(rng.choice(list(DRUM_KEYS)))]
        return _drums(rng, names, beat_s, length_s), {}, [*names, "percussion", "drum"]
    programs = list(PROGRAM_TAGS)
    count = 1 if kind < 0.6 else int(rng.integers(2, 5))
    chosen = [int(p) for p in rng.choice(programs, size=count, replace=False)]
    if count > 2 and not set(chosen) & set(_BASSES):
        chosen[-1] = int(rng.choice(_BASSES))
    notes: list[Note] = []
    labels: list[str] = []
    for channel, program in enumerate(chosen):
        notes += _part(rng, program, channel, key, beat_s, length_s)
        labels += PROGRAM_TAGS[program].split(";")
    if count > 1 and rng.random() < 0.5:
        notes += _drums(rng, list(_KIT), beat_s, length_s)
        labels += ["drum kit", "drums", "percussion"]
    if count == 1:
        labels.append("solo")
    return notes, dict(enumerate(chosen)), list(dict.fromkeys(labels))


def render(
    synth: Any, notes: list[Note], length_s: float, *, controls: Sequence[tuple[float, int, int]] = ()
) -> np.ndarray:
    """Return notes and controller changes (seconds, controller, value; on channel 0) as mono [shape=(n_samples,)]."""
    events: list[tuple[float, int, int, Note | int]] = []
    for n in notes:
        events += [(n.start_s, 1, n.key, n), (n.end_s, 0, n.key, n)]
    events += [(at_s, -1, controller, value) for at_s, controller, value in controls]
    parts, now = [], 0
    for at_s, kind, number, event in sorted(events, key=lambda e: e[:3]):
        due = min(int(at_s * SAMPLE_RATE_HZ), int(length_s * SAMPLE_RATE_HZ))
        if due > now:
            parts.append(synth.get_samples(due - now))
            now = due
        if isinstance(event, int):
            synth.cc(0, number, event)
        elif kind:
            synth.noteon(event.channel, event.key, event.velocity)
        else:
            synth.noteoff(event.channel, event.key)
    parts.append(synth.get_samples(max(0, int(length_s * SAMPLE_RATE_HZ) - now)))
    stereo = np.concatenate(parts).reshape(-1, 2).astype(np.float32) / 32768
    return stereo.mean(1)


def open_synth(soundfont: Path) -> tuple[Any, int]:
    """Return a synthesiser and the number of a soundfont loaded into it.

    Raises:
        FileNotFoundError: the soundfont is missing.
    """
    import fluidsynth  # in the extra `render`; needs a system library

    if not soundfont.is_file():
        raise FileNotFoundError(f"soundfont {soundfont} is missing; install it or choose others with --soundfont")
    synth = fluidsynth.Synth(gain=0.6, samplerate=float(SAMPLE_RATE_HZ))
    return synth, synth.sfload(str(soundfont))


def render_clips(soundfonts: list[Path], *, count: int, length_s: float = 10.0, seed: int = 1) -> Iterator[SynthClip]:
    """Render random pieces, each from one soundfont.

    Args:
        soundfonts: General MIDI soundfonts (sf2, sf3), used in turn.
        count: number of clips; silent ones are left out.
        length_s: length of each clip.
        seed: determines every clip.

    Raises:
        FileNotFoundError: a soundfont is missing.
    """
    for font in soundfonts:
        synth, font_id = open_synth(font)
        for i in range(soundfonts.index(font), count, len(soundfonts)):
            rng = np.random.default_rng([seed, i])
            notes, programs, labels = _compose(rng, length_s)
            synth.system_reset()
            for channel, program in programs.items():
                synth.program_select(channel, font_id, 0, program)
            synth.program_select(9, font_id, 128, int(rng.choice([0, 0, 8, 16, 25, 32, 40])))
            waveform = render(synth, notes, length_s)
            peak = float(np.abs(waveform).max())
            if peak > 1e-3:
                yield SynthClip(waveform / peak * float(rng.uniform(0.2, 0.9)), tuple(labels))
        synth.delete()
