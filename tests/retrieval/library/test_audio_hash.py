"""The hash of a file without its tags: the same whatever a tagger writes, another one for other audio."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import av
import mutagen
import numpy as np
import pytest
import soundfile
from mutagen import apev2, id3, ogg
from sound_files import MAKERS

from encoders.decode import mono_buffers
from retrieval.library.audio_hash import audio_hash
from retrieval.library.tag_regions import end_tags


def tag(path: Path, title: str) -> None:
    """Write a title, an artist and, where the format has them, a picture, the way of the format."""
    tagged = mutagen.File(path)
    if tagged.tags is None:
        tagged.add_tags()
    if isinstance(tagged.tags, id3.ID3):
        tagged.tags.add(id3.TIT2(encoding=3, text=title))
        tagged.tags.add(id3.APIC(encoding=3, mime="image/png", type=3, desc="", data=title.encode()))
    elif isinstance(tagged.tags, mutagen.mp4.MP4Tags):
        tagged.tags["\xa9nam"] = title
    else:
        tagged.tags["Title"] = title
    if isinstance(tagged, mutagen.flac.FLAC):
        picture = mutagen.flac.Picture()
        picture.data = title.encode()
        tagged.add_picture(picture)
    tagged.save()


def lay_behind(path: Path, tag_bytes: bytes) -> None:
    path.write_bytes(path.read_bytes() + tag_bytes)


def id3v1(title: str) -> bytes:
    return b"TAG" + title.encode("latin-1")[:30].ljust(30, b"\0") + bytes(94) + b"\x08"


def apev2_of(title: str, tmp_path: Path) -> bytes:
    place = tmp_path / "ape"
    place.write_bytes(b"")
    tags = apev2.APEv2()
    tags["Title"] = title
    tags.save(place)
    return place.read_bytes()


TAGGABLE = [".mp3", ".flac", ".ogg", ".opus", ".oga", ".wav", ".aiff", ".m4a", ".mp4", ".wma", ".wv", ".tta", ".dsf"]


@pytest.mark.parametrize("extension", TAGGABLE)
def test_tags_make_no_difference(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"song{extension}"
    MAKERS[extension](path)
    first = audio_hash(path)
    before = path.read_bytes()
    for title in ("A", "A longer title", "x" * 70_000, "short again", "y" * 3_000_000):
        tag(path, title)
        assert path.read_bytes() != before
        assert audio_hash(path) == first, len(title)
    mutagen.File(path).delete()
    assert audio_hash(path) == first


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_long_file_in_ogg(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "song.ogg"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000 * 20)
    soundfile.write(path, noise, 48_000, format="OGG", subtype=subtype)
    first = audio_hash(path)
    tag(path, "z" * 200_000)
    assert audio_hash(path) == first


def test_flac_in_ogg(tmp_path: Path) -> None:
    path = tmp_path / "song.oga"
    MAKERS[".flac"](tmp_path / "song.flac")
    with av.open(str(tmp_path / "song.flac")) as container:
        frames = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    head = (tmp_path / "song.flac").read_bytes()[:42]
    comment = b"\x84\0\0\x0c" + bytes(4) + bytes(4) + bytes(4)
    packets = [b"\x7fFLAC\1\0\0\1" + head, comment]
    pages = [*(ogg.OggPage.from_packets([packet], number)[0] for number, packet in enumerate(packets))]
    pages += ogg.OggPage.from_packets(frames, 2)
    pages[0].first, pages[-1].last = True, True
    path.write_bytes(b"".join(page.write() for page in pages))
    assert sum(len(samples) for samples, _ in mono_buffers(path)) > 0
    first = audio_hash(path)
    tag(path, "z" * 200_000)
    assert audio_hash(path) == first


def test_tags_behind_the_audio_of_mp3(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    MAKERS[".mp3"](path)
    first = audio_hash(path)
    n_bytes = path.stat().st_size
    lyrics = b"LYRICSBEGIN" + b"INF00002" + b"10"
    lay_behind(path, apev2_of("ape", tmp_path) + lyrics + b"%06dLYRICS200" % len(lyrics) + id3v1("one"))
    tag(path, "two")
    with open(path, "rb") as raw:
        regions, start, end = end_tags(raw)
    assert [region.kind for region in regions] == ["id3v2", "apev2", "lyrics3", "id3v1"]
    assert end - start == n_bytes
    assert audio_hash(path) == first


def test_riff_info_and_broadcast_chunks(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    hashes = []
    for title in (None, "A", "Ä" * 5000):
        with soundfile.SoundFile(path, "w", 16_000, 1) as sound:
            if title is not None:
                sound.title = title
            sound.write(np.linspace(-0.5, 0.5, 16_000))
        hashes.append(audio_hash(path))
    assert len(set(hashes)) == 1


@pytest.mark.parametrize("extension", sorted(MAKERS))
def test_every_other_byte_of_the_audio_counts(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"song{extension}"
    MAKERS[extension](path)
    first, data = audio_hash(path), bytearray(path.read_bytes())
    middle = len(data) * 2 // 3  # beyond the header of every format
    data[middle] ^= 1
    path.write_bytes(data)
    assert audio_hash(path) != first
    data[middle] ^= 1
    path.write_bytes(data)
    assert audio_hash(path) == first
    path.write_bytes(data[:middle])
    assert audio_hash(path) != first


@pytest.mark.parametrize("extension", TAGGABLE)
def test_what_is_left_out_does_not_alter_what_is_decoded(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"song{extension}"
    MAKERS[extension](path)
    plain = np.concatenate([samples for samples, _ in mono_buffers(path)])
    tag(path, "t" * 5000)
    np.testing.assert_array_equal(np.concatenate([samples for samples, _ in mono_buffers(path)]), plain)


def damage(data: bytes, rng: random.Random) -> bytes:
    kinds: list[Callable[[], bytes]] = [
        lambda: data[: rng.randrange(len(data))],
        lambda: data[: rng.randrange(200)] + rng.randbytes(8) + data[208:],
        lambda: data[:4] + b"\xff" * rng.randrange(40) + data[44:],
        lambda: data[: rng.randrange(400)] * 3,
        lambda: data[rng.randrange(300) :],
        lambda: data[: rng.randrange(400)] + bytes(500),
    ]
    return rng.choice(kinds)()


@pytest.mark.parametrize("extension", [*TAGGABLE, ".caf", ".mka"])
def test_damaged_files_have_a_hash_too(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"song{extension}"
    MAKERS[extension](path)
    data, rng = path.read_bytes()[:100_000], random.Random(extension)
    for _ in range(60):
        path.write_bytes(damage(data, rng))
        assert len(audio_hash(path)) == 40


@pytest.mark.parametrize(
    "content",
    [b"", b"TAG", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f", b"APETAGEX" + b"\xff" * 24, b"TAG" + bytes(125), b"LYRICS200"],
)
def test_files_of_tags_alone_have_a_hash_too(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    assert len(audio_hash(path)) == 40


def test_atoms_in_atoms_end(tmp_path: Path) -> None:
    """A file of nested headers is read once, not once for each of them."""
    path = tmp_path / "song.m4a"
    body = b""
    for _ in range(2000):
        body = (len(body) + 8).to_bytes(4, "big") + b"moov" + body
    path.write_bytes(b"\0\0\0\x10ftypM4A \0\0\0\0" + body)
    pieces: list[None] = []
    assert len(audio_hash(path, on_piece=lambda: pieces.append(None))) == 40
    assert len(pieces) < 50
