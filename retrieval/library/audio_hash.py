"""The identity of a file's audio, whatever its tags: a hash of its bytes without those that hold tags.

What is left out is what taggers write: ID3, APE and Lyrics3 tags at the ends of any file, and inside of FLAC, Ogg, MP4,
RIFF, AIFF, CAF, ASF and DSF the chunks of text, pictures and padding, and the sizes and offsets that change with them.
Everything else counts, also whatever is not understood. So a file may be taken for another one without need (and is
then embedded again), but not the other way round. In Matroska all bytes count.

Decoding is not needed: this reads as fast as a hash of the file. A hash of demuxed packets would be slower, and would
not see what a demuxer leaves out: a second chained stream, frames behind a lying header.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, Union

import numpy as np

from retrieval.library.tag_regions import end_tags, read_at

__all__ = ["audio_hash"]

_Piece = Union[bytes, "tuple[int, int]"]
"""Bytes to hash, or the start and end of bytes of the file."""

_READ_BYTES = 1 << 20
_MOST_CHUNKS = 100_000  # of one file; what follows is hashed as it is

_RIFF_TAGS = frozenset(
    (b"id3 ", b"ID3 ", b"JUNK", b"junk", b"PAD ", b"FLLR", b"bext", b"iXML", b"_PMX", b"cart", b"DISP")
)
_AIFF_TAGS = frozenset((b"ID3 ", b"id3 ", b"NAME", b"AUTH", b"(c) ", b"ANNO"))
_CAF_TAGS = frozenset((b"info", b"free"))
_MP4_TAGS = frozenset((b"udta", b"free", b"skip", b"wide", b"meta"))
_MP4_PARENTS = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl"))
_MP4_DEPTH = 8
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_TAGS = frozenset(
    map(
        bytes.fromhex,
        (
            "3326b2758e66cf11a6d900aa0062ce6c",  # content description
            "40a4d0d207e3d21197f000a0c95ea850",  # extended content description
            "fab3112223bdd211b4b700a0c955fc6e",  # content branding
            "b503bf5f2ea9cf118ee300c00c205365",  # header extension: more tags, and nothing that decodes audio
            "74d40618dfca0945a4ba9aabcb96aae8",  # padding
        ),
    )
)


def audio_hash(path: str | os.PathLike[str], *, on_piece: Callable[[], None] | None = None) -> str:
    """Return the BLAKE2b hash (160 bits, hexadecimal) of a file without its tags.

    Args:
        path: the file, read in pieces of at most 1 MiB.
        on_piece: called after each piece.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=20, person=b"audio")
    with open(path, "rb") as raw:
        _, start, end = end_tags(raw)
        for piece in _pieces(raw, start, end):
            for data in (piece,) if isinstance(piece, bytes) else _read(raw, *piece):
                digest.update(data)
                if on_piece is not None:
                    on_piece()
    return digest.hexdigest()


def _read(raw: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        data = read_at(raw, start, min(_READ_BYTES, end - start))
        if not data:
            return
        yield data
        start += len(data)


def _pieces(raw: BinaryIO, start: int, end: int) -> Iterator[_Piece]:
    """Yield what is audio between two places of a file."""
    head = read_at(raw, start, 16)
    if head[:4] == b"fLaC":
        return _of_flac(raw, start, end)
    if head[:4] == b"OggS":
        return _of_ogg(raw, start, end)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _of_riff(raw, start, end, order="little", tags=_RIFF_TAGS)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _of_riff(raw, start, end, order="big", tags=_AIFF_TAGS)
    if head[:4] == b"caff":
        return _of_caf(raw, start, end)
    if head[4:8] == b"ftyp":
        return _of_mp4(raw, start, end)
    if head == _ASF_HEADER:
        return _of_asf(raw, start, end)
    if head[:4] == b"DSD ":
        return _of_dsf(raw, start, end)
    return iter([(start, end)])


def _of_flac(raw: BinaryIO, start: int, end: int) -> Iterator[_Piece]:
    """Keep the stream information and the frames."""
    position = start + 4
    yield b"fLaC"
    while len(head := read_at(raw, position, 4)) == 4 and position + 4 + int.from_bytes(head[1:], "big") <= end:
        after = position + 4 + int.from_bytes(head[1:], "big")
        if not 1 <= head[0] & 0x7F <= 6:  # padding, application, seek table, comment, cue sheet, picture
            yield bytes([head[0] & 0x7F])
            yield position + 4, after
        position = after
        if head[0] & 0x80:
            break
    yield position, end


def _of_riff(raw: BinaryIO, start: int, end: int, *, order: str, tags: frozenset[bytes]) -> Iterator[_Piece]:
    """Keep the chunks of RIFF (little-endian) or of AIFF (big-endian) that are no tags."""
    head = read_at(raw, start, 12)
    yield head[:4] + head[8:]
    position = start + 12
    for _ in range(_MOST_CHUNKS):
        head = read_at(raw, position, 12)
        size = _number(head[4:8], order)
        after = position + 8 + size
        if len(head) < 8 or not head[:4].isascii() or not head[:4].decode().isprintable() or after > end:
            break
        if head[:4] == b"ds64":  # its first number is the size of the file
            yield head[:4]
            yield position + 16, after
        elif head[:4] not in tags and not (head[:4] == b"LIST" and head[8:12] == b"INFO"):
            yield position, after
        position = min(end, after + size % 2)
    yield position, end
    declared = _number(read_at(raw, start + 4, 4), order)
    if declared not in (end - start - 8, position - start - 8):  # else it only says what tags there are
        yield declared.to_bytes(4, "big")


def _of_caf(raw: BinaryIO, start: int, end: int) -> Iterator[_Piece]:
    yield start, start + 8
    position = start + 8
    for _ in range(_MOST_CHUNKS):
        head = read_at(raw, position, 12)
        after = position + 12 + int.from_bytes(head[4:], "big")
        if len(head) < 12 or after > end:
            break
        if head[:4] not in _CAF_TAGS:
            yield position, after
        position = after
    yield position, end


def _of_asf(raw: BinaryIO, start: int, end: int) -> Iterator[_Piece]:
    header_end = min(end, start + _number(read_at(raw, start + 16, 8), "little"))
    position = start + 30
    for _ in range(_MOST_CHUNKS):
        head = read_at(raw, position, 24)
        after = position + _number(head[16:], "little")
        if len(head) < 24 or after < position + 24 or after > header_end:
            break
        if head[:16] == _ASF_PROPERTIES and after >= position + 48:
            yield position, position + 40
            yield position + 48, after  # between them, the size of the file
        elif head[:16] not in _ASF_TAGS:
            yield position, after
        position = after
    yield position, end


def _of_dsf(raw: BinaryIO, start: int, end: int) -> Iterator[_Piece]:
    yield start, start + 12
    tag = _number(read_at(raw, start + 20, 8), "little")  # in front of it, the size of the file
    is_there = start + 28 <= tag <= end and read_at(raw, tag, 3) == b"ID3"
    if not is_there and tag not in (0, end):
        yield tag.to_bytes(8, "big")
    yield start + 28, tag if is_there else end


def _of_mp4(raw: BinaryIO, start: int, end: int) -> Iterator[_Piece]:
    """Keep the atoms that are no tags; chunk offsets count from the start of the media data."""
    atoms = list(_atoms(raw, start, end))
    media = [(body, after) for kind, body, after in atoms if kind == b"mdat"]
    yield from _of_atoms(raw, atoms, media, _MP4_DEPTH)
    yield atoms[-1][2] if atoms else start, end


def _of_atoms(
    raw: BinaryIO, atoms: list[tuple[bytes, int, int]], media: list[tuple[int, int]], depth: int
) -> Iterator[_Piece]:
    for kind, body, after in atoms:
        if kind in _MP4_TAGS:
            continue
        yield kind
        if kind in _MP4_PARENTS and depth:
            inner = list(_atoms(raw, body, after))
            yield from _of_atoms(raw, inner, media, depth - 1)
            yield inner[-1][2] if inner else body, after
        elif kind in (b"stco", b"co64"):
            yield from _relative_offsets(raw, body, after, media, width=4 if kind == b"stco" else 8)
        else:
            yield body, after


def _atoms(raw: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start of the body and end of each atom, until one does not fit."""
    for _ in range(_MOST_CHUNKS):
        head = read_at(raw, start, 16)
        size, n_head = _number(head[:4], "big"), 8
        if size == 1:
            size, n_head = _number(head[8:], "big"), 16
        elif size == 0:
            size = end - start
        if len(head) < 8 or size < n_head or start + size > end:
            return
        yield head[4:8], start + n_head, start + size
        start += size


def _relative_offsets(
    raw: BinaryIO, body: int, after: int, media: list[tuple[int, int]], *, width: int
) -> Iterator[_Piece]:
    starts = np.array([start for start, _ in media] or [0], dtype=np.int64)
    ends = np.array([end for _, end in media] or [0], dtype=np.int64)
    yield read_at(raw, body, 8)
    for data in _read(raw, body + 8, after):
        usable = len(data) - len(data) % width
        offsets = np.frombuffer(data[:usable], dtype=f">u{width}").astype(np.int64)
        number = np.maximum(np.searchsorted(starts, offsets, side="right") - 1, 0)
        inside = (offsets >= starts[number]) & (offsets <= ends[number])
        yield np.where(inside, offsets - starts[number], offsets).astype("<i8").tobytes() + data[usable:]


def _of_ogg(raw: BinaryIO, start: int, end: int) -> Iterator[_Piece]:
    """Keep the packets but for comments, in pages of whatever length, and the last position of each stream."""
    streams: dict[bytes, _OggHeaders] = {}
    last: dict[bytes, bytes] = {}
    position = start
    while True:
        head = read_at(raw, position, 27)
        if len(head) < 27 or head[:4] != b"OggS":
            break
        sizes = read_at(raw, position + 27, head[26])
        body = position + 27 + head[26]
        after = body + sum(sizes)
        if len(sizes) < head[26] or after > end:
            break
        serial = head[14:18]
        if head[5] & 2:  # the first page of a stream
            yield from filter(None, [last.pop(serial, None)])
            streams[serial] = _OggHeaders()
        if serial in streams:
            yield from streams[serial].keep(read_at(raw, body, after - body), sizes)
            if streams[serial].are_over:
                del streams[serial]
        else:
            yield body, after
        last[serial] = head[6:14]
        if len(last) > _MOST_CHUNKS:
            break
        position = after
    yield from last.values()
    yield position, end


class _OggHeaders:
    """The packets at the start of a stream in Ogg, of which the comments are left out."""

    def __init__(self) -> None:
        self.are_over = False
        self._codec = b""
        self._number = -1
        self._goes_on = False  # the last packet, over the end of its page
        self._kept = True

    def keep(self, body: bytes, sizes: bytes) -> Iterator[bytes]:
        """Yield what counts of a page."""
        position = 0
        for is_whole, n_bytes in _packets(sizes):
            fragment = body[position : position + n_bytes]
            position += n_bytes
            if not self._goes_on and not self.are_over:
                self._begin(fragment)
            self._goes_on = not is_whole
            if self._kept:
                yield fragment
            if is_whole and self._is_last():
                self.are_over = self._kept = True

    def _begin(self, head: bytes) -> None:
        self._number += 1
        if self._number == 0:
            known = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
            self._codec = next((name for name in known if head.startswith(name)), b"")
        is_tag = {
            b"\x01vorbis": head.startswith(b"\x03vorbis"),
            b"OpusHead": head.startswith(b"OpusTags"),
            b"\x7fFLAC": self._number > 0 and 1 <= (head[:1] or b"\0")[0] & 0x7F <= 6,
            b"Speex   ": self._number == 1,
        }
        self._kept = not is_tag.get(self._codec, False)
        if self._codec == b"\x7fFLAC" and head[:1] == b"\xff":
            self.are_over = True

    def _is_last(self) -> bool:
        n_headers = {b"\x01vorbis": 3, b"OpusHead": 2, b"Speex   ": 2, b"\x7fFLAC": 1 << 16}
        return self._number + 1 >= n_headers.get(self._codec, 1)


def _packets(sizes: bytes) -> Iterator[tuple[bool, int]]:
    """Yield, of the segments of a page, whether each packet ends there and how many of its bytes the page has."""
    n_bytes = 0
    for size in sizes:
        n_bytes += size
        if size < 255:
            yield True, n_bytes
            n_bytes = 0
    if sizes and sizes[-1] == 255:
        yield False, n_bytes


def _number(data: bytes, order: str) -> int:
    return int.from_bytes(data, "little" if order == "little" else "big")
