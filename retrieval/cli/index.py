"""`retrieve index`: build, update, inspect and compact an index; `retrieval.cli.repair` checks and mends it."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.group import CheckedCommand, CommandGroup
from retrieval.cli.listing import list_tracks
from retrieval.cli.options import DeviceOption, IndexOption, ModelOption, index_dir
from retrieval.cli.output import clock, print_error, print_table, print_warning, shortened, shown, shown_path
from retrieval.cli.progress import show_build, show_progress
from retrieval.cli.repair import repair, verify

if TYPE_CHECKING:
    from index import VectorIndex
    from retrieval.indexing.types import BuildSummary

__all__ = ["group"]

_EXIT_PROBLEMS = 1
_PROBLEMS_SHOWN = 10
_MOST_OF_A_REASON = 2000  # characters
_COUNTS = ("added", "updated", "retagged", "unchanged", "moved", "removed", "kept", "skipped")

group = typer.Typer(cls=CommandGroup, help="Build, update, inspect and check an index of your music.")


def _checked_encoding(name: str | None) -> str | None:
    if name is not None:
        from retrieval.library.tag_encoding import check_encoding

        try:
            check_encoding(name)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return name


@group.command("build", cls=CheckedCommand)
def build(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders of music, or single files.")],
    index: IndexOption = None,
    model: ModelOption = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Number of decoding processes.", show_default="by the CPU count"),
    ] = None,
    device: DeviceOption = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="Fail if a file cannot be read as a whole.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Forget the tracks of folders that are empty or gone, too.")
    ] = False,
    retry_skipped: Annotated[
        bool, typer.Option("--retry-skipped", help="Try files again that could not be read before.")
    ] = False,
    rescan_tags: Annotated[
        bool, typer.Option("--rescan-tags", help="Read the tags of unchanged files again, too; nothing is embedded.")
    ] = False,
    tag_encoding: Annotated[
        str | None,
        typer.Option(
            "--tag-encoding",
            metavar="NAME",
            help="Encoding of tags that name none, such as cp1251.",
            show_default="guessed",
            callback=_checked_encoding,
        ),
    ] = None,
    sniff: Annotated[
        bool, typer.Option("--sniff", help="Take files with an unknown extension, too, if they begin like sound.")
    ] = False,
    include_hidden: Annotated[
        bool,
        typer.Option("--include-hidden", help="Take hidden names, and go into recycle bins, snapshots and the like."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Index folders of music, or bring their index up to date.

    Examples:

      retrieve index build ~/Music
      retrieve index build /srv/loops /srv/songs --index loops.index --workers 8
      retrieve index build ~/Music --device cuda

    Files are taken by their extension: of sound, and of video, whose sound is
    indexed. The summary counts what is passed over. Hidden names, recycle
    bins, snapshots and system folders (.Trash-*, $RECYCLE.BIN, @eaDir, .git)
    are left out. A file with several names (links) is one track.

    Run the same command again to update the index: it embeds only what is
    new or changed, forgets files that are gone, and resumes after an
    interruption. If a folder is empty or gone, its tracks are kept, because a
    disk may not be mounted; --prune, or `retrieve index remove FOLDER`,
    forgets them.

    Files of which only the tags have changed are not embedded again. Some
    programs keep a file's size and time: --rescan-tags reads all tags again.
    Old tags do not say how they are encoded (cp1251, shift_jis, gbk); that is
    recognised file by file. Where it goes wrong, give --tag-encoding, with
    --rescan-tags for files that are in the index already.

    Files that cannot be read are skipped and listed by
    `retrieve index info --skipped`, files that break off before their end by
    --partial; the exit status is 0. With --strict it is 2, and whatever could
    be read is indexed all the same.
    """
    if not prune:
        _check_folders(folders)
    from encoders.checkpoint import DEFAULT_MODEL_DIR
    from encoders.loading import DeferredModel

    encoder = DeferredModel(DEFAULT_MODEL_DIR if model is None else model, device=device, share_cores=True)
    from retrieval.indexing.build import build as build_index
    from retrieval.indexing.types import IngestError, IngestInterrupted, IngestOptions

    place = index_dir(index)
    options = IngestOptions(
        workers=workers,
        strict=strict,
        retry_skipped=retry_skipped,
        prune=prune,
        sniff=sniff,
        include_hidden=include_hidden,
        rescan_tags=rescan_tags,
        tag_encoding=tag_encoding,
    )
    try:
        with show_progress(lines=True) as progress:
            summary = build_index(
                folders,
                index_path=place,
                model=encoder,
                options=options,
                on_progress=partial(show_build, progress),
            )
    except IngestInterrupted as stop:
        print_error(str(stop), label="")
        raise typer.Exit(128 + stop.signal_number) from None
    except IngestError as error:
        if error.summary is not None:
            _print_summary(error.summary, place=place, as_json=as_json)
        raise
    _print_summary(summary, place=place, as_json=as_json)


@group.command("info", cls=CheckedCommand)
def info(
    index: IndexOption = None,
    skipped: Annotated[bool, typer.Option("--skipped", help="List the files that could not be read, and why.")] = False,
    list_partial: Annotated[
        bool, typer.Option("--partial", help="List the tracks that were read in part, and why.")
    ] = False,
    list_misdeclared: Annotated[
        bool, typer.Option("--misdeclared", help="List the tracks whose header declares a wrong length.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON; a list has one object a line.")] = False,
) -> None:
    """Show the contents of an index.

    Examples:

      retrieve index info
      retrieve index info --skipped
      retrieve index info --partial

    A file whose header declares a wrong length, as streamed, interrupted and
    joined recordings do, is read to its end all the same. --misdeclared lists
    those that are off by more than 1%.
    """
    with _opened(index) as opened:
        if skipped or list_partial or list_misdeclared:
            listed = [(file.path, file.reason) for file in opened.skipped()] if skipped else []
            if list_partial:
                listed += [(track.path, track.note) for track in opened.tracks() if track.note is not None]
            if list_misdeclared:
                listed += [
                    (track.path, f"{track.duration_s:.1f} s long, but declares {track.declared_s:.1f} s")
                    for track in opened.tracks()
                    if track.declared_s is not None
                ]
            _print_files(listed, as_json=as_json)
            return
        stats = opened.stats()
        manifest = opened.manifest
    values = {
        "index": str(index_dir(index)),
        "tracks": stats.n_tracks,
        "segments": stats.n_segments,
        "segment_s": manifest.segment_s,
        "hop_s": manifest.hop_s,
        "audio_s": round(stats.duration_s, 3),
        "skipped": stats.n_skipped,
        "partial": stats.n_partial,
        "misdeclared": stats.n_misdeclared,
        "removed_rows": stats.n_removed_rows,
        "size_bytes": stats.size_bytes,
        "dim": stats.dim,
        "model": stats.encoder_name,
        "model_fingerprint": stats.encoder,
    }
    if as_json:
        typer.echo(json.dumps(values))
        return
    segment = "not recorded"
    if manifest.segment_s is not None and manifest.hop_s is not None:
        segment = f"{manifest.segment_s:g} s, one every {manifest.hop_s:g} s"
    people = {
        **values,
        "segment": segment,
        "audio": clock(stats.duration_s),
        "size": f"{stats.size_bytes / 1e6:.1f} MB",
    }
    for name in ("segment_s", "hop_s", "audio_s", "size_bytes"):
        del people[name]
    print_table(["index", ""], [[name.replace("_", " "), str(value)] for name, value in people.items()])


@group.command("remove", cls=CheckedCommand)
def remove(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files, or folders with all below them.")],
    index: IndexOption = None,
) -> None:
    """Remove files from an index; the files themselves are not touched.

    Examples:

      retrieve index remove ~/Music/Podcasts
      retrieve index remove /mnt/old-disk --index loops.index

    A later build of a folder that holds them adds them again.
    """
    with _opened(index, read_only=False) as opened:
        n_removed = {path: opened.remove_below(os.path.abspath(path)) for path in paths}
    total = sum(n_removed.values())
    typer.echo(f"{total} {'file' if total == 1 else 'files'} removed from the index")
    unknown = [path for path, n in n_removed.items() if not n]
    for path in unknown:
        print_error(f"{shown_path(os.path.abspath(path))}: the index holds no file there")
    if unknown:
        raise typer.Exit(_EXIT_PROBLEMS)


group.command("verify", cls=CheckedCommand)(verify)
group.command("repair", cls=CheckedCommand)(repair)
group.command("list", cls=CheckedCommand)(list_tracks)


@group.command("compact", cls=CheckedCommand)
def compact(index: IndexOption = None) -> None:
    """Free the disk space of tracks that were removed or indexed again."""
    with _opened(index, read_only=False) as opened:
        n_rows = opened.compact()
    typer.echo(f"{n_rows} {'row' if n_rows == 1 else 'rows'} dropped")


def _opened(index: Path | None, *, read_only: bool = True) -> VectorIndex:
    from index import VectorIndex

    return VectorIndex.open(index_dir(index), read_only=read_only)


def _print_files(files: list[tuple[bytes, str]], *, as_json: bool) -> None:
    for path, reason in files:
        if as_json:
            typer.echo(json.dumps({"path": os.fsdecode(path), "reason": reason}))
        else:
            typer.echo(f"{shown_path(os.fsdecode(path))}: {shortened(shown(reason), most=_MOST_OF_A_REASON)}")


def _check_folders(folders: list[Path]) -> None:
    """Report a missing folder before the model is loaded."""
    for folder in folders:
        os.stat(folder)


def _print_summary(summary: BuildSummary, *, place: Path, as_json: bool) -> None:
    counts = {name: getattr(summary, name) for name in _COUNTS}
    if as_json:
        problems = [{"path": problem.path, "reason": problem.reason} for problem in summary.problems]
        times = {"audio_s": round(summary.audio_s, 3), "wall_s": round(summary.wall_s, 3)}
        values = {
            "index": str(place),
            **counts,
            "transient": summary.transient,
            "partial": summary.partial,
            "segments": summary.n_segments,
            **times,
            "passed_over": summary.passed_over.as_json(),
            "problems": problems,
        }
        typer.echo(json.dumps(values))
        return
    for problem in summary.problems[:_PROBLEMS_SHOWN]:
        print_warning(str(problem))
    if len(summary.problems) > _PROBLEMS_SHOWN:
        print_warning(
            f"and {len(summary.problems) - _PROBLEMS_SHOWN} more: run `retrieve index info --skipped --partial`"
        )
    done = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing found"
    if summary.partial:
        done += f", {summary.partial} of them in part only"
    rate = f", {summary.audio_s / summary.wall_s:.0f} x real time" if summary.audio_s and summary.wall_s else ""
    typer.echo(f"{done} ({clock(summary.audio_s)} of audio in {summary.wall_s:.1f} s{rate})")
    for line in summary.passed_over.lines():
        typer.echo(line)
    typer.echo(f"index: {shown(str(place))}")
