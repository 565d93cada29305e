"""Decoding: every format, every kind of bad file."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from audio_files import RATE_HZ, encode_with_av, level, noise, pitch_hz, tone

from encoders.audio import (
    AudioDecodeError,
    load_audio,
    stream_chunks,
)
from encoders.decode import container_texts, declared_duration_s, header_duration_s, mono_buffers

# ---- formats


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        ("wav", "PCM_16"),
        ("wav", "PCM_24"),
        ("wav", "PCM_U8"),
        ("wav", "FLOAT"),
        ("flac", "PCM_16"),
        ("aiff", "PCM_16"),
        ("caf", "PCM_16"),
        ("au", "PCM_16"),
        ("ogg", "VORBIS"),
        ("ogg", "OPUS"),
        ("mp3", "MPEG_LAYER_III"),
    ],
)
def test_formats_of_libsndfile(tmp_path: Path, suffix: str, subtype: str) -> None:
    path = tmp_path / f"tone.{suffix}"
    sf.write(path, np.stack([tone(2.0, rate_hz=48_000)] * 2, axis=1), 48_000, subtype=subtype)
    samples = load_audio(path)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(2 * RATE_HZ, abs=0.06 * RATE_HZ)
    assert pitch_hz(samples[RATE_HZ // 2 : RATE_HZ]) == pytest.approx(440, abs=3)
    assert level(samples[RATE_HZ // 2 : RATE_HZ]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("tone.m4a", "aac", "ipod"),
        ("tone.mp4", "aac", "mp4"),
        ("tone.aac", "aac", "adts"),
        ("lossless.m4a", "alac", "ipod"),
        ("tone.wma", "wmav2", "asf"),
        ("tone.webm", "libopus", "webm"),
        ("tone.wv", "wavpack", "wv"),
        ("tone.mp3", "aac", "ipod"),  # mislabelled: read for what it is
    ],
)
def test_formats_of_ffmpeg(tmp_path: Path, name: str, codec: str, container: str) -> None:
    path = tmp_path / name
    encode_with_av(path, tone(2.0, rate_hz=48_000), rate_hz=48_000, codec=codec, container=container)
    samples = load_audio(path)
    assert len(samples) == pytest.approx(2 * RATE_HZ, abs=0.1 * RATE_HZ)
    assert pitch_hz(samples[RATE_HZ // 2 : RATE_HZ]) == pytest.approx(440, abs=3)
    assert level(samples[RATE_HZ // 2 : RATE_HZ]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 32_000, 44_100, 96_000, 192_000])
def test_sample_rates(tmp_path: Path, rate_hz: int) -> None:
    path = tmp_path / "tone.wav"
    sf.write(path, tone(1.5, rate_hz=rate_hz), rate_hz)
    samples = load_audio(path)
    assert len(samples) == pytest.approx(1.5 * RATE_HZ, abs=1)
    assert pitch_hz(samples[:RATE_HZ]) == pytest.approx(440, abs=2)


def test_six_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "six.wav"
    channels = np.stack([noise(RATE_HZ, seed=seed) for seed in range(6)], axis=1)
    sf.write(path, channels, RATE_HZ, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(path), channels.mean(axis=1), atol=1e-6)


# ---- bad and odd files


def test_ten_milliseconds(tmp_path: Path) -> None:
    path = tmp_path / "click.wav"
    sf.write(path, tone(0.01, rate_hz=44_100), 44_100)
    (chunk,) = stream_chunks(path)
    assert chunk.end_s == pytest.approx(0.01, abs=1e-3)
    assert np.abs(chunk.samples).max() > 0.1


def test_one_sample(tmp_path: Path) -> None:
    path = tmp_path / "sample.wav"
    sf.write(path, np.array([0.5], np.float32), 192_000)
    try:
        chunks = list(stream_chunks(path))
    except AudioDecodeError as error:
        assert "too short" in str(error)
    else:
        assert len(chunks) == 1


def test_silence_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    sf.write(path, np.zeros(6 * RATE_HZ, np.float32), RATE_HZ)
    assert [chunk.samples.any() for chunk in stream_chunks(path)] == [False, False]


def test_values_that_are_no_numbers_become_zero(tmp_path: Path) -> None:
    path = tmp_path / "some.wav"
    samples = tone(2.0)
    samples[1_000:1_010] = np.nan
    samples[2_000] = np.inf
    samples[3_000] = -np.inf
    sf.write(path, samples, RATE_HZ, subtype="FLOAT")
    np.testing.assert_array_equal(load_audio(path), np.where(np.isfinite(samples), samples, 0.0))


def test_one_bad_channel_does_not_spoil_the_other(tmp_path: Path) -> None:
    path = tmp_path / "half.wav"
    sf.write(path, np.stack([tone(1.0), np.full(RATE_HZ, np.nan)], axis=1), RATE_HZ, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(path), tone(1.0) / 2, atol=1e-7)


def test_huge_values_stay_in_range(tmp_path: Path) -> None:
    path = tmp_path / "huge.wav"
    sf.write(path, np.full((RATE_HZ, 2), 3e38, np.float32), RATE_HZ, subtype="FLOAT")
    assert [float(chunk.samples.max()) for chunk in stream_chunks(path)] == [1.0]


def test_no_finite_value(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    sf.write(path, np.full(RATE_HZ, np.nan, np.float32), RATE_HZ, subtype="FLOAT")
    with pytest.raises(AudioDecodeError, match="every sample is NaN or infinite"):
        list(stream_chunks(path))


def write_bad(path: Path, kind: str) -> None:
    if kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("This is no music at all.\n" * 2_000)
    elif kind == "play list":
        path.write_text("#EXTM3U\n#EXTINF:1,\nsong.ts\n")
    elif kind == "random":
        path.write_bytes(np.random.default_rng(3).bytes(200_000))
    elif kind == "folder":
        path.mkdir()
    elif kind == "no samples":
        sf.write(path, np.empty(0, np.float32), RATE_HZ, format="WAV")
    elif kind == "header only":
        whole = path.with_suffix(".m4a")
        encode_with_av(whole, tone(2.0), rate_hz=RATE_HZ, codec="aac", container="ipod")
        path.write_bytes(whole.read_bytes()[:2_000])
    elif kind == "no audio stream":
        with av.open(str(path), "w", format="mp4") as output:
            stream = output.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 32
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
            output.mux([*stream.encode(frame), *stream.encode(None)])
    elif kind == "unknown codec":
        sf.write(path, tone(1.0), RATE_HZ, format="WAV", subtype="PCM_16")
        whole = bytearray(path.read_bytes())
        whole[20:22] = b"\x34\x12"  # the format tag
        path.write_bytes(whole)
    elif kind == "impossible place":
        sf.write(path, tone(1.0), RATE_HZ, format="CAF", subtype="PCM_16")
        whole = bytearray(path.read_bytes())
        size = whole.index(b"free") + 4
        whole[size : size + 8] = b"\x00\x00\xff\xff\xff\xff\x00\x7f"
        path.write_bytes(whole)
    elif kind != "missing":
        raise ValueError(kind)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("zero bytes", r"the file is empty \(0 bytes\)"),
        ("no samples", "the file holds no audio samples"),
        ("text", "not audio in any known format"),
        ("play list", "not audio in any known format"),
        ("random", "not audio in any known format"),
        ("header only", "not audio in any known format"),
        ("no audio stream", "it has no audio stream"),
        ("impossible place", "not audio in any known format"),
        ("unknown codec", "its audio is in a codec that FFmpeg does not know"),
        ("folder", "it is a folder, not an audio file"),
        ("missing", "no such file"),
    ],
)
def test_bad_files_are_named_with_the_reason(tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "bad.mp3"
    write_bad(path, kind)
    for read in (lambda: list(stream_chunks(path)), lambda: load_audio(path)):
        with pytest.raises(AudioDecodeError, match=rf"bad\.mp3: {reason}$") as caught:
            read()
        assert "\n" not in str(caught.value)
        assert caught.value.transient == (kind == "missing")


def test_a_concat_script_opens_no_other_file(tmp_path: Path) -> None:
    sf.write(tmp_path / "other.wav", tone(1.0), RATE_HZ)
    path = tmp_path / "script.mp3"
    path.write_text(f"ffconcat version 1.0\nfile {tmp_path}/other.wav\n")
    with pytest.raises(AudioDecodeError, match="not audio in any known format"):
        load_audio(path)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp3")
    with pytest.raises(AudioDecodeError, match="not a regular file"):
        load_audio(tmp_path / "pipe.mp3")


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.wav"
    sf.write(path, tone(1.0), RATE_HZ)
    if os.geteuid() == 0:  # chmod does not stop root

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("builtins.open", refuse)
    else:
        path.chmod(0)
    with pytest.raises(AudioDecodeError, match=r"locked\.wav: Permission denied") as caught:
        load_audio(path)
    assert caught.value.transient


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_of_a_truncated_file_the_rest_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    sf.write(path, noise(RATE_HZ * 10), RATE_HZ)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 3.0 < len(load_audio(path)) / RATE_HZ < 6.5


@pytest.mark.parametrize("suffix", ["mp3", "flac"])
def test_after_a_damaged_stretch_reading_goes_on(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"hole.{suffix}"
    sf.write(path, noise(RATE_HZ * 20), RATE_HZ)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4_000] = bytes(4_000)
    path.write_bytes(content)
    assert len(load_audio(path)) / RATE_HZ > 17.0


def test_names_outside_utf8_and_with_newlines(tmp_path: Path) -> None:
    raw_names = [b"two\nlines.wav", "音楽.wav".encode()]
    if sys.platform != "darwin":  # macOS takes UTF-8 alone
        raw_names.append(b"caf\xe9.wav")
    for raw_name in raw_names:
        path = os.path.join(os.fsencode(tmp_path), raw_name)
        with open(path, "wb") as file:
            sf.write(file, tone(0.5), RATE_HZ, format="WAV")
        assert len(load_audio(os.fsdecode(path))) == RATE_HZ // 2
        with open(path, "wb"):
            pass
        with pytest.raises(AudioDecodeError) as caught:
            load_audio(os.fsdecode(path))
        message = str(caught.value)
        assert message.isprintable()
        message.encode("utf-8")


def test_the_error_crosses_processes() -> None:
    error = AudioDecodeError("a.mp3", "two\nlines", transient=True)
    twin = copy.copy(error)  # by __reduce_ex__, as between processes
    assert (str(twin), twin.reason, twin.transient) == ("a.mp3: two lines", "two lines", True)


def test_what_headers_say(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    with sf.SoundFile(path, "w", RATE_HZ, 1) as sound:
        sound.title, sound.artist = "A title", "Someone"
        sound.write(tone(2.5))
    assert header_duration_s(path) == pytest.approx(2.5)
    assert container_texts(path)["title"] == "A title"
    path.write_bytes(b"nothing of the kind")
    assert header_duration_s(path) is None
    assert container_texts(path) == {}


# ---- files that end early


def _whole(path: Path, *, kind: str) -> bytes:
    samples = noise(20 * RATE_HZ) * tone(20.0)
    if kind in ("m4a", "mka"):
        codec, container = ("aac", "ipod") if kind == "m4a" else ("libmp3lame", "matroska")
        encode_with_av(path, samples, rate_hz=RATE_HZ, codec=codec, container=container)
        if kind == "m4a":  # its index moves to the front, as in files that are meant to be streamed
            with (
                av.open(str(path)) as source,
                av.open(str(path) + "f", "w", format="ipod", options={"movflags": "faststart"}) as copied,
            ):
                stream = copied.add_stream_from_template(source.streams.audio[0])
                for packet in source.demux(source.streams.audio[0]):
                    if packet.dts is not None:
                        packet.stream = stream
                        copied.mux(packet)
            return Path(str(path) + "f").read_bytes()
    else:
        sf.write(path, samples, RATE_HZ, format=kind.upper())
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "aiff", "au", "m4a", "mka"])
def test_what_a_file_declares_does_not_shrink_with_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"tone.{kind}"
    whole = _whole(path, kind=kind)
    path.write_bytes(whole)
    assert declared_duration_s(path) == pytest.approx(20.0, abs=0.1)
    path.write_bytes(whole[: len(whole) // 2])
    assert declared_duration_s(path) == pytest.approx(20.0, abs=0.1)
    decoded_s = sum(len(samples) / rate_hz for samples, rate_hz in mono_buffers(path))
    assert 5.0 < decoded_s < 12.0


def test_nothing_is_declared_where_the_length_is_an_estimate(tmp_path: Path) -> None:
    encode_with_av(tmp_path / "a.aac", tone(3.0), rate_hz=RATE_HZ, codec="aac", container="adts")
    sf.write(tmp_path / "a.mp3", tone(3.0), RATE_HZ)
    mp3 = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "uncounted.mp3").write_bytes(mp3[mp3.index(b"\xff\xfb", 4) :])
    sf.write(tmp_path / "a.wav", tone(3.0), RATE_HZ)
    wav = bytearray((tmp_path / "a.wav").read_bytes())
    wav[40:44] = b"\xff\xff\xff\xff"  # a program that wrote to a pipe
    (tmp_path / "piped.wav").write_bytes(wav)
    (tmp_path / "text.mp3").write_text("no sound")
    for name in ("a.aac", "uncounted.mp3", "piped.wav", "text.mp3", "absent.wav"):
        assert declared_duration_s(tmp_path / name) is None, name
    assert declared_duration_s(tmp_path / "a.mp3") == pytest.approx(3.0, abs=0.1)


def test_an_mp3_of_falling_bit_rate_is_read_to_its_end(tmp_path: Path) -> None:
    """Without a Xing header libsndfile estimates the length from the first frames, and stopped there."""
    samples = np.concatenate([noise(20 * RATE_HZ), np.zeros(20 * RATE_HZ, np.float32)])
    path = tmp_path / "loud first.mp3"
    sf.write(path, samples, RATE_HZ, bitrate_mode="VARIABLE", compression_level=0.3)
    whole = path.read_bytes()
    path.write_bytes(whole[whole.index(b"\xff\xfb", whole.index(b"Xing")) :])
    assert sum(len(part) / rate_hz for part, rate_hz in mono_buffers(path)) == pytest.approx(40.0, abs=0.2)
    assert len(load_audio(path, start_s=30.0)) == pytest.approx(10 * RATE_HZ, abs=0.2 * RATE_HZ)


def test_an_error_that_ends_a_file_is_reported(tmp_path: Path) -> None:
    """The first packets are sound and the rest are not; raw AAC declares no length."""
    path = tmp_path / "a.aac"
    encode_with_av(path, noise(10 * RATE_HZ), rate_hz=RATE_HZ, codec="aac", container="adts")
    whole = bytearray(path.read_bytes())
    errors: list[str] = []
    assert sum(len(samples) for samples, _ in mono_buffers(path, on_error=errors.append)) >= 10 * RATE_HZ
    assert errors == []
    start = 0
    while start < len(whole):  # headers stay, so that the packets are found
        length = (whole[start + 3] & 3) << 11 | whole[start + 4] << 3 | whole[start + 5] >> 5
        if start > len(whole) // 2:
            whole[start + 7 : start + length] = bytes(length - 7)
        start += length
    path.write_bytes(whole)
    decoded_s = sum(len(samples) / rate_hz for samples, rate_hz in mono_buffers(path, on_error=errors.append))
    assert 4.0 < decoded_s < 6.0
    assert errors == ["Invalid data found when processing input"]
