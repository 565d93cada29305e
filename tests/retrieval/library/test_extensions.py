"""The extensions that are scanned, against what libsndfile and FFmpeg read."""

from __future__ import annotations

import string
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from sound_files import DURATION_S, MAKERS, UNMADE

import encoders.decoding.ffmpeg
from encoders.decode import mono_buffers
from retrieval.library.extensions import (
    AMBIGUOUS_EXTENSIONS,
    AUDIO_EXTENSIONS,
    FFMPEG_EXTENSIONS,
    SOUNDFILE_EXTENSIONS,
    extension_of,
)
from retrieval.library.scan import scan
from retrieval.library.sniff import HEAD_BYTES, has_sound_signature, looks_like_sound

NO_SOUND_FORMATS = {"RAW", "HTK", "MAT4", "MAT5", "SD2"}
# Pictures, subtitles, and text that names another file.
NO_SOUND_EXTENSIONS = {"apl", "avif", "heic", "heif", "mks"}
SHORTER_S = {".amr": 2.0, ".dff": 0.25, ".dsf": 0.25}
DEMUXERS = encoders.decoding.ffmpeg._FORMATS.split(",")


def test_every_format_of_libsndfile_is_decided_on() -> None:
    assert SOUNDFILE_EXTENSIONS.keys() | NO_SOUND_FORMATS == soundfile.available_formats().keys()
    assert not SOUNDFILE_EXTENSIONS.keys() & NO_SOUND_FORMATS


def test_every_extension_of_a_demuxer_is_decided_on() -> None:
    named = {name for demuxer in DEMUXERS for name in av.ContainerFormat(demuxer, "r").extensions}
    assert named - NO_SOUND_EXTENSIONS <= {extension[1:] for extension in AUDIO_EXTENSIONS}
    aliases = {"eac3": "eac3", "iff": "iff"}
    assert {aliases.get(name, name) for name in FFMPEG_EXTENSIONS} <= set(DEMUXERS)


def test_every_extension_has_a_file_or_a_decoder() -> None:
    assert MAKERS.keys() | UNMADE.keys() == AUDIO_EXTENSIONS
    assert not MAKERS.keys() & UNMADE.keys()
    assert AMBIGUOUS_EXTENSIONS < AUDIO_EXTENSIONS
    for demuxer, decoder in UNMADE.values():
        assert demuxer in DEMUXERS
        assert av.Codec(decoder, "r").type == "audio"


@pytest.mark.parametrize("extension", sorted(MAKERS))
def test_a_file_of_every_extension_is_found_sniffed_and_decoded(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"song{extension.upper()}"
    MAKERS[extension](path)
    assert [file.path for file in scan([tmp_path]).files] == [str(path)]
    assert looks_like_sound(str(path))
    buffers = list(mono_buffers(path))
    decoded_s = sum(len(samples) / rate_hz for samples, rate_hz in buffers)
    assert decoded_s == pytest.approx(SHORTER_S.get(extension, DURATION_S), abs=0.15)
    level = np.sqrt(np.mean(np.square(np.concatenate([samples for samples, _ in buffers]), dtype=np.float64)))
    assert 0.1 < level < 0.6 or extension == ".amr"
    path.rename(tmp_path / "song.unknown")
    assert [Path(file.path).name for file in scan([tmp_path], sniff=True).files] == ["song.unknown"]


NO_SOUND = {
    "empty": b"",
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(200),
    "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(200),
    "gif": b"GIF89a" + bytes(200),
    "webp": b"RIFF\x00\x10\x00\x00WEBPVP8 " + bytes(200),
    "heic": b"\x00\x00\x00\x18ftypheic" + bytes(200),
    "avif": b"\x00\x00\x00\x18ftypavif" + bytes(200),
    "ilbc": b"FORM\x00\x00\x01\x00ILBCBMHD" + bytes(200),
    "soundfont": b"RIFF\x00\x10\x00\x00sfbkLIST" + bytes(200),
    "pdf": b"%PDF-1.7\n" + bytes(200),
    "zip": b"PK\x03\x04" + bytes(200),
    "program": b"\x7fELF\x02\x01\x01" + bytes(200),
    "windows text": "G\r\n".encode("utf-16") * 100,
    "cue sheet": b'PERFORMER "G"\nTITLE "G"\nFILE "a.wav" WAVE\n' * 50,
    "playlist": b"#EXTM3U\n/music/a.mp3\n" * 100,
    "text of G": b"G" * 187 + b"\n",
    "zeros": bytes(HEAD_BYTES),
    "ones": b"\xff" * HEAD_BYTES,
}


@pytest.mark.parametrize("name", NO_SOUND)
def test_what_is_no_sound_is_not_taken_for_it(name: str) -> None:
    assert not has_sound_signature(NO_SOUND[name])


def test_noise_and_text_are_not_taken_for_sound() -> None:
    rng = np.random.default_rng(0)
    assert not any(has_sound_signature(rng.bytes(HEAD_BYTES)) for _ in range(3000))
    letters = np.frombuffer(string.printable.encode(), np.uint8)
    assert not any(has_sound_signature(rng.choice(letters, HEAD_BYTES).tobytes()) for _ in range(300))


def test_signatures_hold_for_every_length_and_offset() -> None:
    """Whatever follows, and however short the file is, the answer is a bool."""
    rng = np.random.default_rng(1)
    for start in (b"\xff\xfb\x90", b"\xff\xf1P", b"\x0b\x77", b"FORM", b"FRM8", b"RIFF", b"\x00\x00\x00\x18ftyp", b"G"):
        for n_bytes in (0, 1, 2, 3, 5, 8, 300):
            assert has_sound_signature(start + rng.bytes(n_bytes)) in (True, False)


def test_an_extension_is_that_of_the_name() -> None:
    assert [extension_of(path) for path in ("/a.b/c", "/a/.mp3", "/a/b.MP3", "b.mp3.part")] == ["", "", ".mp3", ".part"]
