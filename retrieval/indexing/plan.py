"""Compares the files on disk with the catalogue: which to read, which are unchanged, which are gone."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from index import Skipped, Track, printable
from retrieval.indexing.away import AwayFolders, is_gone
from retrieval.indexing.same_file import known_names, second_names
from retrieval.library.scan import AudioFile, Problem, Scan

__all__ = ["Missing", "Plan", "make_plan", "missing_tracks"]

_STEP = 1000


@dataclass(frozen=True)
class Plan:
    """The work of a build.

    Attributes:
        todo: files to read, sorted by path: new, changed, and skipped ones to be tried again.
        n_unchanged: files whose size and time are those in the catalogue, under this name or another one.
        known: those files, and the moved ones, under the paths that their tracks will have.
        known_partial: those of them that are indexed only in part.
        known_bad: files skipped before and unchanged since.
        renamed: tracks to enter under another name of the same file (path of the track, path of the file).
        n_moved: how many of those need nothing more; the others are in `todo`.
        missing: paths of tracks below the roots whose files are gone.
        second_names: paths of tracks whose files have another track under another name.
        stale_skips: paths of skipped files that are gone.
    """

    todo: tuple[AudioFile, ...]
    n_unchanged: int
    known: tuple[AudioFile, ...]
    known_partial: tuple[Problem, ...]
    known_bad: tuple[Problem, ...]
    renamed: tuple[tuple[bytes, bytes], ...]
    n_moved: int
    missing: tuple[bytes, ...]
    second_names: tuple[bytes, ...]
    stale_skips: tuple[bytes, ...]


def make_plan(
    found: Scan,
    *,
    tracks: Sequence[Track],
    skipped: Sequence[Skipped],
    retry_skipped: bool,
    prune: bool,
    on_step: Callable[[], None],
) -> Plan:
    """Compare by path, size and time; open no file. `on_step` is called now and then, and may raise."""
    others = {track.path: track for track in tracks}
    skips = {skip.path: skip for skip in skipped}
    todo: list[AudioFile] = []
    unchanged: list[Track] = []
    moved: list[AudioFile] = []
    known_bad: list[Problem] = []
    for number, file in enumerate(found.files):
        if number % _STEP == 0:
            on_step()
        path, stamp = os.fsencode(file.path), (file.size_bytes, file.mtime_ns)
        skip = skips.pop(path, None)
        track = others.pop(path, None)
        if track is not None and _stamp(track) == stamp:
            unchanged.append(track)
        elif skip is None or (skip.size_bytes, skip.mtime_ns) != stamp or skip.n_tries or retry_skipped:
            todo.append(file)
        else:
            known_bad.append(Problem(file.path, skip.reason))
    new = [file for file in todo if os.fsencode(file.path) not in others]
    renamed: list[tuple[bytes, bytes]] = []
    done: set[str] = set()
    for known in known_names(new, {path: _stamp(track) for path, track in others.items()}, on_step=on_step):
        track, file = others.pop(known.path, None), known.file
        if track is None:
            continue
        is_same = _stamp(track) == (file.size_bytes, file.mtime_ns)
        if known.is_link:
            renamed.append((known.path, os.fsencode(file.path)))
            moved += [file] if is_same else []
        elif is_same:
            unchanged.append(track)
        else:
            todo.append(replace(file, path=track.file))
        if is_same or not known.is_link:
            done.add(file.path)
    there: list[bytes] = []
    missing: list[bytes] = []
    for number, path in enumerate(others):
        if number % _STEP == 0:
            on_step()
        if found.covers(os.fsdecode(path), dangling=True):
            (missing if is_gone(path) else there).append(path)
    return Plan(
        todo=tuple(sorted((file for file in todo if file.path not in done), key=lambda file: os.fsencode(file.path))),
        n_unchanged=len(unchanged),
        known=(*(AudioFile(track.file, track.size_bytes, track.mtime_ns) for track in unchanged), *moved),
        known_partial=tuple(Problem(track.file, track.note) for track in unchanged if track.note is not None),
        known_bad=tuple(known_bad),
        renamed=tuple(renamed),
        n_moved=len(moved),
        missing=tuple(missing),
        second_names=second_names(there, found.files, on_step=on_step),
        stale_skips=tuple(path for path in skips if found.covers(os.fsdecode(path), dangling=prune) and is_gone(path)),
    )


@dataclass(frozen=True)
class Missing:
    """What becomes of tracks whose files are gone.

    Attributes:
        forgotten: paths of those to remove from the index.
        forgotten_skips: paths of skipped files to remove from the index.
        n_kept: how many stay although their files are gone.
        problems: one for each place whose tracks are kept, with the command that forgets them.
    """

    forgotten: tuple[bytes, ...]
    forgotten_skips: tuple[bytes, ...]
    n_kept: int = 0
    problems: tuple[Problem, ...] = ()


def missing_tracks(
    found: Scan,
    missing: tuple[bytes, ...],
    *,
    skips: tuple[bytes, ...],
    prune: bool,
    index_path: os.PathLike[str],
) -> Missing:
    """Decide which of the missing tracks, and of the missing skipped files, to forget.

    A track is kept where its folder, or one above it, is missing or empty, because a disk may not be mounted; so are
    the tracks of roots and links that lead nowhere or to a folder without any audio file. With `prune` all are
    forgotten.
    """
    if prune:
        return Missing(missing, skips)
    away = AwayFolders(found)
    forgotten_skips = tuple(path for path in skips if away.place_of(os.fsdecode(path)) is None)
    kept = Counter(place for path in missing if (place := away.place_of(os.fsdecode(path))) is not None)
    forgotten = tuple(path for path in missing if away.place_of(os.fsdecode(path)) is None)
    problems = []
    for place, n_tracks in sorted(kept.items()):
        target, index = (shlex.quote(printable(path)) for path in (place, index_path))
        tracks = "its track stays" if n_tracks == 1 else f"its {n_tracks} tracks stay"
        reason = (
            f"{away.state(place)}; {tracks} in the index in case a disk is not mounted. To forget "
            f"{'it' if n_tracks == 1 else 'them'}, run `retrieve index remove {target} --index {index}`"
        )
        problems.append(Problem(place, reason))
    return Missing(forgotten, forgotten_skips, len(missing) - len(forgotten), tuple(problems))


def _stamp(track: Track) -> tuple[int, int]:
    return track.size_bytes, track.mtime_ns
