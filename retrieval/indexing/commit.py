"""How files become rows of the index: from new vectors, or from those of a track with the same content."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np

from index import Track, VectorIndex
from retrieval.indexing.batcher import Embedded
from retrieval.indexing.plan import is_gone
from retrieval.library.scan import AudioFile

__all__ = ["Committed", "commit_known", "track_of"]


@dataclass(frozen=True)
class Committed:
    """What to count a file as ("added", "updated" or "moved"), the segments written, and its note (`Track.note`)."""

    counted_as: str
    n_segments: int
    note: str | None


def commit_known(index: VectorIndex, file: AudioFile, content_hash: str) -> Committed | None:
    """Enter a file whose content the index holds already, without decoding it.

    The file's own track is preferred, then one whose file is gone: that file was moved. Otherwise the file is a copy
    and gets rows of its own.

    Returns:
        None if the index does not hold the content.
    """
    own_path = os.fsencode(file.path)
    holders = index.find_content(content_hash)
    if not holders:
        return None
    held = min(holders, key=lambda track: (track.path != own_path, not is_gone(track.path)))
    track = replace(held, path=own_path, size_bytes=file.size_bytes, mtime_ns=file.mtime_ns)
    if held.path == own_path or is_gone(held.path):
        index.update(held.path, track)
        return Committed("updated" if held.path == own_path else "moved", 0, track.note)
    spans = np.array([(segment.start_s, segment.end_s) for segment in index.segments(held.path)])
    was_known = index.track(own_path) is not None
    n_segments = index.add(track, spans, index.vectors(held.path))
    return Committed("updated" if was_known else "added", n_segments, track.note)


def track_of(file: Embedded) -> Track:
    """Return the catalogue's record of a file that is through the model."""
    at = file.begun.file
    return Track(
        path=os.fsencode(at.path),
        size_bytes=at.size_bytes,
        mtime_ns=at.mtime_ns,
        content_hash=file.begun.content_hash,
        duration_s=file.finished.duration_s,
        **file.finished.metadata,
        note=file.finished.note,
    )
