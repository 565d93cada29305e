"""A file of every extension that can be made here, and what is known of the others."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import soundfile

from retrieval.library.extensions import SOUNDFILE_EXTENSIONS

RATE_HZ = 16_000
DURATION_S = 2.0


def tone(rate_hz: int) -> np.ndarray:
    times = np.arange(round(DURATION_S * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * 440.0 * times)).astype(np.float32)


def by_soundfile(path: Path, *, kind: str) -> None:
    rate_hz = {"WVE": 8000, "OGG": 48_000, "XI": 44_100}.get(kind, RATE_HZ)
    with open(path, "wb") as raw:
        soundfile.write(raw, tone(rate_hz), rate_hz, format=kind, subtype=soundfile.default_subtype(kind))


def by_av(path: Path, *, container: str, codec: str, rate_hz: int = 48_000, layout: str = "mono") -> None:
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate_hz, layout=layout, bit_rate=96_000)
        frame = av.AudioFrame.from_ndarray(tone(rate_hz)[None], format="fltp", layout="mono")
        frame.sample_rate = rate_hz
        context = stream.codec_context
        context.open()
        resampler = av.AudioResampler(
            format=context.format, layout=layout, rate=rate_hz, frame_size=context.frame_size or 1024
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(piece))


def dsd_bits() -> bytes:
    """A tone of 1 kHz in DSD64, by a first-order modulator, the least significant bit first."""
    rate_hz = 2_822_400
    error, bits = 0.0, []
    for number in range(round(0.25 * rate_hz)):
        error += 0.5 * math.sin(2 * math.pi * 1000.0 * number / rate_hz)
        bits.append(error >= 0)
        error -= 1.0 if bits[-1] else -1.0
    return np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()


def dsf(path: Path) -> None:
    data = dsd_bits()
    n_bits = 8 * len(data)
    data += bytes(-len(data) % 4096)
    form = struct.pack("<4sQIIIIIIQII", b"fmt ", 52, 1, 0, 1, 1, 2_822_400, 1, n_bits, 4096, 0)
    whole = 28 + 52 + 12 + len(data)
    path.write_bytes(
        struct.pack("<4sQQQ", b"DSD ", 28, whole, 0) + form + struct.pack("<4sQ", b"data", 12 + len(data)) + data
    )


def dff(path: Path) -> None:
    data = bytes(int(f"{byte:08b}"[::-1], 2) for byte in dsd_bits())  # this one has the first sample in the top bit

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">4sQ", name, len(body)) + body + bytes(len(body) % 2)

    properties = b"SND " + chunk(b"FS  ", struct.pack(">I", 2_822_400)) + chunk(b"CHNL", struct.pack(">H", 1) + b"C   ")
    properties += chunk(b"CMPR", b"DSD \x0enot compressed")
    body = b"DSD " + chunk(b"FVER", bytes((1, 5, 0, 0))) + chunk(b"PROP", properties) + chunk(b"DSD ", data)
    path.write_bytes(struct.pack(">4sQ", b"FRM8", len(body)) + body)


def amr(path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (100, 13), dtype=np.uint8)
    frames[:, 0] = 0x04  # 4.75 kbit/s, 20 ms each
    path.write_bytes(b"#!AMR\n" + frames.tobytes())


def realaudio(path: Path) -> None:
    by_av(path, container="rm", codec="real_144", rate_hz=8000)


_AV = {
    "aac adts": {"container": "adts", "codec": "aac"},
    "ac3": {"container": "ac3", "codec": "ac3"},
    "eac3 ec3": {"container": "eac3", "codec": "eac3"},
    "asf wma wmv": {"container": "asf", "codec": "wmav2", "rate_hz": 44_100},
    "avi": {"container": "avi", "codec": "pcm_s16le"},
    "flv": {"container": "flv", "codec": "aac", "rate_hz": 44_100},
    "mk3d mka mkv": {"container": "matroska", "codec": "libopus"},
    "weba webm": {"container": "webm", "codec": "libopus"},
    "alac m4r m4a m4b": {"container": "ipod", "codec": "alac"},
    "f4a f4b f4v ism isma ismv m4p m4v mj2 mp4 psp": {"container": "mp4", "codec": "aac"},
    "3g2 3ga 3gp": {"container": "3gp", "codec": "aac"},
    "mov qt": {"container": "mov", "codec": "pcm_s16le"},
    "m2a mp2 mpa": {"container": "mp2", "codec": "mp2"},
    "mpga": {"container": "mp3", "codec": "mp3"},
    "mpeg mpg vob": {"container": "mpeg", "codec": "mp2"},
    "m2t m2ts mts ts": {"container": "mpegts", "codec": "mp2"},
    "ogm ogv ogx": {"container": "ogg", "codec": "libopus"},
    "tta": {"container": "tta", "codec": "tta"},
    "wv": {"container": "wv", "codec": "wavpack"},
}
MAKERS: dict[str, Callable[[Path], None]] = {
    **{f".{name}": partial(by_av, **form) for names, form in _AV.items() for name in names.split()},  # type: ignore[arg-type]
    ".amr": amr,
    ".dff": dff,
    ".dsf": dsf,
    ".ra": realaudio,
    ".rm": realaudio,
    **{
        f".{name}": partial(by_soundfile, kind=kind)
        for kind, names in reversed(SOUNDFILE_EXTENSIONS.items())
        for name in names.split()
    },
}
"""What makes a file of an extension."""
UNMADE = {
    ".aa3": ("oma", "atrac3"),
    ".ape": ("ape", "ape"),
    ".dts": ("dts", "dca"),
    ".dtshd": ("dtshd", "dca"),
    ".mac": ("ape", "ape"),
    ".mlp": ("mlp", "mlp"),
    ".mp+": ("mpc", "mpc7"),
    ".mp1": ("mp3", "mp1float"),
    ".mpc": ("mpc8", "mpc8"),
    ".mpp": ("mpc", "mpc7"),
    ".oma": ("oma", "atrac3"),
    ".omg": ("oma", "atrac3p"),
    ".rmvb": ("rm", "cook"),
    ".shn": ("shn", "shorten"),
    ".spx": ("ogg", "speex"),
    ".tak": ("tak", "tak"),
    ".thd": ("truehd", "truehd"),
}
"""Extensions whose format nothing here writes: FFmpeg's demuxer and decoder for it."""
