"""Whether a FLAC file goes on behind the number of samples that its header declares.

Source: RFC 9639, sections 8.2 (streaminfo) and 9.1 (frame header).
"""

from __future__ import annotations

from encoders.decoding.byte_range import ByteRange
from encoders.decoding.mpeg import tag_bytes

__all__ = ["flac_patches"]

_TOTAL_AT = 21  # from the start of "fLaC"; the upper half of this byte belongs to the sample size
_SEARCHED_BYTES = 1 << 18  # a frame is smaller than this, tags behind the last one mostly are
_RATES_IN_HEADER = {12: 1, 13: 2, 14: 2}
_SIZES_IN_HEADER = {6: 1, 7: 2}


def flac_patches(file: ByteRange) -> dict[int, bytes]:
    """Return patches (see `ByteRange`) that declare an unknown length, if the declared one is too small; else {}."""
    at = tag_bytes(file, 0)
    head = file.peek(at, 26)
    if head[:4] != b"fLaC" or len(head) < 26:
        return {}
    total = int.from_bytes(head[_TOTAL_AT : _TOTAL_AT + 5], "big") & ((1 << 36) - 1)
    block_samples = int.from_bytes(head[8:10], "big")
    first = max(at, file.size - _SEARCHED_BYTES)
    data = file.peek(first, _SEARCHED_BYTES)
    place = data.rfind(b"\xff")
    while place >= 0:
        number = _first_sample(data[place : place + 16], block_samples)
        if number is not None:
            unknown = bytes([head[_TOTAL_AT] & 0xF0]) + bytes(4)
            return {at + _TOTAL_AT: unknown} if total and number >= total else {}
        place = data.rfind(b"\xff", 0, place)
    return {}


def _first_sample(header: bytes, block_samples: int) -> int | None:
    """Return the number of a frame's first sample, or None where no frame begins so."""
    if len(header) < 6 or header[0] != 0xFF or header[1] not in (0xF8, 0xF9) or header[3] & 1:
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 15
    n_coded = 1 if header[4] < 0x80 else 8 - (header[4] ^ 0xFF).bit_length()
    if not size_code or rate_code == 15 or n_coded == 1 < header[4] >> 7 or n_coded > 7:
        return None
    end = 4 + n_coded + _SIZES_IN_HEADER.get(size_code, 0) + _RATES_IN_HEADER.get(rate_code, 0)
    if len(header) <= end or _crc8(header[:end]) != header[end]:
        return None
    number = header[4] & (0x7F if n_coded == 1 else 0xFF >> (n_coded + 1))
    for byte in header[5 : 4 + n_coded]:
        number = number << 6 | byte & 0x3F
    return number if header[1] == 0xF9 else number * block_samples


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07) & 0xFF if value & 0x80 else value << 1
    return value
