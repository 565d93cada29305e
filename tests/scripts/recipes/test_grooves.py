"""Grooves: labelled by our own table, arranged by a seed, rendered whole, loud enough and unclipped."""

from __future__ import annotations

import csv
import ctypes.util
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts.recipes.default import grooves
from scripts.recipes.default.groove_styles import HARMONIES, PARENTS, RHYTHM_SECTIONS, STYLES, Style, with_parents
from scripts.recipes.default.grooves import Groove, MmaError, arrange, compile_midi, main, read_grooves, render_clips
from scripts.recipes.default.synth import SAMPLE_RATE_HZ
from scripts.soundfonts import TRAINING_SOUNDFONTS

needs_mma = pytest.mark.skipif(
    not shutil.which("mma") or not grooves.MMA_LIBRARY.is_dir(), reason="mma is not installed"
)
needs_fluidsynth = pytest.mark.skipif(
    not (
        importlib.util.find_spec("fluidsynth")
        and ctypes.util.find_library("fluidsynth")
        and grooves.HELD_OUT_SOUNDFONT.is_file()
    ),
    reason="pyfluidsynth, FluidSynth or the soundfont TimGM6mb is not installed",
)
BOSSA = next(style for style in STYLES if style.files[0] == "stdlib/bossanova")


def library(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="latin-1")
    return folder


# The table


def test_the_table_is_consistent() -> None:
    files = [file for style in STYLES for file in style.files]
    assert len(files) == len(set(files))
    for style in STYLES:
        assert 50 <= style.bpm[0] < style.bpm[1] <= 330, style
        assert style.harmony in HARMONIES
        assert style.section in {"", *RHYTHM_SECTIONS}
        # mma's library `zoom` holds drums alone: something has to play over them.
        assert all(file.startswith("zoom/") == bool(style.section) for file in style.files), style
        assert list(style.labels) == [label for label in style.labels if label == label.lower().strip()]


def test_parents_are_given_with_all_of_their_levels() -> None:
    for label, parents in PARENTS.items():
        assert set(with_parents((label,))) == set(with_parents((label, *parents))), label
    assert with_parents(("bossa nova", "jazz")) == ("bossa nova", "jazz", "latin")
    assert with_parents(("big band",)) == ("big band", "swing", "jazz")


def test_the_held_out_soundfont_is_not_trained_on() -> None:
    assert grooves.HELD_OUT_SOUNDFONT not in TRAINING_SOUNDFONTS


# The library


def test_grooves_are_read_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    folder = library(
        tmp_path,
        {
            "stdlib/bossanova.mma": "// DefGroove Old\nDefGroove BossaNova A beat\n  defgroove BossaNova1Sus\n"
            "DefGroove BossaNovaFill\nDefGroove BossaNovaEnd1\nDefGroove BossaNova1intro8\nDefGroove BossaNova again\n",
            "stdlib/descendingjazz.mma": "DefGroove DescendingJazz caf\xe9\n",
            "stdlib/countrywaltz.mma": "DefGroove CountryWaltz\n",
            "pflib/rock1.mma": "DefGroove rock1A\nDefGroove rock1FA\nDefGroove rock1E\n",
            "stdlib/metronome.mma": "DefGroove Metronome4\n",
        },
    )
    found, left_out = read_grooves(folder)
    assert [(groove.file, groove.name) for groove in found] == [
        ("pflib/rock1", "rock1A"),
        *[("stdlib/bossanova", "BossaNova"), ("stdlib/bossanova", "BossaNova1Sus")],
        ("stdlib/countrywaltz", "CountryWaltz"),
        ("stdlib/descendingjazz", "DescendingJazz"),
    ]
    assert left_out == {"an intro, fill, break or ending": 5, "no clear genre, or drums alone": 1}
    assert found[1].labels == ("bossa nova", "latin")


def test_a_missing_library_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(grooves, "MMA_LIBRARY", tmp_path / "none")
    assert main([]) == 1
    assert "apt-get install mma" in capsys.readouterr().err


@needs_mma
def test_the_table_names_files_of_the_library() -> None:
    found, left_out = read_grooves()
    assert {groove.file for groove in found} == {file for style in STYLES for file in style.files}
    assert len(found) > 900
    assert len(found) + sum(left_out.values()) > 1900


# Arrangements


def test_an_arrangement_is_seeded_and_long_enough() -> None:
    groove = Groove("stdlib/bossanova", "BossaNova", BOSSA)
    sources = [arrange(groove, np.random.default_rng(seed), 14.0) for seed in range(20)]
    assert sources == [arrange(groove, np.random.default_rng(seed), 14.0) for seed in range(20)]
    assert len(set(sources)) == 20
    for source in sources:
        seed, name, tempo, *bars = source.splitlines()
        assert seed.startswith("RndSeed ") and name == "Groove stdlib/bossanova:BossaNova"
        bpm = float(tempo.removeprefix("Tempo "))
        assert BOSSA.bpm[0] <= bpm <= BOSSA.bpm[1]
        assert [bar.split()[0] for bar in bars] == [str(i + 1) for i in range(len(bars))]
        assert len(bars) * 2 * 60 / bpm >= 14.0, "even with bars of two beats"


def test_a_program_that_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MmaError, match="mma is missing; install it"):
        compile_midi("1 C\n", tmp_path)


@needs_mma
def test_the_same_source_gives_the_same_notes(tmp_path: Path) -> None:
    source = arrange(Groove("stdlib/bossanova", "BossaNova", BOSSA), np.random.default_rng(0), 5.0)
    first = compile_midi(source, tmp_path).read_bytes()
    assert first.startswith(b"MThd")
    assert compile_midi(source, tmp_path).read_bytes() == first


@needs_mma
def test_what_mma_refuses_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    compile_midi("Groove stdlib/bossanova:BossaNova\n1 C\n", tmp_path)
    with pytest.raises(MmaError, match="NOSUCH"):
        compile_midi("Groove stdlib/bossanova:NoSuch\n1 C\n", tmp_path)
    assert not list(tmp_path.glob("*.mid"))


@needs_mma
@pytest.mark.parametrize("section", RHYTHM_SECTIONS)
def test_every_rhythm_section_plays_in_every_bar(tmp_path: Path, section: str) -> None:
    style = Style(("x",), (100, 101), "pop", ("zoom/pop",), section)
    source = arrange(Groove("zoom/pop", "POP01", style), np.random.default_rng(0), 5.0)
    tracks = notes_of(compile_midi(source, tmp_path).read_bytes())
    n_bars = int(source.splitlines()[-1].split()[0])
    for i, (kind, _, _, pattern) in enumerate(RHYTHM_SECTIONS[section]):
        n_hits = 8 if pattern.endswith("* 8") else pattern.count(";") + 1
        notes = tracks[f"{kind}-Own{i}".upper()]
        assert len(notes) == n_hits * n_bars if kind == "Bass" else len(notes) >= 2 * n_hits * n_bars
        assert all(24 <= note <= (60 if kind == "Bass" else 96) for note in notes)
    assert len(tracks) == 3, "drums, bass, chords"


def notes_of(midi: bytes) -> dict[str, list[int]]:
    """Name of each track of a MIDI file that has notes -> its keys, in order."""
    found: dict[str, list[int]] = {}
    for track in midi.split(b"MTrk")[1:]:
        name, keys, at, status = "", [], 4, 0

        def number(at: int, track: bytes = track) -> tuple[int, int]:
            value = track[at] & 127
            while track[at] & 128:
                at += 1
                value = value << 7 | track[at] & 127
            return value, at + 1

        while at < len(track):
            _, at = number(at)
            if track[at] & 128:
                status, at = track[at], at + 1
            if status == 0xFF:
                length, start = number(at + 1)
                name = track[start : start + length].decode().strip() if track[at] == 3 else name
                at = start + length
                continue
            if status >> 4 == 9 and track[at + 1]:
                keys.append(track[at])
            at += 1 if status >> 4 in (0xC, 0xD) else 2
        if keys:
            found[name.upper()] = keys
    return found


# Clips


@needs_mma
@needs_fluidsynth
def test_clips_are_whole_loud_and_unclipped() -> None:
    found = list(render_clips([grooves.HELD_OUT_SOUNDFONT], count=6, length_s=3.0, seed=5))
    assert len(found) == 6
    for clip in found:
        assert clip.waveform.shape == (3 * SAMPLE_RATE_HZ,)
        assert 0.19 < np.abs(clip.waveform).max() < 0.91
        seconds = np.abs(clip.waveform.reshape(3, -1)).max(1)
        assert seconds.min() > 0.01, "music from end to end"
        assert clip.labels == with_parents(clip.labels)
    assert len({clip.labels for clip in found}) > 3


@needs_mma
@needs_fluidsynth
def test_a_seed_fixes_all() -> None:
    def render(seed: int) -> list[tuple[tuple[str, ...], np.ndarray]]:
        clips = render_clips([grooves.HELD_OUT_SOUNDFONT], count=2, length_s=1.0, seed=seed)
        return [(clip.labels, clip.waveform) for clip in clips]

    for (labels, waveform), (same_labels, same) in zip(render(3), render(3), strict=True):
        assert labels == same_labels
        assert np.array_equal(waveform, same)
    assert not np.array_equal(render(3)[0][1], render(4)[0][1])


@needs_mma
@needs_fluidsynth
def test_what_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def arranged(groove: Groove, rng: np.random.Generator, length_s: float) -> str:
        return "Groove NoSuch\n1 C\n"

    monkeypatch.setattr(grooves, "arrange", arranged)
    assert list(render_clips([grooves.HELD_OUT_SOUNDFONT], count=2)) == []
    assert capsys.readouterr().err.count("is left out: ") == 2


@needs_mma
def test_styles_have_equal_turns_and_all_soundfonts() -> None:
    n = len(STYLES)
    chosen = grooves._chosen(3 * n, seed=1)
    assert {chosen.count(groove) for groove in chosen} <= {1, 2, 3}
    for start in range(0, 3 * n, n):
        assert {groove.style for groove in chosen[start : start + n]} == set(STYLES)
    assert chosen == grooves._chosen(3 * n, seed=1) != grooves._chosen(3 * n, seed=2)
    for style in STYLES[:5]:
        turns = [i for i, groove in enumerate(chosen) if groove.style == style]
        assert {grooves._font_of(i, n, 3) for i in turns} == {0, 1, 2}


@needs_mma
@needs_fluidsynth
def test_a_test_set_is_written_as_a_pack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Path] = []
    real: Callable[[Path], object] = grooves.open_synth

    def opened(font: Path) -> object:
        used.append(font)
        return real(font)

    monkeypatch.setattr(grooves, "open_synth", opened)
    assert main(["--out", str(tmp_path), "--count", "2", "--held-out"]) == 0
    assert used == [grooves.HELD_OUT_SOUNDFONT]
    report = json.loads(capsys.readouterr().out)
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(report["clips"].values()) == sum(len(row["labels"].split(";")) for row in rows)
    for row in rows:
        info = soundfile.info(tmp_path / row["file"])
        assert (info.samplerate, info.channels, info.frames) == (SAMPLE_RATE_HZ, 1, 10 * SAMPLE_RATE_HZ)


def test_a_missing_soundfont_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    folder = library(tmp_path, {"stdlib/bossanova.mma": "DefGroove BossaNova\n"})
    monkeypatch.setattr(grooves, "MMA_LIBRARY", folder)
    monkeypatch.setitem(sys.modules, "fluidsynth", types.ModuleType("fluidsynth"))
    with pytest.raises(FileNotFoundError, match=r"none\.sf2 is missing"):
        next(render_clips([tmp_path / "none.sf2"], count=1))
