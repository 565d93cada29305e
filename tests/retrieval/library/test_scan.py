"""The scanner on real folders, and the content hash."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from retrieval.library.passed_over import LeftOutFolder, PassedOver, count_sounds
from retrieval.library.scan import Problem, Scan, content_hash, scan


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
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    found = scan([tmp_path])
    assert found.files == ()
    assert found.passed_over.n_special == found.passed_over.n_files == 3


# ---- one file with several names


def test_a_file_that_several_names_lead_to_is_taken_once(tmp_path: Path) -> None:
    touch(tmp_path / "real" / "a.mp3", tmp_path / "real" / "cover.jpg")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "by link.mp3").symlink_to(tmp_path / "real" / "a.mp3")
    os.link(tmp_path / "real" / "a.mp3", tmp_path / "real" / "b.mp3")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    roots = [tmp_path / "folder", tmp_path / "links", tmp_path / "links" / "by link.mp3", tmp_path / "real"]
    for some in (roots, roots[::-1], [tmp_path]):
        found = scan(some)
        assert names(found, tmp_path) == [os.path.join("real", "a.mp3")]
        assert found.passed_over.by_extension == {".jpg": 1}
        assert found.passed_over.n_second_names in (2, 3)  # the link is a root of its own, or is not


def test_a_file_system_without_inodes_loses_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.mp3", tmp_path / "b.mp3")

    class Entry:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name, self.path = entry.name, entry.path
            self.is_dir, self.is_file, self.is_symlink = entry.is_dir, entry.is_file, entry.is_symlink
            self._true_stat = entry.stat

        def stat(self) -> object:
            true = self._true_stat()
            kept = {name: getattr(true, name) for name in ("st_mode", "st_dev", "st_size", "st_mtime_ns")}
            return SimpleNamespace(**kept, st_ino=0, st_nlink=2)

    class Entries(list[Entry]):
        def __enter__(self) -> Entries:
            return self

        def __exit__(self, *_: object) -> None: ...

    true_scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: Entries(map(Entry, true_scandir(path))))
    assert names(scan([tmp_path]), tmp_path) == ["a.mp3", "b.mp3"]


# ---- what is passed over


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    touch(tmp_path / "song.mp3", tmp_path / "cover.JPG", tmp_path / "back.jpg", tmp_path / "notes.txt", tmp_path / "x")
    touch(tmp_path / "._song.mp3", tmp_path / ".DS_Store", tmp_path / "sub" / ".hidden.flac", tmp_path / "a.zz")
    found = scan([tmp_path])
    assert names(found, tmp_path) == ["song.mp3"]
    over = found.passed_over
    assert over.by_extension == {".jpg": 2, "": 1, ".txt": 1, ".zz": 1}
    assert (over.n_hidden, over.n_files, over.folders) == (3, 8, ())
    assert over.lines() == ["8 passed over: 2 .jpg, 1 without extension, 1 .txt, 1 .zz, 3 with a hidden name"]
    touch(tmp_path / "a.yy", tmp_path / "a.xx")
    assert scan([tmp_path]).passed_over.lines() == [
        "10 passed over: 2 .jpg, 1 without extension, 1 .txt, 3 with other extensions, 3 with a hidden name"
    ]
    assert over.as_json() == {
        "files": 8,
        "extensions": {".jpg": 2, "": 1, ".txt": 1, ".zz": 1},
        "hidden": 3,
        "second_names": 0,
        "special": 0,
        "folders": [],
    }
    assert scan([tmp_path / "sub"]).passed_over.lines() == ["1 passed over: 1 with a hidden name"]
    assert PassedOver().lines() == []


def test_an_extension_cannot_break_the_line(tmp_path: Path) -> None:
    touch(tmp_path / "a.x\n\x1b[31m")
    assert scan([tmp_path]).passed_over.lines() == ["1 passed over: 1 .x\\n\\x1b[31m"]


LEFT_OUT = {
    "recycle bin": "$RECYCLE.BIN $Recycle.Bin RECYCLER RECYCLED .Trash .Trash-1000 .Trashes #recycle @Recycle",
    "snapshots": ".snapshots .snapshot #snapshot @Recently-Snapshot .zfs",
    "system folder": "@eaDir lost+found @tmp",
    "hidden folder": ".git .cache",
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, them in LEFT_OUT.items() for name in them.split()])
def test_folders_that_are_left_out(tmp_path: Path, kind: str, name: str) -> None:
    place = tmp_path / "sub" / name
    touch(
        tmp_path / "song.mp3", place / "old.mp3", place / "deep" / "older.flac", place / "cover.jpg", place / ".a.mp3"
    )
    found = scan([tmp_path])
    assert names(found, tmp_path) == ["song.mp3"]
    assert found.passed_over.folders == (LeftOutFolder(str(place), kind, 2, True),)
    assert found.passed_over.lines() == [f"left out, --include-hidden takes them: {place} ({kind}, 2 sound files)"]
    assert len(scan([tmp_path], include_hidden=True).files) == 4
    assert len(scan([place]).files) == 2  # a root is what the user asks for


def test_a_name_that_only_begins_like_a_system_folder_is_scanned(tmp_path: Path) -> None:
    for name in ("Recycle", "lost+found again", "eaDir", "trash", "System", "@home"):
        touch(tmp_path / name / "song.mp3")
    assert len(scan([tmp_path]).files) == 6


def test_counting_what_is_left_out_is_bounded(tmp_path: Path) -> None:
    for number in range(4):
        touch(*(tmp_path / f"{number}" / f"{song}.mp3" for song in range(10)))
    found = count_sounds(str(tmp_path), "snapshots", most_entries=25)
    assert (found.n_sounds, found.is_counted) == (30, False)
    assert str(found).endswith("(snapshots, at least 30 sound files)")


def test_other_extensions_are_tried_by_content_on_demand(tmp_path: Path) -> None:
    touch(tmp_path / "text.txt", tmp_path / "cover.jpg")
    (tmp_path / "song.dat").write_bytes(b"RIFF\x00\x00\x00\x00WAVE")
    (tmp_path / "no extension").write_bytes(b"fLaC")
    (tmp_path / "main.ts").write_text("export const answer = 42;\n")
    (tmp_path / "concert.ts").write_bytes((b"G" + bytes(187)) * 10)
    assert names(scan([tmp_path]), tmp_path) == ["concert.ts"]  # programs have this extension, too
    found = scan([tmp_path], sniff=True)
    assert names(found, tmp_path) == ["concert.ts", "no extension", "song.dat"]
    assert found.passed_over.by_extension == {".jpg": 1, ".ts": 1, ".txt": 1}
    known = [str(tmp_path / "song.dat")]
    assert names(scan([tmp_path], known=known), tmp_path) == ["concert.ts", "song.dat"]


def test_sniffing_reports_within_a_folder(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{number}.dat" for number in range(401)))
    counts: list[int] = []
    scan([tmp_path], sniff=True, on_folder=counts.append)
    assert counts == [0, 0, 0]


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
