"""Damages of sound files, seeded: cuts, flipped bytes, splices, junk, and headers that lie.

Some damages leave every sample where it was, and some say what must be left at most. Such a damage says what the
decoded duration should be, which is an oracle for the decoder.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scripts.bench.hostile_formats import Original

__all__ = ["DAMAGES", "Damaged", "damage"]

_SLACK_S = 0.15  # codecs pad the first and the last frame
_EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Damaged:
    """A damaged file.

    Attributes:
        damage: what was done, one of the names of `DAMAGES`.
        extension: of its name, with the dot.
        data: its bytes.
        shortest_s: the sound that is certainly left, in seconds; 0.0 where nothing is certain.
        longest_s: the sound that there can be at most; infinite where nothing is certain.
        is_whole: the sound is exactly that of the original.
    """

    damage: str
    extension: str
    data: bytes
    shortest_s: float = 0.0
    longest_s: float = math.inf
    is_whole: bool = False


_Damage = Callable[[Original, np.random.Generator, Sequence[Original]], "Damaged | None"]


def damage(original: Original, name: str, rng: np.random.Generator, others: Sequence[Original]) -> Damaged:
    """Damage a file.

    Args:
        original: a whole file.
        name: of `DAMAGES`. Where it does not apply to the format, a field of the header gets an extreme value instead.
        rng: determines where and how.
        others: whole files to splice with; those of the same format are among them.
    """
    return DAMAGES[name](original, rng, others) or _extreme_field(original, rng, others)


def _whole(name: str, original: Original, data: bytes, *, extension: str | None = None, times: int = 1) -> Damaged:
    length_s = original.duration_s * times
    slack_s = max(_SLACK_S * times, 0.01 * length_s)
    extension = extension or original.format.extension
    return Damaged(name, extension, data, length_s - slack_s, length_s + slack_s, is_whole=times == 1)


def _none(original: Original, _rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    return _whole("none", original, original.data)


def _cut(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    kept = int(rng.integers(1, len(original.data)))
    shortest_s = 0.0
    if original.format.is_plain:
        shortest_s = max(0.0, original.duration_s * (kept - 4_500) / len(original.data) - _SLACK_S)
    longest_s = original.duration_s + _SLACK_S
    return Damaged("cut", original.format.extension, original.data[:kept], shortest_s, longest_s)


def _cut_header(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    kept = int(rng.integers(0, 200))
    return Damaged("cut in the header", original.format.extension, original.data[:kept])


def _flipped(original: Original, rng: np.random.Generator, *, end: int) -> bytes:
    data = bytearray(original.data)
    for place in rng.integers(0, min(end, len(data)), size=int(rng.choice((1, 4, 16, 100)))):
        data[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(data)


def _flip(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    return Damaged("flipped bits", original.format.extension, _flipped(original, rng, end=len(original.data)))


def _flip_header(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    return Damaged("flipped bits in the header", original.format.extension, _flipped(original, rng, end=256))


def _stretch(original: Original, rng: np.random.Generator) -> tuple[int, int]:
    """Return a stretch of the file: its start and end."""
    start = int(rng.integers(0, len(original.data)))
    return start, min(len(original.data), start + int(rng.choice((16, 512, 4_096, 65_536))))


def _overwrite(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    start, end = _stretch(original, rng)
    new = bytes(end - start) if rng.random() < 0.5 else rng.bytes(end - start)
    return Damaged("overwritten", original.format.extension, original.data[:start] + new + original.data[end:])


def _remove(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    start, end = _stretch(original, rng)
    return Damaged("a part removed", original.format.extension, original.data[:start] + original.data[end:])


def _repeat(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    start, end = _stretch(original, rng)
    return Damaged("a part repeated", original.format.extension, original.data[:end] + original.data[start:])


def _extreme_field(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    data = bytearray(original.data)
    for place in rng.integers(0, min(160, max(1, len(data) - 4)), size=int(rng.integers(1, 4))):
        data[place : place + 4] = struct.pack(rng.choice(("<I", ">I")), int(rng.choice(_EXTREMES)))
    return Damaged("extreme values in the header", original.format.extension, bytes(data))


def _junk_before(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    size = int(rng.choice((1, 100, 10_000, 1_000_000)))
    junk = bytes(size) if rng.random() < 0.5 else rng.bytes(size)
    return Damaged("junk before", original.format.extension, junk + original.data)


def _junk_after(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    size = int(rng.choice((1, 100, 10_000)))
    data = original.data + (bytes(size) if rng.random() < 0.5 else rng.bytes(size))
    return _whole("junk after", original, data)


def _tags_around(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged | None:
    if original.format.extension != ".mp3":
        return None
    size = int(rng.integers(20, 200_000))
    synchsafe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    before = b"ID3\x04\x00\x00" + synchsafe + b"TIT2" + rng.bytes(size - 4)
    after = b"TAG" + bytes(rng.integers(32, 255, size=125, dtype=np.uint8))
    return _whole("damaged tags around", original, before + original.data + after)


def _splice(original: Original, rng: np.random.Generator, others: Sequence[Original]) -> Damaged:
    other = others[int(rng.integers(0, len(others)))]
    here, there = (int(rng.integers(0, len(data))) for data in (original.data, other.data))
    return Damaged("spliced with another", original.format.extension, original.data[:here] + other.data[there:])


def _foreign_header(original: Original, rng: np.random.Generator, others: Sequence[Original]) -> Damaged:
    same = [other for other in others if other.format is original.format and other is not original] or list(others)
    other = same[int(rng.integers(0, len(same)))]
    size = int(rng.choice((16, 64, 256, 1_024)))
    return Damaged("header of another", original.format.extension, other.data[:size] + original.data[size:])


def _twice(original: Original, _rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    doubled = original.data * 2
    if original.format.joins:
        return _whole("twice in a row", original, doubled, times=2)
    return Damaged("twice in a row", original.format.extension, doubled, original.duration_s - _SLACK_S)


def _wrong_name(original: Original, rng: np.random.Generator, others: Sequence[Original]) -> Damaged:
    wrong = [other.format.extension for other in others if other.format.extension != original.format.extension]
    name = str(rng.choice(wrong)) if wrong else original.format.extension
    return _whole("extension of another", original, original.data, extension=name)


def _lying_length(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged | None:
    """Write a wrong length over that of the header."""
    field = _length_field(original)
    if field is None:
        return None
    place, form = field
    size = struct.calcsize(form)
    (true,) = struct.unpack_from(form, original.data, place)
    largest = (1 << 8 * size) - 1
    share = rng.uniform(0.05, 0.6)
    length = (0, largest, largest // 4, int(true * share), int(true * share))[int(rng.integers(0, 5))]
    data = bytearray(original.data)
    struct.pack_into(form, data, place, length)
    return _whole("a length that lies", original, bytes(data))


def _length_field(original: Original) -> tuple[int, str] | None:
    """Return where the header has the length of the sound, and its form; None where that is not known here."""
    name, data = original.format.name, original.data
    if name.startswith("wav"):
        return _behind(data, b"data", "<I")
    if name == "rf64":
        return _behind(data, b"ds64", "<Q", skip=12)
    if name == "w64":
        place = data.find(b"data\xf3\xac\xd3\x11")
        return (place + 16, "<Q") if place > 0 else None
    if name.startswith("aif"):
        return _behind(data, b"SSND", ">I")
    if name == "au":
        return 8, ">I"
    if name == "caf pcm":
        return _behind(data, b"data", ">Q")
    if name == "mp3":
        for tag in (b"Xing", b"Info"):
            place = data.find(tag, 0, 4_096)
            if place > 0 and data[place + 7] & 1:  # the flag of the number of frames
                return place + 8, ">I"
    if name == "wavpack":
        return 12, "<I"
    if name == "m4a aac":
        return _behind(data, b"mdhd", ">I", skip=16)
    return None


def _behind(data: bytes, name: bytes, form: str, *, skip: int = 0) -> tuple[int, str] | None:
    place = data.find(name)
    return (place + 4 + skip, form) if place > 0 else None


def _flac_length(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged | None:
    """Write 0 or too small a number of samples into a FLAC header, where it is 36 bits at byte 21."""
    if original.format.name != "flac":
        return None
    data = bytearray(original.data)
    true = int.from_bytes(data[21:26], "big") & 0xFFFFFFFFF
    wrong = 0 if rng.random() < 0.5 else int(true * rng.uniform(0.05, 0.6))
    upper = int.from_bytes(data[21:26], "big") >> 36 << 36
    data[21:26] = (upper | wrong).to_bytes(5, "big")
    return _whole("a length that lies", original, bytes(data))


def _no_sound(original: Original, rng: np.random.Generator, _others: Sequence[Original]) -> Damaged:
    contents = (b"", b"\n", b"<html>not found</html>\n" * 20, bytes(5_000), rng.bytes(5_000))
    data = contents[int(rng.integers(0, len(contents)))]
    return Damaged("no sound file at all", original.format.extension, data)


DAMAGES: dict[str, _Damage] = {
    "none": _none,
    "cut": _cut,
    "cut in the header": _cut_header,
    "flipped bits": _flip,
    "flipped bits in the header": _flip_header,
    "overwritten": _overwrite,
    "a part removed": _remove,
    "a part repeated": _repeat,
    "extreme values in the header": _extreme_field,
    "junk before": _junk_before,
    "junk after": _junk_after,
    "damaged tags around": _tags_around,
    "spliced with another": _splice,
    "header of another": _foreign_header,
    "twice in a row": _twice,
    "extension of another": _wrong_name,
    "a length that lies": lambda *given: _lying_length(*given) or _flac_length(*given),
    "no sound file at all": _no_sound,
}
"""Every damage by name."""
