"""Hits as an M3U playlist."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote_from_bytes

from retrieval.hits import Hit

__all__ = ["playlist_bytes", "write_playlist"]


def playlist_bytes(hits: Sequence[Hit], *, with_times: bool = False) -> bytes:
    """The text of an extended M3U playlist, as bytes: paths are written as they are on disk.

    A name that is not UTF-8 stays what it is. A path that a line cannot hold (a line break in it, white space
    at its ends, a `#` in front) is written as a percent-encoded `file:` address, which players accept as
    well.

    Args:
        hits: in the order of the list.
        with_times: also name the seconds of each hit (`#EXTVLCOPT`, read by VLC and mpv, a comment to
            others).
    """
    lines = [b"#EXTM3U"]
    for hit in hits:
        named = " - ".join(part for part in (hit.artist, hit.title) if part)
        label = named or os.path.splitext(os.path.basename(hit.path))[0]
        lines.append(f"#EXTINF:{round(hit.duration_s)},".encode() + _one_line(label))
        if with_times:
            lines.append(f"#EXTVLCOPT:start-time={hit.start_s:.3f}".encode())
            lines.append(f"#EXTVLCOPT:stop-time={hit.end_s:.3f}".encode())
        lines.append(_entry(os.fsencode(hit.path)))
    return b"\n".join(lines) + b"\n"


def write_playlist(path: str | os.PathLike[str], hits: Sequence[Hit], *, with_times: bool = False) -> None:
    """Write :func:`playlist_bytes` to `path`, replacing what it held. Raises OSError."""
    Path(path).write_bytes(playlist_bytes(hits, with_times=with_times))


def _one_line(text: str) -> bytes:
    return " ".join(text.split()).encode("utf-8", "replace")  # a label is for reading: no lone surrogates


def _entry(path: bytes) -> bytes:
    breaks_a_line = any(byte < 0x20 for byte in path)
    if breaks_a_line or path.strip() != path or path.startswith(b"#"):
        return b"file://" + quote_from_bytes(os.path.abspath(path)).encode()
    return path
