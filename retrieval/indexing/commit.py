"""Commit files to the index: new vectors, or those of a track with the same content."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from index import Track, VectorIndex
from retrieval.indexing.away import AbsentDisks, is_gone
from retrieval.indexing.batcher import Embedded
from retrieval.library.scan import AudioFile

__all__ = ["Committed", "commit_embedded", "commit_known"]


@dataclass(frozen=True)
class Committed:
    """What to count a file as ("added", "updated" or "moved"), the segments written, and its note (`Track.note`)."""

    counted_as: str
    n_segments: int
    note: str | None


def commit_embedded(index: VectorIndex, embedded: Sequence[Embedded]) -> list[tuple[Embedded, Committed | None]]:
    """Commit embedded files together, in one durable step: short clips then need fewer syncs.

    Args:
        index: open for writing.
        embedded: files whose chunks have all been embedded.

    Returns:
        Each file with what it counts as; None if the model gave it a vector that is not finite, which is not committed.
    """
    finite = [bool(np.isfinite(file.vectors).all()) for file in embedded]
    sound = [file for file, is_finite in zip(embedded, finite, strict=True) if is_finite]
    known = {file.begun.file.path: index.track(file.begun.file.path) is not None for file in sound}
    if sound:
        index.add_many([(_track(file), file.spans, file.vectors) for file in sound])
    return [
        (
            file,
            Committed("updated" if known[file.begun.file.path] else "added", len(file.vectors), file.finished.note)
            if is_finite
            else None,
        )
        for file, is_finite in zip(embedded, finite, strict=True)
    ]


def commit_known(index: VectorIndex, file: AudioFile, content_hash: str, *, absent: AbsentDisks) -> Committed | None:
    """Enter a file whose content the index holds already, without decoding it.

    The file's own track is preferred, then one whose file is gone: that file was moved. Otherwise, and where the other
    file may still be on a disk that is not mounted, the file is a copy and gets rows of its own. Vectors that are
    damaged on the disk are not used: the file is embedded again instead.

    Args:
        index: open for writing.
        file: the file.
        content_hash: of its content.
        absent: the disks that are not mounted.

    Returns:
        None if the index does not hold the content, or only with damaged vectors.
    """
    own_path = os.fsencode(file.path)
    holders = index.find_content(content_hash)
    moved = {track.path: is_gone(track.path) and not absent.hold(track.file) for track in holders}
    holders.sort(key=lambda track: (track.path != own_path, not moved[track.path]))
    held = next((track for track in holders if index.is_sound(track.path)), None)
    if held is None:
        return None
    track = replace(held, path=own_path, size_bytes=file.size_bytes, mtime_ns=file.mtime_ns)
    if held.path == own_path or moved[held.path]:
        index.update(held.path, track)
        return Committed("updated" if held.path == own_path else "moved", 0, track.note)
    spans = np.array([(segment.start_s, segment.end_s) for segment in index.segments(held.path)])
    was_known = index.track(own_path) is not None
    n_segments = index.add(track, spans, index.vectors(held.path))
    return Committed("updated" if was_known else "added", n_segments, track.note)


def _track(file: Embedded) -> Track:
    """Return the catalogue's record of an embedded file."""
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
