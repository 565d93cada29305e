"""Index builds on folders that changed: nothing is embedded twice, nothing is forgotten by mistake."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import mutagen
import numpy as np
import pytest
from ingest_helpers import Model, counts, library, paths_in, song, vectors_in, worker_running

import retrieval
from index import VectorIndex
from retrieval.indexing.build import build
from retrieval.indexing.types import IngestOptions

ROOT = Path(retrieval.__file__).parents[2]


# ---- what is not done twice


def test_unchanged_files_are_not_even_opened(music: Path, place: Path) -> None:
    library(music, 3)
    build([music], index_path=place, model=Model())
    model = Model()
    options = IngestOptions(worker_command=worker_running("raise SystemExit('no decoder is needed')"))
    assert counts(build([music], index_path=place, model=model, options=options)) == {"unchanged": 3}
    assert model.n_chunks == 0


def test_touched_moved_and_copied_files_are_not_embedded_again(music: Path, place: Path) -> None:
    library(music, 4)
    build([music], index_path=place, model=Model())
    before = {name: vectors_in(place, music / name) for name in ("00.wav", "01.wav", "02.wav")}
    os.utime(music / "00.wav", (1e9, 1e9))
    (music / "sub").mkdir()
    (music / "01.wav").rename(music / "sub" / "moved.wav")
    shutil.copy(music / "02.wav", music / "copy.wav")
    model = Model()
    summary = build([music], index_path=place, model=model)
    assert counts(summary) == {"added": 1, "updated": 1, "unchanged": 2, "moved": 1}
    assert (model.n_chunks, summary.audio_s) == (0, 0.0)
    assert summary.n_segments == len(before["02.wav"])  # the copy has rows of its own
    assert not any(path.endswith("01.wav") for path in paths_in(place))
    np.testing.assert_array_equal(vectors_in(place, music / "sub" / "moved.wav"), before["01.wav"])
    np.testing.assert_array_equal(vectors_in(place, music / "copy.wav"), before["02.wav"])
    np.testing.assert_array_equal(vectors_in(place, music / "00.wav"), before["00.wav"])
    assert counts(build([music], index_path=place, model=model)) == {"unchanged": 5}


def test_exchanged_names(music: Path, place: Path) -> None:
    first, second = song(music / "a.wav", seed=1), song(music / "b.wav", duration_s=17.0, seed=2)
    build([music], index_path=place, model=Model())
    vectors = [vectors_in(place, path) for path in (first, second)]
    first.rename(music / "c")
    second.rename(first)
    (music / "c").rename(second)
    assert counts(build([music], index_path=place, model=Model())) == {"updated": 2}
    np.testing.assert_array_equal(vectors_in(place, second), vectors[0])
    np.testing.assert_array_equal(vectors_in(place, first), vectors[1])


def test_a_moved_file_takes_the_place_of_another(music: Path, place: Path) -> None:
    first, second = song(music / "a.wav", seed=1), song(music / "b.wav", seed=2)
    build([music], index_path=place, model=Model())
    moved = vectors_in(place, first)
    first.replace(second)
    assert counts(build([music], index_path=place, model=Model())) == {"moved": 1}
    assert paths_in(place) == [str(second)]
    np.testing.assert_array_equal(vectors_in(place, second), moved)


def test_changed_content_is_embedded_again(music: Path, place: Path) -> None:
    path = song(music / "a.wav")
    build([music], index_path=place, model=Model())
    before = vectors_in(place, path)
    song(path, duration_s=12.0, seed=5)
    assert counts(build([music], index_path=place, model=Model())) == {"updated": 1}
    assert len(vectors_in(place, path)) == 2 != len(before)


# ---- what is gone


def test_removed_files_are_forgotten_below_the_roots_only(tmp_path: Path, place: Path) -> None:
    for folder in ("a", "b"):
        for name in ("1", "2"):
            song(tmp_path / folder / f"{name}.wav", seed=ord(folder) + int(name))
    build([tmp_path / "a", tmp_path / "b"], index_path=place, model=Model())
    (tmp_path / "a" / "1.wav").unlink()
    (tmp_path / "b" / "1.wav").unlink()
    assert counts(build([tmp_path / "a"], index_path=place, model=Model())) == {"unchanged": 1, "removed": 1}
    assert [os.path.relpath(path, tmp_path) for path in paths_in(place)] == [
        os.path.join("a", "2.wav"),
        os.path.join("b", "1.wav"),
        os.path.join("b", "2.wav"),
    ]


@pytest.mark.parametrize("how", ["emptied", "gone"])
def test_tracks_of_a_root_that_is_empty_or_gone_are_forgotten_on_demand(music: Path, place: Path, how: str) -> None:
    path = song(music / "a.wav")
    song(music / "b" / "c.wav", seed=1)
    (music / "bad.mp3").touch()
    build([music], index_path=place, model=Model())
    shutil.rmtree(music)
    if how == "emptied":
        music.mkdir()
        summary = build([music], index_path=place, model=Model())
        assert (counts(summary), summary.kept) == ({}, 2)
        (problem,) = summary.problems
        assert problem.path == str(music)
        assert problem.reason == (
            "it holds no audio file; its 2 tracks stay in the index in case a disk is not mounted. To forget them, run "
            f"`retrieve index remove {music} --index {place}`"
        )
    else:
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            build([music], index_path=place, model=Model())
    assert paths_in(place) == [str(path), str(music / "b" / "c.wav")]
    summary = build([music], index_path=place, model=Model(), options=IngestOptions(prune=True))
    assert (counts(summary), summary.kept, summary.problems) == ({"removed": 2}, 0, ())
    with VectorIndex.open(place) as index:
        assert index.tracks() == [] and index.skipped() == []


def test_pruning_refuses_a_root_that_never_was(music: Path, place: Path) -> None:
    song(music / "a.wav")
    options = IngestOptions(prune=True)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        build([music / "misspelt"], index_path=place, model=Model(), options=options)
    assert not place.exists()
    build([music], index_path=place, model=Model())
    with pytest.raises(FileNotFoundError, match=r"and no track of the index was there: .*misspelt"):
        build([music, music / "misspelt"], index_path=place, model=Model(), options=options)
    assert len(paths_in(place)) == 1


def test_pruning_keeps_what_is_outside_the_roots(tmp_path: Path, place: Path) -> None:
    for folder in ("a", "b"):
        song(tmp_path / folder / "1.wav", seed=ord(folder))
    build([tmp_path / "a", tmp_path / "b"], index_path=place, model=Model())
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")
    build([tmp_path / "a"], index_path=place, model=Model(), options=IngestOptions(prune=True))
    assert paths_in(place) == [str(tmp_path / "b" / "1.wav")]


def test_tracks_behind_a_dangling_link_are_kept(tmp_path: Path, music: Path, place: Path) -> None:
    song(tmp_path / "disk" / "far.wav", seed=1)
    song(music / "near.wav", seed=2)
    (music / "link").symlink_to(tmp_path / "disk")
    build([music], index_path=place, model=Model())
    shutil.rmtree(tmp_path / "disk")
    summary = build([music], index_path=place, model=Model())
    assert (counts(summary), summary.kept) == ({"unchanged": 1}, 1)
    assert summary.problems[0].reason.startswith("it is gone; its track stays in the index")
    (tmp_path / "disk").mkdir()  # an empty mount point
    summary = build([music], index_path=place, model=Model())
    assert counts(summary) == {"unchanged": 1}
    assert [problem.path for problem in summary.problems] == [str(music / "link")]
    assert len(paths_in(place)) == 2
    (tmp_path / "disk").rmdir()
    summary = build([music], index_path=place, model=Model(), options=IngestOptions(prune=True))
    assert counts(summary) == {"unchanged": 1, "removed": 1}


def test_tracks_in_an_unreadable_folder_are_kept(music: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    song(music / "locked" / "a.wav", seed=1)
    song(music / "b.wav", seed=2)
    build([music], index_path=place, model=Model())
    true_scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return true_scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    summary = build([music], index_path=place, model=Model())
    assert counts(summary) == {"unchanged": 1}
    assert [problem.reason for problem in summary.problems] == ["permission denied"]
    assert len(paths_in(place)) == 2


# ---- tags that change


def retag(path: Path, title: str) -> None:
    tagged = mutagen.File(path, easy=True)
    if tagged.tags is None:
        tagged.add_tags()
    tagged["title"] = title
    tagged.save()


def titles_in(place: Path) -> dict[str, str | None]:
    with VectorIndex.open(place) as index:
        return {os.path.basename(track.file): track.title for track in index.tracks()}


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg"])
def test_a_retagged_file_is_not_embedded_again(music: Path, place: Path, suffix: str) -> None:
    path = song(music / f"a.{suffix}")
    song(music / f"b.{suffix}", seed=1)
    build([music], index_path=place, model=Model())
    before = vectors_in(place, path)
    retag(path, "New " * 3000)
    model = Model()
    summary = build([music], index_path=place, model=model)
    assert counts(summary) == {"retagged": 1, "unchanged": 1}
    assert (model.n_chunks, summary.n_segments, summary.n_files) == (0, 0, 2)
    np.testing.assert_array_equal(vectors_in(place, path), before)
    assert titles_in(place)[path.name].startswith("New New")
    assert counts(build([music], index_path=place, model=model)) == {"unchanged": 2}


def test_retagged_and_moved_or_copied_files_are_not_embedded_again(music: Path, place: Path) -> None:
    moved, copied = song(music / "moved.flac"), song(music / "copied.flac", seed=1)
    build([music], index_path=place, model=Model())
    vectors = vectors_in(place, moved)
    (music / "sub").mkdir()
    moved.rename(music / "sub" / "m.flac")
    retag(music / "sub" / "m.flac", "Moved")
    shutil.copy(copied, music / "copy.flac")
    retag(music / "copy.flac", "Copy")
    model = Model()
    assert counts(build([music], index_path=place, model=model)) == {"added": 1, "unchanged": 1, "moved": 1}
    assert model.n_chunks == 0
    assert titles_in(place) == {"m.flac": "Moved", "copied.flac": None, "copy.flac": "Copy"}
    np.testing.assert_array_equal(vectors_in(place, music / "sub" / "m.flac"), vectors)


def test_tags_behind_an_unchanged_size_and_time_are_found_on_demand(music: Path, place: Path) -> None:
    path, gone = song(music / "a.flac"), song(music / "b.flac", seed=1)
    retag(path, "Old title")
    retag(gone, "Stays")
    build([music], index_path=place, model=Model())
    status = path.stat()
    retag(path, "New title")
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert counts(build([music], index_path=place, model=Model())) == {"unchanged": 2}
    assert titles_in(place)["a.flac"] == "Old title"
    model = Model()
    options = IngestOptions(rescan_tags=True)
    assert counts(build([music], index_path=place, model=model, options=options)) == {"retagged": 1, "unchanged": 1}
    assert titles_in(place) == {"a.flac": "New title", "b.flac": "Stays"}
    assert counts(build([music], index_path=place, model=model, options=options)) == {"unchanged": 2}
    assert model.n_chunks == 0


def test_the_encoding_of_tags_can_be_given(music: Path, place: Path) -> None:
    path = song(music / "a.mp3")
    with open(path, "ab") as raw:
        raw.write(b"TAG" + "Dvořák".encode("cp1250").ljust(124, b"\0") + b"\xff")
    build([music], index_path=place, model=Model())
    assert titles_in(place) == {"a.mp3": "Dvoøák"}
    options = IngestOptions(rescan_tags=True, tag_encoding="cp1250")
    assert counts(build([music], index_path=place, model=Model(), options=options)) == {"retagged": 1}
    assert titles_in(place) == {"a.mp3": "Dvořák"}
    with pytest.raises(ValueError, match="unknown tag encoding"):
        IngestOptions(tag_encoding="cp9999")


@pytest.mark.parametrize(
    ("code", "reason"),
    [("raise PermissionError(13, 'Permission denied')", "Permission denied"), ("os._exit(3)", "exit status 3")],
)
def test_tags_that_cannot_be_read_again_cost_nothing(music: Path, place: Path, code: str, reason: str) -> None:
    retag(song(music / "a.flac"), "Kept")
    build([music], index_path=place, model=Model())
    command = worker_running(
        "import json, os, sys; sys.path[:] = json.loads(sys.argv[1])\n"
        "import retrieval.indexing.decode_worker as worker\n"
        f"def fail(path, **_):\n    {code}\n"
        "worker.read_metadata = fail\nworker.main()"
    )
    options = IngestOptions(rescan_tags=True, worker_command=command)
    summary = build([music], index_path=place, model=Model(), options=options)
    assert counts(summary) == {"unchanged": 1}
    (problem,) = summary.problems
    assert problem.reason.startswith("its tags could not be read again: ") and reason in problem.reason
    assert titles_in(place) == {"a.flac": "Kept"}
