"""Render the demo library: clips of ten seconds, with a General MIDI soundfont.

    python -m scripts.demo_music.render [--soundfont FILE.sf2] [--out scripts/demo_library]

Needs the extra `render` (pyfluidsynth), the FluidSynth library and the FluidR3 GM soundfont (Debian: libfluidsynth3,
fluid-soundfont-gm). With the same versions of both, every run writes the same bytes.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import fluidsynth
import mutagen
import numpy as np
import soundfile
from mutagen.ogg import OggPage

from scripts.demo_music.notation import Note, Part, Piece
from scripts.demo_music.pieces import PIECES
from scripts.soundfonts import FLUID_R3

SAMPLE_RATE_HZ = 44100
DURATION_S = 10.0
FADE_S = 0.35
LOUDNESS_DB = -17.0  # RMS of the louder half of the clip, re full scale
PEAK_DB = -1.5
SIDE_GAIN = 0.5  # the soundfont's pianos and pads are so wide that they lose level in mono and in the encoder
VORBIS_LEVEL = 0.75  # libsndfile's compression level: 0 is the best quality, 1 the smallest file
BLOCK_SAMPLES = 64  # FluidSynth works in blocks of 64 samples: events fall on their edges

# An event: its time in seconds, a rank that puts note-offs first, and what to call.
Event = tuple[float, int, str, tuple[int, ...]]


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--soundfont", type=Path, default=FLUID_R3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "demo_library")
    args = parser.parse_args()
    if not args.soundfont.is_file():
        print(
            f"soundfont {args.soundfont} is missing; install fluid-soundfont-gm or choose another with --soundfont",
            file=sys.stderr,
        )
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    for number, piece in enumerate(PIECES, start=1):
        path = args.out / f"{number:02d} {piece.title.lower()}.ogg"
        samples = finish(render(piece, soundfont=args.soundfont))
        write(path, samples, piece=piece, number=number)
        print(f"{path.stat().st_size / 1000:6.0f} kB  {path.name}")
    return 0


def render(piece: Piece, *, soundfont: Path) -> np.ndarray:
    """Return the samples of a piece [shape=(n_samples, 2)].

    Raises:
        ValueError: the output clips.
    """
    synth = fluidsynth.Synth(
        gain=0.45, samplerate=SAMPLE_RATE_HZ, channels=16, **{"synth.polyphony": 512, "synth.cpu-cores": 1}
    )
    try:
        soundfont_id = synth.sfload(str(soundfont))
        synth.set_reverb(roomsize=piece.room_size, damping=0.3, width=0.8, level=0.5)
        events: list[Event] = []
        for number, part in enumerate(piece.parts):
            # Channel 9 is for drum kits by convention. A kit may use any channel, a melody any but this one.
            channel = number if number < 9 else number + 1
            synth.program_select(channel, soundfont_id, part.bank, part.program)
            for control, level in ((7, part.volume), (10, part.pan), (11, 112), (91, part.reverb), (93, 10)):
                synth.cc(channel, control, level)
            events += part_events(part, channel=channel, tempo_bpm=piece.tempo_bpm, seed=f"{piece.title} {number}")
        chunks, now = [], 0
        total = int(DURATION_S * SAMPLE_RATE_HZ)
        for time_s, _, name, values in sorted(events):
            until = min(int(time_s * SAMPLE_RATE_HZ) // BLOCK_SAMPLES * BLOCK_SAMPLES, total)
            if until > now:
                chunks.append(synth.get_samples(until - now))
                now = until
            getattr(synth, name)(*values)
        chunks.append(synth.get_samples(total - now))
    finally:
        synth.delete()
    samples = np.concatenate(chunks).reshape(-1, 2)
    if np.abs(samples.astype(np.int32)).max() >= 32767:
        raise ValueError(f"{piece.title!r} clips: lower the volume of its parts")
    return samples / 32768.0


def part_events(part: Part, *, channel: int, tempo_bpm: float, seed: str) -> Iterator[Event]:
    """Yield the events of one part, with random deviations of up to 9 ms and 7 steps of velocity."""
    # A string seeds `random` by its SHA-512: the same on every machine and Python.
    player = random.Random(seed)
    beat_s = 60.0 / tempo_bpm
    notes = sorted(part.notes, key=lambda note: (note.start_beats, note.key))
    starts_s = [max(0.0, note.start_beats * beat_s + player.uniform(-0.009, 0.009)) + 0.02 for note in notes]
    ends_s: list[float] = []
    next_start_s: dict[int, float] = {}
    for note, start_s in zip(reversed(notes), reversed(starts_s), strict=True):
        # A key is released before it is struck again: a later note-off would end the new note.
        end_s = start_s + max(0.05, note.length_beats * beat_s)
        ends_s.insert(0, min(end_s, next_start_s.get(note.key, DURATION_S + 1.0) - 0.004))
        next_start_s[note.key] = start_s
    for note, start_s, end_s in zip(notes, starts_s, ends_s, strict=True):
        velocity = max(1, min(127, note.velocity + player.randint(-7, 7)))
        if start_s >= DURATION_S:
            continue
        yield start_s, 2, "noteon", (channel, note.key, velocity)
        yield end_s, 0, "noteoff", (channel, note.key)
        if part.scoop_semitones:
            for step in range(7):
                bend = -part.scoop_semitones * (1 - step / 6) * 4096  # the bend range is two semitones
                yield start_s + 0.014 * step, 1, "pitch_bend", (channel, round(bend))
        if part.swell:
            yield from swell_events(note, start_s=start_s, end_s=end_s, channel=channel)


def swell_events(note: Note, *, start_s: float, end_s: float, channel: int) -> Iterator[Event]:
    """Yield expression that rises over two thirds of a long note and then falls, and increasing vibrato."""
    length_s = end_s - start_s
    if length_s < 0.35:
        yield start_s, 1, "cc", (channel, 11, 104)
        yield start_s, 1, "cc", (channel, 1, 0)
        return
    for step in range(int(length_s / 0.03)):
        place = step * 0.03 / length_s
        rise = place / 0.65 if place < 0.65 else (1 - place) / 0.35
        yield start_s + step * 0.03, 1, "cc", (channel, 11, round(84 + 38 * rise))
        yield start_s + step * 0.03, 1, "cc", (channel, 1, round(min(1.0, place * 1.6) * 38))


def finish(samples: np.ndarray) -> np.ndarray:
    """Return samples at the common loudness, below the peak limit and with a fade at the end [shape=(n_samples, 2)]."""
    mid, side = samples.mean(axis=1), SIDE_GAIN * (samples[:, 0] - samples[:, 1]) / 2
    samples = np.stack([mid + side, mid - side], axis=1)
    frames = samples[: len(samples) // 4410 * 4410].reshape(-1, 4410 * 2)
    power = np.sort(np.mean(frames**2, axis=1))
    loud_rms = np.sqrt(power[len(power) // 2 :].mean())
    louder = limited(samples * (10 ** (LOUDNESS_DB / 20) / loud_rms), limit=10 ** (PEAK_DB / 20))
    fade = np.ones(len(samples))
    n_fade = int(FADE_S * SAMPLE_RATE_HZ)
    fade[-n_fade:] = np.cos(np.linspace(0, np.pi / 2, n_fade)) ** 2
    return louder * fade[:, None]


def limited(samples: np.ndarray, *, limit: float) -> np.ndarray:
    """Return samples with peaks below `limit`: the gain falls for 30 ms around each peak [shape=(n_samples, 2)]."""
    block = SAMPLE_RATE_HZ // 100
    peaks = np.abs(samples[: len(samples) // block * block]).reshape(-1, block * 2).max(axis=1)
    neighbours = np.lib.stride_tricks.sliding_window_view(np.pad(peaks, 1, mode="edge"), 3).max(axis=1)
    gains = np.minimum(1.0, limit / np.maximum(neighbours, 1e-9))
    # The limit holds at the centres of two neighbouring blocks, so it holds on the straight line between them.
    centres = (np.arange(len(gains)) + 0.5) * block
    return samples * np.interp(np.arange(len(samples)), centres, gains)[:, None]


def write(path: Path, samples: np.ndarray, *, piece: Piece, number: int) -> None:
    """Write samples as OGG Vorbis with tags that say what is played."""
    soundfile.write(path, samples, SAMPLE_RATE_HZ, format="OGG", subtype="VORBIS", compression_level=VORBIS_LEVEL)
    audio = mutagen.File(path)
    audio.delete()
    audio["title"] = piece.title
    audio["artist"] = "Earmark demo"
    audio["album"] = "Earmark demo library"
    audio["genre"] = piece.genre
    audio["tracknumber"] = str(number)
    audio["instruments"] = list(piece.instruments)
    audio["comment"] = "Instruments: " + ", ".join(piece.instruments)
    audio.save()
    set_serial(path, number)


def set_serial(path: Path, serial: int) -> None:
    """Set the serial number of the OGG stream, which the encoder draws at random, so that runs are reproducible."""
    with path.open("rb") as stream:
        pages = []
        while True:
            try:
                pages.append(OggPage(stream))
            except EOFError:
                break
    for page in pages:
        page.serial = serial
    path.write_bytes(b"".join(page.write() for page in pages))


if __name__ == "__main__":
    sys.exit(main())
