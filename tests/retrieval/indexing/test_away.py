"""Folders and disks that are not there now: their tracks stay until the user says otherwise."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from ingest_helpers import Model, counts, paths_in, song, vectors_in
from typer.testing import CliRunner

import retrieval.indexing.away as away
from index import VectorIndex
from retrieval.cli.app import app
from retrieval.indexing.away import AbsentDisks
from retrieval.indexing.build import build
from retrieval.indexing.types import BuildSummary, IngestOptions


def rebuild(*roots: Path, place: Path, prune: bool = False) -> BuildSummary:
    return build(roots, index_path=place, model=Model(), options=IngestOptions(prune=prune))


@pytest.fixture
def albums(music: Path, place: Path) -> Path:
    """An indexed library: two albums of an artist, a song of its own, and a file that does not decode."""
    for seed, name in enumerate(("artist/one/a.wav", "artist/one/b.wav", "artist/two/c.wav", "d.wav")):
        song(music / name, seed=seed)
    (music / "artist" / "one" / "bad.mp3").write_text("no sound")
    rebuild(music, place=place)
    return music


@pytest.mark.parametrize(
    ("how", "gone", "named", "n_kept"),
    [
        ("missing", "artist/one", "artist/one", 2),
        ("emptied", "artist/one", "artist/one", 2),
        ("missing", "artist", "artist", 3),
        ("emptied", "artist", "artist", 3),
        ("hidden names only", "artist/one", "artist/one", 2),
    ],
)
def test_tracks_of_a_folder_that_is_away_are_kept(
    albums: Path, place: Path, tmp_path: Path, how: str, gone: str, named: str, n_kept: int
) -> None:
    shutil.move(albums / gone, tmp_path / "disk")
    if how != "missing":
        (albums / gone).mkdir()
    if how == "hidden names only":
        (albums / gone / ".DS_Store").write_text("x")
        (albums / gone / "@eaDir").mkdir()
    for _ in range(2):
        summary = rebuild(albums, place=place)
        assert (summary.kept, summary.removed) == (n_kept, 0)
        (problem,) = summary.problems
        assert problem.path == str(albums / named)
        assert problem.reason.startswith("it is gone; its " if how == "missing" else "it is empty; its ")
        with VectorIndex.open(place) as index:
            assert len(index.skipped()) == 1
    if how != "missing":
        shutil.rmtree(albums / gone)
    shutil.move(tmp_path / "disk", albums / gone)
    assert counts(rebuild(albums, place=place)) == {"unchanged": 4, "skipped": 1}


def test_the_named_command_forgets_the_folder(albums: Path, place: Path) -> None:
    shutil.rmtree(albums / "artist")
    (problem,) = rebuild(albums, place=place).problems
    command = problem.reason.split("`")[1]
    assert command == f"retrieve index remove {albums / 'artist'} --index {place}"
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert (result.exit_code, result.output) == (0, "4 files removed from the index\n")
    assert (counts(rebuild(albums, place=place)), paths_in(place)) == ({"unchanged": 1}, [str(albums / "d.wav")])


def test_prune_forgets_what_is_away(albums: Path, place: Path) -> None:
    shutil.rmtree(albums / "artist" / "one")
    summary = rebuild(albums, place=place, prune=True)
    assert (counts(summary), summary.kept, summary.problems) == ({"unchanged": 2, "removed": 2}, 0, ())
    with VectorIndex.open(place) as index:
        assert index.skipped() == []


def test_files_deleted_in_a_folder_that_is_there_are_removed(albums: Path, place: Path) -> None:
    (albums / "artist" / "one" / "a.wav").unlink()
    assert counts(rebuild(albums, place=place)) == {"unchanged": 3, "removed": 1, "skipped": 1}
    (albums / "artist" / "two" / "cover.jpg").write_text("x")  # the folder is no mount point that is empty
    (albums / "artist" / "two" / "c.wav").unlink()
    assert counts(rebuild(albums, place=place)) == {"unchanged": 2, "removed": 1, "skipped": 1}


@pytest.mark.parametrize("leaves_folder", [False, True])
def test_a_renamed_folder_is_moved_not_kept(albums: Path, place: Path, leaves_folder: bool) -> None:
    before = vectors_in(place, albums / "artist" / "one" / "a.wav")
    (albums / "artist" / "one" / "bad.mp3").unlink()
    (albums / "artist" / "one").rename(albums / "renamed")
    if leaves_folder:
        (albums / "artist" / "one").mkdir()
    summary = rebuild(albums, place=place)
    assert (counts(summary), summary.kept, summary.problems) == ({"unchanged": 2, "moved": 2}, 0, ())
    np.testing.assert_array_equal(vectors_in(place, albums / "renamed" / "a.wav"), before)


def test_a_library_that_moves_as_a_whole_is_moved(albums: Path, place: Path, tmp_path: Path) -> None:
    albums.rename(tmp_path / "elsewhere")
    assert counts(rebuild(tmp_path / "elsewhere", place=place)) == {"moved": 4, "skipped": 1}
    assert all(path.startswith(str(tmp_path / "elsewhere")) for path in paths_in(place))


# ---- disks that are not mounted


@pytest.mark.parametrize("state", ["empty", "missing"])
def test_a_copy_of_what_is_on_an_absent_disk_has_not_moved(
    albums: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(away, "_MOUNT_PARENTS", ((str(tmp_path / "media"), 2),))
    disk = tmp_path / "media" / "me" / "disk"
    song(disk / "rock" / "far.wav", seed=9)
    rebuild(disk, place=place)
    shutil.move(disk, tmp_path / "away")
    if state == "empty":
        disk.mkdir()
    shutil.copy(tmp_path / "away" / "rock" / "far.wav", albums / "copy.wav")
    summary = rebuild(albums, place=place)
    assert counts(summary) == {"added": 1, "unchanged": 4, "skipped": 1}
    assert (summary.audio_s, summary.n_segments) == (0.0, 1)  # known content: nothing is decoded
    assert str(disk / "rock" / "far.wav") in paths_in(place)
    shutil.rmtree(disk, ignore_errors=True)
    shutil.move(tmp_path / "away", disk)
    assert counts(rebuild(albums, disk, place=place)) == {"unchanged": 6, "skipped": 1}


def test_what_is_deleted_from_a_disk_that_is_there_has_moved(
    albums: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(away, "_MOUNT_PARENTS", ((str(tmp_path / "media"), 2),))
    disk = tmp_path / "media" / "me" / "disk"
    far = song(disk / "rock" / "far.wav", seed=9)
    song(disk / "other.wav", seed=8)
    rebuild(disk, place=place)
    shutil.move(far, albums / "near.wav")
    assert counts(rebuild(albums, place=place)) == {"moved": 1, "unchanged": 4, "skipped": 1}


def test_mount_points_are_read_from_fstab(tmp_path: Path) -> None:
    point = tmp_path / "my disk"
    table = tmp_path / "fstab"
    escaped = str(point).replace(" ", "\\040")
    table.write_text(
        f"# /comment /x ext4\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap\nnas:/m {escaped}/ nfs ro\n\nbad\n"
    )
    disks = AbsentDisks(table)
    assert disks.hold(str(point / "a.wav"))
    assert not disks.hold(str(tmp_path / "a.wav"))
    song(point / "a.wav")
    assert not AbsentDisks(table).hold(str(point / "b.wav"))
    assert not AbsentDisks(tmp_path / "no fstab").hold("/home/me/a.wav")


@pytest.mark.parametrize(
    "path", ["/media/nobody-here/disk/a.wav", "/mnt/nothing-here/a.wav", "/Volumes/None here/b/a.wav"]
)
def test_places_of_removable_disks_are_known(path: str, tmp_path: Path) -> None:
    assert AbsentDisks(tmp_path / "no fstab").hold(path)


def test_a_folder_that_cannot_be_listed_keeps_its_tracks(
    albums: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan read the folder; its parent fails when the plan looks at it again."""
    shutil.rmtree(albums / "artist" / "one")
    true_scandir = os.scandir
    n_listed = 0

    def scandir(path: str) -> object:
        nonlocal n_listed
        if str(path) == str(albums / "artist"):
            n_listed += 1
            if n_listed > 1:
                raise OSError(116, "Stale file handle", path)
        return true_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    summary = rebuild(albums, place=place)
    assert (summary.kept, summary.removed) == (2, 0)
    assert summary.problems[0].reason.startswith("it cannot be read (Stale file handle); its 2 tracks stay")
