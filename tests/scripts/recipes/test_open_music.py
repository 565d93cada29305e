"""Fetching the open music from a folder as mirror, a local server, a repository and a folder of wheels."""

from __future__ import annotations

import csv
import hashlib
import http.server
import io
import json
import os
import re
import struct
import subprocess
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

from encoders.audio import SAMPLE_RATE_HZ, load_audio
from retrieval.datasets.csv_folder import read_csv_dataset
from scripts.recipes.default import open_music, open_music_audio, open_music_sources
from scripts.recipes.default.open_music import Track, fetch_all, is_open, main, read_list
from scripts.recipes.default.open_music_sources import FetchError, Source, extracted

COLUMNS = ("source", "path", "licence", "artist", "title", "genre", "genre_from", "seconds")


def tone(hz: float, seconds: float = 1.0, rate_hz: int = 44_100) -> bytes:
    """A WAVE file of a sine."""
    file = io.BytesIO()
    wave = 0.4 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)
    soundfile.write(file, wave, rate_hz, format="WAV")
    return file.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def deb(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A Debian package: an ar archive of the version, an empty control member and the tree."""
    tree = io.BytesIO()
    with tarfile.open(fileobj=tree, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    package = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", tree.getvalue())):
        package += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        package += b"\n" * (len(content) % 2)
    return package


def rcc(path: str, content: bytes, flags: int) -> bytes:
    """A Qt resource archive, version 1, of one file below its folders."""
    parts = path.split("/")
    names, name_at = b"", []
    for part in parts:
        name_at.append(len(names))
        names += struct.pack(">HI", len(part), 0) + part.encode("utf-16-be")
    nodes = struct.pack(">IHII", 0, 2, 1, 1)
    for i, at in enumerate(name_at[:-1]):
        nodes += struct.pack(">IHII", at, 2, 1, i + 2)
    nodes += struct.pack(">IHHHI", name_at[-1], flags, 0, 0, 0)
    stored = struct.pack(">I", len(content)) + zlib.compress(content) if flags & 1 else content
    data = struct.pack(">I", len(stored)) + stored
    return b"qres" + struct.pack(">4I", 1, 20 + len(data) + len(names), 20, 20 + len(data)) + data + names + nodes


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def track(source: str, path: str, **fields: str) -> dict[str, str]:
    row = {"licence": "CC BY 4.0", "artist": "Ann", "title": "", "genre": "jazz / swing", "genre_from": "tag"}
    return {"source": source, "path": path, "seconds": "1.0", **row, **fields}


@dataclass
class World:
    """A mirror, and the list of what is fetched from it."""

    root: Path
    tracks: list[dict[str, str]] = field(default_factory=list)
    sources: list[tuple[str, str, str, str]] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.root / "pack"

    def add_deb(self, name: str, content: bytes) -> None:
        address = f"pool/main/{name}_1+x_all.deb"
        (self.root / "mirror" / address).parent.mkdir(parents=True, exist_ok=True)
        (self.root / "mirror" / address).write_bytes(content)
        self.sources.append((f"debian:{name}", "1+x", address, hashlib.sha256(content).hexdigest()))

    def arguments(self) -> list[str]:
        with (self.root / "list.tsv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.tracks)
        lines = ["\t".join(row) for row in [("source", "version", "address", "sha256"), *self.sources]]
        (self.root / "sources.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        paths = {"--out": "pack", "--debian-mirror": "mirror", "--git-base": "git"}
        paths |= {"--list": "list.tsv", "--source-list": "sources.tsv"}
        return [text for option, name in paths.items() for text in (option, str(self.root / name))]

    def run(self, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
        """Run the command; return the line of figures."""
        capsys.readouterr()
        assert main(self.arguments()) in (0, 1)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 1
        figures = json.loads(lines[0])
        assert isinstance(figures, dict)
        return figures

    def rows(self, table: str = "labels.csv") -> list[dict[str, str]]:
        with (self.out / table).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="," if table.endswith("csv") else "\t"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def pitch(file: Path) -> float:
    samples = load_audio(file, sample_rate_hz=SAMPLE_RATE_HZ)
    return float(np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE_HZ / len(samples))


# The list


def test_the_list_is_whole() -> None:
    tracks, sources = read_list()
    assert len(tracks) == 1316
    assert {t.source for t in tracks} == set(sources)
    assert len({t.file for t in tracks}) == len(tracks)
    assert {t.genre for t in tracks if t.genre_from in ("tag", "name", "source")} == set(open_music._LABELS)
    assert all(bool(t.genre) == bool(t.genre_from) for t in tracks)
    assert [t for t in tracks if not t.licence or "@" in t.artist or not 1 < t.seconds < 3600] == []
    for source in sources.values():
        if source.kind == "github":
            assert re.fullmatch(r"[0-9a-f]{40}", source.version), source
        else:
            assert re.fullmatch(r"[0-9a-f]{64}", source.sha256), source
    assert open_music.TRACKS.stat().st_size + open_music.SOURCES.stat().st_size < 400_000


def test_most_of_the_list_is_open_and_what_is_not_is_named() -> None:
    tracks, _ = read_list()
    closed = {t.licence for t in tracks if not is_open(t.licence)}
    assert closed == {
        *("Drascula licence", "Ethymonics Free Music License", "free with credit"),
        *("Mod Archive distribution license", "not stated for the file"),
    }
    assert sum(is_open(t.licence) for t in tracks) == 1261


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        *[(name, True) for name in ("CC0", "CC BY-SA 3.0+", "GPL-2+", "LGPL-2", "MIT", "public domain")],
        *[(name, False) for name in ("", "CC BY-NC 3.0", "CC BY-NC-SA 4.0", "CC BY-ND 4.0", "see copyright")],
        *[(name, False) for name in ("CC BY 3.0, not for noncommercial", "unknown", "GPLish", "not GPL-2")],
    ],
)
def test_only_a_licence_known_to_be_open_is_open(licence: str, expected: bool) -> None:
    assert is_open(licence) is expected


# From a mirror to a pack


def test_a_package_becomes_a_pack(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add_deb(
        "game",
        deb(
            {
                "./usr/a.wav": tone(440),
                "./usr/copy.wav": tone(440),
                "./usr/stem1.wav": tone(500),
                "./usr/stem2.wav": tone(1500, 2.0),
                "./usr/silent.wav": tone(0),
                "./usr/text.ogg": b"not audio",
                "./usr/data.zip": zipped({"music/b.wav": tone(880, rate_hz=22_050)}),
            }
        ),
    )
    game = "debian:game"
    world.tracks = [
        track(game, "usr/copy.wav", genre="", genre_from="", artist=""),
        track(game, "usr/a.wav", title="A, one"),
        track(game, "usr/stem1.wav|usr/stem2.wav", artist="Bob; Ann"),
        track(game, "usr/data.zip.d/music/b.wav", artist="Cid", genre="", genre_from=""),
        track(game, "usr/silent.wav"),
        track(game, "usr/text.ogg"),
        track(game, "usr/none.ogg"),
        track(game, "usr/data.zip.d/none.ogg"),
        track(game, "usr/a.wav ", licence="CC BY-NC 4.0"),
    ]
    figures = world.run(capsys)
    assert figures["tracks"] == 3
    assert figures["missing"] == {
        "silent": 1,
        "cannot be decoded: not audio in any known format": 1,
        "not in the source": 1,
        "not in the archive": 1,
    }
    assert figures["left_out"] == {"licence: CC BY-NC 4.0": 1}
    assert (figures["duplicates"], figures["artists"], figures["labeled"]) == (1, 3, 2)
    assert figures["below_32_khz"] == 1
    assert figures["licences"] == {"CC BY 4.0": 3}
    assert len(world.rows("missing.tsv")) == 6

    named, mixed, unlabeled = world.rows()
    assert (named["labels"], named["title"], named["credit"]) == ("jazz", "A, one", "A, one by Ann (CC BY 4.0)")
    assert unlabeled["labels"] == ""
    assert named["group"] == mixed["group"] == "Ann" != unlabeled["group"]
    assert pitch(world.out / named["file"]) == pytest.approx(440, abs=2)
    assert pitch(world.out / unlabeled["file"]) == pytest.approx(880, abs=2)
    mix = load_audio(world.out / mixed["file"], sample_rate_hz=SAMPLE_RATE_HZ)
    assert len(mix) / SAMPLE_RATE_HZ == pytest.approx(2.0, abs=0.01)
    spectrum = np.abs(np.fft.rfft(mix[:SAMPLE_RATE_HZ]))
    assert spectrum[500] > 1000 and spectrum[1500] > 1000
    info = soundfile.info(world.out / mixed["file"])
    assert (info.samplerate, info.channels, info.subtype) == (SAMPLE_RATE_HZ, 1, "VORBIS")

    assert len(read_csv_dataset(world.out, keep_unlabeled=True).clips) == 3
    credits = world.rows("credits.tsv")
    assert [(row["artist"], row["tracks"]) for row in credits] == [("Ann", "1"), ("Bob; Ann", "1"), ("Cid", "1")]
    assert credits[0]["address"].endswith("/pool/main/game_1%2Bx_all.deb")
    assert not list((world.out / "sources").rglob("*.*")), "what was fetched is deleted"


def test_nothing_is_fetched_twice(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add_deb("game", deb({"usr/a.wav": tone(440), "usr/b.wav": tone(600)}))
    world.tracks = [track("debian:game", "usr/a.wav"), track("debian:game", "usr/b.wav")]
    first = world.run(capsys)
    os.remove(world.root / "mirror" / "pool" / "main" / "game_1+x_all.deb")
    assert world.run(capsys) == first
    (world.out / world.rows()[0]["file"]).unlink()
    assert world.run(capsys)["missing"] == {"its source cannot be fetched": 1}


def test_an_interrupted_run_keeps_what_it_has(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_deb("game", deb({"usr/a.wav": tone(440), "usr/b.wav": tone(600)}))
    world.tracks = [track("debian:game", "usr/a.wav"), track("debian:game", "usr/b.wav")]
    real = open_music.write_vorbis

    def interrupted(files: list[Path], target: Path) -> open_music_audio.Written:
        if target.name.startswith("b"):
            raise KeyboardInterrupt
        return real(files, target)

    with monkeypatch.context() as patch:
        patch.setattr(open_music, "write_vorbis", interrupted)
        assert main(world.arguments()) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert [row["file"][:14] for row in world.rows()] == ["debian_game/a-"]
    assert [row["reason"] for row in world.rows("missing.tsv")] == ["not tried yet"]
    with (world.out / "tracks.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"file": "debian_game/b-')  # a run that was killed while it wrote
    assert world.run(capsys)["tracks"] == 2
    assert world.run(capsys)["tracks"] == 2


def test_another_content_than_the_list_says_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add_deb("game", deb({"usr/a.wav": tone(440)}))
    (world.root / "mirror" / "pool" / "main" / "game_1+x_all.deb").write_bytes(deb({"usr/a.wav": tone(441)}))
    world.tracks = [track("debian:game", "usr/a.wav")]
    assert world.run(capsys)["missing"] == {"its source cannot be fetched": 1}
    main(world.arguments())
    assert "another SHA-256" in capsys.readouterr().err


def test_no_name_in_an_archive_decides_where_something_is_written(world: World, tmp_path: Path) -> None:
    evil = {"../../evil.wav": tone(440), "/evil.wav": tone(440), "usr/x.zip": zipped({"../../evil.wav": tone(440)})}
    world.add_deb("game", deb(evil, links={"usr/link.wav": "/etc/passwd"}))
    wanted = [*evil, "usr/x.zip.d/../../evil.wav", "usr/link.wav"]
    mirror = str(world.root / "mirror")
    before = set(tmp_path.rglob("*"))
    with extracted(Source(*world.sources[0]), wanted, tmp_path / "s", debian_mirror=mirror, git_base="") as files:
        for path in wanted[:-1]:
            assert isinstance(files[path], Path)
        assert isinstance(files["usr/link.wav"], FetchError)
        made = set(tmp_path.rglob("*")) - before - {tmp_path / "s"}
        assert {path.relative_to(tmp_path / "s").parts[0] for path in made} == {"files"}
        assert not list((tmp_path / "s").rglob("*evil*"))
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("damage", [b"", b"!<arch>\n", b"!<arch>\n" + b"x" * 60, b"GIF89a"])
def test_what_is_no_package_is_said(world: World, capsys: pytest.CaptureFixture[str], damage: bytes) -> None:
    world.add_deb("game", damage)
    world.tracks = [track("debian:game", "usr/a.wav")]
    assert world.run(capsys)["missing"] == {"its source cannot be fetched": 1}


def test_a_package_cut_short_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    whole = deb({"usr/a.wav": np.random.default_rng(0).bytes(300_000)})
    world.add_deb("game", whole[: len(whole) // 2])
    world.tracks = [track("debian:game", "usr/a.wav")]
    assert world.run(capsys)["missing"] == {"its source cannot be fetched": 1}


@pytest.mark.parametrize("flags", [0, 1])
def test_a_qt_resource_archive_is_read(world: World, capsys: pytest.CaptureFixture[str], flags: int) -> None:
    world.add_deb("game", deb({"usr/m.rcc": rcc("music/ä/a.wav", tone(440), flags)}))
    world.tracks = [track("debian:game", f"usr/m.rcc.d/{path}") for path in ("music/ä/a.wav", "music/b.wav", "music/ä")]
    figures = world.run(capsys)
    assert (figures["tracks"], figures["missing"]) == (1, {"not in the archive": 2})
    assert pitch(world.out / world.rows()[0]["file"]) == pytest.approx(440, abs=2)


# From a server


@pytest.fixture
def server(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """A server of the mirror that breaks the first answer off, and the ranges it was asked for."""
    ranges: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file = world.root / self.path.lstrip("/").replace("%2B", "+")
            if not file.is_file():
                self.send_error(404)
                return
            content = file.read_bytes()
            asked = self.headers.get("Range", "")
            ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : len(content) // 2 if len(ranges) == 1 else None])

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(open_music_sources.time, "sleep", lambda _: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", ranges
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("mirror", ["mirror", "gone"])
def test_a_download_goes_on_where_it_broke_off(
    world: World, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    address, ranges = server
    world.add_deb("game", content := deb({"usr/a.wav": tone(440)}))
    monkeypatch.setattr(open_music_sources, "DEBIAN_SNAPSHOT", f"{address}/mirror")
    world.tracks = [track("debian:game", "usr/a.wav")]
    world.arguments()
    tracks, sources = read_list(world.root / "list.tsv", world.root / "sources.tsv")
    figures = fetch_all(tracks, sources, world.out, debian_mirror=f"{address}/{mirror}", keep_sources=True)
    assert figures["tracks"] == 1
    assert ranges == ["", f"bytes={len(content) // 2}-"]
    (kept,) = world.out.rglob("*.deb")
    assert kept.read_bytes() == content


def test_a_server_that_sends_without_end_is_left(
    world: World, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_deb("game", content := deb({"usr/a.wav": tone(440)}))
    monkeypatch.setattr(open_music_sources, "_MAX_BYTES", len(content) // 4)
    (world.root / "part").touch()
    with pytest.raises(FetchError, match="sends more than"):
        open_music_sources._download(f"{server[0]}/mirror/{world.sources[0][2]}", world.root / "part")
    assert (world.root / "part").stat().st_size == 0


def test_a_mirror_that_is_not_there_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_music_sources.time, "sleep", lambda _: None)
    world.add_deb("game", deb({"usr/a.wav": tone(440)}))
    source = Source(*world.sources[0])
    with (
        pytest.raises(FetchError, match="give another --debian-mirror"),
        extracted(source, ["usr/a.wav"], world.root / "s", debian_mirror="nothing://x", git_base=""),
    ):
        pass


# Repositories and wheels


def test_files_of_a_repository_are_read_at_its_commit(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    repository = world.root / "git" / "ann" / "songs"
    repository.mkdir(parents=True)
    git(repository, "init", "--quiet", "--initial-branch=main")
    git(repository, "config", "uploadpack.allowFilter", "true")
    (repository / "my songs").mkdir()
    (repository / "my songs" / "ä 1.wav").write_bytes(tone(440))
    (repository / "link.wav").symlink_to("/etc/passwd")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "one")
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "my songs" / "ä 1.wav").write_bytes(tone(880))
    git(repository, "commit", "--quiet", "-a", "-m", "two")
    world.sources = [
        *[("github:ann/songs", commit, "", ""), ("github:ann/gone", commit, "", "")],
        ("github:ann/moving", "main", "", ""),
    ]
    world.tracks = [
        *[track("github:ann/songs", path) for path in ("my songs/ä 1.wav", "link.wav", "none.wav")],
        *[track("github:ann/gone", "a.wav"), track("github:ann/moving", "a.wav")],
    ]
    figures = world.run(capsys)
    assert figures["missing"] == {"not in the source": 2, "its source cannot be fetched": 2}
    (row,) = world.rows()
    assert pitch(world.out / row["file"]) == pytest.approx(440, abs=2)
    assert world.rows("credits.tsv")[0]["address"] == f"https://github.com/ann/songs/tree/{commit}"


def test_files_of_a_wheel_are_read(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = "Metadata-Version: 2.1\nName: songs\nVersion: 1.0\n"
    parts = {"songs-1.0.dist-info/METADATA": metadata.encode(), "songs-1.0.dist-info/RECORD": b""}
    parts["songs-1.0.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    wheel = zipped({"songs/a.wav": tone(440), **parts})
    (world.root / "wheels").mkdir()
    (world.root / "wheels" / "songs-1.0-py3-none-any.whl").write_bytes(wheel)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(world.root / "wheels"))
    world.sources = [("pypi:songs", "1.0", "", hashlib.sha256(wheel).hexdigest())]
    world.tracks = [track("pypi:songs", "songs/a.wav")]
    assert world.run(capsys)["tracks"] == 1
    world.sources = [("pypi:songs", "1.0", "", "0" * 64)]
    world.tracks = [track("pypi:songs", "songs/b.wav")]
    assert world.run(capsys)["missing"] == {"its source cannot be fetched": 1}


# What is written


@pytest.mark.parametrize("name", ["song.xm", "song.zik"])
def test_a_module_without_a_player_is_counted(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    open_music_audio._libopenmpt.cache_clear()
    monkeypatch.setattr(open_music_audio.ctypes, "CDLL", missing)
    world.add_deb("game", deb({f"usr/{name}": b"Extended Module: song"}))
    world.tracks = [track("debian:game", f"usr/{name}")]
    assert world.run(capsys)["missing"] == {"tracker module, for which libopenmpt is needed (Debian: libopenmpt0)": 1}


def test_a_track_has_a_name_of_its_own() -> None:
    one = Track("github:a/b", "x/Ä song!.ogg", "CC0", "", "", "", "", 1.0)
    other = Track("github:a/b", "y/Ä song!.ogg", "CC0", "", "", "", "", 1.0)
    assert re.fullmatch(r"github_a_b/song-[0-9a-f]{8}\.ogg", one.file)
    assert one.file != other.file
    assert one.credit == "Ä song! by the authors of a/b (CC0)"
