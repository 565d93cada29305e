"""Title, artist, album, genre and year from the tags of a file."""

from __future__ import annotations

import os
import re

from encoders.decode import container_texts

__all__ = ["read_metadata"]


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str | None]:
    """Read title, artist, album, genre and year from a file's tags.

    Returns:
        The keys `title`, `artist`, `album`, `genre`, `year` (four digits); None where a tag is missing
        or damaged: that never keeps a file out of the index.
    """
    tags = {key: _text(values) for key, values in _easy_tags(path).items()}
    date = " ".join(filter(None, (tags.get(key) for key in ("originaldate", "date", "year"))))
    year = re.search(r"(?<!\d)([12]\d{3})(?:\d{4})?(?!\d)", date)
    return {
        "title": tags.get("title"),
        "artist": tags.get("artist") or tags.get("albumartist"),
        "album": tags.get("album"),
        "genre": tags.get("genre"),
        "year": year.group(1) if year else None,
    }


# The same fields in tags that have no "easy" form in mutagen: ID3 in wav and aiff, ASF (wma), RIFF, APE.
_OTHER_NAMES = {
    "TIT2": "title",
    "TPE1": "artist",
    "TPE2": "albumartist",
    "TALB": "album",
    "TCON": "genre",
    "TDOR": "originaldate",
    "TDRC": "date",
    "TYER": "year",
    "Title": "title",
    "Author": "artist",
    "WM/AlbumArtist": "albumartist",
    "WM/AlbumTitle": "album",
    "WM/Genre": "genre",
    "WM/Year": "year",
}


def _easy_tags(path: str | os.PathLike[str]) -> dict[str, object]:
    import mutagen  # here, because a build without new files does not need it

    found: dict[str, object] = {}
    try:
        with open(path, "rb") as raw:
            tagged = mutagen.File(raw, easy=True)
        if tagged is not None and tagged.tags:
            found = dict(tagged.tags.items())
    except Exception:  # mutagen raises errors of every kind for damaged tags, which must not keep a file out
        found = {}
    if not found:  # RIFF INFO, Matroska and others that mutagen does not read
        found = dict(container_texts(path))
    return {_OTHER_NAMES.get(str(key), str(key).lower()): value for key, value in found.items()}


def _text(values: object) -> str | None:
    """Return the first non-empty text of a tag's value, on one line."""
    # ID3 frames hold their values in `.text`; a genre frame spells out its numeric codes in `.genres`.
    values = getattr(values, "genres", None) or getattr(values, "text", None) or values
    for value in values if isinstance(values, (list, tuple)) else [values]:
        text = " ".join(str(value).replace("\0", " ").split())
        if text:
            return text.encode("utf-8", "replace").decode("utf-8")
    return None
