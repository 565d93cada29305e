"""An index of the first version of the catalogue and manifest: read as it is, brought up to date by a writer."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from index_helpers import bytes_of, spans, toward, track, units

from index import VectorIndex

# Written by the last Earmark with version 1: t0.flac to t2.flac, the second one removed, and a skipped bad.mp3.
CATALOG = Path(__file__).with_name("catalog_version_1.sql")
MANIFEST = {"encoder": "ab" * 32, "encoder_name": "test model", "dim": 8, "metric": "inner_product", "version": 1}
VECTORS = [np.stack([toward(*[0] * i, 1), toward(*[0] * i, 3, 4)]) for i in range(3)]


@pytest.fixture
def folder(tmp_path):
    with sqlite3.connect(tmp_path / "catalog.sqlite3") as connection:
        connection.executescript(CATALOG.read_text())
    connection.close()
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    np.concatenate(VECTORS).astype("<f4").tofile(tmp_path / "vectors-00000.f32")
    return tmp_path


def check(index, *, note=None):
    assert index.verify() == []
    assert index.tracks()[:2] == [
        track(f"t{i}.flac", content_hash=f"hash {i}", title=f"Title {i}", note=note if i == 0 else None) for i in (0, 2)
    ]
    assert [skipped.reason for skipped in index.skipped()] == ["not audio"]
    np.testing.assert_array_equal(index.vectors("t2.flac"), VECTORS[2])
    assert index.search(toward(0, 0, 1), top=1)[0].track.file == "t2.flac"
    assert (index.manifest.segment_s, index.manifest.hop_s) == (None, None)


def test_a_reader_takes_it_as_it_is(folder):
    before = bytes_of(folder)
    with VectorIndex.open(folder) as index:
        check(index)
        assert index.stats().n_partial == 0
    assert bytes_of(folder) == before


def test_a_writer_brings_it_up_to_date_and_an_open_reader_goes_on(folder):
    with VectorIndex.open(folder) as reader:
        with VectorIndex.open(folder, read_only=False) as index:
            check(index)
            index.add(track("u.flac", note="only half"), spans(2), units(2, seed=1))
            index.update("t0.flac", track("t0.flac", content_hash="hash 0", title="Title 0", note="cut"))
            check(index, note="cut")
            assert index.stats().n_partial == 2
        check(reader)
        assert reader.stats().n_tracks == 3
    with VectorIndex.open(folder) as index:
        check(index, note="cut")
        assert index.track("u.flac").note == "only half"


def test_a_migration_that_is_cut_short_changes_nothing(folder, monkeypatch):
    before = bytes_of(folder)
    monkeypatch.setitem(__import__("index.catalog").catalog._MIGRATIONS, 1, ("ALTER TABLE tracks ADD COLUMN x", "oops"))
    with pytest.raises(ValueError, match="syntax error"):
        VectorIndex.open(folder, read_only=False)
    after = bytes_of(folder)
    del after["writer.lock"]
    assert {name: data for name, (data, _) in after.items()} == {name: data for name, (data, _) in before.items()}
