"""Where tags lie at the ends of a file: ID3v2 before the audio; ID3v1, Lyrics3, APEv2 and ID3v2 behind it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Region", "end_tags", "id3v2_size", "read_at"]

_APE_HEADER_BYTES = 32
_MOST_TAGS = 32  # of one file; what else there is counts as audio


@dataclass(frozen=True)
class Region:
    """A tag: `kind` is "id3v2", "id3v1", "lyrics3" or "apev2"; it fills the bytes from `start` to before `end`."""

    kind: str
    start: int
    end: int


def read_at(raw: BinaryIO, start: int, n_bytes: int) -> bytes:
    """Return bytes of a file; fewer where it ends before."""
    raw.seek(start)
    return raw.read(n_bytes)


def id3v2_size(head: bytes) -> int | None:
    """Return the size of an ID3v2 tag in bytes, its header and footer included, or None if there is none.

    Args:
        head: its first 10 bytes, or the 10 bytes of its footer.
    """
    if len(head) < 10 or head[:3] not in (b"ID3", b"3DI") or head[3] == 0xFF or head[4] == 0xFF:
        return None
    if any(byte & 0x80 for byte in head[6:10]):
        return None
    size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    has_footer = head[3] >= 4 and head[5] & 0x10
    return size + (20 if has_footer else 10)


def end_tags(raw: BinaryIO) -> tuple[list[Region], int, int]:
    """Find the tags before and behind the content of a file.

    Args:
        raw: the file, open for reading; its position changes.

    Returns:
        The tags in the order in which they lie, and the start and end of what is between them. A tag that claims more
        than the file is cut to the file.
    """
    end = os.fstat(raw.fileno()).st_size
    before: list[Region] = []
    start = 0
    while len(before) < _MOST_TAGS and (region := _tag_from(raw, start, end)) is not None:
        before.append(region)
        start = region.end
    behind: list[Region] = []
    while len(behind) < _MOST_TAGS and (region := _tag_until(raw, start, end)) is not None:
        behind.append(region)
        end = region.start
    return [*before, *reversed(behind)], start, end


def _tag_from(raw: BinaryIO, start: int, end: int) -> Region | None:
    head = read_at(raw, start, _APE_HEADER_BYTES)
    size = id3v2_size(head) if head[:3] == b"ID3" else None
    if size is not None:
        return Region("id3v2", start, min(end, start + size))
    size = _ape_size(head)
    if size is not None and start + size <= end:
        return Region("apev2", start, start + size)
    return None


def _tag_until(raw: BinaryIO, start: int, end: int) -> Region | None:
    """Return the tag that ends where the rest of the file begins."""
    if end - start >= 128 and read_at(raw, end - 128, 3) == b"TAG":
        extended = end - start >= 128 + 227 and read_at(raw, end - 128 - 227, 4) == b"TAG+"
        return Region("id3v1", end - 128 - (227 if extended else 0), end)
    foot = read_at(raw, max(start, end - _APE_HEADER_BYTES), min(_APE_HEADER_BYTES, end - start))
    size = _ape_size(foot)
    if size is not None and end - size >= start:
        return Region("apev2", end - size, end)
    if foot[-9:] == b"LYRICS200" and foot[-15:-9].isdigit():
        size = int(foot[-15:-9]) + 15
        if end - size >= start and read_at(raw, end - size, 11) == b"LYRICSBEGIN":
            return Region("lyrics3", end - size, end)
    size = id3v2_size(foot[-10:]) if foot[-10:-7] == b"3DI" else None
    if size is not None and end - size >= start:
        return Region("id3v2", end - size, end)
    return None


def _ape_size(head: bytes) -> int | None:
    """Return the size of an APE tag, its header included, from its 32 bytes of header or footer."""
    if len(head) < _APE_HEADER_BYTES or head[:8] != b"APETAGEX":
        return None
    version, size, _, flags = (int.from_bytes(head[at : at + 4], "little") for at in (8, 12, 16, 20))
    if version not in (1000, 2000) or size < _APE_HEADER_BYTES:
        return None
    has_header = version == 2000 and flags & 0x80000000
    return size + (_APE_HEADER_BYTES if has_header else 0)
