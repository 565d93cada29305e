"""`retrieve WORDS`, in full `retrieve search WORDS`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.options import IndexOption, ModelOption
from retrieval.cli.output import clock, print_error, print_table, print_warning, shown_path

if TYPE_CHECKING:
    from retrieval.retriever import Hit, Retriever

__all__ = ["search"]


def search(
    words: Annotated[list[str] | None, typer.Argument(help="What to look for; several words are one query.")] = None,
    index: IndexOption = None,
    model: ModelOption = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many hits.")] = 10,
    per_segment: Annotated[
        bool, typer.Option("--per-segment", help="Every place that fits, not the best of each track.")
    ] = False,
    unwanted: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="WORDS", help="What must not be heard (repeatable)."),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="FILE", help="What sounds like this; alone or with words."),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", min=-1.0, max=1.0, help="Leave out hits with a lower score.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a hit and line.")] = False,
    m3u: Annotated[Path | None, typer.Option("--m3u", metavar="FILE", help="Write the hits as a playlist too.")] = None,
) -> None:
    """Find the tracks, and the seconds in them, that fit words or a sound.

    Examples:

      retrieve "acoustic guitar"
      retrieve search "acoustic guitar"            the same in full
      retrieve sad piano --not drums --top 20
      retrieve --like song.mp3                     what sounds like a file
      retrieve --like song.mp3 faster              ... and fits words as well
      retrieve techno --json | jq .path
      retrieve techno --m3u techno.m3u

    The score is the cosine of the query and the place in the track.

    --not turns the query away from what is named, and leaves out every place
    that has it with a probability of at least 0.5. --like and words have
    equal say; the file itself is not among the hits.

    In the JSON lines, bytes of a file's name that are not UTF-8 stand as lone
    surrogates (\\udc80 to \\udcff), as Python's os.fsencode reads them.
    """
    text = " ".join(words or [])
    if not text.strip() and like is None:
        print_error("nothing to search for: give words, or a sound with --like FILE; see retrieve search --help")
        raise typer.Exit(2)
    from retrieval.retriever import Retriever

    with Retriever.open(index, model_dir=model) as retriever:
        hits = retriever.search(
            text,
            top=top,
            exclude=unwanted or (),
            like=like,
            per_segment=per_segment,
            min_score=min_score,
        )
        _name_unknown_words(retriever, [text, *(unwanted or [])])
    if m3u is not None:
        from retrieval.library.playlist import write_playlist

        write_playlist(m3u, hits, with_times=per_segment)
    if as_json:
        for hit in hits:
            typer.echo(json.dumps(hit.to_dict()))
    elif hits:
        _print_hits(hits)
    else:
        print_warning("nothing fits")


def _name_unknown_words(retriever: Retriever, phrases: Sequence[str]) -> None:
    unknown = [word for phrase in phrases for word in retriever.unknown_words(phrase)]
    if unknown:
        print_warning(f"the model does not know {', '.join(map(repr, unknown))}: searched for the rest")


def _print_hits(hits: Sequence[Hit]) -> None:
    named = any(hit.title or hit.artist for hit in hits)
    rows = []
    for hit in hits:
        row = [str(hit.rank), f"{hit.score:.3f}", f"{clock(hit.start_s)}-{clock(hit.end_s)}"]
        if named:
            row += [hit.title or "", hit.artist or ""]
        rows.append([*row, shown_path(hit.path)])
    header = ["#", "score", "heard at", *(["title", "artist"] if named else []), "file"]
    print_table(header, rows, right=frozenset({"#", "score", "heard at"}))
