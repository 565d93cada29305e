"""The scanner on real folders, and the content hash."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval.library.scan import AUDIO_EXTENSIONS, Problem, Scan, content_hash, scan


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(found: Scan, root: Path) -> list[str]:
    return [os.path.relpath(file.path, root) for file in found.files]


# ---- scanning


def test_files_are_found_by_extension_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path / "b" / "2.FLAC", tmp_path / "b" / "1.mp3", tmp_path / "a.ogg", tmp_path / "b.opus")
    touch(tmp_path / "cover.jpg", tmp_path / "notes.txt", tmp_path / "mp3")
    found = scan([tmp_path])
    assert names(found, tmp_path) == [
        "a.ogg",
        "b.opus",
        os.path.join("b", "1.mp3"),
        os.path.join("b", "2.FLAC"),
    ]
    assert found.problems == ()
    status = (tmp_path / "a.ogg").stat()
    assert (found.files[0].size_bytes, found.files[0].mtime_ns) == (1, status.st_mtime_ns)
    assert os.path.isabs(found.files[0].path)


def test_the_promised_extensions() -> None:
    promised = "mp3 flac ogg oga opus wav aif aiff aifc m4a mp4 aac wma webm"
    assert {f".{name}" for name in promised.split()} <= AUDIO_EXTENSIONS


def test_dot_files_and_folders_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "._song.mp3", tmp_path / ".Trash" / "old.mp3", tmp_path / "song.mp3")
    assert names(scan([tmp_path]), tmp_path) == ["song.mp3"]


def test_a_root_may_be_a_file_of_any_name(tmp_path: Path) -> None:
    touch(tmp_path / "recording", tmp_path / "other.mp3")
    found = scan([tmp_path / "recording"])
    assert names(found, tmp_path) == ["recording"]


def test_overlapping_roots_give_each_file_once(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.mp3", tmp_path / "2.mp3")
    found = scan([tmp_path / "a", tmp_path, tmp_path / "a" / "1.mp3", tmp_path])
    assert names(found, tmp_path) == ["2.mp3", os.path.join("a", "1.mp3")]


def test_relative_roots_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a" / "1.mp3")
    monkeypatch.chdir(tmp_path)
    assert [file.path for file in scan([Path("a")]).files] == [str(tmp_path / "a" / "1.mp3")]


def test_a_missing_root_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*nowhere"):
        scan([tmp_path, tmp_path / "nowhere"])


def test_link_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.mp3")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "loop.mp3").symlink_to(tmp_path / "loop.mp3")
    found = scan([tmp_path])
    assert names(found, tmp_path) == [os.path.join("a", "1.mp3")]
    assert [os.path.basename(problem.path) for problem in found.problems] == ["loop.mp3"]


def test_what_links_lead_to_is_known_by_its_own_path(tmp_path: Path) -> None:
    library = tmp_path / "library"
    touch(library / "z" / "song.mp3", tmp_path / "elsewhere" / "more.mp3", tmp_path / "single.mp3")
    (library / "a").symlink_to(library / "z")
    (library / "b.mp3").symlink_to(library / "z" / "song.mp3")
    (library / "c").symlink_to(tmp_path / "elsewhere")
    (library / "d").symlink_to(tmp_path / "elsewhere")
    (library / "e.mp3").symlink_to(tmp_path / "single.mp3")
    assert names(scan([library]), library) == [
        os.path.join("c", "more.mp3"),
        "e.mp3",
        os.path.join("z", "song.mp3"),
    ]


def test_a_dangling_link_is_told_if_it_is_a_song(tmp_path: Path) -> None:
    (tmp_path / "song.mp3").symlink_to(tmp_path / "gone.mp3")
    (tmp_path / "folder").symlink_to(tmp_path / "gone")
    found = scan([tmp_path])
    assert [str(problem) for problem in found.problems] == [f"{tmp_path}/song.mp3: no such file or directory"]
    assert not found.covers(str(tmp_path / "folder" / "1.mp3"))


def lock_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes a folder unreadable; returns what makes it readable again."""
    if os.geteuid() != 0:
        folder.chmod(0)
        return lambda: folder.chmod(0o700)
    true_scandir = os.scandir

    def refuse(path: str) -> object:
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", path)
        return true_scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return monkeypatch.undo


def test_an_unreadable_folder_is_a_problem_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "locked" / "1.mp3", tmp_path / "open" / "2.mp3")
    unlock = lock_folder(tmp_path / "locked", monkeypatch)
    try:
        found = scan([tmp_path])
    finally:
        unlock()
    assert names(found, tmp_path) == [os.path.join("open", "2.mp3")]
    assert found.problems == (Problem(str(tmp_path / "locked"), "permission denied"),)
    assert not found.covers(str(tmp_path / "locked" / "1.mp3"))
    assert found.covers(str(tmp_path / "open" / "3.mp3"))
    assert not found.covers(str(tmp_path) + "-other/1.mp3")


def test_pipes_are_no_songs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp3")
    assert scan([tmp_path]).files == ()


def test_odd_names(tmp_path: Path) -> None:
    raw_names = [b"two\nlines.mp3", "音楽.mp3".encode()]
    if sys.platform != "darwin":  # macOS takes UTF-8 alone
        raw_names.insert(0, b"caf\xe9.mp3")
    for raw_name in raw_names:
        with open(os.path.join(os.fsencode(tmp_path), raw_name), "wb"):
            pass
    found = scan([tmp_path])
    assert [os.fsencode(os.path.basename(file.path)) for file in found.files] == raw_names
    assert str(Problem(found.files[-2].path, "why")).endswith("two\\nlines.mp3: why")


def test_progress_may_stop_the_scan(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.mp3", tmp_path / "b" / "2.mp3")
    counts: list[int] = []
    scan([tmp_path], on_folder=counts.append)
    assert counts == [0, 1, 2]

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan([tmp_path], on_folder=stop)


# ---- content


def test_content_hash_is_of_the_whole_content(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes((1 << 20) + 12_345)
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    pieces: list[None] = []
    digest = content_hash(path, on_piece=lambda: pieces.append(None))
    assert digest == hashlib.blake2b(content, digest_size=20).hexdigest()
    assert len(pieces) == 2
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert content_hash(path) != digest
    with pytest.raises(FileNotFoundError):
        content_hash(tmp_path / "missing")
