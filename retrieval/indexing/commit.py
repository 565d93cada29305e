"""How files become rows of the index: from new vectors, or from those of a track with the same content."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from index import Track, VectorIndex
from retrieval.indexing.batcher import Embedded
from retrieval.indexing.decode_pool import Known, Reuse
from retrieval.indexing.plan import is_gone
from retrieval.library.scan import AudioFile

__all__ = ["commit_known", "find_reuse", "track_of"]


def find_reuse(index: VectorIndex, file: AudioFile, content_hash: str) -> Reuse | None:
    """The vectors of a track with this content; preferably the file's own, then one whose file is gone."""
    own_path = os.fsencode(file.path)
    held = index.find_content(content_hash)
    for track in sorted(held, key=lambda track: (track.path != own_path, not is_gone(track.path))):
        try:
            vectors = index.vectors(track.path)
            spans = np.array([(segment.start_s, segment.end_s) for segment in index.segments(track.path)])
        except KeyError:
            continue
        if index.track(track.path) == track:  # not replaced meanwhile: the vectors are of this content
            return Reuse(track, spans, vectors)
    return None


def commit_known(index: VectorIndex, event: Known) -> str:
    """Enters a file whose content the index holds, without new vectors; returns what to count it as."""
    own_path = os.fsencode(event.file.path)
    held = event.reuse.track
    track = dataclasses.replace(held, path=own_path, size_bytes=event.file.size_bytes, mtime_ns=event.file.mtime_ns)
    if index.track(held.path) == held and (held.path == own_path or is_gone(held.path)):
        index.update(held.path, track)
        return "updated" if held.path == own_path else "moved"
    was_known = index.track(own_path) is not None
    index.add(track, event.reuse.spans, event.reuse.vectors)  # a second copy: rows of its own
    return "updated" if was_known else "added"


def track_of(file: Embedded) -> Track:
    at = file.begun.file
    return Track(
        path=os.fsencode(at.path),
        size_bytes=at.size_bytes,
        mtime_ns=at.mtime_ns,
        content_hash=file.begun.content_hash,
        duration_s=file.finished.duration_s,
        **file.finished.metadata,
    )
