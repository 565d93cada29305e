"""`retrieve index list`: the tracks of an index, those of cue sheets by themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.options import IndexOption, index_dir
from retrieval.cli.output import clock, print_table, shortened, shown_path

if TYPE_CHECKING:
    from index import Entry, Track, VectorIndex

__all__ = ["list_tracks"]


def list_tracks(
    index: IndexOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per track and line.")] = False,
) -> None:
    """List the tracks of an index by path, with title, artist and times.

    Examples:

      retrieve index list
      retrieve index list --json | jq .title

    A file that a cue sheet divides is listed as the tracks of the sheet.
    """
    from index import VectorIndex

    rows = []
    with VectorIndex.open(index_dir(index)) as opened:
        for track, entry in _parts(opened):
            start_s, end_s = (0.0, track.duration_s) if entry is None else (entry.start_s, entry.end_s)
            title = track.title if entry is None else entry.title
            artist = track.artist if entry is None else entry.artist or track.artist
            if as_json:
                values = {"path": track.file, "start_s": round(start_s, 3), "end_s": round(end_s, 3)}
                album = track.album if entry is None else entry.album or track.album
                names = {"title": title, "artist": artist, "album": album}
                typer.echo(json.dumps({**values, **names, "number": entry and entry.number}))
                continue
            name = os.path.splitext(os.path.basename(track.file))[0] + (f" ({entry.number})" if entry else "")
            at = f"{clock(start_s)}-{clock(end_s)}"
            rows.append([at, shortened(title or name), shortened(artist or ""), shown_path(track.file)])
    if rows:
        print_table(["at", "title", "artist", "file"], rows, right=frozenset({"at"}))


def _parts(opened: VectorIndex) -> Iterator[tuple[Track, Entry | None]]:
    has_entries = opened.cue_sheets.count() > 0
    for track in opened.tracks():
        entries = opened.cue_sheets.entries(track.path) if has_entries else []
        if not entries:
            yield track, None
        yield from ((track, entry) for entry in entries)
