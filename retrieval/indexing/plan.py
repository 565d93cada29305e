"""Compares the files on disk with the catalogue: which to read, which are unchanged, which are gone."""

from __future__ import annotations

import bisect
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from index import VectorIndex, printable
from retrieval.library.scan import AudioFile, Problem, Scan, is_under

__all__ = ["Missing", "Plan", "is_gone", "make_plan", "missing_tracks"]


@dataclass(frozen=True)
class Plan:
    """The work of a build.

    Attributes:
        todo: files to read, sorted by path: new, changed, and skipped ones to be tried again.
        n_unchanged: files whose size and time are those in the catalogue.
        known_partial: those of them that are indexed only in part.
        known_bad: files skipped before and unchanged since.
        missing: paths of tracks below the roots whose files are gone.
        stale_skips: paths of skipped files that are gone.
    """

    todo: tuple[AudioFile, ...]
    n_unchanged: int
    known_partial: tuple[Problem, ...]
    known_bad: tuple[Problem, ...]
    missing: tuple[bytes, ...]
    stale_skips: tuple[bytes, ...]


def make_plan(
    found: Scan, index: VectorIndex, *, retry_skipped: bool, prune: bool, on_step: Callable[[], None]
) -> Plan:
    """Compare by path, size and time; open no file. `on_step` is called now and then, and may raise."""
    tracks = {track.path: (track.size_bytes, track.mtime_ns, track.note) for track in index.tracks()}
    skips = {skip.path: skip for skip in index.skipped()}
    todo: list[AudioFile] = []
    known_partial: list[Problem] = []
    known_bad: list[Problem] = []
    n_unchanged = 0
    for number, file in enumerate(found.files):
        if number % 1000 == 0:
            on_step()
        path, stamp = os.fsencode(file.path), (file.size_bytes, file.mtime_ns)
        skip = skips.pop(path, None)
        track = tracks.pop(path, None)
        if track is not None and track[:2] == stamp:
            n_unchanged += 1
            if track[2] is not None:
                known_partial.append(Problem(file.path, track[2]))
        elif skip is None or (skip.size_bytes, skip.mtime_ns) != stamp or skip.n_tries or retry_skipped:
            todo.append(file)
        else:
            known_bad.append(Problem(file.path, skip.reason))
    return Plan(
        todo=tuple(todo),
        n_unchanged=n_unchanged,
        known_partial=tuple(known_partial),
        known_bad=tuple(known_bad),
        missing=tuple(path for path in tracks if _is_missing(path, found, dangling=True)),
        stale_skips=tuple(path for path in skips if _is_missing(path, found, dangling=prune)),
    )


@dataclass(frozen=True)
class Missing:
    """What becomes of tracks whose files are gone.

    Attributes:
        forgotten: paths of those to remove from the index.
        n_kept: how many stay although their files are gone.
        problems: one for each place whose tracks are kept, with the command that forgets them.
    """

    forgotten: tuple[bytes, ...]
    n_kept: int = 0
    problems: tuple[Problem, ...] = ()


def missing_tracks(found: Scan, missing: tuple[bytes, ...], *, prune: bool, index_path: os.PathLike[str]) -> Missing:
    """Decide which of the missing tracks to forget.

    Tracks are kept where a root, or a link below one, leads nowhere or to a folder without any audio file, because a
    disk may not be mounted. With `prune` all are forgotten.
    """
    if prune or not missing:
        return Missing(missing)
    names = [os.fsencode(file.path) for file in found.files]
    forgotten, problems = list(missing), []
    for place in sorted({*found.tops, *found.dangling}, key=len):
        below = os.fsencode(os.path.join(place, ""))
        position = bisect.bisect_left(names, below)
        if position < len(names) and names[position].startswith(below):
            continue
        kept = [path for path in forgotten if is_under(os.fsdecode(path), place)]
        if kept:
            forgotten = [path for path in forgotten if not is_under(os.fsdecode(path), place)]
            target, index = (shlex.quote(printable(path)) for path in (place, index_path))
            state = "it is gone" if place in found.dangling else "it holds no audio file"
            reason = (
                f"{state}; its {len(kept)} tracks stay in the index in case a disk is not mounted. To forget them, run "
                f"`retrieve index build {target} --prune --index {index}`"
            )
            problems.append(Problem(place, reason))
    return Missing(tuple(forgotten), len(missing) - len(forgotten), tuple(problems))


def is_gone(path: bytes) -> bool:
    """Return whether nothing is at the path; False where that cannot be found out."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_missing(path: bytes, found: Scan, *, dangling: bool) -> bool:
    return found.covers(os.fsdecode(path), dangling=dangling) and is_gone(path)
