"""Where the sound of uncompressed containers ends: WAVE, RF64, AIFF, AU, CAF, whatever length their header declares.

Programs that write to a pipe cannot go back and enter the length: they leave 0 or the largest number there. Others
leave the length of an earlier save. The bytes that follow are sound, unless they are a chain of chunks (tags, cues).

Source: the RIFF, EBU Tech 3306 (RF64), AIFF-C, Sun AU and CAF specifications.
"""

from __future__ import annotations

from dataclasses import dataclass

from encoders.decoding.byte_range import ByteRange

__all__ = ["SoundData", "find_sound_data"]

_MAX_CHUNKS = 10_000
_MAX_TAIL_BYTES = 1 << 20  # chunks behind sound of unknown length are looked for so far from the end
_TAIL_IDS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"cue ", b"smpl", b"afsp", b"_PMX", b"acid", b"PEAK", b"JUNK")
_TAIL_IDS_BE = (b"ID3 ", b"NAME", b"AUTH", b"(c) ", b"ANNO", b"COMT", b"MARK", b"INST", b"APPL", b"info", b"free")
_MAX_RIFF_BYTES = 0xFFFF_FFFF
_UNKNOWN_FROM = 0x7FFF_0000  # sizes that programs write that do not know the length
_MAX_JUNK_BYTES = 1 << 14  # so much behind a file whose sizes agree is no sound ...
_MAX_JUNK_SHARE = 0.01  # ... nor is this share of its sound


@dataclass(frozen=True)
class SoundData:
    """The sound in a container.

    Attributes:
        start: offset of its first byte.
        declared_bytes: its length by the header; None: the header says that it is unknown.
        actual_bytes: how much there is.
        patches: header bytes that declare the actual length (see `ByteRange`); {} if the header is true, or declares
            more than there is, which decoders understand.
        fits: whether the header has room for the actual length.
    """

    start: int
    declared_bytes: int | None
    actual_bytes: int
    patches: dict[int, bytes]
    fits: bool = True


@dataclass(frozen=True)
class _Layout:
    """How a container writes chunks.

    Attributes:
        order: of the bytes in a size.
        size_bytes: width of a size.
        first_chunk: offset of the first chunk.
        sound_id: name of the chunk that holds the sound.
        sound_offset: bytes of that chunk before the sound.
        total_at: offset of the container's own size; None: it has none.
        padded: whether chunks have an even length.
        tail_ids: names of chunks that may follow the sound.
    """

    order: str
    size_bytes: int
    first_chunk: int
    sound_id: bytes
    sound_offset: int
    total_at: int | None
    padded: bool
    tail_ids: tuple[bytes, ...]

    def size(self, data: bytes) -> int:
        return int.from_bytes(data, "big" if self.order == "big" else "little")

    def bytes_of(self, size: int) -> bytes:
        return size.to_bytes(self.size_bytes, "big" if self.order == "big" else "little")


_RIFF = _Layout("little", 4, 12, b"data", 0, 4, True, _TAIL_IDS)
_RIFX = _Layout("big", 4, 12, b"data", 0, 4, True, _TAIL_IDS)
_AIFF = _Layout("big", 4, 12, b"SSND", 8, 4, True, _TAIL_IDS_BE)
_SVX = _Layout("big", 4, 12, b"BODY", 0, 4, True, _TAIL_IDS_BE)
_CAF = _Layout("big", 8, 8, b"data", 4, None, False, _TAIL_IDS_BE)


def find_sound_data(file: ByteRange) -> SoundData | None:
    """Return where the sound of a file lies; None for other formats, and where its header cannot be followed."""
    head = file.peek(0, 12)
    if head[:4] in (b".snd", b"dns."):
        return _au(file, order="big" if head[:4] == b".snd" else "little")
    layout = _layout(head)
    if layout is None:
        return None
    at, ds64_at = layout.first_chunk, None
    for _ in range(_MAX_CHUNKS):
        header = file.peek(at, 4 + layout.size_bytes)
        if len(header) < 4 + layout.size_bytes:
            return None
        name, size = header[:4], layout.size(header[4:])
        if name == b"ds64":
            ds64_at = at + 8
        if name == layout.sound_id:
            return _measured(file, layout, at, size, ds64_at)
        at += 4 + layout.size_bytes + size + (size & 1 if layout.padded else 0)
    return None


def _layout(head: bytes) -> _Layout | None:
    if head[8:12] == b"WAVE":
        return {b"RIFF": _RIFF, b"RF64": _RIFF, b"BW64": _RIFF, b"RIFX": _RIFX}.get(head[:4])
    if head[:4] == b"FORM":
        return {b"AIFF": _AIFF, b"AIFC": _AIFF, b"8SVX": _SVX, b"16SV": _SVX}.get(head[8:12])
    return _CAF if head[:4] == b"caff" else None


def _measured(file: ByteRange, layout: _Layout, at: int, size: int, ds64_at: int | None) -> SoundData:
    """Return the sound of the chunk at `at` that declares `size`."""
    content = at + 4 + layout.size_bytes
    start = content + layout.sound_offset
    if ds64_at is not None and size == _MAX_RIFF_BYTES:
        size = int.from_bytes(file.peek(ds64_at + 8, 8), "little")
        is_unknown = size == 0 or size >= 1 << 62
    else:
        is_unknown = size <= layout.sound_offset or size >= (_UNKNOWN_FROM if layout.size_bytes == 4 else 1 << 62)
        ds64_at = None
    end = content + size
    declared = None if is_unknown else size - layout.sound_offset
    if end >= file.size and not is_unknown:
        return SoundData(start, declared, file.size - start, {})
    next_chunk = content + size + (size & 1 if layout.padded else 0)
    if size and (_chunks_fill(file, layout, next_chunk) or _only_junk_follows(file, layout, end, size)):
        return SoundData(start, declared, max(0, size - layout.sound_offset), {})
    if not size and _chunks_fill(file, layout, content):  # no sound, and tags behind it
        return SoundData(start, 0, 0, {})
    end = _tail(file, layout, start)
    actual = end - start
    if ds64_at is not None:
        patches = {ds64_at: (file.size - 8).to_bytes(8, "little") + actual.to_bytes(8, "little") + bytes(8)}
        return SoundData(start, declared, actual, patches)
    fits = layout.size_bytes == 8 or end - content < _UNKNOWN_FROM
    if not fits:
        return SoundData(start, declared, actual, {}, fits=False)
    patches = {at + 4: layout.bytes_of(end - content)}
    if layout.total_at is not None:
        patches[layout.total_at] = layout.bytes_of(file.size - 8)
    return SoundData(start, declared, actual, patches)


def _only_junk_follows(file: ByteRange, layout: _Layout, end: int, size: int) -> bool:
    """Return whether the container, too, ends with the sound of this size, and little follows."""
    if layout.total_at is None or file.size - end > max(_MAX_JUNK_BYTES, _MAX_JUNK_SHARE * size):
        return False
    total = layout.size(file.peek(layout.total_at, 4))
    return end <= total + 8 <= end + 1


def _chunks_fill(file: ByteRange, layout: _Layout, at: int) -> bool:
    """Return whether a chain of chunks leads from an offset to the end of the file; the last one may be cut off."""
    if at > file.size or (at == file.size and layout.padded):
        return at - file.size <= 1
    for number in range(_MAX_CHUNKS):
        header = file.peek(at, 4 + layout.size_bytes)
        if len(header) < 4 + layout.size_bytes:
            return number > 0 or not header.strip(b"\0")
        name, size = header[:4], layout.size(header[4:])
        if not all(0x20 <= byte < 0x7F for byte in name):
            return False
        at += 4 + layout.size_bytes + size + (size & 1 if layout.padded else 0)
        if at >= file.size:
            return at - file.size <= 1 or name in layout.tail_ids
    return False


def _tail(file: ByteRange, layout: _Layout, start: int) -> int:
    """Return where the sound that begins at `start` ends: before the chunks at the end of the file, if any."""
    first = max(start, file.size - _MAX_TAIL_BYTES)
    tail = file.peek(first, _MAX_TAIL_BYTES)
    places = sorted(place for name in layout.tail_ids for place in _places(tail, name))
    for place in places[:1000]:
        if _chunks_fill(file, layout, first + place):
            return first + place
    return file.size


def _places(data: bytes, name: bytes) -> list[int]:
    found: list[int] = []
    place = data.find(name)
    while place >= 0 and len(found) < 1000:
        found.append(place)
        place = data.find(name, place + 1)
    return found


def _au(file: ByteRange, *, order: str) -> SoundData | None:
    header = file.peek(4, 8)
    if len(header) < 8:
        return None
    big = "big" if order == "big" else "little"
    start = int.from_bytes(header[:4], "big" if big == "big" else "little")
    size = int.from_bytes(header[4:], "big" if big == "big" else "little")
    is_unknown = size == 0 or size >= _UNKNOWN_FROM
    actual = max(0, file.size - start)
    if size == _MAX_RIFF_BYTES or (size >= actual and not is_unknown):
        return SoundData(start, None if is_unknown else size, actual, {})
    return SoundData(start, None if is_unknown else size, actual, {8: b"\xff" * 4})
