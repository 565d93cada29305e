"""The music on disk: finding audio files and identifying their content."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from index import printable

__all__ = [
    "AUDIO_EXTENSIONS",
    "AudioFile",
    "Problem",
    "Scan",
    "content_hash",
    "is_under",
    "scan",
]

AUDIO_EXTENSIONS = frozenset(
    [
        ".aac",
        ".ac3",
        ".aif",
        ".aifc",
        ".aiff",
        ".ape",
        ".au",
        ".caf",
        ".flac",
        ".m4a",
        ".m4b",
        ".mka",
        ".mp2",
        ".mp3",
        ".mp4",
        ".mpc",
        ".oga",
        ".ogg",
        ".opus",
        ".tta",
        ".w64",
        ".wav",
        ".wave",
        ".webm",
        ".wma",
        ".wv",
    ]
)

_HASH_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class AudioFile:
    """A file with the name of an audio file.

    Attributes:
        path: absolute, as `os.fsdecode` gives it (bytes outside UTF-8 are surrogate escapes).
        size_bytes: its size when it was seen.
        mtime_ns: its modification time when it was seen, nanoseconds.
    """

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Problem:
    """A file or folder that could not be used (as a whole), and why. `str()` is one printable line."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


@dataclass(frozen=True)
class Scan:
    """The result of a scan.

    Attributes:
        files: sorted by path.
        problems: folders and links that could not be read, sorted by path.
        roots: absolute paths of the folders and files to scan.
        tops: the roots and links that led to a folder: where another disk may be mounted.
        dangling: links that lead nowhere, and roots that do not exist.
    """

    files: tuple[AudioFile, ...]
    problems: tuple[Problem, ...]
    roots: tuple[str, ...]
    tops: tuple[str, ...]
    dangling: tuple[str, ...]

    def covers(self, path: str, *, dangling: bool = False) -> bool:
        """Return whether the scan would have found a file: it is under a root, and below nothing unreadable.

        Args:
            path: the file.
            dangling: count what is below a dangling link or root as covered, too.
        """
        failed = {problem.path for problem in self.problems}
        failed = failed - set(self.dangling) if dangling else failed | set(self.dangling)
        return any(is_under(path, root) for root in self.roots) and not any(is_under(path, place) for place in failed)


def scan(
    roots: Sequence[str | os.PathLike[str]],
    *,
    on_folder: Callable[[int], None] | None = None,
    allow_missing: bool = False,
) -> Scan:
    """Find the audio files below folders, by their extension.

    Symbolic links are followed; a folder or a file that several of them lead to is taken once, under its own path where
    that lies below a root. Names that begin with a dot are left out (`._song.mp3` of macOS is not a song). A root may
    be a file: it is taken whatever its name.

    Args:
        roots: folders and files.
        on_folder: called after each folder with the number of files so far; what it raises ends the scan.
        allow_missing: a root that does not exist is `dangling`, not an error.

    Raises:
        FileNotFoundError: a root does not exist.
    """
    walk = _Walk(on_folder or (lambda _: None))
    absolute = [os.path.abspath(os.fspath(root)) for root in roots]
    for root in absolute:
        try:
            os.stat(root)
        except (FileNotFoundError, NotADirectoryError):
            if not allow_missing:
                raise FileNotFoundError(f"no such file or folder: {printable(root)}") from None
        except OSError as error:
            walk.problems[root] = _reason(error)
    for root in absolute:
        if root not in walk.problems:
            walk.visit(root, is_root=True)
    # Links come last: so the path that a file is known by is its own, not that of a link that may be gone
    # tomorrow.
    while walk.links:
        links, walk.links = sorted(walk.links), []
        for link in links:
            walk.visit(link)
    return Scan(
        files=tuple(sorted(walk.files.values(), key=lambda file: os.fsencode(file.path))),
        problems=tuple(Problem(path, reason) for path, reason in sorted(walk.problems.items())),
        roots=tuple(dict.fromkeys(absolute)),
        tops=tuple(walk.tops),
        dangling=tuple(walk.dangling),
    )


@dataclass
class _Walk:
    """The state of one scan."""

    on_folder: Callable[[int], None]
    files: dict[str, AudioFile] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    seen_folders: set[tuple[int, int]] = field(default_factory=set)
    seen_files: set[tuple[int, int]] = field(default_factory=set)

    def visit(self, path: str, *, is_root: bool = False) -> None:
        """Take a root, or what a link leads to."""
        try:
            status = os.stat(path)
        except OSError as error:
            # A link that leads nowhere is reported only if it has the name of an audio file.
            if _has_audio_name(path) and not is_root:
                self.problems[path] = _reason(error)
            self.dangling.append(path)
            return
        if stat.S_ISDIR(status.st_mode):
            self.tops.append(path)
            self._walk_folder(path, status)
        elif is_root or _has_audio_name(path):
            self._take(path, status, once=not is_root)

    def _walk_folder(self, top: str, status: os.stat_result) -> None:
        folders = [(top, status)]
        while folders:
            folder, status = folders.pop()
            identity = (status.st_dev, status.st_ino)
            if identity in self.seen_folders:
                continue
            self.seen_folders.add(identity)
            try:
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.problems[folder] = _reason(error)
                continue
            for entry in listed:
                self._take_entry(entry, folders)
            self.on_folder(len(self.files))

    def _take_entry(self, entry: os.DirEntry[str], folders: list[tuple[str, os.stat_result]]) -> None:
        if entry.name.startswith("."):
            return
        try:
            if entry.is_symlink():
                self.links.append(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, entry.stat()))
            elif _has_audio_name(entry.name):
                self._take(entry.path, entry.stat(), once=False)
        except OSError as error:
            self.problems[entry.path] = _reason(error)

    def _take(self, path: str, status: os.stat_result, *, once: bool) -> None:
        """Add a regular file; with `once` only if no other path led to it."""
        identity = (status.st_dev, status.st_ino)
        if not stat.S_ISREG(status.st_mode) or (once and identity in self.seen_files):
            return
        self.seen_files.add(identity)
        self.files.setdefault(path, AudioFile(path, status.st_size, status.st_mtime_ns))


def content_hash(path: str | os.PathLike[str], *, on_piece: Callable[[], None] | None = None) -> str:
    """Return the BLAKE2b hash (160 bits, hexadecimal) of a whole file.

    Args:
        path: the file, read in pieces of 1 MiB.
        on_piece: called after each piece.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=20)
    buffer = bytearray(_HASH_CHUNK_BYTES)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as raw:
        while n_read := raw.readinto(buffer):
            digest.update(view[:n_read])
            if on_piece is not None:
                on_piece()
    return digest.hexdigest()


def _has_audio_name(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in AUDIO_EXTENSIONS


def is_under(path: str, folder: str) -> bool:
    """Return whether a path is the folder or lies below it, by name."""
    return path == folder or path.startswith(os.path.join(folder, ""))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
