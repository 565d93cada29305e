"""Tags of real files in each of the ways that formats keep them."""

from __future__ import annotations

from pathlib import Path

import av
import mutagen
import numpy as np
import pytest
import soundfile as sf

from retrieval.library.metadata import read_metadata

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
    from mutagen import id3

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
