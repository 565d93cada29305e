"""Playlists, byte for byte."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from index import Entry
from retrieval import Hit
from retrieval.library.playlist import playlist_bytes, write_playlist


def hit(path: str, *, title: str | None = None, artist: str | None = None) -> Hit:
    return Hit(rank=1, score=0.5, path=path, start_s=5.0, end_s=15.0, duration_s=61.6, title=title, artist=artist)


def test_a_list_of_hits() -> None:
    made = playlist_bytes([hit("/a/b.mp3", title="T", artist="A"), hit("/a/c d.mp3")])
    assert made == b"#EXTM3U\n#EXTINF:62,A - T\n/a/b.mp3\n#EXTINF:62,c d\n/a/c d.mp3\n"


def test_the_seconds_on_demand() -> None:
    made = playlist_bytes([hit("/a/b.mp3")], with_times=True)
    assert made.splitlines()[2:4] == [b"#EXTVLCOPT:start-time=5.000", b"#EXTVLCOPT:stop-time=15.000"]


def test_a_name_that_is_not_utf_8_stays_what_it_is() -> None:
    assert playlist_bytes([hit(os.fsdecode(b"/a/\xff\xfe.mp3"))]).splitlines()[-1] == b"/a/\xff\xfe.mp3"


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        (b"/a/b\nc.mp3", b"file:///a/b%0Ac.mp3"),
        (b"/a/b\r%\xff.mp3", b"file:///a/b%0D%25%FF.mp3"),
        (b"/a/b.mp3 ", b"file:///a/b.mp3%20"),
    ],
)
def test_a_path_that_a_line_cannot_hold_becomes_an_address(path: bytes, entry: bytes) -> None:
    assert playlist_bytes([hit(os.fsdecode(path))]).splitlines()[-1] == entry


def test_a_title_cannot_break_the_line() -> None:
    made = playlist_bytes([hit("/a.mp3", title="two\nlines \ud800\udcff")])
    assert made == b"#EXTM3U\n#EXTINF:62,two lines ??\n/a.mp3\n"


def test_no_hits_make_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "hits.m3u").write_text("what was there")
    write_playlist(tmp_path / "hits.m3u", [])
    assert (tmp_path / "hits.m3u").read_bytes() == b"#EXTM3U\n"


def test_a_track_of_a_cue_sheet_has_its_start_and_end() -> None:
    part = replace(hit("/a/album.flac", title="Two"), entry=Entry(2, 20.0, 40.5, "Two"))
    assert playlist_bytes([part]).splitlines()[2:] == [
        b"#EXTVLCOPT:start-time=20.000",
        b"#EXTVLCOPT:stop-time=40.500",
        b"/a/album.flac",
    ]
