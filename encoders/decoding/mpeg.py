"""MPEG audio (mp1, mp2, mp3) without decoding it: where its frames are, and whether they are counted.

Source: ISO/IEC 11172-3 and 13818-3, header of a frame.
"""

from __future__ import annotations

import numpy as np

from encoders.decoding.byte_range import ByteRange

__all__ = ["counts_frames", "find_frames", "is_mpeg", "tag_bytes"]

_CHAIN_FRAMES = 5  # so many in a row are no accident: one chance in about 2^50 at a place of random bytes
_BLOCK_BYTES = 1 << 20
_MAX_FRAME_BYTES = 2881
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_V1_KBPS = {
    3: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_V2_KBPS = {
    3: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    1: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def tag_bytes(file: ByteRange, at: int) -> int:
    """Return the length of an ID3v2 tag at an offset, 0 if there is none."""
    head = file.peek(at, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    footer = 10 if head[5] & 0x10 else 0
    return 10 + footer + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


def is_mpeg(file: ByteRange) -> bool:
    """Return whether an MPEG frame follows the ID3v2 tag, or begins the file."""
    head = file.peek(tag_bytes(file, 0), 2)
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0


def counts_frames(file: ByteRange) -> bool:
    """Return whether the first frame is a Xing, Info or VBRI header that says how many follow (0 says nothing)."""
    first_frame = file.peek(tag_bytes(file, 0), 4096)
    for name, offset in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        at = first_frame.find(name)
        if at >= 0:
            has_count = name == b"VBRI" or int.from_bytes(first_frame[at + 4 : at + 8], "big") & 1 == 1
            return has_count and int.from_bytes(first_frame[at + offset : at + offset + 4], "big") > 0
    return False


def find_frames(file: ByteRange, at: int, *, max_bytes: int) -> int | None:
    """Return where the next unbroken run of frames begins, or None.

    Args:
        file: what to search.
        at: from where.
        max_bytes: how far; an ID3v2 tag at `at` does not count.
    """
    at += tag_bytes(file, at)
    overlap = _CHAIN_FRAMES * _MAX_FRAME_BYTES
    for block_at in range(at, min(at + max_bytes, file.size), _BLOCK_BYTES):
        block = file.peek(block_at, _BLOCK_BYTES + overlap)
        values = np.frombuffer(block, np.uint8)
        sync = np.flatnonzero((values[:-1] == 0xFF) & (values[1:] & 0xE6 > 0xE0))[: _BLOCK_BYTES // 64]
        for place in sync.tolist():
            if place < _BLOCK_BYTES and _is_chain(block, place):
                return block_at + place
    return None


def _is_chain(data: bytes, at: int) -> bool:
    kind = None
    for _ in range(_CHAIN_FRAMES):
        frame = _frame(data[at : at + 4])
        if frame is None or (kind is not None and frame[1] != kind):
            return False
        kind = frame[1]
        at += frame[0]
    return True


def _frame(header: bytes) -> tuple[int, tuple[int, int, int]] | None:
    """Return the length of a frame in bytes and its (version, layer, rate), or None where no frame begins so."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or not layer or bit_rate in (0, 15) or rate == 3:
        return None
    rate_hz = _RATES_HZ[version][rate]
    bits_per_s = 1000 * (_V1_KBPS if version == 3 else _V2_KBPS)[layer][bit_rate]
    padding = header[2] >> 1 & 1
    if layer == 3:
        return (12 * bits_per_s // rate_hz + padding) * 4, (version, layer, rate)
    samples_per_byte = 72 if layer == 1 and version != 3 else 144
    return samples_per_byte * bits_per_s // rate_hz + padding, (version, layer, rate)
