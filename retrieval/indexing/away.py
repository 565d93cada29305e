"""Tell what is gone from what is only away: folders and disks that are not there now, and may be there tomorrow."""

from __future__ import annotations

import bisect
import os
import re
from pathlib import Path

from retrieval.library.passed_over import kind_of_folder
from retrieval.library.scan import Scan, is_under

__all__ = ["AbsentDisks", "AwayFolders", "is_gone"]

_FSTAB = Path("/etc/fstab")
# Where systems mount disks, and how many levels below a disk may be.
_MOUNT_PARENTS = (("/media", 2), ("/run/media", 2), ("/mnt", 1), ("/Volumes", 1))


def is_gone(path: bytes | str) -> bool:
    """Return whether nothing is at the path; False where that cannot be found out."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


class AwayFolders:
    """The folders below the roots of a scan that held tracks and are missing or empty now.

    A disk that is not mounted leaves an empty folder, or none. A folder that holds anything else, such as a cover, is
    there, and a file that is missing from it was deleted.
    """

    def __init__(self, found: Scan) -> None:
        names = [os.fsencode(file.path) for file in found.files]
        self._roots = found.roots
        self._dangling = frozenset(found.dangling)
        # Roots and links without any audio file; the shortest first, so that the outermost is named.
        self._tops = tuple(
            top for top in sorted({*found.tops, *found.dangling}, key=len) if not _holds_any(names, below=top)
        )
        self._states: dict[str, str | None] = {}

    def place_of(self, path: str) -> str | None:
        """Return the outermost folder (root, link) that is away and would hold the file; None: its folder is there."""
        for top in self._tops:
            if is_under(path, top):
                return top
        place, folder = None, os.path.dirname(path)
        while any(is_under(folder, root) and folder != root for root in self._roots) and self.state(folder):
            place, folder = folder, os.path.dirname(folder)
        return place

    def state(self, place: str) -> str | None:
        """Return how a folder is away ("it is gone" ...), None if it is there."""
        if place in self._tops:
            return "it is gone" if place in self._dangling else "it holds no audio file"
        if place not in self._states:
            self._states[place] = _state(place)
        return self._states[place]


class AbsentDisks:
    """The places where disks are mounted and nothing is mounted now: below /media, /mnt and the like, and in fstab.

    What is known from such a disk has not moved where its content turns up elsewhere: that is a copy.
    """

    def __init__(self, fstab: Path = _FSTAB) -> None:
        self._listed = tuple(sorted(_mount_points(fstab)))
        self._absent: dict[str, bool] = {}

    def hold(self, path: str) -> bool:
        """Return whether a path would be on such a disk."""
        return any(self._is_absent(place) for place in self._places(path))

    def _places(self, path: str) -> list[str]:
        places = [place for place in self._listed if is_under(path, place)]
        for parent, n_levels in _MOUNT_PARENTS:
            if is_under(path, parent):
                parts = os.path.relpath(path, parent).split(os.sep)[:-1]
                places += [os.path.join(parent, *parts[:n]) for n in range(1, min(n_levels, len(parts)) + 1)]
        return places

    def _is_absent(self, place: str) -> bool:
        if place not in self._absent:
            self._absent[place] = _state(place) is not None
        return self._absent[place]


def _state(folder: str) -> str | None:
    try:
        with os.scandir(folder) as entries:
            if all(entry.name.startswith(".") or kind_of_folder(entry.name) for entry in entries):
                return "it is empty"
    except (FileNotFoundError, NotADirectoryError):
        return "it is gone"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return None


def _holds_any(names: list[bytes], *, below: str) -> bool:
    """Return whether one of sorted names is below a folder, or is it."""
    folder = os.fsencode(below)
    for start in (folder, os.path.join(folder, b"")):
        position = bisect.bisect_left(names, start)
        if position < len(names) and (
            names[position] == folder or names[position].startswith(os.path.join(folder, b""))
        ):
            return True
    return False


def _mount_points(fstab: Path) -> set[str]:
    try:
        lines = fstab.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return set()
    places = set()
    for line in lines:
        fields = line.split()
        if len(fields) >= 2 and not line.lstrip().startswith("#") and fields[1].startswith("/"):
            place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1])  # spaces are \040 there
            places.add(os.path.normpath(place))
    return places - {"/"}
