"""The music on disk: finding audio files and identifying their content."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from index import printable
from retrieval.library.extensions import AMBIGUOUS_EXTENSIONS, AUDIO_EXTENSIONS, extension_of
from retrieval.library.passed_over import LeftOutFolder, PassedOver, count_sounds, kind_of_folder
from retrieval.library.sniff import looks_like_sound

__all__ = [
    "AudioFile",
    "Problem",
    "Scan",
    "content_hash",
    "is_under",
    "scan",
]

_HASH_CHUNK_BYTES = 1 << 20
_SNIFFS_A_REPORT = 200


@dataclass(frozen=True)
class AudioFile:
    """A file with the name of an audio file.

    Attributes:
        path: absolute, as `os.fsdecode` gives it (bytes outside UTF-8 are surrogate escapes).
        size_bytes: its size when it was seen.
        mtime_ns: its modification time when it was seen, nanoseconds.
        identity: device and inode, the same for all names of a file; None where the file system has no inodes.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    identity: tuple[int, int] | None = field(default=None, compare=False)


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
        passed_over: what was found and not taken.
        sheets: cue sheets, sorted by path; they are counted as passed over, too.
    """

    files: tuple[AudioFile, ...]
    problems: tuple[Problem, ...]
    roots: tuple[str, ...]
    tops: tuple[str, ...]
    dangling: tuple[str, ...]
    passed_over: PassedOver = field(default_factory=PassedOver)
    sheets: tuple[AudioFile, ...] = ()

    def covers(self, path: str, *, dangling: bool = False) -> bool:
        """Return whether the scan would have found a file: it is under a root, and below nothing unreadable.

        Args:
            path: the file.
            dangling: count what is below a dangling link or root as covered, too.
        """
        failed = self._unreadable if dangling else self._unreadable_or_dangling
        return any(is_under(path, root) for root in self.roots) and not any(is_under(path, place) for place in failed)

    @cached_property
    def _unreadable(self) -> frozenset[str]:
        return frozenset(problem.path for problem in self.problems) - set(self.dangling)

    @cached_property
    def _unreadable_or_dangling(self) -> frozenset[str]:
        return frozenset(problem.path for problem in self.problems) | set(self.dangling)


def scan(
    roots: Sequence[str | os.PathLike[str]],
    *,
    on_folder: Callable[[int], None] | None = None,
    allow_missing: bool = False,
    include_hidden: bool = False,
    sniff: bool = False,
    known: Collection[str] = (),
) -> Scan:
    """Find the audio files below folders, by their extension.

    Symbolic links are followed. A folder or file that has several names (links, hard links, a second mount) is taken
    once, under its own path where that lies below a root. A root may be a file: it is taken whatever its name.

    Args:
        roots: folders and files.
        on_folder: called now and then, and after each folder, with the number of files so far; what it raises ends the
            scan.
        allow_missing: a root that does not exist is `dangling`, not an error.
        include_hidden: take names that begin with a dot (`._song.mp3` of macOS is not a song), and go into recycle
            bins, snapshots and the like. A root is gone into whatever its name.
        sniff: take files with other extensions if their first bytes are those of sound.
        known: paths to take in any case, as an earlier scan did.

    Raises:
        FileNotFoundError: a root does not exist.
    """
    walk = _Walk(on_folder or (lambda _: None), include_hidden=include_hidden, sniff=sniff, known=frozenset(known))
    absolute = [os.path.abspath(os.fspath(root)) for root in roots]
    for root in absolute:
        try:
            os.stat(root)
        except (FileNotFoundError, NotADirectoryError):
            if not allow_missing:
                raise FileNotFoundError(f"no such file or folder: {printable(root)}") from None
        except OSError as error:
            walk.problems[root] = _reason(error)
    # Links come last: so the path that a file is known by is its own, not that of a link that may be gone tomorrow.
    for root in sorted(dict.fromkeys(absolute), key=lambda root: os.path.realpath(root) != root):
        if root not in walk.problems:
            walk.visit(root, is_root=True)
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
        passed_over=walk.passed_over(),
        sheets=tuple(sorted(walk.sheets, key=lambda file: os.fsencode(file.path))),
    )


@dataclass
class _Walk:
    """The state of one scan."""

    on_folder: Callable[[int], None]
    include_hidden: bool
    sniff: bool
    known: frozenset[str]
    files: dict[str, AudioFile] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    seen_folders: set[tuple[int, int]] = field(default_factory=set)
    seen_files: set[tuple[int, int]] = field(default_factory=set)
    other_extensions: Counter[str] = field(default_factory=Counter)
    left_out: list[LeftOutFolder] = field(default_factory=list)
    sheets: list[AudioFile] = field(default_factory=list)
    n_hidden: int = 0
    n_second_names: int = 0
    n_special: int = 0
    n_sniffed: int = 0

    def visit(self, path: str, *, is_root: bool = False) -> None:
        """Take a root, or what a link leads to."""
        try:
            status = os.stat(path)
        except OSError as error:
            # A link that leads nowhere is reported only if it has the name of an audio file.
            if is_root:
                pass
            elif extension_of(path) in AUDIO_EXTENSIONS:
                self.problems[path] = _reason(error)
            else:
                self.n_special += 1
            self.dangling.append(path)
            return
        if stat.S_ISDIR(status.st_mode):
            self.tops.append(path)
            self._walk_folder(path, status)
            return
        try:
            self._take_file(path, status, is_sound=is_root or None, by_link=os.path.realpath(path) != path)
        except OSError as error:
            self.problems[path] = _reason(error)

    def passed_over(self) -> PassedOver:
        """Return the counts of what was not taken."""
        return PassedOver(
            by_extension=dict(sorted(self.other_extensions.items(), key=lambda item: (-item[1], item[0]))),
            n_hidden=self.n_hidden,
            n_second_names=self.n_second_names,
            n_special=self.n_special,
            folders=tuple(sorted(self.left_out, key=lambda folder: folder.path)),
        )

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
            below: list[tuple[str, os.stat_result]] = []
            for entry in listed:
                try:
                    self._take_entry(entry, below)
                except OSError as error:
                    self.problems[entry.path] = _reason(error)
            folders.extend(reversed(below))  # in the order of names: of two hard links, the first is the track
            self.on_folder(len(self.files))

    def _take_entry(self, entry: os.DirEntry[str], folders: list[tuple[str, os.stat_result]]) -> None:
        is_folder = entry.is_dir(follow_symlinks=False)
        kind = None if self.include_hidden or not is_folder else kind_of_folder(entry.name)
        if kind is not None:
            self.left_out.append(count_sounds(entry.path, kind))
        elif is_folder:
            folders.append((entry.path, entry.stat()))
        elif entry.name.startswith(".") and not self.include_hidden and entry.path not in self.known:
            self.n_hidden += 1
        elif entry.is_symlink():
            self.links.append(entry.path)
        else:
            # What is neither taken nor counted by its inode needs no stat: half of a library may be pictures.
            is_regular = entry.is_file(follow_symlinks=False)
            is_sound = self._is_sound(entry.path) if is_regular else None
            if is_sound is False:
                self.other_extensions[extension_of(entry.name)] += 1
                if extension_of(entry.name) == ".cue":
                    status = entry.stat()
                    self.sheets.append(AudioFile(entry.path, status.st_size, status.st_mtime_ns))
            else:
                self._take_file(entry.path, entry.stat(), is_sound=is_sound, by_link=False)

    def _take_file(self, path: str, status: os.stat_result, *, is_sound: bool | None, by_link: bool) -> None:
        """Add what is no folder to the files or to the counts; with None for `is_sound`, look what it is."""
        if not stat.S_ISREG(status.st_mode):
            self.n_special += 1
            return
        if not (self._is_sound(path) if is_sound is None else is_sound):
            self.other_extensions[extension_of(path)] += 1
            return
        identity = (status.st_dev, status.st_ino) if status.st_ino else None
        if path in self.files:
            return
        # Where two paths that are no links lead to one file, the number of its names says so. Without that check, a
        # file system that makes up its inodes could lose files.
        if identity in self.seen_files and (by_link or status.st_nlink > 1):
            self.n_second_names += 1
            return
        if identity is not None:
            self.seen_files.add(identity)
        self.files[path] = AudioFile(path, status.st_size, status.st_mtime_ns, identity)

    def _is_sound(self, path: str) -> bool:
        """Return whether a regular file is taken, by its name or its first bytes."""
        extension = extension_of(path)
        if path in self.known or (extension in AUDIO_EXTENSIONS and extension not in AMBIGUOUS_EXTENSIONS):
            return True
        if not self.sniff and extension not in AMBIGUOUS_EXTENSIONS:
            return False
        self.n_sniffed += 1
        if self.n_sniffed % _SNIFFS_A_REPORT == 0:
            self.on_folder(len(self.files))
        return looks_like_sound(path)


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


def is_under(path: str, folder: str) -> bool:
    """Return whether a path is the folder or lies below it, by name."""
    return path == folder or path.startswith(os.path.join(folder, ""))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
