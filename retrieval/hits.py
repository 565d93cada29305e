"""What a search answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Hit"]


@dataclass(frozen=True)
class Hit:
    """One answer: a track, and the seconds of it that fit best.

    `rank` counts from 1. `score` is the inner product of the query's unit vector and that of the segment, in
    [-1, 1]. `path` is the file's path as `os.fsdecode` gives it: bytes of a name that are not UTF-8 are lone
    surrogates in it, and `os.fsencode(path)` is the name on disk again, byte for byte.
    """

    rank: int
    score: float
    path: str
    start_s: float
    end_s: float
    duration_s: float
    title: str | None = None
    artist: str | None = None
    album: str | None = None

    def to_dict(self) -> Mapping[str, object]:
        """Plain values for JSON: rank, score, path, start_s, end_s, title, artist, album, in this order."""
        return {
            "rank": self.rank,
            "score": round(self.score, 6),
            "path": self.path,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "title": self.title,
            "artist": self.artist,
            "album": self.album,
        }
