"""Arrangements in the styles of popular music, labelled by genre: mma's grooves over seeded chords, as rendered clips.

    python -m scripts.recipes.default.grooves                                     count grooves and labels
    python -m scripts.recipes.default.grooves --out DIR --count 500 --held-out    write a test set as a pack

Needs mma 21.09 (Debian: package mma), which is called as a program, and what `synth.py` needs.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from scripts.recipes.default.groove_styles import HARMONIES, RHYTHM_SECTIONS, STYLES, Style, with_parents
from scripts.recipes.default.synth import SAMPLE_RATE_HZ, SynthClip, open_synth
from scripts.soundfonts import TIM_GM6MB, TRAINING_SOUNDFONTS

__all__ = [
    "HELD_OUT_SOUNDFONT",
    "MMA_LIBRARY",
    "Groove",
    "MmaError",
    "MmaMissingError",
    "arrange",
    "compile_midi",
    "main",
    "read_grooves",
    "render_clips",
]

MMA_LIBRARY = Path("/usr/share/mma/lib")
"""mma's style files, at the path of Debian's package."""
HELD_OUT_SOUNDFONT = TIM_GM6MB
"""Renders test sets of grooves. It is not among the soundfonts of training."""
_DEFINITION = re.compile(r"^\s*DefGroove\s+(\S+)", re.IGNORECASE | re.MULTILINE)
# Names are in camel case: "DescendingJazz" ends nothing.
_PASSING = re.compile(r"[Ii]ntro|Fill|End|Break|F[AB]$|(?<=[a-z0-9])E$")
_NOTES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_MIN_BEATS = 2
"""Of a bar in mma's library."""
_LEAD_S = 4.0
"""A clip begins somewhere in the first seconds of its arrangement."""
_TIMEOUT_S = 60
_GAIN = 0.4
"""Of FluidSynth, whose samples are 16-bit integers: a full arrangement stays below full scale."""
_SILENT_PEAK = 1e-3


class MmaError(RuntimeError):
    """mma makes no arrangement of a groove."""


class MmaMissingError(MmaError):
    """mma is not installed."""


@dataclass(frozen=True)
class Groove:
    """A pattern of mma's library.

    Attributes:
        file: its style file: library/name.
        name: its name there.
        style: what is known of the file.
    """

    file: str
    name: str
    style: Style

    @property
    def labels(self) -> tuple[str, ...]:
        """Its genres, the most specific first."""
        return with_parents(self.style.labels)


@cache
def read_grooves(library: Path = MMA_LIBRARY) -> tuple[tuple[Groove, ...], dict[str, int]]:
    """Return the grooves that have a genre, and how many are left out: reason -> count.

    Args:
        library: mma's folder of libraries.

    Raises:
        MmaMissingError: the folder is missing or holds no style file.
    """
    files = sorted(library.glob("*/*.mma"))
    if not files:
        raise MmaMissingError(f"{library} holds no style files of mma; install mma (Debian: apt-get install mma)")
    style_of = {file: style for style in STYLES for file in style.files}
    grooves: list[Groove] = []
    left_out: Counter[str] = Counter()
    for path in files:
        file = f"{path.parent.name}/{path.stem}"
        for name in dict.fromkeys(_DEFINITION.findall(path.read_text(encoding="latin-1"))):
            if _PASSING.search(name):
                left_out["an intro, fill, break or ending"] += 1
            elif file not in style_of:
                left_out["no clear genre, or drums alone"] += 1
            else:
                grooves.append(Groove(file, name, style_of[file]))
    return tuple(grooves), dict(left_out)


def arrange(groove: Groove, rng: np.random.Generator, length_s: float) -> str:
    """Return the source of an arrangement in mma's notation: key, tempo, progression and, over mere drums, more tracks.

    Args:
        groove: what plays.
        rng: draws all of it.
        length_s: how long it has to last at least.
    """
    bpm = float(rng.uniform(*groove.style.bpm))
    key = int(rng.integers(12))
    progressions = HARMONIES[groove.style.harmony]
    chords = []
    for chord in progressions[int(rng.integers(len(progressions)))].split():
        step, _, quality = chord.partition(":")
        chords.append(_NOTES[(key + int(step)) % 12] + quality)
    lines = [f"RndSeed {int(rng.integers(1 << 30))}", f"Groove {groove.file}:{groove.name}", f"Tempo {bpm:.2f}"]
    for i, (kind, voices, octave, pattern) in enumerate(RHYTHM_SECTIONS.get(groove.style.section, ())):
        voice = voices[int(rng.integers(len(voices)))]
        lines += [f"Begin {kind}-Own{i}", f"Voice {voice}", f"Octave {octave}", "Volume mf", "RVolume 10", "RTime 5"]
        lines += [f"Sequence {{ {pattern} }}", "End"]
    n_bars = math.ceil(length_s * bpm / 60 / _MIN_BEATS) + 1
    lines += [f"{bar + 1} {chords[bar % len(chords)]}" for bar in range(n_bars)]
    return "\n".join(lines) + "\n"


def compile_midi(source: str, folder: Path) -> Path:
    """Return the MIDI file that mma makes of an arrangement; the same for the same source.

    Args:
        source: in mma's notation.
        folder: gets the files; mma sees no other settings than the empty ones that are written there.

    Raises:
        MmaMissingError: mma is missing.
        MmaError: it refuses the source or takes too long.
    """
    settings, arrangement, midi = folder / "mmarc", folder / "groove.mma", folder / "groove.mid"
    settings.write_text("", encoding="utf-8")
    arrangement.write_text(source, encoding="utf-8")
    midi.unlink(missing_ok=True)
    command = ["mma", "-i", str(settings), "-f", str(midi), str(arrangement)]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise MmaMissingError("mma is missing; install it (Debian: apt-get install mma)") from error
    except subprocess.TimeoutExpired as error:
        raise MmaError(f"mma took longer than {_TIMEOUT_S} s") from error
    if done.returncode or not midi.is_file():
        _, _, said = (done.stdout + done.stderr).decode(errors="replace").partition("Error: ")
        raise MmaError(" ".join(said.split()) or f"mma ended with status {done.returncode}")
    return midi


def render_clips(soundfonts: list[Path], *, count: int, length_s: float = 10.0, seed: int = 1) -> Iterator[SynthClip]:
    """Render arrangements, each with one soundfont. Every style has the same number of clips, whatever its grooves.

    Args:
        soundfonts: General MIDI soundfonts (sf2, sf3).
        count: number of clips; those that mma cannot make, and silent ones, are left out and said on stderr.
        length_s: length of each clip.
        seed: determines every clip.

    Raises:
        FileNotFoundError: a soundfont is missing.
        MmaMissingError: mma is missing.
    """
    for _, clip in _render(soundfonts, count=count, length_s=length_s, seed=seed):
        yield clip


def _chosen(count: int, seed: int) -> list[Groove]:
    """Return the groove of each clip: styles in turn, and the grooves of a style in turn, both in a drawn order."""
    by_style: dict[Style, list[Groove]] = {}
    for groove in read_grooves(MMA_LIBRARY)[0]:
        by_style.setdefault(groove.style, []).append(groove)
    rng = np.random.default_rng(seed)
    turns = [[grooves[i] for i in rng.permutation(len(grooves))] for grooves in by_style.values()]
    order = rng.permutation(len(turns))
    chosen = []
    for i in range(count):
        grooves = turns[order[i % len(turns)]]
        chosen.append(grooves[i // len(turns) % len(grooves)])
    return chosen


def _font_of(i: int, n_styles: int, n_fonts: int) -> int:
    """Return the number of a clip's soundfont. A style's next clip has the next one, so that each style gets all."""
    return (i % n_styles + i // n_styles) % n_fonts


def _render(
    soundfonts: Sequence[Path], *, count: int, length_s: float, seed: int
) -> Iterator[tuple[Groove, SynthClip]]:
    """Yield each groove with its clip."""
    chosen = _chosen(count, seed)
    n_styles = len({groove.style for groove in read_grooves(MMA_LIBRARY)[0]})
    with tempfile.TemporaryDirectory() as folder:
        for number, font in enumerate(soundfonts):
            synth, _ = open_synth(font)
            synth.setting("synth.gain", _GAIN)
            for i, groove in enumerate(chosen):
                if _font_of(i, n_styles, len(soundfonts)) != number:
                    continue
                rng = np.random.default_rng([seed, i])
                try:
                    midi = compile_midi(arrange(groove, rng, length_s + _LEAD_S), Path(folder))
                except MmaMissingError:
                    raise
                except MmaError as error:
                    print(f"{groove.file}:{groove.name} is left out: {error}", file=sys.stderr)
                    continue
                waveform = _play(synth, midi, float(rng.uniform(0, _LEAD_S)), length_s)
                peak = float(np.abs(waveform).max())
                if peak <= _SILENT_PEAK:
                    print(f"{groove.file}:{groove.name} is left out: silent with {font.name}", file=sys.stderr)
                    continue
                yield groove, SynthClip(waveform / peak * float(rng.uniform(0.2, 0.9)), groove.labels)
            synth.delete()


def _play(synth: Any, midi: Path, start_s: float, length_s: float) -> np.ndarray:
    """Return a part of a MIDI file as mono [shape=(n_samples,)]."""
    synth.system_reset()
    if synth.play_midi_file(str(midi)):
        raise MmaError(f"FluidSynth cannot play {midi}")
    synth.get_samples(round(start_s * SAMPLE_RATE_HZ))
    samples = synth.get_samples(round(length_s * SAMPLE_RATE_HZ))
    synth.play_midi_stop()
    return samples.reshape(-1, 2).astype(np.float32).mean(1) / 32768


def write_pack(out: Path, soundfonts: Sequence[Path], *, count: int, seed: int) -> dict[str, int]:
    """Write clips as a pack: Ogg Vorbis, and labels.csv with the groove of each as its source.

    Returns:
        Label -> clips.
    """
    out.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    with (out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "labels", "source"])
        for i, (groove, clip) in enumerate(_render(soundfonts, count=count, length_s=10.0, seed=seed)):
            name = f"{i:05d}.ogg"
            with soundfile.SoundFile(out / name, "w", SAMPLE_RATE_HZ, 1, format="OGG", subtype="VORBIS") as sound:
                # libvorbis takes a whole write onto its stack, so writes are short.
                for start in range(0, len(clip.waveform), SAMPLE_RATE_HZ):
                    sound.write(clip.waveform[start : start + SAMPLE_RATE_HZ])
            writer.writerow([name, ";".join(clip.labels), f"{groove.file}:{groove.name}"])
            counts.update(clip.labels)
            if (i + 1) % 100 == 0:
                print(f"{i + 1} of {count} clips", file=sys.stderr, flush=True)
    return dict(counts.most_common())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if something that it needs is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.recipes.default.grooves",
        description="Count mma's grooves by genre, or render some as a pack.",
    )
    parser.add_argument("--out", type=Path, help="write clips to this folder")
    parser.add_argument("--count", type=int, default=500, help="clips (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--held-out", action="store_true", help=f"with {HELD_OUT_SOUNDFONT.name}, for a test set")
    options = parser.parse_args(arguments)
    try:
        grooves, left_out = read_grooves(MMA_LIBRARY)
        report: dict[str, object] = {"grooves": len(grooves), "left_out": left_out}
        if options.out:
            fonts = [HELD_OUT_SOUNDFONT] if options.held_out else TRAINING_SOUNDFONTS
            report["clips"] = write_pack(options.out, fonts, count=options.count, seed=options.seed)
        else:
            report["labels"] = dict(Counter(label for groove in grooves for label in groove.labels).most_common())
    except (MmaMissingError, FileNotFoundError) as error:
        print(str(error), file=sys.stderr)
        return 1
    print(json.dumps(report, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
