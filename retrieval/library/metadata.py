"""Title, artists, album, genre and year from the tags of a file.

Several tags in one file complete each other: those of its format first, then ID3v2, APEv2, RIFF INFO and ID3v1. Texts
that do not say how they are encoded are bytes here until all of them have been read (`retrieval.library.tag_encoding`).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from encoders.decode import container_texts
from retrieval.library.raw_tags import (
    LimitedReader,
    TagTooLargeError,
    aiff_texts,
    apev2,
    flac_comments,
    id3v1,
    mp4_texts,
    riff_info,
    small_id3v2,
)
from retrieval.library.tag_encoding import decode_texts
from retrieval.library.tag_regions import Region, end_tags, read_at

__all__ = ["MOST_CHARACTERS", "one_line", "read_metadata"]

MOST_CHARACTERS = 1000
"""A longer text is cut, and ends in "…"."""

_MOST_TAG_BYTES = 32 << 20  # that mutagen may read, and hold a few times over
_MOST_VALUES = 200  # of a field
_MOST_BYTES = 4 * MOST_CHARACTERS  # of a value
_FIELDS = ("title", "artist", "albumartist", "album", "genre", "originaldate", "date")

_MOST_SHEET_BYTES = 1 << 17  # of a cue sheet; those of compact discs have some thousands
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], " ")

_Value = str | bytes
_Fields = dict[str, list[_Value]]

# The names of fields in ID3v2, MP4, ASF, Vorbis comments and APEv2; what is not here keeps its name.
_NAMES = {
    "TIT2": "title",
    "TPE1": "artist",
    "TPE2": "albumartist",
    "TALB": "album",
    "TCON": "genre",
    "TDOR": "originaldate",
    "TDRC": "date",
    "TYER": "date",
    "\xa9nam": "title",
    "\xa9ART": "artist",
    "aART": "albumartist",
    "\xa9alb": "album",
    "\xa9gen": "genre",
    "\xa9day": "date",
    "Title": "title",
    "Author": "artist",
    "WM/AlbumArtist": "albumartist",
    "WM/AlbumTitle": "album",
    "WM/Genre": "genre",
    "WM/Year": "date",
    "album artist": "albumartist",
    "original year": "originaldate",
    "year": "date",
    "txxx:cuesheet": "cuesheet",
    "----:com.apple.itunes:cuesheet": "cuesheet",
}


def read_metadata(path: str | os.PathLike[str], *, encoding: str | None = None) -> dict[str, str | None]:
    """Read title, artist, album, genre and year from a file's tags.

    Args:
        path: the file.
        encoding: of texts that do not name theirs and are not UTF-8; None: guess it.

    Returns:
        The keys `title`, `artist`, `album`, `genre`, `year` (four digits), each one line of at most `MOST_CHARACTERS`;
        several artists or genres are joined by "; ". And `cue_sheet`, the text of a cue sheet in the tags. None where a
        tag is missing or damaged: that never keeps a file out of the index.
    """
    raw = _fields_of(path)
    fields = _decoded(raw, encoding)
    date = " ".join([*fields["originaldate"], *fields["date"]])
    year = re.search(r"(?<!\d)([12]\d{3})(?:\d{4})?(?!\d)", date)
    return {
        "title": _first(fields["title"]),
        "artist": _joined(fields["artist"] or fields["albumartist"]),
        "album": _first(fields["album"]),
        "genre": _joined(fields["genre"]),
        "year": year.group(1) if year else None,
        "cue_sheet": _sheet(raw.get("cuesheet"), encoding),
    }


def _fields_of(path: str | os.PathLike[str]) -> _Fields:
    """Return the values of each field, from the first tag that has it."""
    fields: _Fields = {}
    with contextlib.suppress(OSError), open(path, "rb") as raw:
        for tag in _tags_of(raw):
            for name, values in tag.items():
                kept = [value for value in values[:_MOST_VALUES] if value.strip()]
                if kept:
                    fields.setdefault(name, kept)
    if not fields:  # Matroska, CAF and others
        fields = _of_items(container_texts(path).items())
    return fields


def _tags_of(raw: BinaryIO) -> Iterator[_Fields]:
    regions, start, end = end_tags(raw)
    head = read_at(raw, start, 16)
    if head[:4] == b"fLaC":
        yield _gathered(flac_comments(raw, start))
    elif head[:4] in (b"OggS", b"RIFF", b"FORM", b"DSD ") or head[4:8] == b"ftyp" or head[:4] == b"\x30\x26\xb2\x75":
        tag = _by_mutagen(raw)
        yield tag if tag or head[4:8] != b"ftyp" else _gathered(mp4_texts(raw, start, end))
    for region in regions:
        if region.kind == "id3v2":
            yield _id3v2(raw, region)
    for region in regions:
        if region.kind == "apev2":
            yield _gathered(apev2(raw, region))
    if head[:4] == b"RIFF":
        yield _gathered(riff_info(raw, start, end))
    elif head[:4] == b"FORM":
        yield _gathered(aiff_texts(raw, start, end))
    for region in regions:
        if region.kind == "id3v1":
            yield _id3v1(raw, region)


def _by_mutagen(raw: BinaryIO) -> _Fields:
    import mutagen  # here, because a build without new files does not need it

    raw.seek(0)
    try:
        tagged = mutagen.File(LimitedReader(raw, most_bytes=_MOST_TAG_BYTES))
        return _of_items(tagged.tags.items()) if tagged is not None and tagged.tags else {}
    except Exception:  # mutagen raises errors of every kind for damaged tags, which must not keep a file out
        return {}


def _id3v2(raw: BinaryIO, region: Region) -> _Fields:
    from mutagen.id3 import ID3

    try:
        if region.end - region.start > _MOST_TAG_BYTES:
            raise TagTooLargeError
        tag = read_at(raw, region.start, region.end - region.start)
        return _of_items(ID3(io.BytesIO(tag), load_v1=False).items())
    except TagTooLargeError:
        with contextlib.suppress(Exception):
            return _of_items(ID3(io.BytesIO(small_id3v2(raw, region)), load_v1=False).items())
    except Exception:  # see above
        pass
    return {}


def _id3v1(raw: BinaryIO, region: Region) -> _Fields:
    from mutagen.id3 import TCON

    fields = _gathered(id3v1(raw, region))
    for number in fields.pop("genre number", []):
        name = TCON.GENRES[ord(number)] if ord(number) < len(TCON.GENRES) else ""
        fields["genre"] = [name]
    return fields


def _gathered(pairs: Iterable[tuple[str, bytes]]) -> _Fields:
    fields: _Fields = {}
    for name, value in pairs:
        field = _NAMES.get(name, name)
        values = fields.setdefault(field, []) if field in (*_FIELDS, "genre number") else []
        if field == "cuesheet":
            fields[field] = [value]
        elif len(values) < _MOST_VALUES:
            values.append(_shortened(value))
    return fields


def _shortened(value: bytes) -> _Value:
    """Return a value, or the start of it, which is text where cutting bytes could cut a character."""
    if len(value) <= _MOST_BYTES:
        return value
    try:
        return value.decode("utf-8")[:_MOST_BYTES]
    except UnicodeDecodeError:
        return value[:_MOST_BYTES]


def _of_items(items: Iterable[tuple[object, object]]) -> _Fields:
    """Return the values of tags as mutagen has them."""
    fields: _Fields = {}
    for key, value in items:
        # ID3 frames hold their values in `.text`; a genre frame spells out its numeric codes in `.genres`.
        values = getattr(value, "genres", None) or getattr(value, "text", None) or value
        texts: list[_Value] = [
            bytes(text) if isinstance(text, bytes) else str(text)
            for text in (values if isinstance(values, (list, tuple)) else [values])
        ]
        if getattr(value, "encoding", None) == 0:  # Latin-1 by name, and whatever the tagger's computer had by content
            with contextlib.suppress(UnicodeEncodeError):
                texts = [str(text).encode("latin-1") for text in texts]
        name = str(key).lower()
        fields.setdefault(_NAMES.get(str(key)) or _NAMES.get(name, name), []).extend(texts)
    return fields


def _decoded(fields: _Fields, encoding: str | None) -> dict[str, list[str]]:
    """Decode what is bytes, all texts of the file together, and put each text on one line."""
    raw = [value for name in _FIELDS for value in fields.get(name, []) if isinstance(value, bytes)]
    texts = iter(decode_texts(raw, encoding=encoding))
    found: dict[str, list[str]] = {}
    for name in _FIELDS:
        lines = [one_line(next(texts) if isinstance(value, bytes) else value) for value in fields.get(name, [])]
        found[name] = [line for line in lines if line]
    return found


def one_line(text: str) -> str:
    """Return a text on one line, without control characters and what UTF-8 cannot hold, and cut."""
    text = " ".join(text[:_MOST_BYTES].translate(_CONTROLS).split())
    return _cut(text.encode("utf-8", "replace").decode("utf-8"))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def _first(values: list[str]) -> str | None:
    return values[0] if values else None


def _joined(values: list[str]) -> str | None:
    return _cut("; ".join(dict.fromkeys(values))) if values else None


def _sheet(values: list[_Value] | None, encoding: str | None) -> str | None:
    """Return the text of a cue sheet with its lines, or None if there is none or it is far too long."""
    if not values or len(values[0]) > _MOST_SHEET_BYTES:
        return None
    text = decode_texts([values[0]], encoding=encoding)[0] if isinstance(values[0], bytes) else values[0]
    return text.encode("utf-8", "replace").decode("utf-8")
