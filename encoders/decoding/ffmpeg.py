"""Decode with FFmpeg, through PyAV: the formats that libsndfile does not know, and files at which it gave up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from encoders.decoding.byte_range import ByteRange
from encoders.decoding.errors import AudioDecodeError
from encoders.decoding.libsndfile import buffer_frames

__all__ = ["UnknownFormatError", "decode_by_ffmpeg", "default_stream", "open_container"]

# Containers that FFmpeg may open. Left out on purpose: play lists (hls, concat, dash), which name other files
# or addresses, and the demuxers that take any text or bytes for a stream.
_FORMATS = (
    "3gp,aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,m4a,matroska,mlp,mov,mp3,mp4,mpc,mpc8,"
    "mpeg,mpegts,ogg,oma,rm,shn,tak,truehd,tta,voc,w64,wav,webm,wv"
)
_LOST_TAIL_S = 1.0
_IS_DEFAULT = 1  # AV_DISPOSITION_DEFAULT
# What PyAV raises besides its own errors for damaged files.
_PYAV_FAULTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class UnknownFormatError(AudioDecodeError):
    """The content is in no format that FFmpeg may open."""


def open_container(file: ByteRange, path: str | os.PathLike[str], *, options: dict[str, str] | None = None) -> Any:
    """Open a file by its content, as `av.container.InputContainer`.

    Raises:
        UnknownFormatError: FFmpeg knows no such format.
        OSError: the system refuses to read.
    """
    import av  # 30 ms and 60 MB: for the files that need it

    file.seek(0)
    try:
        # No protocol is ever needed beyond the open file: nothing in a file's content can name another one.
        return av.open(
            file,
            metadata_errors="replace",
            options={"format_whitelist": _FORMATS, "protocol_whitelist": "none", **(options or {})},
        )
    except (av.FFmpegError, *_PYAV_FAULTS) as error:
        raise UnknownFormatError(path, "not audio in any known format") from error


def default_stream(container: Any, path: str | os.PathLike[str]) -> Any:
    """Return the audio stream that players take: the first one flagged as default, else the first.

    Raises:
        AudioDecodeError: there is none, or FFmpeg does not know its codec.
    """
    streams = list(container.streams.audio)
    if not streams:
        raise AudioDecodeError(path, "it has no audio stream")
    stream = next((stream for stream in streams if int(stream.disposition) & _IS_DEFAULT), streams[0])
    if stream.codec_context is None:  # PyAV's decode() crashes the process then
        raise AudioDecodeError(path, "its audio is in a codec that FFmpeg does not know")
    return stream


def decode_by_ffmpeg(
    file: ByteRange,
    path: str | os.PathLike[str],
    *,
    skip_frames: Callable[[int], int],
    buffer_s: float,
    on_error: Callable[[str], None],
    options: dict[str, str] | None = None,
    refuse_pcm_as: str | None = None,
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield buffers [shape=(n, channels), float32] and their rate in Hz, without packets that do not decode.

    Args:
        file: the content.
        path: for messages.
        skip_frames: takes the rate, returns how many frames to leave out at the beginning.
        buffer_s: about the longest buffer, seconds.
        on_error: called with the reason if an error ends the file, or its last second does not decode.
        options: of FFmpeg's demuxer.
        refuse_pcm_as: the content is said to be this; refuse it if FFmpeg, too, takes it for samples.

    Raises:
        AudioDecodeError: nothing could be decoded.
    """
    with open_container(file, path, options=options) as container:
        stream = default_stream(container, path)
        if refuse_pcm_as and stream.codec_context.name.startswith("pcm"):
            raise AudioDecodeError(
                path, f"its samples hold {refuse_pcm_as}, which cannot be decoded from this container"
            )
        pending: list[np.ndarray] = []
        n_pending = n_skip = frames = rate_hz = n_channels = 0
        for samples, frame_rate_hz in _frames(container, stream, path, on_error=on_error):
            if (frame_rate_hz, samples.shape[1]) != (rate_hz, n_channels):
                if n_pending:
                    yield np.concatenate(pending), rate_hz
                n_skip = n_skip * frame_rate_hz // rate_hz if rate_hz else skip_frames(frame_rate_hz)
                pending, n_pending = [], 0
                rate_hz, n_channels = frame_rate_hz, samples.shape[1]
                frames = buffer_frames(path, rate_hz, n_channels, buffer_s)
            kept = samples[n_skip:]
            n_skip -= len(samples) - len(kept)
            if len(kept):
                pending.append(kept)
                n_pending += len(kept)
            if n_pending >= frames:
                yield np.concatenate(pending), rate_hz
                pending, n_pending = [], 0
        if n_pending:
            yield np.concatenate(pending), rate_hz


def _frames(
    container: Any, stream: Any, path: str | os.PathLike[str], *, on_error: Callable[[str], None]
) -> Iterator[tuple[np.ndarray, int]]:
    import av

    n_frames, failure = 0, ""
    lost_tail_s = 0.0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, *_PYAV_FAULTS) as error:
            failure, lost_tail_s = _reason(error), float("inf")
            break
        if packet is None:
            break
        try:
            decoded = [(_samples(frame), frame.sample_rate) for frame in packet.decode()]
        except (av.FFmpegError, *_PYAV_FAULTS) as error:
            failure = _reason(error)
            lost_tail_s += float((packet.duration or 0) * (packet.time_base or 0))
            continue
        for samples, rate_hz in decoded:
            n_frames += 1
            lost_tail_s = 0.0
            yield samples, rate_hz
    if not n_frames and failure:
        raise AudioDecodeError(path, f"its audio does not decode ({failure})")
    if lost_tail_s > _LOST_TAIL_S:
        on_error(failure)


def _reason(error: Exception) -> str:
    """Return FFmpeg's words for an error; for one of PyAV's own, what kind it is."""
    return str(getattr(error, "strerror", None) or f"{type(error).__name__} in the decoder")


def _samples(frame: Any) -> np.ndarray:
    """Return the samples of a frame [shape=(n, channels), float32]."""
    values = frame.to_ndarray()
    samples = values.T if frame.format.is_planar else values.reshape(-1, len(frame.layout.channels))
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    half = 1 << (8 * samples.dtype.itemsize - 1)
    return (samples.astype(np.float32) - (half if samples.dtype.kind == "u" else 0)) / half
