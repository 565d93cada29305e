"""Compressed sound that a WAVE file holds as if it were samples: DTS on music CDs, and what S/PDIF carries.

Read as samples it is loud noise.

Source: ETSI TS 102 114 (DTS, sync words in 16 and 14 bits of either byte order); IEC 61937-1 (preamble).
"""

from __future__ import annotations

from encoders.decoding.byte_range import ByteRange
from encoders.decoding.containers import SoundData

__all__ = ["wrapped_codec"]

_SYNC_WORDS = {
    b"\x7f\xfe\x80\x01": "DTS",
    b"\xfe\x7f\x01\x80": "DTS",
    b"\x1f\xff\xe8\x00": "DTS",
    b"\xff\x1f\x00\xe8": "DTS",
    b"\x72\xf8\x1f\x4e": "a compressed S/PDIF stream",
    b"\xf8\x72\x4e\x1f": "a compressed S/PDIF stream",
}
_SEARCHED_BYTES = 1 << 16
_MIN_SYNC_WORDS = 3
_MAX_FRAME_BYTES = 1 << 15


def wrapped_codec(file: ByteRange, sound: SoundData) -> str | None:
    """Return the name of the codec whose sync words recur at the beginning of the samples, or None."""
    if file.peek(8, 4) != b"WAVE":
        return None
    data = file.peek(sound.start, _SEARCHED_BYTES)
    for word, name in _SYNC_WORDS.items():
        first = data.find(word)
        if 0 <= first < _MAX_FRAME_BYTES and data.count(word) >= min(_MIN_SYNC_WORDS, max(2, len(data) // 4096)):
            return name
    return None
