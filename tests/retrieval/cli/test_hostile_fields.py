"""Fields of files in every output: none breaks a line, a table, a list, JSON, a playlist or the terminal."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import unicodedata
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
import soundfile
from cli_helpers import RATE_HZ, Call, tone

from encoders.text.tower import TextEncoder
from index import Entry, Manifest, Sheet, Track, VectorIndex
from retrieval.cli.app import main

HOSTILE = {
    "long": "x" * 200_000,
    "combining": "a" + "\u0301" * 200_000,
    "control": "".join(map(chr, [*range(1, 32), *range(127, 160)])),
    "ansi": "\x1b[2J\x1b[31mred\x1b]0;window\x07\x9b1A\x1bc",
    "bidi": "\u202egpj.\u2066\u2067\u200f\u061cend",
    "invisible": "a\u200b\ufeff\u2060\u00ad\U000e0041b\ufff9",
    "nul": "before\0after",
    "surrogates": "\ud800 \udfff \udc80\udcff",
    "lines": "a\nb\r\nc\u2028d\u2029e\x85f\x0bg\x0ch",
    "playlist": "x\n#EXTINF:1,forged\n/etc/passwd",
    "tabs": "a\tb\tc",
    "json": '"}\n{"path": "forged", "a": "\\',
    "markup": "[bold]x[/bold][/] [link=file:///]y $\\frac{$ \\u0041 %s {0}",
    "blank": "\u200b \u3000\t",
    **{f"random {seed}": "".join(map(chr, random.Random(seed).choices(range(1, 0x3000), k=200))) for seed in range(5)},
}
MOST_CHARACTERS = 6000  # of a line
N_TRACKS = len(HOSTILE)


def path_of(value: str, *, folder: bytes = b"/music", suffix: bytes = b".wav") -> bytes:
    """A file name with as much of a text as a name can hold."""
    name = value.encode("utf-8", "surrogatepass").replace(b"\0", b"").replace(b"/", b"")
    return os.path.join(folder, b"%d " % (len(value) % 97) + name[: 240 - len(suffix)] + suffix)


@pytest.fixture(scope="module")
def hostile_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index in which each hostile text is all fields of a track, and the reason of a skipped file."""
    text = TextEncoder.load()
    folder = tmp_path_factory.mktemp("hostile") / "index"
    manifest = Manifest(encoder=text.fingerprint, encoder_name="[bold]\x1b[31m\n", dim=text.dim)
    rng = np.random.default_rng(0)
    with VectorIndex.create(folder, manifest) as made:
        for name, value in HOSTILE.items():
            vectors = rng.normal(size=(2, text.dim)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            track = Track(
                path=path_of(value),
                size_bytes=1,
                mtime_ns=1,
                content_hash=name,
                duration_s=15.0,
                title=value,
                artist=value,
                album=value,
                genre=value,
                year=value,
                note=value,
                declared_s=3.0,
            )
            made.add(track, np.array([[0.0, 10.0], [5.0, 15.0]]), vectors)
            made.skip(path_of(value, suffix=b".mp3"), value, 1, 1)
    return folder


def check_text(text: str, *, most_lines: int) -> None:
    """Check that every character is one that a terminal shows, or a line break that the program made."""
    assert text.count("\n") <= most_lines
    assert max(map(len, text.split("\n"))) <= MOST_CHARACTERS
    unsafe = {
        character
        for character in text.replace("\n", "")
        if not character.isprintable() and unicodedata.category(character) != "Zs" and character != "\u200d"
    }
    assert unsafe == set()


LISTS = ("--skipped", "--partial", "--misdeclared")
COMMANDS = [
    (("violin", "--top", "99"), N_TRACKS + 1),
    (("violin", "--top", "99", "--per-segment"), 2 * N_TRACKS + 1),
    (("violin", "--top", "99", "--json"), N_TRACKS),
    (("violin", "--top", "99", "--per-segment", "--json"), 2 * N_TRACKS),
    (("index", "list"), N_TRACKS + 1),
    (("index", "list", "--json"), N_TRACKS),
    (("index", "info"), 20),
    (("index", "info", "--json"), 1),
    *[(("index", "info", option), N_TRACKS) for option in LISTS],
    (("index", "info", *LISTS, "--json"), 3 * N_TRACKS),
    (("index", "verify"), 1),
    (("index", "verify", "--json"), 1),
]


@pytest.mark.parametrize(("command", "n_lines"), COMMANDS)
def test_no_field_breaks_an_output(call: Call, hostile_index: Path, command: tuple[str, ...], n_lines: int) -> None:
    status, out, err = call(*command, "--index", hostile_index)
    assert status == 0
    if "--json" in command:
        assert out.isascii() and len(out.splitlines()) == n_lines
        lines = [json.loads(line) for line in out.splitlines()]
        stored = {value.encode("utf-8", "replace").decode() for value in HOSTILE.values()}
        assert all(line["title"] in stored for line in lines if "title" in line)
    else:
        check_text(out, most_lines=n_lines)
        assert out.count("\n") == n_lines or n_lines == 20
    check_text(err, most_lines=2)


@pytest.mark.parametrize("columns", ["20", "100", "1000"])
def test_no_field_breaks_a_table_on_a_terminal(
    call: Call,
    hostile_index: Path,
    monkeypatch: pytest.MonkeyPatch,
    columns: str,
) -> None:
    monkeypatch.setenv("TERM", "dumb")  # without colours, so that every escape code is a foreign one
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    status, out, _ = call("violin", "--top", "99", "--index", hostile_index)
    assert status == 0
    check_text(out, most_lines=200 * N_TRACKS)


@pytest.mark.parametrize("times", [(), ("--per-segment",)])
@pytest.mark.parametrize("on_stdout", [True, False])
def test_no_field_breaks_a_playlist(
    hostile_index: Path,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    times: tuple[str, ...],
    on_stdout: bool,
) -> None:
    place = tmp_path / "list.m3u"
    target = "-" if on_stdout else str(place)
    with pytest.raises(SystemExit) as end:
        main(["violin", "--top", "99", *times, "--m3u", target, "--index", str(hostile_index)])
    status = end.value.code
    data = capsysbinary.readouterr().out if on_stdout else place.read_bytes()
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    n_hits, n_lines = (2 * N_TRACKS, 4) if times else (N_TRACKS, 2)
    assert (status, len(lines), lines[0]) == (0, 1 + n_hits * n_lines, "#EXTM3U")
    for line in lines:
        check_text(line.encode("utf-8", "surrogateescape").decode("utf-8", "ignore"), most_lines=0)
    named = [line for line in lines if not line.startswith("#")]
    found = {
        unquote_to_bytes(line.removeprefix("file://")) if line.startswith("file://") else os.fsencode(line)
        for line in named
    }
    assert found == set(map(path_of, HOSTILE.values()))


def test_no_cue_sheet_breaks_a_hit(call: Call, hostile_index: Path, tmp_path: Path) -> None:
    place = tmp_path / "divided"
    shutil.copytree(hostile_index, place)
    with VectorIndex.open(place, read_only=False) as made:
        for number, value in enumerate(HOSTILE.values()):
            entries = {path_of(value): [Entry(number, 0.0, 15.0, value, value, value)]}
            made.cue_sheets.set_sheet(Sheet(path_of(value, suffix=b".cue"), 1, 1, value), entries)
    status, out, err = call("violin", "--top", "99", "--index", place, "--m3u", tmp_path / "list.m3u")
    assert (status, out.count("\n")) == (0, N_TRACKS + 1)
    check_text(out, most_lines=N_TRACKS + 1)
    check_text(err, most_lines=2)
    assert [call("index", "list", *form, "--index", place)[1].count("\n") for form in ((), ("--json",))] == [
        N_TRACKS + 1,
        N_TRACKS,
    ]
    lines = (tmp_path / "list.m3u").read_bytes().decode("utf-8", "surrogateescape").splitlines()
    assert len(lines) == 1 + 4 * N_TRACKS
    status, out, _ = call("violin", "--top", "99", "--index", place, "--json")
    assert out.isascii()
    assert len([json.loads(line)["entry"] for line in out.splitlines()]) == N_TRACKS


@pytest.fixture(scope="module")
def hostile_music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files for each hostile text in their names: one with sound, one without."""
    folder = tmp_path_factory.mktemp("music")
    samples = tone(pitch_hz=220.0, duration_s=1.0)
    for number, value in enumerate(HOSTILE.values()):
        with open(path_of(value, folder=os.fsencode(folder)), "wb") as raw:
            soundfile.write(raw, samples * (1 - number / 100), RATE_HZ, format="WAV")
        with open(path_of(value, folder=os.fsencode(folder), suffix=b".mp3"), "wb") as raw:
            raw.write(b"no sound")
        with open(path_of(value, folder=os.fsencode(folder), suffix=b""), "wb") as raw:
            raw.write(b"no sound")
    return folder


def test_no_name_breaks_the_output_of_a_build(call: Call, hostile_music: Path, place: Path) -> None:
    status, out, err = call("index", "build", hostile_music, "--index", place, "--workers", "1")
    assert status == 0
    assert f"{N_TRACKS} added" in out
    check_text(out, most_lines=5)
    check_text(err, most_lines=60)
    status, out, err = call("index", "build", hostile_music, "--index", place, "--json")
    assert (status, len(out.splitlines())) == (0, 1)
    assert out.isascii()
    assert json.loads(out)["skipped"] == N_TRACKS
    check_text(err, most_lines=60)
    status, out, err = call("index", "build", hostile_music, "--index", place, "--strict")
    assert status == 2
    check_text(out + err, most_lines=60)


@pytest.mark.parametrize("as_json", [True, False])
def test_no_name_breaks_the_output_of_tag(call: Call, hostile_music: Path, as_json: bool) -> None:
    files = sorted(hostile_music.iterdir())
    status, out, err = call("tag", *files, "--labels", "violin,rain", *["--json"] * as_json)
    assert status == 1
    n_tagged = N_TRACKS
    if as_json:
        assert out.isascii()
        assert len([json.loads(line) for line in out.splitlines()]) == n_tagged
    else:
        check_text(out, most_lines=5 * n_tagged)
    check_text(err, most_lines=3 * N_TRACKS)


ARGUMENTS = [
    ("{}",),
    ("violin {}",),
    ("violin", "--not", "{}"),
    ("--like", "{}"),
    ("violin", "--m3u", "{}/x"),
    ("violin", "--index", "{}"),
    ("index", "remove", "{}"),
    ("index", "build", "{}"),
    ("index", "build", ".", "--tag-encoding", "{}"),
    ("tag", "{}"),
    ("tag", "x.wav", "--labels", "violin {}"),
    ("tag", "x.wav", "--labels-file", "{}"),
    ("index", "{}"),
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("name", [name for name in HOSTILE if not name.startswith("random")])
def test_no_argument_breaks_a_message(call: Call, hostile_index: Path, name: str, arguments: tuple[str, ...]) -> None:
    given = [argument.replace("{}", HOSTILE[name]) for argument in arguments]
    needs_index = "--index" not in arguments and arguments[0] != "tag"
    status, out, err = call(*given, *(["--index", hostile_index] if needs_index else []))
    assert status in (0, 1, 2)
    check_text(out, most_lines=N_TRACKS + 1)
    check_text(err, most_lines=5)
