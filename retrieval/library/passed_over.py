"""What a scan does not take: other files by extension, hidden names, second names of a file, system folders."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from index import printable
from retrieval.library.extensions import AUDIO_EXTENSIONS, extension_of

__all__ = ["LeftOutFolder", "PassedOver", "count_sounds", "kind_of_folder"]

_FOLDERS = (
    ("recycle bin", re.compile(r"\$recycle\.bin|recycle[dr]|\.trash(es|-.*)?|[#@]recycle", re.IGNORECASE)),
    ("snapshots", re.compile(r"\.snapshots?|#snapshot|@recently-snapshot|\.zfs", re.IGNORECASE)),
    ("system folder", re.compile(r"@eadir|lost\+found|system volume information|@tmp", re.IGNORECASE)),
    ("hidden folder", re.compile(r"\..*", re.DOTALL)),
)
_MOST_ENTRIES = 20_000
_EXTENSIONS_SHOWN = 3
_FOLDERS_SHOWN = 3


@dataclass(frozen=True)
class LeftOutFolder:
    """A folder that was not scanned.

    Attributes:
        path: of the folder.
        kind: "recycle bin", "snapshots", "system folder" or "hidden folder".
        n_sounds: files with the name of a sound below it, as far as they were counted.
        is_counted: whether all of it was looked through.
    """

    path: str
    kind: str
    n_sounds: int
    is_counted: bool

    def __str__(self) -> str:
        files = f"{self.n_sounds} sound {'file' if self.n_sounds == 1 else 'files'}"
        return f"{printable(self.path)} ({self.kind}, {files if self.is_counted else f'at least {files}'})"


@dataclass(frozen=True)
class PassedOver:
    """The files below the roots of a scan that it did not take; each is counted once.

    Attributes:
        by_extension: how many files have another extension, by extension ("" for none), the commonest first.
        n_hidden: files and links whose name begins with a dot.
        n_second_names: other names (links, hard links) of files that were taken.
        n_special: pipes, sockets, devices, and links to nothing.
        folders: recycle bins, snapshots and the like, sorted by path; their files are not in the other counts.
    """

    by_extension: Mapping[str, int] = field(default_factory=dict)
    n_hidden: int = 0
    n_second_names: int = 0
    n_special: int = 0
    folders: tuple[LeftOutFolder, ...] = ()

    @property
    def n_files(self) -> int:
        """How many files were passed over, those in `folders` not counted."""
        return sum(self.by_extension.values()) + self.n_hidden + self.n_second_names + self.n_special

    def lines(self) -> list[str]:
        """Return the counts as text for people, at most two lines; none where nothing was passed over."""
        parts = [f"{n} {extension or 'without extension'}" for extension, n in self.by_extension.items()]
        if len(parts) > _EXTENSIONS_SHOWN + 1:
            n_others = sum(list(self.by_extension.values())[_EXTENSIONS_SHOWN:])
            parts = [*parts[:_EXTENSIONS_SHOWN], f"{n_others} with other extensions"]
        for n, what in (
            (self.n_hidden, "with a hidden name"),
            (self.n_second_names, "that another name leads to"),
            (self.n_special, "that are pipes, sockets, devices or broken links"),
        ):
            if n:
                parts.append(f"{n} {what}")
        lines = [f"{self.n_files} passed over: {printable(', '.join(parts))}"] if parts else []
        if self.folders:
            shown = [str(folder) for folder in self.folders[:_FOLDERS_SHOWN]]
            if len(self.folders) > _FOLDERS_SHOWN:
                shown.append(f"and {len(self.folders) - _FOLDERS_SHOWN} more")
            lines.append(f"left out, --include-hidden takes them: {', '.join(shown)}")
        return lines

    def as_json(self) -> dict[str, object]:
        """Return the counts as plain values."""
        return {
            "files": self.n_files,
            "extensions": dict(self.by_extension),
            "hidden": self.n_hidden,
            "second_names": self.n_second_names,
            "special": self.n_special,
            "folders": [
                {
                    "path": folder.path,
                    "kind": folder.kind,
                    "sound_files": folder.n_sounds,
                    "counted": folder.is_counted,
                }
                for folder in self.folders
            ],
        }


def kind_of_folder(name: str) -> str | None:
    """Return what a folder of this name is if it is left out by default ("recycle bin" ...), else None."""
    return next((kind for kind, pattern in _FOLDERS if pattern.fullmatch(name)), None)


def count_sounds(folder: str, kind: str, *, most_entries: int = _MOST_ENTRIES) -> LeftOutFolder:
    """Count the files with the name of a sound below a folder that is left out.

    Args:
        folder: its path. Links in it are not followed.
        kind: of `kind_of_folder`.
        most_entries: where to stop: a history of snapshots may hold millions of files.
    """
    n_sounds = n_entries = 0
    complete = True

    def unreadable(_: OSError) -> None:
        nonlocal complete
        complete = False

    for _, _, names in os.walk(folder, onerror=unreadable):
        n_entries += 1 + len(names)
        n_sounds += sum(extension_of(name) in AUDIO_EXTENSIONS and not name.startswith(".") for name in names)
        if n_entries > most_entries:
            complete = False
            break
    return LeftOutFolder(folder, kind, n_sounds, complete)
