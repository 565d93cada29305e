"""Entries of cue sheets in the catalogue, and in searches: one match an entry, no vector twice."""

import numpy as np
import pytest
from index_helpers import new_index, spans, toward, track

from index import Entry, Sheet, VectorIndex
from index.entries import stretches

ONE, TWO, THREE = (
    Entry(n, start_s, end_s, f"Part {n}", f"Band {n}", "Album")
    for n, start_s, end_s in ((1, 0.0, 22.0), (2, 22.0, 42.0), (3, 42.0, 65.0))
)
SHEET = Sheet(b"a.cue", 10, 20)
MIDDLES_S = spans(10).mean(axis=1)  # 5, 10, ... 50 s


@pytest.fixture
def index(tmp_path):
    """An album of 12 segments whose vectors turn from one axis to the next every 4, and a song."""
    with new_index(tmp_path / "index") as made:
        vectors = np.stack([toward(*[0] * (i // 4), 4, 0.1 * (i % 4)) for i in range(12)])
        made.add(track("album.flac", duration_s=65.0), spans(12), vectors)
        made.add(track("song.flac"), spans(2), np.stack([toward(1, 0, 0, 3), toward(1, 0, 0, 4)]))
        yield made


def found(index, query, **options):
    return [
        (match.track.file, match.entry and match.entry.number, match.start_s)
        for match in index.search(query, top=20, **options)
    ]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], [(None, 0, 10)]),
        ([(0, 25), (25, 60)], [(0, 0, 4), (1, 4, 10)]),
        ([(12, 25), (25, 40)], [(None, 0, 2), (0, 2, 4), (1, 4, 7), (None, 7, 10)]),
        ([(0, 11), (11, 12), (12, 60)], [(0, 0, 2), (2, 2, 10)]),  # the second is too short for a segment of its own
        ([(0, 30), (20, 60)], [(0, 0, 5), (1, 5, 10)]),  # where they overlap, the first one has the segment
        ([(70, 80)], [(None, 0, 10)]),
    ],
)
def test_segments_are_divided_by_their_middle(entries, expected):
    made = [Entry(i, float(start), float(end)) for i, (start, end) in enumerate(entries)]
    got = [(owner and owner.number, first, end) for owner, first, end in stretches(made, MIDDLES_S)]
    assert got == expected


def test_each_entry_is_a_match_of_its_own_and_vectors_stay(index):
    query = toward(0, 1)
    assert found(index, query) == [("album.flac", None, 20.0), ("song.flac", None, 0.0)]
    before = index.vectors("album.flac"), index.stats().n_segments
    index.cue_sheets.set_sheet(SHEET, {b"album.flac": [ONE, TWO, THREE]})
    assert [row[:2] for row in found(index, query)] == [
        ("album.flac", 2),
        ("album.flac", 1),
        ("album.flac", 3),
        ("song.flac", None),
    ]
    assert index.search(query, top=1)[0].entry == TWO
    by_segment = found(index, query, per_segment=True)
    assert len(by_segment) == 14
    for file, number, start_s in by_segment:
        assert number == (None if file == "song.flac" else 1 + int(start_s // 20))
    assert index.search(query, top=20, allow=lambda t: t.file == "song.flac")[0].entry is None
    np.testing.assert_array_equal(index.vectors("album.flac"), before[0])
    assert index.stats().n_segments == before[1]
    assert index.verify() == []


def test_a_search_by_entries_equals_one_over_all_segments(index):
    index.cue_sheets.set_sheet(SHEET, {b"album.flac": [TWO, THREE]})
    query = toward(0.3, 0.2, 0.9, 0.1)
    best = {}
    for match in index.search(query, top=50, per_segment=True):
        best.setdefault((match.track.path, match.entry), match.row)
    assert [match.row for match in index.search(query, top=50)] == list(best.values())
    assert len(best) == 4  # what lies before the first entry is the album's own


def test_entries_survive_compaction_updates_and_opening_again(index, tmp_path):
    sheets = index.cue_sheets
    sheets.set_sheet(SHEET, {b"album.flac": [ONE, TWO]})
    index.add(track("x.flac"), spans(1), toward(1)[None])
    index.remove("song.flac")
    assert index.compact() == 2
    index.update("album.flac", track("album.flac", title="Other tags"))
    assert (sheets.entries("album.flac"), sheets.count(), sheets.sheets()) == ([ONE, TWO], 2, [SHEET])
    with VectorIndex.open(tmp_path / "index") as reader:
        assert reader.cue_sheets.entries("album.flac") == [ONE, TWO]
        assert reader.search(toward(0, 1), top=1)[0].entry == TWO


@pytest.mark.parametrize("change", ["embedded again", "moved", "removed", "skipped"])
def test_a_sheet_is_to_be_read_again_when_its_track_changes(index, change):
    index.cue_sheets.set_sheet(SHEET, {b"album.flac": [ONE, TWO]})
    if change == "embedded again":
        index.add(track("album.flac"), spans(2), np.stack([toward(1), toward(0, 1)]))
    elif change == "moved":
        index.update("album.flac", track("elsewhere.flac"))
        assert index.cue_sheets.entries("elsewhere.flac") == []
    elif change == "removed":
        index.remove("album.flac")
    else:
        index.skip("album.flac", "bad", 1, 2)
    assert (index.cue_sheets.sheets(), index.cue_sheets.count()) == ([], 0)


def test_a_sheet_beside_the_file_goes_before_the_one_in_its_tags(index):
    sheets = index.cue_sheets
    index.update("album.flac", track("album.flac", cue_sheet="TRACK 01"))
    sheets.set_embedded("album.flac", [THREE])
    ((embedded),) = sheets.embedded()
    assert (embedded.path, embedded.text, embedded.entries) == (b"album.flac", "TRACK 01", (THREE,))
    assert sheets.entries("album.flac") == [THREE]
    sheets.set_sheet(Sheet(b"b.cue", 1, 1), {b"album.flac": [TWO]})
    sheets.set_sheet(SHEET, {b"album.flac": [ONE]})
    assert (sheets.entries("album.flac"), sheets.count()) == ([ONE], 1)
    assert sheets.unused() == [(b"b.cue", b"album.flac", b"a.cue")]
    sheets.remove_sheet("a.cue")
    sheets.remove_sheet("b.cue")
    assert (sheets.entries("album.flac"), sheets.sheets(), sheets.unused()) == ([THREE], [], [])
    index.update("album.flac", track("album.flac"))  # its tags name no sheet any more
    assert sheets.entries("album.flac") == []


def test_a_changed_sheet_replaces_what_it_said(index):
    sheets = index.cue_sheets
    sheets.set_sheet(SHEET, {b"album.flac": [ONE, TWO], b"song.flac": [ONE]})
    sheets.set_sheet(Sheet(b"a.cue", 11, 21, "two\nlines"), {b"song.flac": [Entry(7, 0.0, 5.0, "lone \ud800")]})
    assert (sheets.entries("album.flac"), sheets.entries("song.flac")) == ([], [Entry(7, 0.0, 5.0, "lone ?")])
    assert [(sheet.size_bytes, sheet.problem) for sheet in sheets.sheets()] == [(11, "two lines")]


def test_an_unknown_track_has_no_entries(index):
    with pytest.raises(KeyError, match=r"none\.flac"):
        index.cue_sheets.entries("none.flac")
    with pytest.raises(KeyError, match=r"none\.flac"):
        index.cue_sheets.set_sheet(SHEET, {b"none.flac": [ONE]})
    assert index.cue_sheets.sheets() == []
