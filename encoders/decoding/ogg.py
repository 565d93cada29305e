"""Chained Ogg files: streams one after another, as radio recorders and `cat` make them.

Source: RFC 3533, sections 4 and 6.
"""

from __future__ import annotations

from encoders.decoding.byte_range import ByteRange

__all__ = ["is_ogg", "ogg_links"]

_PAGE_START = b"OggS\0"
_BEGINS_STREAM = 2
_HEADER_BYTES = 27
_BLOCK_BYTES = 1 << 20


def is_ogg(file: ByteRange) -> bool:
    """Return whether the file begins with a page of Ogg."""
    return file.peek(0, 5) == _PAGE_START


def ogg_links(file: ByteRange) -> list[int]:
    """Return where each link of a chain begins; one link for an ordinary file.

    Streams that begin together (sound beside video) are one link.
    """
    links: list[int] = []
    end_of_begin = -1  # the end of the last page that begins a stream
    for block_at in range(0, file.size, _BLOCK_BYTES):
        block = file.peek(block_at, _BLOCK_BYTES + _HEADER_BYTES)
        place = block.find(_PAGE_START)
        while 0 <= place < _BLOCK_BYTES:
            if len(block) > place + 5 and block[place + 5] & ~5 == _BEGINS_STREAM:
                at = block_at + place
                page = _page(file, at)
                if page:
                    if at != end_of_begin:
                        links.append(at)
                    end_of_begin = at + len(page)
            place = block.find(_PAGE_START, place + 1)
    return links


def _page(file: ByteRange, at: int) -> bytes:
    """Return the page at an offset, b"" if its checksum is wrong: other bytes can look like a page's beginning."""
    header = file.peek(at, _HEADER_BYTES + 255)
    if len(header) < _HEADER_BYTES:
        return b""
    n_lacing = header[26]
    page = file.peek(at, _HEADER_BYTES + n_lacing + sum(header[_HEADER_BYTES : _HEADER_BYTES + n_lacing]))
    without_crc = page[:22] + bytes(4) + page[26:]
    return page if _crc32(without_crc) == int.from_bytes(page[22:26], "little") else b""


def _crc32(data: bytes) -> int:
    """Return the checksum of a page: polynomial 0x04c11db7, neither reflected nor inverted."""
    value = 0
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if value & 0x80000000 else value << 1
    return value
