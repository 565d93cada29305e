"""A build over every kind of file that music folders hold, in one folder: each is indexed, skipped or passed over."""

from __future__ import annotations

import io
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from ingest_helpers import FAULTY, RATE_HZ, Model, worker_running

from index import VectorIndex
from retrieval.indexing.build import build
from retrieval.indexing.types import BuildSummary, IngestOptions

INDEXED, PARTIAL, SKIPPED = "indexed", "partial", "skipped"
# Passed over, and why.
EXTENSION, HIDDEN, FOLDER, SPECIAL, SECOND_NAME = "extension", "hidden", "folder", "special", "second name"
PASSED_OVER = {EXTENSION, HIDDEN, FOLDER, SPECIAL, SECOND_NAME}


def noise(seed: int, duration_s: float = 6.0, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (round(duration_s * RATE_HZ), channels))


def encoded(kind: str, subtype: str | None = None, *, seed: int, duration_s: float = 6.0, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, noise(seed, duration_s, channels), RATE_HZ, format=kind, subtype=subtype)
    return buffer.getvalue()


def wav(seed: int, *, duration_s: float = 6.0) -> bytes:
    return encoded("WAV", "PCM_16", seed=seed, duration_s=duration_s)


def patched(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def raw_wav(samples: np.ndarray, subtype: str) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, samples, RATE_HZ, format="WAV", subtype=subtype)
    return buffer.getvalue()


def dts_in_wav(seed: int) -> bytes:
    """A WAV file whose samples are DTS frames of 14-bit words, as old DTS discs have them."""
    rng = np.random.default_rng(seed)
    frames = b"".join(b"\xff\x1f\x00\xe8\xf1\x07" + rng.bytes(4_090) for _ in range(60))
    return raw_wav(np.frombuffer(frames, "<i2"), "PCM_16")


def two_streams() -> bytes:
    """A Matroska file with two sounds."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as file:
        streams = [file.add_stream("flac", rate=RATE_HZ, layout="mono") for _ in range(2)]
        for seed, stream in enumerate(streams):
            samples = (noise(40 + seed)[:, 0] * 32_000).astype(np.int16)
            for start in range(0, len(samples), 4_096):
                frame = av.AudioFrame.from_ndarray(samples[None, start : start + 4_096], format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE_HZ, start
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return buffer.getvalue()


@dataclass(frozen=True)
class Kind:
    """A kind of file: what is in it, what must become of it, and words of the reason."""

    name: str
    data: bytes
    fate: str
    reason: str = ""


def kinds() -> list[Kind]:
    mp3, ogg, flac = (encoded(kind, seed=2, channels=2) for kind in ("MP3", "OGG", "FLAC"))
    opposite = noise(20)
    whole = wav(3, duration_s=30.0)
    return [
        # sounds
        Kind("good.wav", wav(1), INDEXED),
        Kind("LOUD NAME.WAV", wav(4), INDEXED),
        Kind("with\na line and \x1b[31m.wav", wav(5), INDEXED),
        Kind("a copy of good.wav", wav(1), INDEXED),
        Kind("flac named.mp3", flac, INDEXED),
        Kind("opposite channels.wav", raw_wav(np.hstack([opposite, -opposite]), "PCM_16"), INDEXED),
        Kind("above full scale.wav", raw_wav(noise(21) * 20.0, "FLOAT"), INDEXED),
        Kind("very quiet.wav", raw_wav(noise(22) * 1e-3, "PCM_24"), INDEXED),
        Kind("silence.wav", raw_wav(np.zeros((RATE_HZ, 1)), "PCM_16"), INDEXED),
        Kind("short.wav", raw_wav(noise(23)[:40], "PCM_16"), INDEXED),
        Kind("two streams.mka", two_streams(), INDEXED),
        # sounds with headers that lie, and sounds in a row
        Kind("streamed.wav", patched(patched(wav(6), 4, b"\xff" * 4), 40, b"\xff" * 4), INDEXED),
        Kind("length small.wav", patched(wav(8), 40, struct.pack("<I", 2_000)), INDEXED),
        Kind("length large.w64", encoded("W64", seed=9), INDEXED),
        Kind("twice.mp3", mp3 + encoded("MP3", seed=10, channels=2), INDEXED),
        Kind("chained.ogg", ogg + encoded("OGG", seed=11, channels=2), INDEXED),
        Kind("chained.opus", encoded("OGG", "OPUS", seed=12) + encoded("OGG", "OPUS", seed=13), INDEXED),
        Kind("tagged.mp3", b"ID3\x04\x00\x00\x00\x00\x7f\x7f" + bytes(16_383) + mp3, INDEXED),
        # damaged ones of which something can be read
        Kind("truncated.wav", whole[: len(whole) // 2], PARTIAL, "15.0 s"),
        # what cannot be read
        Kind("empty.mp3", b"", SKIPPED, "the file is empty"),
        Kind("no samples.wav", raw_wav(np.empty((0, 1)), "PCM_16"), SKIPPED, "no audio samples"),
        Kind("not a number.wav", raw_wav(np.full((RATE_HZ, 1), np.nan), "FLOAT"), SKIPPED, "NaN or infinite"),
        Kind("an error page.mp3", b"<html>not found</html>\n" * 50, SKIPPED, "not audio"),
        Kind("a play list.mp3", b"#EXTM3U\n#EXTINF:1,\ngood.wav\n", SKIPPED, "not audio"),
        Kind("random.flac", np.random.default_rng(14).bytes(50_000), SKIPPED, "not audio"),
        Kind("header only.flac", flac[:30], SKIPPED),
        Kind("unknown codec.wav", patched(wav(15), 20, b"\x34\x12"), SKIPPED, "codec"),
        Kind("crash.wav", wav(16), SKIPPED, "the file is damaged (at 5 s)"),
        Kind("crash header.wav", wav(17), SKIPPED, "the file is damaged (header)"),
        Kind("killed.wav", wav(18), SKIPPED, "killed"),
        # what is not looked at
        Kind(".hidden.mp3", mp3, HIDDEN),
        Kind("._resource fork.mp3", b"\x00\x05\x16\x07" * 64, HIDDEN),
        Kind("notes.txt", b"words", EXTENSION),
        Kind("cover.jpg", b"\xff\xd8\xff", EXTENSION),
        Kind("no extension", wav(19), EXTENSION),
        Kind("song.unknown", wav(24), EXTENSION),
        *(
            Kind(os.path.join(folder, "thrown away.mp3"), mp3, FOLDER)
            for folder in (".git", ".Trash-1000", "$RECYCLE.BIN", "@eaDir", "#recycle", ".snapshots", "lost+found")
        ),
        # folders with the names of files
        Kind(os.path.join("a folder.mp3", "in it.flac"), encoded("FLAC", seed=25), INDEXED),
    ]


@dataclass(frozen=True)
class Library:
    """A folder with every kind of file, and what must become of each path."""

    folder: Path
    fates: dict[str, Kind]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("music")
    fates: dict[str, Kind] = {}

    def expect(kind: Kind) -> Path:
        path = folder / kind.name
        path.parent.mkdir(parents=True, exist_ok=True)
        fates[str(path)] = kind
        return path

    for kind in kinds():
        expect(kind).write_bytes(kind.data)
    (folder / "a folder without files.mp3").mkdir()
    os.mkfifo(expect(Kind("pipe.mp3", b"", SPECIAL)))
    endpoint = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(folder)  # the path of a socket may be 100 bytes long
    try:
        endpoint.bind(expect(Kind("socket.mp3", b"", SPECIAL)).name)
    finally:
        os.chdir(here)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "elsewhere.wav"
    elsewhere.write_bytes(wav(30))
    expect(Kind("a link to elsewhere.wav", b"", INDEXED)).symlink_to(elsewhere)
    expect(Kind("a link to good.wav", b"", SECOND_NAME)).symlink_to(folder / "good.wav")
    expect(Kind("a link to nothing.wav", b"", SKIPPED, "no such file")).symlink_to(folder / "gone.wav")
    (folder / "a link to this folder").symlink_to(folder)
    os.link(folder / "LOUD NAME.WAV", expect(Kind("a hard link.wav", b"", SECOND_NAME)))
    not_utf8 = os.fsdecode(os.path.join(os.fsencode(folder), b"caf\xe9.wav"))
    fates[not_utf8] = Kind("a name outside UTF-8", wav(31), INDEXED)
    with open(not_utf8, "wb") as file:
        file.write(fates[not_utf8].data)
    if os.geteuid() != 0:
        path = expect(Kind("unreadable.wav", wav(32), SKIPPED, "ermission denied"))
        path.write_bytes(wav(32))
        path.chmod(0)
    yield Library(folder, fates)
    endpoint.close()


@pytest.fixture(scope="module")
def built(library: Library, tmp_path_factory: pytest.TempPathFactory) -> tuple[BuildSummary, Path]:
    place = tmp_path_factory.mktemp("index") / "music.index"
    options = IngestOptions(
        workers=1, worker_command=worker_running(FAULTY.replace('open(path + ".tried"', "open(os.devnull"))
    )
    return build([library.folder], index_path=place, model=Model(), options=options), place


def test_every_file_is_indexed_skipped_or_passed_over(library: Library, built: tuple[BuildSummary, Path]) -> None:
    summary, place = built
    reasons = {problem.path: problem.reason for problem in summary.problems}
    with VectorIndex.open(place) as index:
        assert index.verify() == []
        tracks = {track.file for track in index.tracks()}

    def fate(path: str) -> str:
        if path in tracks:
            return PARTIAL if path in reasons else INDEXED
        return SKIPPED if path in reasons else "passed over"

    expected = {path: "passed over" if kind.fate in PASSED_OVER else kind.fate for path, kind in library.fates.items()}
    assert {path: (fate(path), reasons.get(path)) for path in expected if fate(path) != expected[path]} == {}
    wrong = {path: reasons[path] for path, kind in library.fates.items() if kind.reason not in reasons.get(path, "")}
    assert wrong == {}
    assert tracks | reasons.keys() <= library.fates.keys()


def test_the_summary_counts_every_file_once(library: Library, built: tuple[BuildSummary, Path]) -> None:
    summary, _ = built
    n_of = Counter(kind.fate for kind in library.fates.values())
    passed_over = summary.passed_over
    assert passed_over.by_extension == {"": 1, ".jpg": 1, ".txt": 1, ".unknown": 1}
    assert sum(passed_over.by_extension.values()) == n_of[EXTENSION]
    assert passed_over.n_hidden == n_of[HIDDEN]
    assert passed_over.n_special == n_of[SPECIAL]
    assert passed_over.n_second_names == n_of[SECOND_NAME]
    assert all(folder.is_counted for folder in passed_over.folders)
    n_left_out = sum(folder.n_sounds for folder in passed_over.folders)
    assert n_left_out == n_of[FOLDER]
    assert (summary.n_files, summary.skipped, summary.partial) == (
        n_of[INDEXED] + n_of[PARTIAL],
        n_of[SKIPPED] - 1,  # the link to nothing is a problem of the scan: there is no file to skip
        n_of[PARTIAL],
    )
    found = sum(len(names) for _, _, names in os.walk(library.folder))
    assert found == summary.n_files + summary.skipped + 1 + passed_over.n_files + n_left_out


def test_walking_the_folder_finds_nothing_else(library: Library) -> None:
    walked = {os.path.join(folder, name) for folder, _, names in os.walk(library.folder) for name in names}
    assert walked == library.fates.keys()


def test_a_second_build_finds_the_same(library: Library, built: tuple[BuildSummary, Path]) -> None:
    summary, place = built
    again = build([library.folder], index_path=place, model=Model())
    assert (again.added, again.updated, again.moved, again.removed) == (1, 0, 0, 0)  # killed.wav
    assert again.unchanged == summary.added
    assert [problem for problem in summary.problems if "killed" not in problem.path] == list(again.problems)
