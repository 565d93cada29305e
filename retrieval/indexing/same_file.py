"""Find the tracks that the scan found under another name: a link, a hard link, a second mount of the same folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from retrieval.library.scan import AudioFile

__all__ = ["KnownName", "known_names", "second_names"]

_STEP = 1000


@dataclass(frozen=True)
class KnownName:
    """A file of the scan and the path of its track, which is another name of it.

    Attributes:
        file: as the scan found it.
        path: of the track.
        is_link: whether that path leads over a link while that of the file does not: the track should have the file's.
    """

    file: AudioFile
    path: bytes
    is_link: bool


def known_names(
    files: Sequence[AudioFile], stamps: Mapping[bytes, tuple[int, int]], *, on_step: Callable[[], None]
) -> list[KnownName]:
    """Find, for files that are new by their path, the tracks that are the same files.

    Only tracks with the same size and time, or the same name in another folder, are looked at: a `stat` of every track
    of other roots would cost more than the scan.

    Args:
        files: what the index does not know by its path, or knows with another size or time.
        stamps: size and time of the tracks that the scan did not find, by path.
        on_step: called now and then, and may raise.
    """
    wanted_stamps = {(file.size_bytes, file.mtime_ns) for file in files}
    wanted_names = {os.path.basename(os.fsencode(file.path)) for file in files}
    candidates = [
        path for path, stamp in stamps.items() if stamp in wanted_stamps or os.path.basename(path) in wanted_names
    ]
    path_of = {status: path for path, status in _live(candidates, on_step)}
    known = []
    for file in files:
        path = path_of.get(_status(file))
        if path is not None and file.identity is not None:
            known.append(KnownName(file, path, _is_by_link(path) and not _is_by_link(os.fsencode(file.path))))
    return known


def second_names(
    paths: Iterable[bytes], files: Sequence[AudioFile], *, on_step: Callable[[], None]
) -> tuple[bytes, ...]:
    """Return those of the paths that are other names of the files."""
    found = {_status(file) for file in files if file.identity is not None}
    return tuple(path for path, status in _live(list(paths), on_step) if status in found)


_Status = tuple[tuple[int, int] | None, int, int]


def _status(file: AudioFile) -> _Status:
    # Size and time too: some file systems make up their inodes.
    return file.identity, file.size_bytes, file.mtime_ns


def _live(paths: Sequence[bytes], on_step: Callable[[], None]) -> Iterable[tuple[bytes, _Status]]:
    """Yield the paths that are there with the status of what they lead to."""
    for number, path in enumerate(paths):
        if number % _STEP == 0:
            on_step()
        try:
            status = os.stat(path)
        except OSError:
            continue
        yield path, ((status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns)


def _is_by_link(path: bytes) -> bool:
    return os.path.realpath(path) != path
