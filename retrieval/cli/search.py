"""`retrieve WORDS`, in full `retrieve search WORDS`: search an index."""

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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per hit and line.")] = False,
    m3u: Annotated[Path | None, typer.Option("--m3u", metavar="FILE", help="Also write a playlist.")] = None,
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

    The score is the cosine of the query and the segment. It ranks the tracks
    of one query; scores of different queries cannot be compared.

    --not turns the query away from a phrase, and leaves out every segment that
    has it with a probability of at least 0.5 (see `retrieve tag --help`).
    --like and words have equal weight; the file itself is never a hit.

    In JSON, bytes of a file name that are not UTF-8 are lone surrogates
    (\\udc80 to \\udcff), which Python's os.fsencode turns back into bytes.
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
            exclude=exclude or (),
            like=like,
            per_segment=per_segment,
            min_score=min_score,
        )
        _warn_of_unknown_words(retriever, [text, *(exclude or [])])
    if m3u is not None:
        from retrieval.library.playlist import write_playlist

        write_playlist(m3u, hits, with_times=per_segment)
    if as_json:
        for hit in hits:
            typer.echo(json.dumps(hit.to_dict()))
    elif hits:
        _print_hits(hits)
    else:
        print_warning("no hits")


def _warn_of_unknown_words(retriever: Retriever, phrases: Sequence[str]) -> None:
    unknown = [word for phrase in phrases for word in retriever.unknown_words(phrase)]
    if unknown:
        print_warning(f"the model does not know {', '.join(map(repr, unknown))}: they are ignored")


def _print_hits(hits: Sequence[Hit]) -> None:
    has_names = any(hit.title or hit.artist for hit in hits)
    rows = []
    for hit in hits:
        row = [str(hit.rank), f"{hit.score:.3f}", f"{clock(hit.start_s)}-{clock(hit.end_s)}"]
        if has_names:
            row += [hit.title or "", hit.artist or ""]
        rows.append([*row, shown_path(hit.path)])
    header = ["#", "score", "at", *(["title", "artist"] if has_names else []), "file"]
    print_table(header, rows, right=frozenset({"#", "score", "at"}))
