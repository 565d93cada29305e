"""Files whose header declares less sound than there is, streams one after another, and what is no plain sound."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from audio_files import encode_with_av, tone

from encoders.decode import AudioDecodeError, declared_duration_s, mono_buffers
from encoders.decoding.byte_range import ByteRange
from encoders.decoding.ogg import ogg_links

RATE_HZ = 44_100
W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")


def sweep(duration_s: float = 8.0, *, rate_hz: int = RATE_HZ, from_hz: float = 200.0) -> np.ndarray:
    """A tone that rises all the time, so that every instant differs from every other."""
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (0.4 * np.sin(2 * np.pi * (from_hz * times + 60.0 * times**2))).astype(np.float32)


def encoded(samples: np.ndarray, kind: str, subtype: str | None = None, *, rate_hz: int = RATE_HZ) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=kind, subtype=subtype)
    return file.getvalue()


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def decoded(path: Path, **options: object) -> tuple[np.ndarray, list[str]]:
    errors: list[str] = []
    buffers = [samples for samples, _ in mono_buffers(path, on_error=errors.append, **options)]  # type: ignore[arg-type]
    return np.concatenate(buffers) if buffers else np.empty(0, np.float32), errors


def assert_same_sound(samples: np.ndarray, expected: np.ndarray, *, n_seams: int = 0, lag: int = 3000) -> None:
    """Compare second by second: each correlates with its place in the original, give or take a codec's delay.

    In `n_seams` of them, one decoder takes over from the other, and may repeat or leave out half a frame.
    """
    different = []
    assert abs(len(samples) - len(expected)) < 0.1 * RATE_HZ
    for start in range(0, len(expected) - RATE_HZ, RATE_HZ):
        piece = expected[start + lag : start + RATE_HZ - lag]
        window = samples[start : start + RATE_HZ]
        size = len(window) + len(piece)
        product = np.fft.irfft(np.fft.rfft(window, size) * np.conj(np.fft.rfft(piece, size)), size)
        best = int(np.argmax(np.abs(product[: len(window) - len(piece) + 1])))
        found = window[best : best + len(piece)]
        if abs(np.corrcoef(found, piece)[0, 1]) < 0.98:
            different.append(start / RATE_HZ)
    assert len(different) <= n_seams, different


def lying(kind: str) -> bytes:
    """An eight-second file whose header declares too little, nothing, or that it does not know."""
    name, _, what = kind.partition(" ")
    sound = sweep()
    if name == "mp3":
        data = encoded(sound, "MP3")
        at = data.find(b"Xing")
        assert 0 < at < 200
        return patched(data, at + 8, struct.pack(">I", int(what)))
    if name == "flac":
        data = encoded(sound, "FLAC")
        field = int.from_bytes(data[18:26], "big") >> 36 << 36
        return patched(data, 18, (field | int(what)).to_bytes(8, "big"))
    if name in ("wav", "wav24"):
        data = encoded(sound, "WAV", "PCM_24" if name == "wav24" else "PCM_16")
        data = patched(data, data.find(b"data") + 4, struct.pack("<I", int(what)))
        return patched(data, 4, struct.pack("<I", int(what)))
    if name == "aiff":
        data = encoded(sound, "AIFF")
        data = patched(data, data.find(b"SSND") + 4, struct.pack(">I", int(what)))
        return patched(data, data.find(b"COMM") + 10, struct.pack(">I", int(what) // 2))
    if name == "au":
        return patched(encoded(sound, "AU"), 8, struct.pack(">I", int(what)))
    data = encoded(sound, {"caf": "CAF", "w64": "W64", "rf64": "RF64"}[name])
    if name == "caf":
        return patched(data, data.find(b"data") + 4, struct.pack(">q", int(what)))
    if name == "w64":
        return patched(data, data.find(W64_DATA) + 16, struct.pack("<q", int(what)))
    return patched(data, data.find(b"ds64") + 16, struct.pack("<q", int(what)))


LIES = [
    "mp3 0",
    "mp3 50",
    "flac 0",
    "flac 44100",
    "wav 0",
    "wav 4294967295",
    "wav 2147483647",
    "wav 1000",
    "wav24 600",
    "aiff 0",
    "aiff 1008",
    "au 0",
    "au 1000",
    "au 4294967295",
    "caf 4",
    "caf 1004",
    "caf -1",
    "w64 0",
    "w64 1024",
    "rf64 0",
    "rf64 1000",
    "rf64 -1",
]


@pytest.mark.parametrize("kind", LIES)
def test_a_file_is_read_to_its_end_whatever_its_header_declares(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lying"
    path.write_bytes(lying(kind))
    samples, errors = decoded(path)
    assert errors == []
    assert_same_sound(samples, sweep(), n_seams=kind.startswith("mp3"))
    declared_s = declared_duration_s(path)
    what = int(kind.split()[1])
    if 0 < what < 1 << 20 and not kind.startswith(("w64", "caf 4")):
        assert declared_s is not None and declared_s < 2.0  # so that the difference can be said
    else:
        assert declared_s is None or declared_s == pytest.approx(8.0, abs=0.1) or declared_s < 0.1


@pytest.mark.parametrize("kind", ["mp3 50", "flac 44100", "wav 1000"])
def test_reading_starts_where_it_should_behind_the_declared_end(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lying"
    path.write_bytes(lying(kind))
    samples, _ = decoded(path, start_s=3)
    assert_same_sound(samples, sweep()[3 * RATE_HZ :])


@pytest.mark.parametrize("size", ["true", 0, 0xFFFF_FFFF, 1000])
def test_chunks_behind_the_sound_are_not_heard(tmp_path: Path, size: int | str) -> None:
    data = encoded(sweep(), "WAV")
    if size != "true":
        data = patched(data, data.find(b"data") + 4, struct.pack("<I", int(size)))
    text = b"INFOICMT" + struct.pack("<I", 40_000) + np.random.default_rng(0).bytes(40_000)
    path = tmp_path / "tagged.wav"
    path.write_bytes(data + b"LIST" + struct.pack("<I", len(text)) + text + b"id3 " + struct.pack("<I", 4) + b"ID3\x03")
    samples, _ = decoded(path)
    assert len(samples) == len(sweep())


def test_a_little_junk_behind_a_file_whose_sizes_agree_is_not_heard(tmp_path: Path) -> None:
    for kind in ("WAV", "AIFF"):
        path = tmp_path / kind
        path.write_bytes(encoded(sweep(), kind) + np.random.default_rng(1).bytes(10_000))
        assert len(decoded(path)[0]) == len(sweep())


def test_an_empty_sound_with_tags_stays_empty(tmp_path: Path) -> None:
    data = encoded(np.zeros(0, np.float32), "WAV")
    path = tmp_path / "empty.wav"
    path.write_bytes(data + b"LIST" + struct.pack("<I", 16) + b"INFOICMT" + struct.pack("<I", 4) + b"none")
    with pytest.raises(AudioDecodeError, match="no audio samples"):
        decoded(path)


def test_a_wave_file_beyond_four_gigabytes_is_read_to_its_end(tmp_path: Path) -> None:
    data = encoded(np.zeros(10, np.float32), "WAV", "PCM_U8", rate_hz=1_000_000)
    path = tmp_path / "long.wav"
    path.write_bytes(patched(data, data.find(b"data") + 4, b"\xff" * 4))
    os.truncate(path, (1 << 32) + (1 << 20))  # sparse
    errors: list[str] = []
    buffers = mono_buffers(path, start_s=4294, on_error=errors.append)
    assert sum(len(samples) for samples, _ in buffers) > 1_000_000


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("OGG", "VORBIS", 44_100, 1), ("OGG", "VORBIS", 44_100, 1)),
        (("OGG", "VORBIS", 44_100, 1), ("OGG", "VORBIS", 22_050, 2)),
        (("OGG", "OPUS", 48_000, 1), ("OGG", "OPUS", 48_000, 2)),
        (("OGG", "VORBIS", 44_100, 2), ("OGG", "OPUS", 48_000, 1)),
        (("MP3", None, 44_100, 1), ("MP3", None, 44_100, 1)),
        (("MP3", None, 44_100, 1), ("MP3", None, 22_050, 1)),
        (("MP3", None, 44_100, 1), ("MP3", None, 44_100, 2)),
    ],
)
def test_streams_one_after_another_are_read_to_the_last(tmp_path: Path, first: tuple, second: tuple) -> None:
    parts = []
    for (kind, subtype, rate_hz, channels), from_hz in ((first, 200.0), (second, 900.0)):
        sound = sweep(6.0, rate_hz=rate_hz, from_hz=from_hz)
        parts.append(encoded(np.stack([sound] * channels, 1), kind, subtype, rate_hz=rate_hz))
    path = tmp_path / "joined"
    tag = b"ID3\x03\0\0\0\0\x10\0" + bytes(2048) if first[0] == "MP3" else b""
    path.write_bytes(parts[0] + tag + parts[1])
    errors: list[str] = []
    seconds = pitches = 0.0
    last = np.empty(0)
    last_rate_hz = 0
    for samples, rate_hz in mono_buffers(path, buffer_s=1.0, on_error=errors.append):
        seconds += len(samples) / rate_hz
        last, last_rate_hz = samples, rate_hz
    assert errors == [] and seconds == pytest.approx(12.0, abs=0.2)
    assert last_rate_hz == second[2]
    spectrum = np.abs(np.fft.rfft(last * np.hanning(len(last))))
    pitches = float(np.argmax(spectrum) * last_rate_hz / len(last))
    assert 1450.0 < pitches < 1650.0  # the sweep of the second one ends at 1620 Hz
    assert sum(len(s) / r for s, r in mono_buffers(path, start_s=9)) == pytest.approx(3.0, abs=0.2)


def test_an_ordinary_ogg_file_is_one_link(tmp_path: Path) -> None:
    path = tmp_path / "one.ogg"
    path.write_bytes(encoded(sweep(), "OGG", "VORBIS"))
    with open(path, "rb") as file:
        assert ogg_links(ByteRange(file.fileno())) == [0]


def test_a_damaged_link_costs_only_itself(tmp_path: Path) -> None:
    parts = [encoded(sweep(4.0, from_hz=hz), "OGG", "VORBIS") for hz in (200.0, 500.0, 900.0)]
    middle = parts[1][:58] + bytes(len(parts[1]) - 58)  # its first page alone
    path = tmp_path / "chain.ogg"
    path.write_bytes(parts[0] + middle + parts[2])
    samples, errors = decoded(path)
    assert len(samples) / RATE_HZ == pytest.approx(8.0, abs=0.1) and len(errors) == 1


@pytest.mark.parametrize("junk", ["zeros", "noise", "text", "tag"])
def test_frames_behind_a_megabyte_of_junk_are_found(tmp_path: Path, junk: str) -> None:
    size = 1 << 20
    before = {
        "zeros": bytes(size),
        "noise": np.random.default_rng(1).bytes(size),
        "text": b"not a sound\n" * (size // 12),
        "tag": b"ID3\x03\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + bytes(size),
    }[junk]
    path = tmp_path / "junk.mp3"
    path.write_bytes(before + encoded(sweep(), "MP3"))
    assert_same_sound(decoded(path)[0], sweep())


def test_junk_alone_is_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "junk.mp3"
    path.write_bytes(np.random.default_rng(2).bytes(3 << 20))
    with pytest.raises(AudioDecodeError, match="not audio in any known format"):
        decoded(path)


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_stream_is_taken(tmp_path: Path, default: int) -> None:
    path = tmp_path / "two.mka"
    with av.open(str(path), "w", format="matroska") as output:
        streams = [output.add_stream("aac", rate=RATE_HZ, layout="mono", bit_rate=96_000) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
        for number, stream in enumerate(streams):
            sound = sweep(3.0, from_hz=200.0 + 1000.0 * number)
            frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            frame.sample_rate = RATE_HZ
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE_HZ, frame_size=1024)
            for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
                output.mux(stream.encode(piece))
    assert_same_sound(decoded(path)[0], sweep(3.0, from_hz=200.0 + 1000.0 * default))


def in_wave(path: Path, data: bytes, *, rate_hz: int = 48_000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(data)


def test_a_dolby_stream_in_a_wave_file_is_decoded(tmp_path: Path) -> None:
    carried = tmp_path / "carried.spdif"
    encode_with_av(carried, sweep(6.0, rate_hz=48_000), rate_hz=48_000, codec="ac3", container="spdif")
    path = tmp_path / "dolby.wav"
    in_wave(path, carried.read_bytes())
    samples, _ = decoded(path)
    assert abs(len(samples) - 6 * 48_000) < 5000
    spectrum = np.abs(np.fft.rfft(samples[48_000:96_000] * np.hanning(48_000)))
    assert 320.0 < float(np.argmax(spectrum)) < 450.0  # between 1 and 2 s the sweep rises from 320 to 440 Hz


@pytest.mark.parametrize("word", ["7ffe8001", "fe7f0180", "1fffe800", "ff1f00e8"])
def test_dts_in_a_wave_file_is_never_heard_as_noise(tmp_path: Path, word: str) -> None:
    frame = bytes.fromhex(word) + np.random.default_rng(3).bytes(2044)
    path = tmp_path / "dts.wav"
    in_wave(path, frame * 100)
    with pytest.raises(AudioDecodeError, match=r"DTS|does not decode"):
        decoded(path)


@pytest.mark.parametrize("error", [IndexError("tuple index out of range"), ValueError("bad"), OverflowError("big")])
def test_nothing_leaves_pyav_but_the_error_of_this_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = tmp_path / "tone.m4a"
    encode_with_av(path, tone(2.0), rate_hz=32_000, codec="aac", container="mp4")

    def broken(_: object) -> np.ndarray:
        raise error

    monkeypatch.setattr("encoders.decoding.ffmpeg._samples", broken)
    with pytest.raises(AudioDecodeError, match=type(error).__name__):
        decoded(path)


def test_decoders_print_nothing_and_others_are_not_silenced(tmp_path: Path) -> None:
    data = bytearray(encoded(sweep(), "MP3"))
    for at in range(9000, len(data) - 500, 7000):
        data[at : at + 200] = bytes(200)
    lying_path, damaged_path = tmp_path / "lying.mp3", tmp_path / "damaged.mp3"
    lying_path.write_bytes(lying("mp3 50"))
    damaged_path.write_bytes(data)
    code = (
        "import os, sys\n"
        "from encoders.decode import mono_buffers\n"
        "from encoders.decoding.libsndfile import quietly\n"
        "for path in sys.argv[1:]: list(mono_buffers(path))\n"
        "with quietly(): os.write(2, b'of another thread\\n[src/libmpg123/x.c] error\\n')\n"
        "print('at the end', file=sys.stderr)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(lying_path), str(damaged_path)], capture_output=True, text=True, check=True
    )
    assert run.stderr == "of another thread\nat the end\n"
