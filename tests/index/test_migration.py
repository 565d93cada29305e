"""Indexes of former versions of the catalogue: read as they are, brought up to date by a writer."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from index_helpers import bytes_of, spans, toward, track, units

import index.catalog
from index import Entry, Sheet, VectorIndex

# Each written by the last Earmark with its version: t0.flac to t2.flac, the second one removed, and a skipped bad.mp3.
# Version 2 added notes (that of t0.flac is "cut"), version 3 how often skipped files were tried.
NOTES = {1: None, 2: "cut", 3: "cut"}
MANIFEST = {"encoder": "ab" * 32, "encoder_name": "test model", "dim": 8, "metric": "inner_product", "version": 1}
VECTORS = [np.stack([toward(*[0] * i, 1), toward(*[0] * i, 3, 4)]) for i in range(3)]


@pytest.fixture(params=NOTES)
def version(request):
    return request.param


@pytest.fixture
def folder(tmp_path, version):
    with sqlite3.connect(tmp_path / "catalog.sqlite3") as connection:
        connection.executescript(Path(__file__).with_name(f"catalog_version_{version}.sql").read_text())
    connection.close()
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    np.concatenate(VECTORS).astype("<f4").tofile(tmp_path / "vectors-00000.f32")
    return tmp_path


def check(index, *, note):
    assert index.verify() == []
    assert index.tracks()[:2] == [
        track(f"t{i}.flac", content_hash=f"hash {i}", title=f"Title {i}", note=note if i == 0 else None) for i in (0, 2)
    ]
    assert [skipped.reason for skipped in index.skipped()] == ["not audio"]
    np.testing.assert_array_equal(index.vectors("t2.flac"), VECTORS[2])
    assert index.search(toward(0, 0, 1), top=1)[0].track.file == "t2.flac"
    assert (index.manifest.segment_s, index.manifest.hop_s) == (None, None)


def test_a_reader_takes_it_as_it_is(folder, version):
    before = bytes_of(folder)
    with VectorIndex.open(folder) as index:
        check(index, note=NOTES[version])
        assert index.stats().n_partial == (NOTES[version] is not None)
        assert index.stats().n_misdeclared == 0
        assert index.find_audio("audio") == []
        sheets = index.cue_sheets
        assert (sheets.sheets(), sheets.entries("t0.flac"), sheets.embedded(), sheets.unused()) == ([], [], [], [])
        assert sheets.count() == 0
    assert bytes_of(folder) == before


def test_a_writer_brings_it_up_to_date_and_an_open_reader_goes_on(folder, version):
    with VectorIndex.open(folder) as reader:
        with VectorIndex.open(folder, read_only=False) as index:
            check(index, note=NOTES[version])
            index.add(track("u.flac", note="only half", audio_hash="audio", declared_s=2.0), spans(2), units(2, seed=1))
            index.update("t0.flac", track("t0.flac", content_hash="hash 0", title="Title 0", note="short"))
            index.cue_sheets.set_sheet(Sheet(b"t2.cue", 1, 2), {b"t2.flac": [Entry(1, 0.0, 30.0, "One")]})
            check(index, note="short")
            assert (index.stats().n_partial, index.stats().n_misdeclared) == (2, 1)
        check(reader, note="short" if version > 1 else None)  # it selects as the version that it found has it
        assert reader.stats().n_tracks == 3
    with VectorIndex.open(folder) as index:
        check(index, note="short")
        assert (index.track("u.flac").note, index.track("u.flac").declared_s) == ("only half", 2.0)
        assert [found.file for found in index.find_audio("audio")] == ["u.flac"]
        assert index.cue_sheets.entries("t2.flac") == [Entry(1, 0.0, 30.0, "One")]


def test_a_migration_that_is_cut_short_changes_nothing(folder, version, monkeypatch):
    before = bytes_of(folder)
    broken = ("ALTER TABLE tracks ADD COLUMN x", "oops")
    monkeypatch.setitem(index.catalog._MIGRATIONS, version, broken)
    with pytest.raises(ValueError, match="syntax error"):
        VectorIndex.open(folder, read_only=False)
    after = bytes_of(folder)
    del after["writer.lock"]
    assert {name: data for name, (data, _) in after.items()} == {name: data for name, (data, _) in before.items()}
