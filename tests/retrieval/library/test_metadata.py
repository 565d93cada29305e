"""Tags of real files in each of the ways that formats keep them."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import av
import mutagen
import numpy as np
import pytest
import soundfile as sf
from mutagen import apev2, id3

from retrieval.library.metadata import MOST_CHARACTERS, read_metadata

TAGS = {
    "title": "Ein Lied",
    "artist": "Ärger & Söhne",
    "album": "Best of",
    "genre": "Jazz",
    "date": "1999-02-03",
}
EXPECTED = {
    "title": "Ein Lied",
    "artist": "Ärger & Söhne",
    "album": "Best of",
    "genre": "Jazz",
    "year": "1999",
    "cue_sheet": None,
}


def write_song(path: Path, *, codec: str | None = None, container: str | None = None) -> Path:
    samples = np.zeros((1, 16_000), np.float32)
    if codec is None:
        sf.write(path, samples[0], 16_000)
        return path
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=16_000, layout="mono", bit_rate=32_000)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=16_000, frame_size=1024)
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(piece))
    return path


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "m4a"])
def test_tags_of_common_formats(tmp_path: Path, suffix: str) -> None:
    codec, container = ("aac", "ipod") if suffix == "m4a" else (None, None)
    path = write_song(tmp_path / f"song.{suffix}", codec=codec, container=container)
    assert set(read_metadata(path).values()) == {None}
    tagged = mutagen.File(path, easy=True)
    if tagged.tags is None:
        tagged.add_tags()
    tagged.update(TAGS)
    tagged.save()
    assert read_metadata(path) == EXPECTED


@pytest.mark.parametrize("suffix", ["wav", "aiff"])
def test_id3_in_wav_and_aiff(tmp_path: Path, suffix: str) -> None:
    path = write_song(tmp_path / f"song.{suffix}")
    tagged = mutagen.File(path)
    tagged.add_tags()
    for frame, key in ((id3.TIT2, "title"), (id3.TPE1, "artist"), (id3.TALB, "album"), (id3.TDRC, "date")):
        tagged.tags.add(frame(encoding=3, text=TAGS[key]))
    tagged.tags.add(id3.TCON(encoding=3, text="(8)"))  # a numeric code: Jazz
    tagged.save()
    assert read_metadata(path) == EXPECTED


def test_asf_tags(tmp_path: Path) -> None:
    path = write_song(tmp_path / "song.wma", codec="wmav2", container="asf")
    tagged = mutagen.File(path)
    names = {
        "Title": "title",
        "Author": "artist",
        "WM/AlbumTitle": "album",
        "WM/Genre": "genre",
        "WM/Year": "date",
    }
    for name, key in names.items():
        tagged[name] = TAGS[key]
    tagged.save()
    assert read_metadata(path) == EXPECTED


def test_riff_info(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    with sf.SoundFile(path, "w", 16_000, 1) as sound:
        sound.title, sound.artist, sound.album, sound.genre, sound.date = (
            TAGS[key] for key in ("title", "artist", "album", "genre", "date")
        )
        sound.write(np.zeros(16_000))
    assert read_metadata(path) == EXPECTED


@pytest.mark.parametrize(
    ("date", "year"),
    [
        ("2004", "2004"),
        ("03.02.1987", "1987"),
        ("19990203", "1999"),
        ("199902", None),
        ("0000", None),
        ("soon", None),
        ("", None),
    ],
)
def test_a_year_has_four_digits(tmp_path: Path, date: str, year: str | None) -> None:
    path = write_song(tmp_path / "song.flac")
    tagged = mutagen.File(path)
    tagged["date"] = date
    tagged.save()
    assert read_metadata(path)["year"] == year


def test_texts_are_single_lines(tmp_path: Path) -> None:
    path = write_song(tmp_path / "song.flac")
    tagged = mutagen.File(path)
    tagged["title"] = ["", "  two\nlines\tand\0a zero "]
    tagged["artist"] = "   "
    tagged["albumartist"] = "The Band"
    tagged.save()
    metadata = read_metadata(path)
    assert metadata["title"] == "two lines and a zero"
    assert metadata["artist"] == "The Band"


@pytest.mark.parametrize("content", [b"", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f broken", b"fLaC\x00\x00\xff\xff", b"OggS"])
def test_damaged_tags_are_no_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    assert read_metadata(path) == dict.fromkeys(EXPECTED)
    assert read_metadata(tmp_path / "missing.mp3") == dict.fromkeys(EXPECTED)


# ---- APEv2, and several tags in one file


def write_ape(path: Path, **values: str | list[str]) -> Path:
    tags = apev2.APEv2()
    for name, value in values.items():
        tags[name.replace("_", " ")] = value
    tags.save(path)
    return path


def test_apev2_on_mp3(tmp_path: Path) -> None:
    path = write_song(tmp_path / "song.mp3")
    write_ape(path, Title="Ein Lied", Artist=TAGS["artist"], Album="Best of", Genre="Jazz", Year="1999")
    assert read_metadata(path) == EXPECTED


def test_tags_of_one_file_complete_each_other(tmp_path: Path) -> None:
    path = write_song(tmp_path / "song.mp3")
    write_ape(path, Title="Of APE", Artist="Of APE", Year="2001")
    tags = id3.ID3()
    tags.add(id3.TIT2(encoding=3, text="Of ID3v2"))
    tags.save(path, v1=0)
    with open(path, "ab") as raw:
        raw.write(id3v1_of(title=b"Of ID3v1", artist=b"Of ID3v1", album=b"Of ID3v1", genre=8))
    assert read_metadata(path) == {
        "title": "Of ID3v2",
        "artist": "Of APE",
        "album": "Of ID3v1",
        "genre": "Jazz",
        "year": "2001",
        "cue_sheet": None,
    }


def test_id3_in_front_of_flac(tmp_path: Path) -> None:
    path = write_song(tmp_path / "song.flac")
    tagged = mutagen.File(path)
    tagged["title"] = "Of FLAC"
    tagged.save()
    tags = id3.ID3()
    tags.add(id3.TIT2(encoding=3, text="Of ID3"))
    tags.add(id3.TPE1(encoding=3, text="Of ID3"))
    tags.save(tmp_path / "tag")
    path.write_bytes((tmp_path / "tag").read_bytes() + path.read_bytes())
    metadata = read_metadata(path)
    assert (metadata["title"], metadata["artist"]) == ("Of FLAC", "Of ID3")


# ---- encodings


def id3v1_of(*, title: bytes = b"", artist: bytes = b"", album: bytes = b"", genre: int = 255) -> bytes:
    texts = b"".join(text[:30].ljust(30, b"\0") for text in (title, artist, album))
    return b"TAG" + texts + b"1999".ljust(34, b"\0") + bytes([genre])


def in_id3v1(path: Path, texts: list[bytes]) -> Path:
    write_song(path.with_suffix(".mp3"))
    with open(path.with_suffix(".mp3"), "ab") as raw:
        raw.write(id3v1_of(title=texts[0], artist=texts[1], album=texts[2]))
    return path.with_suffix(".mp3")


def in_riff_info(path: Path, texts: list[bytes]) -> Path:
    song = write_song(path.with_suffix(".wav"))
    parts = b""
    for name, text in zip((b"INAM", b"IART", b"IPRD"), texts, strict=True):
        parts += name + struct.pack("<I", len(text) + 1) + text + b"\0" + b"\0" * ((len(text) + 1) % 2)
    data = song.read_bytes() + b"LIST" + struct.pack("<I", 4 + len(parts)) + b"INFO" + parts
    song.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    return song


def in_latin_1_of_id3v2(path: Path, texts: list[bytes]) -> Path:
    song = write_song(path.with_suffix(".mp3"))
    tags = id3.ID3()
    for frame, text in zip((id3.TIT2, id3.TPE1, id3.TALB), texts, strict=True):
        tags.add(frame(encoding=0, text=text.decode("latin-1")))
    tags.save(song)
    return song


def in_apev2(path: Path, texts: list[bytes]) -> Path:
    song = write_song(path.with_suffix(".mp3"))
    items = b""
    for name, text in zip((b"Title", b"Artist", b"Album"), texts, strict=True):
        items += struct.pack("<II", len(text), 0) + name + b"\0" + text
    foot = b"APETAGEX" + struct.pack("<IIII", 2000, len(items) + 32, 3, 0) + bytes(8)
    song.write_bytes(song.read_bytes() + items + foot)
    return song


def in_vorbis_comments(path: Path, texts: list[bytes]) -> Path:
    song = write_song(path.with_suffix(".flac"))
    comments = b"".join(
        struct.pack("<I", len(name) + len(text)) + name + text
        for name, text in zip((b"TITLE=", b"ARTIST=", b"ALBUM="), texts, strict=True)
    )
    block = struct.pack("<I", 0) + struct.pack("<I", 3) + comments
    data = song.read_bytes()
    song.write_bytes(data[:42] + bytes([4]) + len(block).to_bytes(3, "big") + block + data[42:])
    return song


IN_ENCODINGS = {
    "cp1251": ("Группа крови", "Кино", "Звезда по имени Солнце"),
    "cp932": ("夜に駆ける", "椎名林檎", "無罪モラトリアム"),
    "gbk": ("月亮代表我的心", "邓丽君", "甜蜜蜜"),
    "cp1253": ("Ζορμπάς", "Μίκης Θεοδωράκης", "Το τρένο φεύγει"),
    "latin-1": ("Jóga", "Björk", "Café del Mar"),
    "utf-8": ("Группа крови", "邓丽君", "Björk"),
}


@pytest.mark.parametrize("encoding", IN_ENCODINGS)
@pytest.mark.parametrize("write", [in_id3v1, in_riff_info, in_latin_1_of_id3v2, in_apev2, in_vorbis_comments])
def test_texts_in_a_local_encoding(tmp_path: Path, encoding: str, write: Callable[[Path, list[bytes]], Path]) -> None:
    texts = IN_ENCODINGS[encoding]
    data = [text.encode(encoding)[:30] for text in texts]
    path = write(tmp_path / "song", data)
    for given in (None, encoding):
        metadata = read_metadata(path, encoding=given)
        found = (metadata["title"], metadata["artist"], metadata["album"])
        assert found == tuple(text.decode(encoding, "replace") for text in data)


def test_the_encoding_can_be_given(tmp_path: Path) -> None:
    path = in_id3v1(tmp_path / "song", [text.encode("cp1250") for text in ("Rusalka", "Dvořák", "Opery")])
    assert read_metadata(path)["artist"] == "Dvoøák"
    assert read_metadata(path, encoding="cp1250")["artist"] == "Dvořák"


# ---- several values, long ones, large tags


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "m4a", "wma", "ape.mp3"])
def test_all_artists_are_named_once(tmp_path: Path, suffix: str) -> None:
    forms = {"m4a": ("aac", "ipod"), "wma": ("wmav2", "asf")}
    codec, container = forms.get(suffix, (None, None))
    path = write_song(tmp_path / f"song.{suffix}", codec=codec, container=container)
    artists = ["Anna", "Bert; Band", "Anna", "Ärger"]
    if suffix == "ape.mp3":
        write_ape(path, Artist=artists, Title=["One", "Two"])
    else:
        tagged = mutagen.File(path, easy=suffix != "wma")
        if tagged.tags is None:
            tagged.add_tags()
        tagged["Author" if suffix == "wma" else "artist"] = artists
        tagged["Title" if suffix == "wma" else "title"] = ["One", "Two"]
        tagged.save()
    metadata = read_metadata(path)
    assert (metadata["artist"], metadata["title"]) == ("Anna; Bert; Band; Ärger", "One")


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "m4a", "ape.mp3"])
def test_long_texts_are_cut(tmp_path: Path, suffix: str) -> None:
    codec, container = ("aac", "ipod") if suffix == "m4a" else (None, None)
    path = write_song(tmp_path / f"song.{suffix}", codec=codec, container=container)
    if suffix == "ape.mp3":
        write_ape(path, Artist=["x" * 600, "y" * 600], Title="ü" * 100_000)
    else:
        tagged = mutagen.File(path, easy=True)
        if tagged.tags is None:
            tagged.add_tags()
        tagged["artist"] = ["x" * 600, "y" * 600]
        tagged["title"] = "ü" * 100_000
        tagged.save()
    metadata = read_metadata(path)
    assert metadata["title"] == "ü" * (MOST_CHARACTERS - 1) + "…"
    assert metadata["artist"] is not None and len(metadata["artist"]) == MOST_CHARACTERS


def test_control_characters_are_no_text(tmp_path: Path) -> None:
    path = write_ape(
        write_song(tmp_path / "song.mp3"), Title="\x1b[2JTwo\r\nlines\x9b\x7f", Artist="\x01\x02", Album="A"
    )
    metadata = read_metadata(path)
    assert (metadata["title"], metadata["artist"], metadata["album"]) == ("[2JTwo lines", None, "A")


def sparse(path: Path, *parts: bytes | int) -> Path:
    """Write bytes and, for each number, so many zeros that take no space."""
    with open(path, "wb") as raw:
        for part in parts:
            if isinstance(part, int):
                raw.seek(part, 1)
            else:
                raw.write(part)
        raw.truncate()
    return path


HUGE = 200 << 20


def synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def huge_id3v2(path: Path) -> Path:
    title = b"TIT2" + synchsafe(6) + b"\0\0" + b"\x03Title"
    return sparse(path, b"ID3\4\0\0", synchsafe(HUGE + 10 + 16), b"APIC", synchsafe(HUGE), b"\0\0", HUGE, title, b"end")


def huge_id3v2_of_2_3(path: Path) -> Path:
    title = b"TIT2" + struct.pack(">I", 6) + b"\0\0" + b"\0Title"
    picture = b"APIC" + struct.pack(">I", HUGE) + b"\0\0"
    return sparse(path, b"ID3\3\0\0", synchsafe(HUGE + 10 + 16), picture, HUGE, title, b"end")


def huge_flac(path: Path) -> Path:
    picture = b"\x06\xff\xff\xff"
    comment = struct.pack("<II", 0, 1) + struct.pack("<I", 11) + b"TITLE=Title"
    head = [b"fLaC\0\0\0\x22", 34, *[picture, (1 << 24) - 1] * 13]
    return sparse(path, *head, b"\x84" + len(comment).to_bytes(3, "big") + comment)


def huge_apev2(path: Path) -> Path:
    title = struct.pack("<II", 5, 0) + b"Title\0Title"
    head = struct.pack("<II", HUGE, 2) + b"Cover Art (Front)\0"
    size = len(head) + HUGE + len(title) + 32
    return sparse(path, b"audio", head, HUGE, title, b"APETAGEX" + struct.pack("<IIII", 2000, size, 2, 0) + bytes(8))


def huge_apev2_of_texts(path: Path) -> Path:
    texts: list[bytes | int] = []
    for _ in range(HUGE >> 20):
        texts += [struct.pack("<II", 1 << 20, 0) + b"Artist\0" + b"x", (1 << 20) - 1]
    title = struct.pack("<II", 5, 0) + b"Title\0Title"
    size = sum(len(text) if isinstance(text, bytes) else text for text in texts) + len(title) + 32
    foot = b"APETAGEX" + struct.pack("<IIII", 2000, size, len(texts) // 2 + 1, 0) + bytes(8)
    return sparse(path, b"audio", *texts, title, foot)


def huge_text(path: Path) -> Path:
    return sparse(path, b"ID3\4\0\0", synchsafe(HUGE + 10), b"TIT2", synchsafe(HUGE), b"\0\0", HUGE, b"end")


def huge_mp4(path: Path) -> Path:
    def atom(name: bytes, size: int) -> bytes:
        return struct.pack(">I", 8 + size) + name

    title = atom(b"\xa9nam", 21) + atom(b"data", 13) + struct.pack(">II", 1, 0) + b"Title"
    data = atom(b"covr", HUGE + 16) + atom(b"data", HUGE + 8) + struct.pack(">II", 13, 0)
    n_list = len(title) + len(data) + HUGE
    meta = atom(b"meta", 4 + 8 + n_list) + bytes(4) + atom(b"ilst", n_list)
    moov = atom(b"moov", 8 + len(meta) + n_list) + atom(b"udta", len(meta) + n_list) + meta
    return sparse(path, atom(b"ftyp", 8) + b"M4A \0\0\0\0", moov, title, data, HUGE, b"end")


@pytest.mark.parametrize(
    ("write", "title"),
    [
        (huge_id3v2, "Title"),
        (huge_id3v2_of_2_3, "Title"),
        (huge_flac, "Title"),
        (huge_apev2, "Title"),
        (huge_apev2_of_texts, "Title"),
        (huge_text, None),
        (huge_mp4, "Title"),
    ],
)
def test_a_tag_of_200_mb_is_not_held(tmp_path: Path, write: Callable[[Path], Path], title: str | None) -> None:
    path = write(tmp_path / "song")
    tracemalloc.start()
    try:
        metadata = read_metadata(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert metadata["title"] == title
    assert peak_bytes < 40e6


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "m4a", "wma", "wav", "aiff"])
def test_tags_of_random_damage_are_no_error(tmp_path: Path, suffix: str) -> None:
    forms = {"m4a": ("aac", "ipod"), "wma": ("wmav2", "asf")}
    codec, container = forms.get(suffix, (None, None))
    path = write_song(tmp_path / f"song.{suffix}", codec=codec, container=container)
    tagged = mutagen.File(path)
    if tagged.tags is None:
        tagged.add_tags()
    if isinstance(tagged.tags, id3.ID3):
        tagged.tags.add(id3.TIT2(encoding=0, text="Title " * 20))
    else:
        tagged.tags["\xa9nam" if suffix == "m4a" else "Title"] = "Title " * 20
    tagged.save()
    if suffix == "mp3":
        write_ape(path, Title="Title", Artist=["a", "b"])
    data, rng = path.read_bytes()[:30_000], random.Random(suffix)
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(rng.randrange(1, 30)):
            place = rng.choice((rng.randrange(len(data)), rng.randrange(min(400, len(data))), -rng.randrange(1, 200)))
            broken[place] = rng.choice((0, 0xFF, 0x7F, rng.randrange(256)))
        path.write_bytes(broken[: rng.choice((len(broken), rng.randrange(len(broken))))])
        for value in read_metadata(path).values():
            assert value is None or 0 < len(value) <= MOST_CHARACTERS


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "m4a", "ape.mp3"])
def test_the_cue_sheet_in_the_tags_keeps_its_lines(tmp_path: Path, suffix: str) -> None:
    codec, container = ("aac", "ipod") if suffix == "m4a" else (None, None)
    path = write_song(tmp_path / f"song.{suffix}", codec=codec, container=container)
    sheet = 'FILE "a.wav" WAVE\r\n  TRACK 01 AUDIO\r\n    TITLE "Ä\u0436"\r\n' * 300
    if suffix == "ape.mp3":
        write_ape(path, Cuesheet=sheet, Title="T")
    else:
        tagged = mutagen.File(path)
        if tagged.tags is None:
            tagged.add_tags()
        if suffix == "mp3":
            tagged.tags.add(id3.TXXX(encoding=1, desc="CUESHEET", text=sheet))
        elif suffix == "m4a":
            tagged.tags["----:com.apple.iTunes:CUESHEET"] = [sheet.encode()]
        else:
            tagged.tags["CUESHEET"] = sheet
        tagged.save()
    assert read_metadata(path)["cue_sheet"] == sheet
