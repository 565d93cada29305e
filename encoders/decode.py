"""Opens any audio file and yields its channels mixed to one, buffer by buffer, at the file's own sample rate.

libsndfile reads the formats it knows (it is the fastest). FFmpeg, through PyAV, reads the rest and takes over where
libsndfile gives up on a damaged file. Both get the content only, never the name, so a mislabelled file is read as what
it is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from io import FileIO
from typing import Any

import numpy as np
import soundfile

from encoders.downmix import Downmix

__all__ = [
    "AudioDecodeError",
    "MonoBuffer",
    "OnError",
    "container_texts",
    "declared_duration_s",
    "header_duration_s",
    "mono_buffers",
    "printable_path",
]

MonoBuffer = tuple[np.ndarray, int]
"""Samples [shape=(n,), float32, finite] and their sample rate in Hz."""

OnError = Callable[[str], None]
"""Receives the reason in one line when decoding stops before the end of a file."""

_MIN_RATE_HZ = 1_000
_MAX_RATE_HZ = 1_536_000
_MAX_CHANNELS = 64
_MAX_BUFFER_VALUES = 1 << 21
"""Samples times channels that are held at once: 8 MB, whatever a header says."""

# Containers that FFmpeg may open. Left out on purpose: play lists (hls, concat, dash), which name other files
# or addresses, and the demuxers that take any text or bytes for a stream.
_AV_FORMATS = (
    "3gp,aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,m4a,matroska,mlp,mov,mp3,mp4,mpc,mpc8,"
    "mpeg,mpegts,ogg,oma,rm,shn,tak,truehd,tta,voc,w64,wav,webm,wv"
)


# Containers whose duration FFmpeg estimates from the bit rate or the last time stamps.
_ESTIMATING_AV_FORMATS = frozenset(("aac", "ac3", "amr", "dts", "eac3", "mlp", "mp3", "mpeg", "mpegts", "truehd"))
# libsndfile shortens the length that any other header declares to the file that is there.
_DECLARING_SF_FORMATS = frozenset(("FLAC", "OGG"))
_UNKNOWN_FRAMES = 1 << 60  # libsndfile's number of frames of a stream whose header names none is above
_UNKNOWN_RIFF_BYTES = 0x7FFF0000  # from here on, the size is what programs write that cannot seek back
_MAX_TAG_BYTES = 1 << 16  # what may follow the last frame of an MPEG file, mostly
_LOST_TAIL_S = 1.0


class AudioDecodeError(ValueError):
    """A file that cannot be decoded; its message is one line, "<path>: <reason>".

    Attributes:
        reason: why, without the path.
        transient: the system refused the file (missing, no permission, read error), so another try may
            succeed.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, *, transient: bool = False) -> None:
        self.reason = " ".join(reason.split())
        self.transient = transient
        super().__init__(path, self.reason)

    def __str__(self) -> str:
        return f"{printable_path(self.args[0])}: {self.reason}"


def printable_path(path: str | bytes | os.PathLike[str]) -> str:
    r"""Return a path as one line that any terminal can print.

    The rule is that of `index.printable`, which this package may not import: bytes that are not UTF-8 become `\xNN`,
    control characters and direction overrides their Python escapes; spaces of every kind and the joiner of emoji stay.
    """
    return "".join(_escaped(character) for character in os.fsdecode(path))


def _escaped(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:  # surrogateescape (PEP 383): the raw byte is the low eight bits
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable() or character == "\u200d" or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")


def mono_buffers(
    path: str | os.PathLike[str], *, start_s: int = 0, buffer_s: float = 10.0, on_error: OnError | None = None
) -> Iterator[MonoBuffer]:
    """Decode a file into mono buffers of at most about `buffer_s` seconds; memory does not grow with the file.

    Channels are mixed by `encoders.downmix`; samples that are NaN or infinite become 0, and samples beyond full scale
    stay. What can be read of a damaged file is read.

    Args:
        path: the file.
        start_s: whole seconds to leave out at the beginning; nothing is yielded if the file ends before.
        buffer_s: upper bound of a buffer's duration in seconds.
        on_error: called if an error of the decoder ends a file of which something was decoded.

    Raises:
        AudioDecodeError: the file cannot be read at all, holds no samples, or not one finite sample.
    """
    with _opened(path) as raw:
        decoded, any_finite = 0, False
        mix, form = None, (0, 0)
        for samples, rate_hz in _decoded(
            raw, path, start_s=start_s, buffer_s=buffer_s, on_error=on_error or (lambda _: None)
        ):
            if mix is None or form != (rate_hz, samples.shape[1]):  # the first buffer, or a stream that changes
                if mix is not None:
                    for mono in mix.last():
                        yield mono, form[0]
                    any_finite = any_finite or mix.any_finite
                form = (rate_hz, samples.shape[1])
                mix = Downmix(sample_rate_hz=rate_hz, channels=samples.shape[1])
            decoded += len(samples)
            for mono in mix.push(samples):
                yield mono, rate_hz
        if mix is not None:
            for mono in mix.last():
                yield mono, form[0]
            any_finite = any_finite or mix.any_finite
    if not decoded and not start_s:
        raise AudioDecodeError(path, "the file holds no audio samples")
    if decoded and not any_finite:
        raise AudioDecodeError(path, "every sample is NaN or infinite")


def header_duration_s(path: str | os.PathLike[str]) -> float | None:
    """Return the duration in seconds that the header declares or suggests, or None; it may be far off."""
    try:
        with _opened(path) as raw:
            try:
                with _sound_file(raw, path) as sound:
                    return float(sound.frames / sound.samplerate)
            except soundfile.SoundFileError:
                with _av_container(raw, path) as container:
                    return container.duration / 1e6 if container.duration else None
    except (AudioDecodeError, OSError):
        return None


def declared_duration_s(path: str | os.PathLike[str]) -> float | None:
    """Return the duration in seconds that a file declares, whether or not all of it is there.

    None where the format declares none, or only an estimate is available: raw AAC and AC-3 streams, MPEG audio without
    a Xing, Info or VBRI header, CAF and W64, containers with a picture or video beside the audio.
    """
    try:
        with _opened(path) as raw:
            return _declared_s(raw, path)
    except (AudioDecodeError, OSError):
        return None


def container_texts(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the container's own tags (RIFF INFO, AIFF, CAF, Matroska ...), names in lower case; or {}."""
    try:
        with _opened(path) as raw:
            try:
                with _sound_file(raw, path) as sound:
                    return dict(sound.copy_metadata())
            except soundfile.SoundFileError:
                with _av_container(raw, path) as container:
                    return {str(name).lower(): str(text) for name, text in container.metadata.items()}
    except (AudioDecodeError, OSError):
        return {}


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[FileIO]:
    """Open a regular, non-empty file; every refusal of the system becomes an AudioDecodeError."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise AudioDecodeError(path, "it is a folder, not an audio file")
        if not stat.S_ISREG(status.st_mode):
            raise AudioDecodeError(path, "it is not a regular file")
        if status.st_size == 0:
            raise AudioDecodeError(path, "the file is empty (0 bytes)")
        with open(path, "rb", buffering=0) as raw:  # its descriptor is read by C
            yield raw
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise AudioDecodeError(path, reason, transient=True) from error


def _decoded(
    raw: FileIO, path: str | os.PathLike[str], *, start_s: int, buffer_s: float, on_error: OnError
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield buffers [shape=(n, channels), float32] and their rate: libsndfile's, then FFmpeg's where that fails."""
    decoded = 0
    try:
        for samples, rate_hz in _by_soundfile(raw, path, start_s=start_s, buffer_s=buffer_s):
            yield samples, rate_hz
            decoded += len(samples)
        if not _is_cut_short_by_estimate(raw):
            return
    except soundfile.SoundFileError:
        pass
    raw.seek(0)
    try:
        yield from _by_av(raw, path, start_s=start_s, skip_samples=decoded, buffer_s=buffer_s, on_error=on_error)
    except AudioDecodeError as error:
        if not decoded:
            raise
        on_error(error.reason)


def _is_cut_short_by_estimate(raw: FileIO) -> bool:
    """Return whether libsndfile has left much of an MPEG file unread.

    Where the number of frames is not written in the file, libsndfile estimates it from the first ones, and stops there:
    far too early if what follows has a lower bit rate.
    """
    n_left = os.fstat(raw.fileno()).st_size - raw.tell()
    return n_left > _MAX_TAG_BYTES and _is_mpeg(raw) and not _mpeg_frames_are_counted(raw)


def _mpeg_start(raw: FileIO) -> int:
    """Return where the first MPEG frame is expected: behind an ID3v2 tag, if there is one."""
    head = os.pread(raw.fileno(), 10, 0)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


def _is_mpeg(raw: FileIO) -> bool:
    head = os.pread(raw.fileno(), 2, _mpeg_start(raw))
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0


def _mpeg_frames_are_counted(raw: FileIO) -> bool:
    first_frame = os.pread(raw.fileno(), 4096, _mpeg_start(raw))
    return any(name in first_frame for name in (b"Xing", b"Info", b"VBRI"))


def _declared_s(raw: FileIO, path: str | os.PathLike[str]) -> float | None:
    head = os.pread(raw.fileno(), 12, 0)
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        return _riff_declared_s(raw)
    try:
        with _sound_file(raw, path) as sound:
            frames, rate_hz, kind = sound.frames, sound.samplerate, sound.format
        if kind in ("MP3", "MPEG"):
            return frames / rate_hz if _mpeg_frames_are_counted(raw) else None
        if kind in _DECLARING_SF_FORMATS:
            return frames / rate_hz if frames < _UNKNOWN_FRAMES else None
    except soundfile.SoundFileError:
        pass
    with _av_container(raw, path) as container:
        if container.format.name in _ESTIMATING_AV_FORMATS or len(container.streams) != 1:
            return None
        (stream,) = container.streams
        if stream.type != "audio":
            return None
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return container.duration / 1e6 if container.duration else None


def _riff_declared_s(raw: FileIO) -> float | None:
    """Return the length of a WAVE file's data chunk in seconds, as its header has it."""
    raw.seek(12)
    bytes_per_s = 0
    while len(head := raw.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            return size / bytes_per_s if bytes_per_s and 0 < size < _UNKNOWN_RIFF_BYTES else None
        if head[:4] == b"fmt ":
            bytes_per_s = int.from_bytes(os.pread(raw.fileno(), 4, raw.tell() + 8), "little")
        raw.seek(size + size % 2, os.SEEK_CUR)
    return None


def _buffer_frames(path: str | os.PathLike[str], rate_hz: int, channels: int, buffer_s: float) -> int:
    """Return the frames of a buffer; refuse rates and channel counts that only a damaged header has."""
    if not _MIN_RATE_HZ <= rate_hz <= _MAX_RATE_HZ:
        raise AudioDecodeError(path, f"its sample rate of {rate_hz} Hz is not one of audio")
    if not 1 <= channels <= _MAX_CHANNELS:
        raise AudioDecodeError(path, f"it has {channels} channels; at most {_MAX_CHANNELS} are read")
    return max(1, min(round(rate_hz * buffer_s), _MAX_BUFFER_VALUES // channels))


def _sound_file(raw: FileIO, path: str | os.PathLike[str]) -> soundfile.SoundFile:
    # A descriptor carries no name, so libsndfile goes by content, and names outside UTF-8 do no harm.
    raw.seek(0)
    return soundfile.SoundFile(raw.fileno(), closefd=False)


def _by_soundfile(
    raw: FileIO, path: str | os.PathLike[str], *, start_s: int, buffer_s: float
) -> Iterator[tuple[np.ndarray, int]]:
    with _sound_file(raw, path) as sound:
        frames = _buffer_frames(path, sound.samplerate, sound.channels, buffer_s)
        if start_s:
            start = start_s * sound.samplerate
            if start >= sound.frames:
                return
            sound.seek(start)
        # float32, large buffers and one buffer: int16 costs 0.6 ms more per second of stereo mp3, 4096-frame
        # buffers 1.4.
        buffer = np.empty((frames, sound.channels), dtype=np.float32)
        while True:
            samples = sound.read(out=buffer)
            if not len(samples):
                return
            yield samples, sound.samplerate


class _Nameless:
    """A file to read, without its name, so that FFmpeg detects the format from the content."""

    def __init__(self, raw: FileIO) -> None:
        self.read = raw.read
        self.tell = raw.tell
        self._seek = raw.seek

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; where the system refuses the place, which a damaged header named, return a negative error number."""
        try:
            return self._seek(offset, whence)
        except OSError as error:  # FFmpeg goes on or gives up; an exception here would look like a fault of the disk
            if error.errno in (errno.EINVAL, errno.EOVERFLOW):
                return -error.errno
            raise


def _av_container(raw: FileIO, path: str | os.PathLike[str]) -> Any:
    import av  # 30 ms and 60 MB: for the files that need it

    raw.seek(0)
    try:
        # No protocol is ever needed beyond the open file: nothing in a file's content can name another one.
        return av.open(
            _Nameless(raw),
            metadata_errors="replace",
            options={"format_whitelist": _AV_FORMATS, "protocol_whitelist": "none"},
        )
    except (av.FFmpegError, ValueError) as error:
        raise AudioDecodeError(path, "not audio in any known format") from error


def _by_av(
    raw: FileIO,
    path: str | os.PathLike[str],
    *,
    start_s: int,
    skip_samples: int,
    buffer_s: float,
    on_error: OnError,
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield what FFmpeg reads, without the first `start_s` seconds and the `skip_samples` after them."""
    with _av_container(raw, path) as container:
        if not container.streams.audio:
            raise AudioDecodeError(path, "it has no audio stream")
        if container.streams.audio[0].codec_context is None:  # PyAV's decode() crashes the process then
            raise AudioDecodeError(path, "its audio is in a codec that FFmpeg does not know")
        pending: list[np.ndarray] = []
        n_pending = n_skip = frames = rate_hz = n_channels = 0
        for samples, frame_rate_hz in _av_frames(container, path, on_error=on_error):
            if (frame_rate_hz, samples.shape[1]) != (rate_hz, n_channels):
                if n_pending:
                    yield np.concatenate(pending), rate_hz
                if not rate_hz:
                    n_skip = start_s * frame_rate_hz + skip_samples
                pending, n_pending = [], 0
                rate_hz, n_channels = frame_rate_hz, samples.shape[1]
                frames = _buffer_frames(path, rate_hz, n_channels, buffer_s)
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


def _av_frames(container: Any, path: str | os.PathLike[str], *, on_error: OnError) -> Iterator[tuple[np.ndarray, int]]:
    """Yield frames [shape=(n, channels), float32] of the first audio stream, without packets that do not decode."""
    import av

    n_frames, failure = 0, ""
    lost_tail_s = 0.0
    try:
        for packet in container.demux(container.streams.audio[0]):
            try:
                for frame in packet.decode():
                    n_frames += 1
                    lost_tail_s = 0.0
                    yield _frame_samples(frame), frame.sample_rate
            except av.FFmpegError as error:
                failure = str(error.strerror)
                lost_tail_s += float((packet.duration or 0) * (packet.time_base or 0))
    except av.FFmpegError as error:
        failure = str(error.strerror)
        lost_tail_s = float("inf")
    if not n_frames and failure:
        raise AudioDecodeError(path, f"its audio does not decode ({failure})")
    if lost_tail_s > _LOST_TAIL_S:
        on_error(failure)


def _frame_samples(frame: Any) -> np.ndarray:
    values = frame.to_ndarray()
    samples = values.T if frame.format.is_planar else values.reshape(-1, len(frame.layout.channels))
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    half = 1 << (8 * samples.dtype.itemsize - 1)
    return (samples.astype(np.float32) - (half if samples.dtype.kind == "u" else 0)) / half
