"""`retrieve WORDS`, in full `retrieve search WORDS`: search an index."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from index import repair_command
from retrieval.cli.options import IndexOption, ModelOption, PromptOption, check_output_file, say_if_slow
from retrieval.cli.output import clock, print_error, print_note, print_table, print_warning, shortened, shown_path

if TYPE_CHECKING:
    from retrieval.retriever import Hit, Retriever
    from retrieval.words import QueryReading

__all__ = ["search"]

_DAMAGED_SHOWN = 3


def search(
    words: Annotated[list[str] | None, typer.Argument(help="What to search for; several words are one query.")] = None,
    index: IndexOption = None,
    model: ModelOption = None,
    top: Annotated[int, typer.Option("--top", min=1, help="The most hits.")] = 10,
    per_segment: Annotated[
        bool, typer.Option("--per-segment", help="Find every segment that fits, not the best one of each track.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="WORDS", help="A phrase to exclude (repeatable)."),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="FILE", help="A sound file to search for, alone or with words."),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", min=-1.0, max=1.0, help="Leave out hits with a lower score.")
    ] = None,
    literal: Annotated[
        bool, typer.Option("--literal", help="Do not read misspelled words as the words that are meant.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per hit and line.")] = False,
    m3u: Annotated[
        Path | None,
        typer.Option("--m3u", metavar="FILE", help="Also write a playlist; - prints it instead of the hits."),
    ] = None,
    prompt: PromptOption = None,
) -> None:
    """Find the tracks, and the segments in them, that fit words or a sound.

    Examples:

      retrieve "acoustic guitar"
      retrieve search "acoustic guitar"            the same, in full
      retrieve sad piano --not drums --top 20
      retrieve --like song.mp3                     similar to a sound file
      retrieve --like song.mp3 faster              ... and matching words
      retrieve techno --json | jq .path
      retrieve techno --m3u techno.m3u
      retrieve techno --m3u - | mpv --playlist=-
      retrieve guitar without drums                the same as guitar --not drums

    The score is the cosine of the query and the segment. It ranks the tracks
    of one query; scores of different queries cannot be compared.

    --not turns the query away from a phrase, and leaves out every segment that
    has it with a probability of at least 0.5 (see `retrieve tag --help`). A CLAP
    model has no probabilities: there --not only turns the query away.
    --like and words have equal weight; the file itself is never a hit.

    A word that the model does not know is read as a frequent word if it is a
    clear misspelling of it, with a note. Other unknown words are left out,
    with a warning that names similar ones. In JSON the hits then have a field
    "query": what was searched, what was read as what, and what was left out.

    In JSON, bytes of a file name that are not UTF-8 are lone surrogates
    (\\udc80 to \\udcff), which Python's os.fsencode turns back into bytes.
    """
    text = " ".join(words or [])
    if not text.strip() and like is None:
        print_error("nothing to search for: give words, or a sound with --like FILE; see retrieve search --help")
        raise typer.Exit(2)
    prints_playlist = m3u == Path("-")
    if m3u is not None and prints_playlist and as_json:
        raise typer.BadParameter("- and --json both print to stdout: give --m3u a file", param_hint="--m3u")
    if m3u is not None and not prints_playlist:
        check_output_file(m3u, option="--m3u")
    from retrieval.retriever import Retriever

    with Retriever.open(index, model_dir=model, prompt=prompt) as retriever:
        if text.strip() or exclude:
            say_if_slow(model)
        reading = retriever.read(text, exclude=exclude or (), like=like, literal=literal)
        hits = retriever.search(
            reading.text,
            top=top,
            exclude=reading.exclude,
            like=like,
            per_segment=per_segment,
            min_score=min_score,
            literal=True,  # it has been read
        )
        _warn_of_damaged_tracks(retriever)
    _say(reading)
    if m3u is not None:
        _write_playlist(None if prints_playlist else m3u, hits, with_times=per_segment)
    if as_json:
        query = {"query": reading.to_dict()} if reading else {}
        for hit in hits:
            typer.echo(json.dumps({**hit.to_dict(), **query}))
    elif hits and not prints_playlist:
        _print_hits(hits)
    if not hits:
        print_warning("no hits")


def _say(reading: QueryReading) -> None:
    for note in reading.notes:
        print_note(note)
    if reading.left_out:
        print_warning(f"{reading.left_out.message()}: left out of the search")


def _write_playlist(path: Path | None, hits: Sequence[Hit], *, with_times: bool) -> None:
    """Write a playlist to a file; None: to stdout."""
    from retrieval.library.playlist import playlist_bytes, write_playlist

    if path is not None:
        write_playlist(path, hits, with_times=with_times)
    else:
        typer.echo(playlist_bytes(hits, with_times=with_times), nl=False)


def _warn_of_damaged_tracks(retriever: Retriever) -> None:
    damaged = retriever.index.damaged_tracks
    if damaged:
        named = ", ".join(shown_path(os.fsdecode(path)) for path in damaged[:_DAMAGED_SHOWN])
        more = f" and {len(damaged) - _DAMAGED_SHOWN} more" if len(damaged) > _DAMAGED_SHOWN else ""
        left_out = "1 track is" if len(damaged) == 1 else f"{len(damaged)} tracks are"
        print_warning(
            f"{left_out} left out because the vectors in the index are damaged: {named}{more}; "
            f"run `{repair_command(retriever.index.path)}`"
        )


def _print_hits(hits: Sequence[Hit]) -> None:
    has_names = any(hit.title or hit.artist for hit in hits)
    rows = []
    for hit in hits:
        row = [str(hit.rank), f"{hit.score:.3f}", f"{clock(hit.start_s)}-{clock(hit.end_s)}"]
        if has_names:
            row += [shortened(hit.title or _name_of(hit)), shortened(hit.artist or "")]
        rows.append([*row, shown_path(hit.path)])
    header = ["#", "score", "at", *(["title", "artist"] if has_names else []), "file"]
    print_table(header, rows, right=frozenset({"#", "score", "at"}))


def _name_of(hit: Hit) -> str:
    """Return the name of a file without its extension, for a track without a title."""
    name = os.path.splitext(os.path.basename(hit.path))[0]
    return name if hit.entry is None else f"{name} ({hit.entry.number})"
