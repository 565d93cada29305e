"""Commit files to the index: new vectors, or those of a track with the same content or the same audio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from index import Track, VectorIndex
from retrieval.indexing.away import AbsentDisks, is_gone
from retrieval.indexing.batcher import Embedded
from retrieval.indexing.decode_pool import Hashed, Tagged

__all__ = ["Committed", "commit_embedded", "commit_known", "commit_tags"]


@dataclass(frozen=True)
class Committed:
    """What a file counts as ("added", "updated", "retagged" or "moved"), the segments written, and its note."""

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


def commit_known(index: VectorIndex, hashed: Hashed, *, absent: AbsentDisks) -> Committed | None:
    """Enter a file whose audio the index holds already, without decoding it; its tags may be others.

    The file's own track is preferred, then one whose file is gone: that file was moved. Otherwise, and where the other
    file may still be on a disk that is not mounted, the file is a copy and gets rows of its own. Vectors that are
    damaged on the disk are not used: the file is embedded again instead.

    Args:
        index: open for writing.
        hashed: the file.
        absent: the disks that are not mounted.

    Returns:
        None if the index does not hold the audio, or only with damaged vectors.
    """
    own_path = os.fsencode(hashed.file.path)
    same_content = {track.path: track for track in index.find_content(hashed.content_hash)}
    holders = {**{track.path: track for track in index.find_audio(hashed.audio_hash)}, **same_content}
    moved = {path: is_gone(path) and not absent.hold(track.file) for path, track in holders.items()}
    order = sorted(holders, key=lambda path: (path != own_path, not moved[path], path not in same_content, path))
    held = next((holders[path] for path in order if index.is_sound(path)), None)
    if held is None:
        return None
    track = replace(
        held,
        path=own_path,
        size_bytes=hashed.file.size_bytes,
        mtime_ns=hashed.file.mtime_ns,
        content_hash=hashed.content_hash,
        audio_hash=hashed.audio_hash,
    )
    track = _with_tags(track, hashed.metadata)
    if held.path == own_path:
        index.update(held.path, track)
        return Committed("updated" if held.path in same_content else "retagged", 0, track.note)
    if moved[held.path]:
        index.update(held.path, track)
        return Committed("moved", 0, track.note)
    spans = np.array([(segment.start_s, segment.end_s) for segment in index.segments(held.path)])
    was_known = index.track(own_path) is not None
    n_segments = index.add(track, spans, index.vectors(held.path))
    return Committed("updated" if was_known else "added", n_segments, track.note)


def commit_tags(index: VectorIndex, tagged: Tagged) -> bool:
    """Give a track the tags that its file has now; return whether they are others than before."""
    track = index.track(tagged.file.path)
    if track is None or tagged.metadata is None:
        return False
    current = _with_tags(track, tagged.metadata)
    if current == track:
        return False
    index.update(track.path, current)
    return True


def _with_tags(track: Track, metadata: dict[str, str | None]) -> Track:
    fields: dict[str, Any] = dict(metadata)
    return replace(track, **fields)


def _track(file: Embedded) -> Track:
    """Return the catalogue's record of an embedded file."""
    at = file.begun.file
    return Track(
        path=os.fsencode(at.path),
        size_bytes=at.size_bytes,
        mtime_ns=at.mtime_ns,
        content_hash=file.begun.hashed.content_hash,
        duration_s=file.finished.duration_s,
        note=file.finished.note,
        audio_hash=file.begun.hashed.audio_hash,
        **file.begun.hashed.metadata,
        declared_s=file.finished.declared_s,
    )
