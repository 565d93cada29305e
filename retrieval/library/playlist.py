"""Write M3U playlists."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from index import Entry

__all__ = ["PlaylistEntry", "playlist_bytes", "write_playlist"]

_MOST_CHARACTERS = 200  # of a label
_JOINERS = "\u200c\u200d"


class PlaylistEntry(Protocol):
    """A part of a track; `retrieval.Hit` is one. `path` is as `os.fsdecode` returns it."""

    @property
    def path(self) -> str: ...

    @property
    def title(self) -> str | None: ...

    @property
    def artist(self) -> str | None: ...

    @property
    def start_s(self) -> float: ...

    @property
    def end_s(self) -> float: ...

    @property
    def duration_s(self) -> float: ...

    @property
    def entry(self) -> Entry | None: ...


def playlist_bytes(entries: Sequence[PlaylistEntry], *, with_times: bool = False) -> bytes:
    """Return an extended M3U playlist, with paths as they are on disk, also those that are not UTF-8.

    A path that does not fit a line (it contains a line break or another control character, has white space at an end,
    or begins with `#`) is written as a percent-encoded `file:` address, which players accept.

    Args:
        entries: in the order of the list.
        with_times: write the start and end of each segment (`#EXTVLCOPT`, read by VLC and mpv, a comment to others).
            Otherwise only tracks of cue sheets have a start and an end, which are those of the track.
    """
    lines = [b"#EXTM3U"]
    for entry in entries:
        named = " - ".join(part for part in (entry.artist, entry.title) if part)
        label = named or os.path.splitext(os.path.basename(entry.path))[0]
        lines.append(f"#EXTINF:{round(entry.duration_s)},".encode() + _one_line(label))
        if not with_times and entry.entry is not None:
            lines.append(f"#EXTVLCOPT:start-time={entry.entry.start_s:.3f}".encode())
            lines.append(f"#EXTVLCOPT:stop-time={entry.entry.end_s:.3f}".encode())
        if with_times:
            lines.append(f"#EXTVLCOPT:start-time={entry.start_s:.3f}".encode())
            lines.append(f"#EXTVLCOPT:stop-time={entry.end_s:.3f}".encode())
        lines.append(_entry(os.fsencode(entry.path)))
    return b"\n".join(lines) + b"\n"


def write_playlist(path: str | os.PathLike[str], entries: Sequence[PlaylistEntry], *, with_times: bool = False) -> None:
    """Write `playlist_bytes` to a file, replacing it. Raises OSError."""
    Path(path).write_bytes(playlist_bytes(entries, with_times=with_times))


def _one_line(text: str) -> bytes:
    """Return the start of a text without line breaks, terminal codes and lone surrogates, which UTF-8 cannot encode."""
    start = text[:_MOST_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(character if _is_safe(character) else " " for character in start).split()).encode("utf-8")


def _entry(path: bytes) -> bytes:
    text = os.fsdecode(path)
    breaks_a_line = not all(_is_safe(character) or 0xDC80 <= ord(character) <= 0xDCFF for character in text)
    if breaks_a_line or text.strip() != text or path.startswith(b"#"):
        return b"file://" + quote_from_bytes(os.path.abspath(path)).encode()
    return path


def _is_safe(character: str) -> bool:
    """Return whether a character shows as itself: a letter, a sign, a space, or what joins letters and emoji."""
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"
