"""Sound files of every format that libsndfile and FFmpeg write, of seeded sounds, for `hostile.py` to damage."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile

__all__ = ["FORMATS", "Format", "Original", "make_originals"]


@dataclass(frozen=True)
class Format:
    """A container with a codec in it.

    Attributes:
        name: for reports.
        extension: with the dot.
        write: writes samples [shape=(n, channels)] float32 in [-1, 1] at a rate.
        rates_hz: sample rates to choose from.
        max_channels: one or two.
        joins: whether two files of it, one after the other, are a file of it again.
        is_plain: whether the sound is stored sample by sample, so that a shorter file is as much shorter as a sound.
    """

    name: str
    extension: str
    write: Callable[[Path, np.ndarray, int], None]
    rates_hz: tuple[int, ...] = (44_100, 48_000, 22_050)
    max_channels: int = 2
    joins: bool = False
    is_plain: bool = False


@dataclass(frozen=True)
class Original:
    """A whole file: its format, bytes and true duration."""

    format: Format
    data: bytes
    duration_s: float


def _by_soundfile(kind: str, subtype: str) -> Callable[[Path, np.ndarray, int], None]:
    def write(path: Path, samples: np.ndarray, rate_hz: int) -> None:
        soundfile.write(path, samples, rate_hz, format=kind, subtype=subtype)

    return write


def _by_av(container: str, codec: str, **options: str) -> Callable[[Path, np.ndarray, int], None]:
    def write(path: Path, samples: np.ndarray, rate_hz: int) -> None:
        layout = "mono" if samples.shape[1] == 1 else "stereo"
        with av.open(str(path), "w", format=container, options=options) as file:
            stream = file.add_stream(codec, rate=rate_hz, layout=layout)
            codec_context = stream.codec_context
            if codec == "wmav2":  # the only one without a bit rate of its own
                codec_context.bit_rate = 128_000
            codec_context.open(strict=False)
            resampler = av.AudioResampler(
                format=codec_context.format, layout=layout, rate=rate_hz, frame_size=codec_context.frame_size or None
            )
            step = 4096
            for start in range(0, len(samples), step):
                part = np.ascontiguousarray(samples[start : start + step].T)
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
                frame.sample_rate, frame.pts = rate_hz, start
                for resampled in resampler.resample(frame):
                    file.mux(stream.encode(resampled))
            for resampled in resampler.resample(None):
                file.mux(stream.encode(resampled))
            file.mux(stream.encode(None))

    return write


_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
_OPUS_HZ = (48_000, 24_000)

FORMATS = (
    Format("wav pcm16", ".wav", _by_soundfile("WAV", "PCM_16"), is_plain=True),
    Format("wav pcm24", ".wav", _by_soundfile("WAV", "PCM_24"), is_plain=True),
    Format("wav float", ".wav", _by_soundfile("WAV", "FLOAT"), is_plain=True),
    Format("wav ulaw", ".wav", _by_soundfile("WAV", "ULAW"), is_plain=True),
    Format("wav ima adpcm", ".wav", _by_soundfile("WAV", "IMA_ADPCM")),
    Format("wav extensible", ".wav", _by_soundfile("WAVEX", "PCM_24"), is_plain=True),
    Format("rf64", ".wav", _by_soundfile("RF64", "PCM_16"), is_plain=True),
    Format("w64", ".w64", _by_soundfile("W64", "PCM_16"), is_plain=True),
    Format("aiff", ".aiff", _by_soundfile("AIFF", "PCM_16"), is_plain=True),
    Format("aifc float", ".aifc", _by_soundfile("AIFF", "FLOAT"), is_plain=True),
    Format("au", ".au", _by_soundfile("AU", "PCM_16"), is_plain=True),
    Format("caf pcm", ".caf", _by_soundfile("CAF", "PCM_16"), is_plain=True),
    Format("caf alac", ".caf", _by_soundfile("CAF", "ALAC_16")),
    Format("flac", ".flac", _by_soundfile("FLAC", "PCM_16")),
    Format("flac in ogg", ".oga", _by_av("ogg", "flac"), joins=True),
    Format("vorbis", ".ogg", _by_soundfile("OGG", "VORBIS"), joins=True),
    Format("opus", ".opus", _by_soundfile("OGG", "OPUS"), rates_hz=_OPUS_HZ, joins=True),
    Format("mp3", ".mp3", _by_soundfile("MP3", "MPEG_LAYER_III"), joins=True),
    Format("mp3 no xing", ".mp3", _by_av("mp3", "libmp3lame", write_xing="0", id3v2_version="0"), joins=True),
    Format("mp2", ".mp2", _by_av("mp2", "mp2"), joins=True),
    Format("aac adts", ".aac", _by_av("adts", "aac"), joins=True),
    Format("m4a aac", ".m4a", _by_av("ipod", "aac")),
    Format("m4a fragmented", ".m4a", _by_av("mp4", "aac", **_FRAGMENTED)),
    Format("m4a alac", ".m4a", _by_av("ipod", "alac")),
    Format("ac3", ".ac3", _by_av("ac3", "ac3"), rates_hz=(44_100, 48_000), joins=True),
    Format("mka flac", ".mka", _by_av("matroska", "flac")),
    Format("mka pcm", ".mka", _by_av("matroska", "pcm_s16le")),
    Format("webm opus", ".webm", _by_av("webm", "libopus"), rates_hz=_OPUS_HZ),
    Format("wavpack", ".wv", _by_av("wv", "wavpack")),
    Format("tta", ".tta", _by_av("tta", "tta")),
    Format("wma", ".wma", _by_av("asf", "wmav2")),
    Format("amr", ".amr", _by_av("amr", "libopencore_amrnb"), rates_hz=(8_000,), max_channels=1),
)


def make_originals(seed: int, *, per_format: int, formats: Sequence[Format] = FORMATS) -> list[list[Original]]:
    """Write files of seeded sounds in every format.

    Args:
        seed: determines the sounds, durations, sample rates and numbers of channels.
        per_format: how many files of each format.
        formats: the formats.

    Returns:
        For each format its files, 2 to 7 s long.
    """
    made: list[list[Original]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(formats):
            made.append([])
            for variant in range(per_format):
                rng = np.random.default_rng((seed, number, variant))
                rate_hz = int(rng.choice(kind.rates_hz))
                n_channels = int(rng.integers(1, kind.max_channels + 1))
                samples = _sound(rng, round(rng.uniform(2.0, 7.0) * rate_hz), n_channels, rate_hz)
                path = Path(folder) / f"original{kind.extension}"
                kind.write(path, samples, rate_hz)
                made[-1].append(Original(kind, path.read_bytes(), len(samples) / rate_hz))
    return made


def _sound(rng: np.random.Generator, n_samples: int, n_channels: int, rate_hz: int) -> np.ndarray:
    """Return decaying notes over soft noise [shape=(n_samples, n_channels)], float32 below 0.7."""
    time_s = np.arange(n_samples) / rate_hz
    sound = 0.02 * rng.standard_normal(n_samples)
    for onset_s in np.arange(0.0, n_samples / rate_hz, 0.4):
        pitch_hz, since_s = rng.uniform(110.0, 1_500.0), time_s - onset_s
        note = np.where(since_s >= 0, np.exp(-3.0 * np.maximum(since_s, 0.0)), 0.0)
        sound += 0.2 * note * np.sin(2 * np.pi * pitch_hz * since_s)
    sound *= 0.6 / np.abs(sound).max()
    gains = 1.0 - 0.3 * np.arange(n_channels)
    return (sound[:, None] * gains).astype(np.float32)
