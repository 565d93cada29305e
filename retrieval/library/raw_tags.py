"""Tags as bytes, for formats that do not say (or lie about) how their texts are encoded; nothing large is read.

Each function yields (name, value) with names in lower case. Pictures and the like are passed over without being read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from retrieval.library.tag_regions import Region, read_at

__all__ = [
    "LimitedReader",
    "TagTooLargeError",
    "aiff_texts",
    "apev2",
    "flac_comments",
    "id3v1",
    "mp4_texts",
    "riff_info",
    "small_id3v2",
]

_MOST_VALUE_BYTES = 1 << 20
_MOST_ITEMS = 10_000
_MOST_VALUES = 200  # of one item
_MOST_COMMENT_BYTES = 1 << 24

_INFO_NAMES = {b"INAM": "title", b"IART": "artist", b"IPRD": "album", b"IGNR": "genre", b"ICRD": "date"}
# Where the tags are, and how many bytes go before the first atom inside.
_MP4_PATH = ((b"moov", 0), (b"udta", 0), (b"meta", 4), (b"ilst", 0))
_AIFF_NAMES = {b"NAME": "title", b"AUTH": "artist"}


class TagTooLargeError(ValueError):
    """A tag is larger than what may be read of it."""


class LimitedReader:
    """A file of which only so many bytes may be read in all: what mutagen reads, it keeps in memory.

    Args:
        raw: the file.
        most_bytes: how many.
    """

    def __init__(self, raw: BinaryIO, *, most_bytes: int) -> None:
        self._raw = raw
        self._left = most_bytes

    def read(self, n_bytes: int = -1) -> bytes:
        """Read as the file does; TagTooLargeError beyond the limit."""
        data = self._raw.read(self._left + 1 if n_bytes < 0 else min(n_bytes, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise TagTooLargeError
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek as the file does."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """Tell as the file does."""
        return self._raw.tell()


def id3v1(raw: BinaryIO, region: Region) -> Iterator[tuple[str, bytes]]:
    """Yield the texts of an ID3v1 tag; the genre is its number."""
    data = read_at(raw, region.end - 128, 128)
    for name, start, end in (("title", 3, 33), ("artist", 33, 63), ("album", 63, 93), ("date", 93, 97)):
        yield name, data[start:end].partition(b"\0")[0].strip()
    if len(data) == 128:
        yield "genre number", data[127:]


def apev2(raw: BinaryIO, region: Region) -> Iterator[tuple[str, bytes]]:
    """Yield the texts of an APE tag (versions 1 and 2), each value of a list by itself."""
    position = region.start + (32 if read_at(raw, region.start, 8) == b"APETAGEX" else 0)
    for _ in range(_MOST_ITEMS):
        head = read_at(raw, position, 8 + 256)
        key, found, _ = head[8:].partition(b"\0")
        size, flags = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4))
        start = position + 8 + len(key) + 1
        if not found or start + size > region.end:
            return
        if flags & 6 == 0 and size <= _MOST_VALUE_BYTES:  # a text, not bytes or a link
            for value in read_at(raw, start, size).split(b"\0", _MOST_VALUES)[:_MOST_VALUES]:
                yield key.decode("latin-1").lower(), value
        position = start + size


def flac_comments(raw: BinaryIO, start: int) -> Iterator[tuple[str, bytes]]:
    """Yield the Vorbis comments of a FLAC stream that begins at `start`."""
    position = start + 4
    while len(head := read_at(raw, position, 4)) == 4:
        size = int.from_bytes(head[1:], "big")
        if head[0] & 0x7F == 4:
            yield from _comments(raw, position + 4, position + 4 + size)
            return
        if head[0] & 0x80:
            return
        position += 4 + size


def mp4_texts(raw: BinaryIO, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    """Yield the texts of an MP4 file between two places, for tags too large or damaged for mutagen."""
    for wanted, n_before in _MP4_PATH:
        found = next(((body, after) for name, body, after in _atoms(raw, start, end) if name == wanted), None)
        if found is None:
            return
        start, end = found[0] + n_before, found[1]
    for name, body, after in _atoms(raw, start, end):
        for kind, value, value_end in islice(_atoms(raw, body, after), _MOST_VALUES):
            is_text = kind == b"data" and read_at(raw, value, 4)[3:] == b"\1"
            if is_text and 8 < value_end - value <= _MOST_VALUE_BYTES:
                yield name.decode("latin-1"), read_at(raw, value + 8, value_end - value - 8)


def riff_info(raw: BinaryIO, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    """Yield the texts of the INFO lists of a RIFF file between two places."""
    for name, body, after in _chunks(raw, start + 12, end, order="little"):
        if name == b"LIST" and read_at(raw, body, 4) == b"INFO":
            for part, text, text_end in _chunks(raw, body + 4, after, order="little"):
                yield from _chunk_text(raw, _INFO_NAMES.get(part), text, text_end)


def aiff_texts(raw: BinaryIO, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    """Yield the text chunks of an AIFF file between two places."""
    for name, body, after in _chunks(raw, start + 12, end, order="big"):
        yield from _chunk_text(raw, _AIFF_NAMES.get(name), body, after)


def small_id3v2(raw: BinaryIO, region: Region) -> bytes:
    """Return an ID3v2 tag with the text frames of a larger one, as far as they are found without reading all of it."""
    head = read_at(raw, region.start, 10)
    version = head[3]
    n_name, n_size, n_head = (3, 3, 6) if version == 2 else (4, 4, 10)
    position = region.start + 10
    if head[5] & 0x40 and version > 2:  # an extended header
        size = read_at(raw, position, 4)
        position += _synchsafe(size) if version == 4 else int.from_bytes(size, "big") + 4
    frames = b""
    for _ in range(_MOST_ITEMS):
        frame = read_at(raw, position, n_head)
        name, size = frame[:n_name], frame[n_name : n_name + n_size]
        if not re.fullmatch(rb"[A-Z0-9]{3,4}", name) or position >= region.end:
            break
        n_bytes = _synchsafe(size) if version == 4 else int.from_bytes(size, "big")
        if name[:1] == b"T" and n_bytes + len(frames) <= _MOST_VALUE_BYTES:
            frames += frame + read_at(raw, position + n_head, n_bytes)
        position += n_head + n_bytes
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return head[:5] + bytes([head[5] & 0x80]) + size + frames


def _atoms(raw: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(_MOST_ITEMS):
        head = read_at(raw, start, 16)
        size, n_head = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, n_head = int.from_bytes(head[8:], "big"), 16
        if size < n_head or start + size > end:
            return
        yield head[4:8], start + n_head, start + size
        start += size


def _comments(raw: BinaryIO, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    position = start + 4 + int.from_bytes(read_at(raw, start, 4), "little") + 4  # after the vendor and the number
    for _ in range(_MOST_ITEMS):
        if position + 4 > end:
            return
        size = int.from_bytes(read_at(raw, position, 4), "little")
        position += 4
        if size <= _MOST_VALUE_BYTES and position + size <= end:
            name, found, value = read_at(raw, position, size).partition(b"=")
            if found:
                yield name.decode("latin-1").lower(), value
        position += size


def _chunks(raw: BinaryIO, start: int, end: int, *, order: str) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(_MOST_ITEMS):
        head = read_at(raw, start, 8)
        size = int.from_bytes(head[4:], "little" if order == "little" else "big")
        if len(head) < 8 or start + 8 + size > end:
            return
        yield head[:4], start + 8, start + 8 + size
        start += 8 + size + size % 2


def _chunk_text(raw: BinaryIO, name: str | None, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    if name is not None and end - start <= _MOST_VALUE_BYTES:
        yield name, read_at(raw, start, end - start).partition(b"\0")[0]


def _synchsafe(size: bytes) -> int:
    return sum((byte & 0x7F) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=False))
