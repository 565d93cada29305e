"""Tell sound from other files by their first bytes. Nothing is decoded: a hostile file can do no harm here."""

from __future__ import annotations

__all__ = ["HEAD_BYTES", "has_sound_signature", "looks_like_sound"]

HEAD_BYTES = 4096
"""What is read of a file: two frames of every kind of MPEG audio fit in."""

_PREFIXES = (
    b"fLaC", b"OggS", b"ID3", b"MAC ", b"wvpk", b"TTA1", b"TTA2", b"MP+", b"MPCK", b"DSD ", b"caff", b".snd", b"dns.",
    b"#!AMR", b"tBaK", b"ajkg", b"FLV\x01", b".RMF", b".ra\xfd", b"ea3\x03", b"EA3\x01", b"NIST_1A\n", b" paf", b"fap ",
    b"2BIT", b"PVF1\n", b"PVF2\n", b"riff\x2e\x91\xcf\x11", b"Creative Voice File\x1a", b"Extended Instrument: ",
    b"ALawSoundFile**", b"DTSHDHDR", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba",
    b"\x7f\xfe\x80\x01", b"\xfe\x7f\x01\x80", b"\x1f\xff\xe8\x00", b"\xff\x1f\x00\xe8",
    b"\x64\xa3\x01\x00", b"\x64\xa3\x02\x00", b"\x64\xa3\x03\x00", b"\x64\xa3\x04\x00",
    b"\x00\x01\xa3\x64", b"\x00\x02\xa3\x64", b"\x00\x03\xa3\x64", b"\x00\x04\xa3\x64",
)  # fmt: skip
# Containers by their first word and the kind of their content.
_CHUNKED = {
    b"RIFF": (b"WAVE", b"AVI "),
    b"RIFX": (b"WAVE",),
    b"RF64": (b"WAVE",),
    b"BW64": (b"WAVE",),
    b"FORM": (b"AIFF", b"AIFC", b"8SVX", b"16SV"),
}
_PICTURE_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"crx ")
_MP3_KBITS = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates by (version, layer), ISO 11172-3 and 13818-3; versions 2 and 2.5 share theirs."""
_TS_BYTES = 188


def looks_like_sound(path: str) -> bool:
    """Return whether a file begins like one that the decoders read.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb", buffering=0) as raw:
        return has_sound_signature(raw.read(HEAD_BYTES))


def has_sound_signature(head: bytes) -> bool:
    """Return whether bytes are the beginning of a sound or video file.

    Args:
        head: the first `HEAD_BYTES` of a file, or all of a shorter one.
    """
    if head.startswith(_PREFIXES) or head[8:12] in _CHUNKED.get(head[:4], ()):
        return True
    if head[:4] == b"FRM8" and head[12:16] == b"DSD ":
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] not in _PICTURE_BRANDS
    if head[4:8] in (b"moov", b"mdat", b"wide") or head[4:8] in (b"\xf8\x72\x6f\xba", b"\xf8\x72\x6f\xbb"):
        return True
    if head[:2] == b"\xf0\x7e" and head[3:4] == b"\x01" and head[20:21] == b"\xf7":  # the header of a MIDI sample dump
        return True
    return _is_transport_stream(head) or _has_two_frames(head)


def _is_transport_stream(head: bytes) -> bool:
    """Return whether there are five sync bytes at the distance of MPEG-TS, or of the packets of cameras."""
    for first, distance in ((0, _TS_BYTES), (4, _TS_BYTES + 4)):
        if head[first : first + 5 * distance : distance] == b"G" * 5:
            return True
    return False


def _has_two_frames(head: bytes) -> bool:
    """Return whether a frame of a raw stream is followed by another, or ends where the file ends."""
    for frame_bytes in (_mpeg_frame_bytes, _adts_frame_bytes, _ac3_frame_bytes):
        size = frame_bytes(head)
        if size and (len(head) == size or frame_bytes(head[size : size + 8])):
            return True
    return False


def _mpeg_frame_bytes(head: bytes) -> int:
    """Return the size of the MPEG audio frame (layers I to III) at the beginning; 0 if there is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version_bits, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_index, kbit_index, padding = head[2] >> 2 & 3, head[2] >> 4, head[2] >> 1 & 1
    if version_bits == 1 or layer == 4 or rate_index == 3 or kbit_index in (0, 15):
        return 0
    version = 1 if version_bits == 3 else 2
    rate_hz = (44_100, 48_000, 32_000)[rate_index] // {3: 1, 2: 2, 0: 4}[version_bits]
    bits_per_s = 1000 * _MP3_KBITS[version, layer][kbit_index]
    if layer == 1:
        return 4 * (12 * bits_per_s // rate_hz + padding)
    return (72 if (version, layer) == (2, 3) else 144) * bits_per_s // rate_hz + padding


def _adts_frame_bytes(head: bytes) -> int:
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0


def _ac3_frame_bytes(head: bytes) -> int:
    if len(head) < 6 or head[:2] != b"\x0b\x77":
        return 0
    if head[5] >> 3 > 10:  # E-AC-3
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1) if head[5] >> 3 <= 16 else 0
    rate_index, size_index = head[4] >> 6, head[4] & 63
    if rate_index == 3 or size_index > 37:
        return 0
    kbits = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)[size_index // 2]
    words = 96_000 * kbits // (48_000, 44_100, 32_000)[rate_index]
    return 2 * (words + (size_index & 1 if rate_index == 1 else 0))
