"""Cue sheets, whole and damaged."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from index import Entry
from retrieval.library.cue import entries_of, match_name, parse_cue, read_cue

SHEET = """REM GENRE Rock
PERFORMER "Кино"
TITLE "Группа крови"
FILE "C:\\\\Music\\\\album.wav" WAVE
  TRACK 01 AUDIO
    TITLE "Первая"
    INDEX 01 00:00:00
  TRACK 02 AUDIO
    TITLE "Вторая песня"
    PERFORMER "Гость"
    INDEX 00 00:09:00
    INDEX 01 00:10:37
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_sheet_is_read(tmp_path: Path, encoding: str, newline: str) -> None:
    path = tmp_path / "album.cue"
    path.write_bytes(SHEET.replace("\n", newline).encode(encoding))
    sheet = read_cue(path)
    assert (sheet.problems, len(sheet.files)) == ([], 1)
    assert entries_of(sheet.files[0], sheet, duration_s=20.0) == (
        [
            Entry(1, 0.0, 10 + 37 / 75, "Первая", "Кино", "Группа крови"),
            Entry(2, 10 + 37 / 75, 20.0, "Вторая песня", "Гость", "Группа крови"),
        ],
        [],
    )


def test_a_sheet_of_several_files() -> None:
    text = "FILE a.wav WAVE\nTRACK 01 AUDIO\nINDEX 01 00:00:00\nTRACK 02 AUDIO\nINDEX 00 00:20:00\n"
    sheet = parse_cue(text + "FILE two words.wav WAVE\nINDEX 01 00:00:00\nTRACK 03 AUDIO\nINDEX 01 00:10:00\n")
    assert [(file.name, [track.number for track in file.tracks]) for file in sheet.files] == [
        ("a.wav", [1]),
        ("two words.wav", [2, 3]),
    ]
    assert entries_of(sheet.files[0], sheet, duration_s=30.0) == ([], [])  # the file is the track
    assert [entry.number for entry in entries_of(sheet.files[1], sheet, duration_s=30.0)[0]] == [2, 3]


@pytest.mark.parametrize(
    ("text", "problem", "numbers"),
    [
        ("", "it names no file", []),
        ("TRACK 01 AUDIO\nINDEX 01 00:00:00", "track 1 is in no file", []),
        ('FILE "a" WAVE\nTRACK 1 AUDIO\nINDEX 01 00:61:00', "the start of track 1 is no time", []),
        (
            "FILE a WAVE\nTRACK 1\nINDEX 01 0:0:0\nTRACK 2\nINDEX 01 0:5:0\nTRACK 3\nINDEX 01 1:0:0",
            "behind the end",
            [1, 2],
        ),
        ("FILE a WAVE\nTRACK 1\nINDEX 01 0:5:0\nTRACK 2\nINDEX 01 0:3:0", "track 2 begins before", [1]),
        ("FILE a WAVE\n" + "TRACK 1\nINDEX 01 0:1:0\n" * 1001, "more than 1000 tracks", None),
        ("FILE a WAVE\n" * 1001, "more than 1000 files", None),
    ],
)
def test_what_is_damaged_is_said_and_left_out(text: str, problem: str, numbers: list[int] | None) -> None:
    sheet = parse_cue(text)
    entries, problems = entries_of(sheet.files[0], sheet, duration_s=30.0) if sheet.files else ([], [])
    assert any(problem in line for line in [*sheet.problems, *problems])
    assert numbers is None or [entry.number for entry in entries] == numbers


@pytest.mark.parametrize("command", ["TITLE", "FILE", "TRACK", "INDEX 01", "REM", ""])
@pytest.mark.parametrize("gap", [" ", "\t", "\xa0", '"', "a", "_ "])
def test_a_line_of_any_length_takes_linear_time(command: str, gap: str) -> None:
    began_s = time.process_time()
    parse_cue(f"{command} a b{gap * 250_000}!")
    assert time.process_time() - began_s < 2.0


def test_titles_have_no_control_characters() -> None:
    sheet = parse_cue('TITLE "\x1b[2JTwo\x00words\x9b\x7f"\nPERFORMER \udcff' + "x" * 5000)
    assert sheet.title == "[2JTwo words"
    assert sheet.performer is not None
    assert sheet.performer[0] == "?"
    assert len(sheet.performer) == 1000


def test_names_of_files() -> None:
    lines = ('"a  b.wav" WAVE', "a b.wav WAVE", "a.wav", '"a', "'a b' c.wav MP3", "WAVE")
    sheet = parse_cue("\n".join(f"  FILE {line}  " for line in lines))
    assert [file.name for file in sheet.files] == ["a  b.wav", "a b.wav", "a.wav", "a", "'a b' c.wav", "WAVE"]


def test_any_bytes_are_a_sheet(tmp_path: Path) -> None:
    rng = random.Random(0)
    words = [
        "FILE",
        "TRACK",
        "INDEX",
        "TITLE",
        '"',
        "01",
        "00:00:00",
        "\n",
        " ",
        "\0",
        "\x1b[2J",
        "9" * 30,
        "é",
        "\udcff",
    ]
    for _ in range(300):
        data = "".join(rng.choices(words, k=80)).encode("utf-8", "surrogateescape") + rng.randbytes(20)
        (tmp_path / "a.cue").write_bytes(data)
        sheet = read_cue(tmp_path / "a.cue")
        for file in sheet.files:
            entries_of(file, sheet, duration_s=10.0)
    (tmp_path / "a.cue").write_bytes(b'TITLE "' + b"x" * 2_000_000)
    assert read_cue(tmp_path / "a.cue").problems == ["it is larger than 1 MB"]


@pytest.mark.parametrize(
    ("name", "is_only", "found"),
    [
        ("Album.WAV", False, "/m/album.wav"),
        ("D:\\old\\disc 2.wav", False, "/m/disc 2.flac"),
        ("other.wav", True, "/m/sheet.flac"),
        ("other.wav", False, None),
        ("../../etc/passwd", False, None),
    ],
)
def test_the_file_that_is_meant(name: str, is_only: bool, found: str | None) -> None:
    paths = ["/m/album.wav", "/m/album.flac", "/m/disc 2.flac", "/m/sheet.flac"]
    assert match_name(name, sheet="/m/sheet.cue", paths=paths, is_only=is_only) == found
