"""`retrieve index list`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from cli_helpers import Call

from index import Entry, Manifest, Sheet, Track, VectorIndex


def test_tracks_are_listed_and_those_of_cue_sheets_by_themselves(call: Call, tmp_path: Path) -> None:
    place = tmp_path / "an.index"
    spans = np.array([[0.0, 10.0]])
    with VectorIndex.create(place, Manifest(encoder="a", encoder_name="a", dim=2)) as made:
        made.add(Track(b"/m/a.flac", 1, 1, "a", 70.0, artist="Band"), spans, np.array([[1.0, 0.0]], np.float32))
        made.add(Track(b"/m/b.mp3", 1, 1, "b", 10.0), spans, np.array([[1.0, 0.0]], np.float32))
        entries = [Entry(1, 0.0, 30.5, "One"), Entry(2, 30.5, 70.0)]
        made.cue_sheets.set_sheet(Sheet(b"/m/a.cue", 1, 1), {b"/m/a.flac": entries})
    assert call("index", "list", "--index", place)[1].splitlines() == [
        "       at  title  artist  file",
        "0:00-0:30  One    Band    /m/a.flac",
        "0:30-1:10  a (2)  Band    /m/a.flac",
        "0:00-0:10  b              /m/b.mp3",
    ]
    listed = [json.loads(line) for line in call("index", "list", "--index", place, "--json")[1].splitlines()]
    assert [(line["title"], line["number"], line["end_s"]) for line in listed] == [
        ("One", 1, 30.5),
        (None, 2, 70.0),
        (None, None, 10.0),
    ]
