"""Albums in one file: entries come, change and go without anything being embedded."""

from __future__ import annotations

from pathlib import Path

import mutagen
import numpy as np
from ingest_helpers import Model, counts, song

from index import Entry, VectorIndex
from retrieval.indexing.build import build

SHEET = """PERFORMER "Band"
TITLE "Album"
FILE "album.wav" WAVE
TRACK 01 AUDIO
TITLE "One"
INDEX 01 00:00:00
TRACK 02 AUDIO
TITLE "Two"
INDEX 01 00:20:00
"""


def entries_in(place: Path, path: Path) -> list[Entry]:
    with VectorIndex.open(place) as index:
        assert index.verify() == []
        return index.cue_sheets.entries(str(path))


def test_entries_come_change_and_go_and_the_audio_is_embedded_once(music: Path, place: Path) -> None:
    album = song(music / "album.flac", duration_s=40.0)
    sheet = music / "album.cue"
    sheet.write_text(SHEET)
    model = Model()
    summary = build([music], index_path=place, model=model)
    assert (counts(summary), summary.problems) == ({"added": 1}, ())
    assert entries_in(place, album) == [
        Entry(1, 0.0, 20.0, "One", "Band", "Album"),
        Entry(2, 20.0, 40.0, "Two", "Band", "Album"),
    ]
    n_chunks = model.n_chunks
    sheet.write_text(SHEET.replace("Two", "Second").replace("00:20", "00:25"))
    assert counts(build([music], index_path=place, model=model)) == {"unchanged": 1}
    assert [(entry.title, entry.start_s) for entry in entries_in(place, album)] == [("One", 0.0), ("Second", 25.0)]
    sheet.unlink()
    assert counts(build([music], index_path=place, model=model)) == {"unchanged": 1}
    assert entries_in(place, album) == []
    assert model.n_chunks == n_chunks


def test_hits_are_tracks_of_the_sheet(music: Path, place: Path) -> None:
    album = song(music / "album.flac", duration_s=40.0)
    (music / "album.cue").write_text(SHEET)
    build([music], index_path=place, model=Model())
    with VectorIndex.open(place) as index:
        query = index.vectors(str(album))[0]
        found = index.search(query.astype(np.float32), top=10)
    assert sorted(hit.entry.title or "" for hit in found if hit.entry) == ["One", "Two"]


def test_a_sheet_is_read_again_once_its_file_is_there(music: Path, place: Path) -> None:
    song(music / "other.flac")
    (music / "album.cue").write_text(SHEET)
    summary = build([music], index_path=place, model=Model())
    (problem,) = summary.problems
    assert problem.path == str(music / "album.cue")
    assert problem.reason == "cue sheet: the index has no file 'album.wav' beside it"
    album = song(music / "album.flac", duration_s=40.0, seed=3)
    assert build([music], index_path=place, model=Model()).problems == ()
    assert len(entries_in(place, album)) == 2
    song(album, duration_s=30.0, seed=4)  # another length: the last entry ends there
    build([music], index_path=place, model=Model())
    assert entries_in(place, album)[-1].end_s == 30.0


def test_a_second_sheet_for_the_same_file_is_said(music: Path, place: Path) -> None:
    song(music / "album.flac", duration_s=40.0)
    for name in ("a.cue", "b.cue"):
        (music / name).write_text(SHEET)
    (problem,) = build([music], index_path=place, model=Model()).problems
    assert problem.path == str(music / "b.cue")
    assert "not used for" in problem.reason


def test_a_sheet_in_the_tags_divides_its_file(music: Path, place: Path) -> None:
    album = song(music / "album.flac", duration_s=40.0)

    def embed(sheet: str | None) -> None:
        tagged = mutagen.File(album)
        tagged.delete()
        if sheet is not None:
            tagged["CUESHEET"] = sheet
        tagged.save()

    embed(SHEET)
    model = Model()
    build([music], index_path=place, model=model)
    n_chunks = model.n_chunks
    assert [entry.title for entry in entries_in(place, album)] == ["One", "Two"]
    embed(SHEET.replace("Two", "Second"))
    assert counts(build([music], index_path=place, model=model)) == {"retagged": 1}
    assert [entry.title for entry in entries_in(place, album)] == ["One", "Second"]
    (music / "album.cue").write_text(SHEET.replace("One", "Beside"))  # goes before the one in the tags
    build([music], index_path=place, model=model)
    assert [entry.title for entry in entries_in(place, album)] == ["Beside", "Two"]
    (music / "album.cue").unlink()
    embed("TRACK 1")
    (problem,) = build([music], index_path=place, model=model).problems
    assert (problem.path, problem.reason) == (str(album), "cue sheet in its tags: track 1 is in no file")
    assert entries_in(place, album) == []
    embed(None)
    assert build([music], index_path=place, model=model).problems == ()
    assert model.n_chunks == n_chunks
