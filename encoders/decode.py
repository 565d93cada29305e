"""Opens any audio file and yields its channels mixed to one, buffer by buffer, at the file's own sample rate.

libsndfile reads the formats it knows (it is the fastest). FFmpeg, through PyAV, reads the rest and takes over where
libsndfile gives up on a damaged file. Both get the content only, never the name, so a mislabelled file is read as what
it is. A file is read to the end of its sound, not to the length that its header declares: headers of streams, of
interrupted recordings and of joined files declare too little.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from encoders.decoding.byte_range import ByteRange
from encoders.decoding.containers import SoundData, find_sound_data
from encoders.decoding.errors import AudioDecodeError, printable_path
from encoders.decoding.ffmpeg import UnknownFormatError, decode_by_ffmpeg, default_stream, open_container
from encoders.decoding.flac import flac_patches
from encoders.decoding.libsndfile import LibsndfileError, decode_by_libsndfile, open_sound_file
from encoders.decoding.mpeg import counts_frames, find_frames, is_mpeg
from encoders.decoding.ogg import is_ogg, ogg_links
from encoders.decoding.wrapped import wrapped_codec
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

_MAX_JUNK_BYTES = 16 << 20
"""How far into a file of no known format MPEG frames are searched for."""
# Containers whose duration FFmpeg estimates from the bit rate or the last time stamps.
_ESTIMATING_FFMPEG_FORMATS = frozenset(("aac", "ac3", "amr", "dts", "eac3", "mlp", "mp3", "mpeg", "mpegts", "truehd"))
# libsndfile shortens the length that any other header declares to the file that is there.
_DECLARING_SNDFILE_FORMATS = frozenset(("FLAC", "OGG"))
_UNKNOWN_FRAMES = 1 << 60  # libsndfile's number of frames of a stream whose header names none is above


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
    with _opened(path) as file:
        n_decoded, any_finite = 0, False
        mix, form = None, (0, 0)
        decoder = _Decoder(path, buffer_s=buffer_s, on_error=on_error or (lambda _: None))
        for samples, rate_hz in decoder.decode(file, start_s=start_s):
            if mix is None or form != (rate_hz, samples.shape[1]):  # the first buffer, or a stream that changes
                if mix is not None:
                    for mono in mix.last():
                        yield mono, form[0]
                    any_finite = any_finite or mix.any_finite
                form = (rate_hz, samples.shape[1])
                mix = Downmix(sample_rate_hz=rate_hz, channels=samples.shape[1])
            n_decoded += len(samples)
            for mono in mix.push(samples):
                yield mono, rate_hz
        if mix is not None:
            for mono in mix.last():
                yield mono, form[0]
            any_finite = any_finite or mix.any_finite
    if not n_decoded and not start_s:
        raise AudioDecodeError(path, "the file holds no audio samples")
    if n_decoded and not any_finite:
        raise AudioDecodeError(path, "every sample is NaN or infinite")


def header_duration_s(path: str | os.PathLike[str]) -> float | None:
    """Return the duration in seconds that the header declares or suggests, or None; it may be far off."""
    try:
        with _opened(path) as file:
            try:
                with open_sound_file(file) as sound:
                    return float(sound.frames / sound.samplerate)
            except LibsndfileError:
                with open_container(file, path) as container:
                    return container.duration / 1e6 if container.duration else None
    except (AudioDecodeError, OSError):
        return None


def declared_duration_s(path: str | os.PathLike[str]) -> float | None:
    """Return the duration in seconds that a file declares, whether that much is there, or less, or more.

    None where the format declares none, or only an estimate is available: headers of streams, raw AAC and AC-3 streams,
    MPEG audio without a Xing, Info or VBRI header, chained Ogg, W64, containers with a picture or video beside the
    audio.
    """
    try:
        with _opened(path) as file:
            return _declared_s(file, path)
    except (AudioDecodeError, OSError):
        return None


def container_texts(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the container's own tags (RIFF INFO, AIFF, CAF, Matroska ...), names in lower case; or {}."""
    try:
        with _opened(path) as file:
            try:
                with open_sound_file(file) as sound:
                    return dict(sound.copy_metadata())
            except LibsndfileError:
                with open_container(file, path) as container:
                    return {str(name).lower(): str(text) for name, text in container.metadata.items()}
    except (AudioDecodeError, OSError):
        return {}


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[ByteRange]:
    """Open a regular, non-empty file; every refusal of the system becomes an AudioDecodeError."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise AudioDecodeError(path, "it is a folder, not an audio file")
        if not stat.S_ISREG(status.st_mode):
            raise AudioDecodeError(path, "it is not a regular file")
        if status.st_size == 0:
            raise AudioDecodeError(path, "the file is empty (0 bytes)")
        with open(path, "rb", buffering=0) as raw:
            yield ByteRange(raw.fileno())
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise AudioDecodeError(path, reason, transient=True) from error


class _Decoder:
    """Decodes one file.

    Args:
        path: for messages.
        buffer_s: about the longest buffer, seconds.
        on_error: see `mono_buffers`.
    """

    def __init__(self, path: str | os.PathLike[str], *, buffer_s: float, on_error: OnError) -> None:
        self._path = path
        self._buffer_s = buffer_s
        self._on_error = on_error

    def decode(self, file: ByteRange, *, start_s: int) -> Iterator[tuple[np.ndarray, int]]:
        """Yield buffers [shape=(n, channels), float32] and their rate, without the first `start_s` seconds."""
        links = ogg_links(file) if is_ogg(file) else []
        if len(links) > 1:
            yield from self._chain(file, links, start_s=start_s)
            return
        sound = find_sound_data(file)
        wrapped = wrapped_codec(file, sound) if sound else None
        if wrapped:
            yield from self._by_ffmpeg(file, Fraction(start_s), refuse_pcm_as=wrapped)
        elif sound and not sound.fits:
            yield from self._by_ffmpeg(file, Fraction(start_s), options={"ignore_length": "1"})
        else:
            patches = sound.patches if sound else flac_patches(file)
            patched = ByteRange(file.descriptor, patches=patches) if patches else file
            try:
                yield from self._whole(patched, Fraction(start_s))
            except UnknownFormatError:
                first_frame = find_frames(file, 0, max_bytes=_MAX_JUNK_BYTES)
                if not first_frame:
                    raise
                yield from self._whole(ByteRange(file.descriptor, start=first_frame), Fraction(start_s))

    def _chain(self, file: ByteRange, links: list[int], *, start_s: int) -> Iterator[tuple[np.ndarray, int]]:
        """Yield the links of a chained Ogg file one after another; one that does not decode costs only itself."""
        skip_s = Fraction(start_s)
        n_decoded = 0
        error: AudioDecodeError | None = None
        for start, end in zip(links, [*links[1:], file.size], strict=True):
            link = ByteRange(file.descriptor, start=start, end=end)
            if skip_s:
                with contextlib.suppress(LibsndfileError), open_sound_file(link) as sound:
                    link_s = Fraction(sound.frames, sound.samplerate)
                    if link_s <= skip_s:
                        skip_s -= link_s
                        continue
            try:
                for samples, rate_hz in self._whole(link, skip_s):
                    n_decoded += len(samples)
                    yield samples, rate_hz
            except AudioDecodeError as failed:
                if failed.transient:
                    raise
                error = failed
            skip_s = Fraction(0)
        if error is not None:
            if not n_decoded:
                raise error
            self._on_error(error.reason)

    def _whole(self, file: ByteRange, skip_s: Fraction) -> Iterator[tuple[np.ndarray, int]]:
        """Yield what libsndfile reads, then what FFmpeg reads where that failed or stopped before the end."""
        n_decoded = 0
        try:
            with open_sound_file(file) as sound:
                skip_frames = int(skip_s * sound.samplerate)
            for samples, rate_hz in decode_by_libsndfile(
                file, self._path, skip_frames=skip_frames, buffer_s=self._buffer_s
            ):
                yield samples, rate_hz
                n_decoded += len(samples)
            if not _goes_on(file):
                return
        except LibsndfileError:
            pass
        try:
            yield from self._by_ffmpeg(file, skip_s, n_decoded=n_decoded)
        except AudioDecodeError as error:
            if not n_decoded:
                raise
            self._on_error(error.reason)

    def _by_ffmpeg(
        self,
        file: ByteRange,
        skip_s: Fraction,
        *,
        n_decoded: int = 0,
        options: dict[str, str] | None = None,
        refuse_pcm_as: str | None = None,
    ) -> Iterator[tuple[np.ndarray, int]]:
        return decode_by_ffmpeg(
            file,
            self._path,
            skip_frames=lambda rate_hz: int(skip_s * rate_hz) + n_decoded,
            buffer_s=self._buffer_s,
            on_error=self._on_error,
            options=options,
            refuse_pcm_as=refuse_pcm_as,
        )


def _goes_on(file: ByteRange) -> bool:
    """Return whether libsndfile stopped before the end of an MPEG file.

    It believes the number of frames in a Xing header, and estimates it from the first frames where there is none: far
    too low if what follows has a lower bit rate. Joined files declare the length of the first one.
    """
    if not is_mpeg(file):
        return False
    at = os.lseek(file.descriptor, 0, os.SEEK_CUR) if file.is_whole_file else file.tell()
    return find_frames(file, at, max_bytes=file.size) is not None


def _declared_s(file: ByteRange, path: str | os.PathLike[str]) -> float | None:
    sound_data = find_sound_data(file)
    if sound_data is not None:
        return _container_declared_s(file, sound_data)
    if is_ogg(file) and len(ogg_links(file)) > 1:
        return None
    try:
        with open_sound_file(file) as sound:
            frames, rate_hz, kind = sound.frames, sound.samplerate, sound.format
        if kind in ("MP3", "MPEG"):
            return frames / rate_hz if counts_frames(file) else None
        if kind in _DECLARING_SNDFILE_FORMATS:
            return frames / rate_hz if frames < _UNKNOWN_FRAMES else None
    except LibsndfileError:
        pass
    with open_container(file, path) as container:
        if container.format.name in _ESTIMATING_FFMPEG_FORMATS or len(container.streams) != 1:
            return None
        stream = default_stream(container, path)
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return container.duration / 1e6 if container.duration else None


def _container_declared_s(file: ByteRange, data: SoundData) -> float | None:
    """Return the declared length: the actual one, by the ratio of the bytes that are declared and there."""
    if not data.declared_bytes or data.actual_bytes <= 0:
        return None
    try:
        with open_sound_file(ByteRange(file.descriptor, patches=data.patches)) as sound:
            return sound.frames / sound.samplerate * data.declared_bytes / data.actual_bytes
    except LibsndfileError:
        return None
