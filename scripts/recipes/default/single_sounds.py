"""Rendered single sounds: a few notes or hits of one instrument, as in recordings that people upload.

Pitched instruments and drum kits are rendered with General MIDI soundfonts, with random swells, vibrato, tuning and
reverberation. Half of the kick drums, snare drums and hi-hats are synthesised from oscillators and noise, like those of
drum machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scripts.recipes.default.synth import (
    DRUM_KEYS,
    PROGRAM_TAGS,
    SAMPLE_RATE_HZ,
    Note,
    SynthClip,
    key_range,
    open_synth,
    render,
)

__all__ = ["drum_machine_hit", "render_single_sounds"]

DRUM_SHARE = 0.35
# Common instruments: half of the pitched sounds are of these.
_COMMON = (
    *("piano", "acoustic guitar", "clean electric guitar", "bass guitar", "double bass", "harp", "banjo", "accordion"),
    *("violin", "viola", "cello", "flute", "oboe", "clarinet", "bassoon", "recorder", "harmonica", "church organ"),
    *("soprano saxophone", "alto saxophone", "tenor saxophone", "trumpet", "trombone", "tuba", "french horn"),
)
_KITS = (0, 0, 8, 16, 24, 25, 32, 40)
_MODULATION, _EXPRESSION = 1, 11  # MIDI controllers
# Drum -> further labels.
_ALSO = {
    "bass drum": ("kick drum", "drum", "percussion"),
    "snare drum": ("drum", "percussion"),
    "hi-hat": ("cymbal", "percussion"),
    "cymbal": ("percussion",),
    "tom-tom": ("drum", "percussion"),
    "bongo": ("drum", "percussion"),
    "conga": ("drum", "percussion"),
    "timbales": ("drum", "percussion"),
}


def _programs_by_name() -> dict[str, list[int]]:
    names: dict[str, list[int]] = {}
    for program, tags in PROGRAM_TAGS.items():
        names.setdefault(tags.split(";")[0], []).append(program)
    return names


def drum_machine_hit(name: str, rng: np.random.Generator) -> np.ndarray:
    """Return one hit of a drum machine [shape=(n_samples,)], peak 1, at 32 kHz.

    A kick drum is a sine of falling pitch, a snare drum two sines and filtered noise, a hi-hat six square waves at
    inharmonic ratios above 5 to 9 kHz.

    Args:
        name: "bass drum", "snare drum" or "hi-hat".
        rng: source of pitch, length and timbre.
    """
    decay_s = float({"bass drum": rng.uniform(0.06, 0.45), "snare drum": rng.uniform(0.04, 0.2)}.get(name, 0.0))
    if name == "hi-hat":
        decay_s = float(rng.uniform(0.015, 0.06) if rng.random() < 0.7 else rng.uniform(0.12, 0.4))
    n = int(min(2.0, 7 * decay_s + 0.05) * SAMPLE_RATE_HZ)
    t = np.arange(n) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(n)
    if name == "bass drum":
        low_hz, fall_hz = rng.uniform(38, 75), rng.uniform(30, 400)
        phase = 2 * np.pi * np.cumsum(low_hz + fall_hz * np.exp(-t / rng.uniform(0.008, 0.05))) / SAMPLE_RATE_HZ
        sound = np.tanh(rng.uniform(0.8, 3) * np.sin(phase)) * np.exp(-t / decay_s)
        sound += rng.uniform(0, 0.3) * noise * np.exp(-t / 0.004)
    elif name == "snare drum":
        tones = sum(np.sin(2 * np.pi * hz * t) for hz in rng.uniform((140, 220), (240, 400)))
        wires = np.diff(noise, prepend=0.0) * rng.uniform(0.2, 0.7) + noise * rng.uniform(0.1, 0.8)
        sound = 0.5 * tones * np.exp(-t / (decay_s * 0.5)) + rng.uniform(0.4, 1.2) * wires * np.exp(-t / decay_s)
    else:
        ratios = np.array([2.0, 3.0, 4.16, 5.43, 6.79, 8.21])  # a cymbal's partials, inharmonic
        metal = sum(np.sign(np.sin(2 * np.pi * rng.uniform(180, 420) * r * t)) for r in ratios)
        sound = metal * rng.uniform(0.2, 1) + noise * rng.uniform(0.5, 3)
        for _ in range(int(rng.integers(2, 5))):  # each difference takes 6 dB an octave from the low end
            sound = np.diff(sound, prepend=0.0)
        sound = sound * np.exp(-t / decay_s)
    return (sound / np.abs(sound).max()).astype(np.float32)


def _hits(rng: np.random.Generator, length_s: float) -> list[float]:
    """Return the times of hits in seconds: one, a few, or a steady rhythm."""
    if rng.random() < 0.45:
        return [0.0]
    step_s = float(rng.uniform(0.08, 0.7))
    times = np.arange(0, max(length_s - 0.1, 0.05), step_s)
    return [float(t) for t in times if t == 0 or rng.random() < 0.75]


def _drum_machine(name: str, rng: np.random.Generator, length_s: float) -> np.ndarray:
    hit = drum_machine_hit(name, rng)
    sound = np.zeros(int(length_s * SAMPLE_RATE_HZ) + len(hit), np.float32)
    for at_s in _hits(rng, length_s):
        start = int(at_s * SAMPLE_RATE_HZ)
        sound[start : start + len(hit)] += hit * float(rng.uniform(0.5, 1))
    return sound[: int(length_s * SAMPLE_RATE_HZ)]


def _pitched(rng: np.random.Generator, program: int, length_s: float) -> list[Note]:
    """Return a long note, a scale, a tune or strummed chords."""
    low, high = key_range(program)
    style = rng.choice(["tone", "tone", "run", "tune", "tune", "strum"])
    velocity = int(rng.integers(40, 125))
    if style == "tone":
        return [Note(0.0, length_s * float(rng.uniform(0.5, 1)), 0, int(rng.integers(low, high + 1)), velocity)]
    step_s = float(rng.uniform(0.1, 0.9))
    key, notes, t = int(rng.integers(low, high + 1)), [], 0.0
    direction = int(rng.choice([-2, -1, 1, 2]))
    while t < length_s:
        held_s = step_s * float(rng.uniform(0.4, 1.1))
        loud = int(np.clip(velocity + rng.integers(-15, 16), 20, 127))
        if style == "strum":
            for i, up in enumerate((0, 7, 12, 16, 19)):
                notes.append(Note(t + 0.015 * i, t + 2 * held_s, 0, min(key + up, high), loud))
            key = int(np.clip(key + rng.choice([-5, -3, 2, 4, 5]), low, max(low, high - 19)))
        else:
            notes.append(Note(t, t + held_s, 0, key, loud))
            move = direction if style == "run" else int(rng.integers(-4, 5))
            key += move
            if not low <= key <= high:
                direction, key = -direction, int(np.clip(key, low, high))
        t += 2 * step_s if style == "strum" else step_s
    return notes


def _swell(rng: np.random.Generator, length_s: float) -> list[tuple[float, int, int]]:
    """Return controller changes (seconds, controller, value): a loudness curve and a vibrato, or none."""
    changes = [(0.0, _MODULATION, int(rng.choice([0, 0, 20, 50, 90])))]
    if rng.random() < 0.5:
        ends = rng.integers(40, 128, size=3)
        times = np.linspace(0, length_s, 16)
        curve = np.interp(times, [0, length_s * float(rng.uniform(0.2, 0.8)), length_s], ends)
        changes += [(float(t), _EXPRESSION, int(v)) for t, v in zip(times, curve, strict=True)]
    return changes


def render_single_sounds(soundfonts: list[Path], *, count: int, seed: int) -> Iterator[SynthClip]:
    """Render clips of 0.3 to 7 s with one instrument each.

    Args:
        soundfonts: General MIDI soundfonts (sf2, sf3), used in turn.
        count: number of clips; silent ones are left out.
        seed: determines every clip.

    Raises:
        FileNotFoundError: a soundfont is missing.
    """
    names = _programs_by_name()
    for which, font in enumerate(soundfonts):
        synth, font_id = open_synth(font)
        for i in range(which, count, len(soundfonts)):
            rng = np.random.default_rng([seed, 77, i])
            length_s = float(np.exp(rng.uniform(np.log(0.3), np.log(7))))
            waveform, labels = _sound(rng, synth, font_id, names, length_s)
            peak = float(np.abs(waveform).max())
            if peak > 1e-3:
                yield SynthClip(waveform / peak * float(rng.uniform(0.2, 0.95)), labels)
        synth.delete()


def _sound(
    rng: np.random.Generator, synth: Any, font_id: int, names: dict[str, list[int]], length_s: float
) -> tuple[np.ndarray, tuple[str, ...]]:
    synth.system_reset()
    synth.set_reverb(float(rng.uniform(0, 1)), float(rng.uniform(0, 1)), 1.0, float(rng.uniform(0, 0.9)) ** 2)
    if rng.random() < DRUM_SHARE:
        # The three drums of most beats are half of the drum sounds.
        common = ("bass drum", "snare drum", "hi-hat")
        name = str(rng.choice(common if rng.random() < 0.5 else list(DRUM_KEYS)))
        labels = (name, *_ALSO.get(name, ("percussion",)))
        if name in common and rng.random() < 0.5:
            return _drum_machine(name, rng, length_s), labels
        synth.program_select(9, font_id, 128, int(rng.choice(_KITS)))
        key = int(rng.choice(DRUM_KEYS[name]))
        hits = [Note(t, t + 0.3, 9, key, int(rng.integers(50, 127))) for t in _hits(rng, length_s)]
        return render(synth, hits, length_s), labels
    name = str(rng.choice(_COMMON if rng.random() < 0.5 else list(names)))
    program = int(rng.choice(names[name]))
    synth.program_select(0, font_id, 0, program)
    synth.pitch_bend(0, int(rng.normal(0, 1000)))  # nearly always less than a quarter tone out of tune
    waveform = render(synth, _pitched(rng, program, length_s), length_s, controls=_swell(rng, length_s))
    return waveform, tuple(PROGRAM_TAGS[program].split(";"))
