"""`retrieve index`: make an index, keep it fresh, look into it."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from retrieval.cli.group import CheckedCommand, CommandGroup
from retrieval.cli.options import DeviceOption, IndexOption, ModelOption, index_dir
from retrieval.cli.output import clock, print_error, print_table, print_warning, shown, shown_path
from retrieval.cli.progress import Progress, show_progress

if TYPE_CHECKING:
    from encoders.embed import AudioEncoder
    from index import VectorIndex
    from retrieval.indexing.types import BuildProgress, BuildSummary

__all__ = ["group"]

_EXIT_PROBLEMS = 1
_PROBLEMS_SHOWN = 10

group = typer.Typer(cls=CommandGroup, help="Make an index of your music, keep it fresh, look into it.")


@group.command("build", cls=CheckedCommand)
def build(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders of music, or single files.")],
    index: IndexOption = None,
    model: ModelOption = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes that decode.", show_default="by the CPU count"),
    ] = None,
    device: DeviceOption = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="A file that cannot be read is an error.")] = False,
    retry_skipped: Annotated[
        bool, typer.Option("--retry-skipped", help="Try unchanged files again that could not be read.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
) -> None:
    """Index folders of music, or bring their index up to date.

    Examples:

      retrieve index build ~/Music
      retrieve index build /srv/loops /srv/songs --index loops.index --workers 8
      retrieve index build ~/Music --device cuda

    The same command again embeds only what is new or changed, forgets what
    is gone, and goes on where an interrupted one stopped: what was done is
    kept.

    Files that cannot be read are counted, listed by
    `retrieve index info --skipped`, and no error: the exit status is 0. With
    --strict it is 2; what could be read is indexed all the same.
    """
    _check_folders(folders)
    from encoders.checkpoint import DEFAULT_MODEL_DIR
    from encoders.loading import load_model

    towers = load_model(DEFAULT_MODEL_DIR if model is None else model, device=device, share_cores=True)
    from retrieval.indexing.build import build as build_index
    from retrieval.indexing.types import IngestError, IngestInterrupted, IngestOptions

    place = index_dir(index)
    options = IngestOptions(workers=workers, strict=strict, retry_skipped=retry_skipped)
    try:
        with show_progress(lines=True) as progress:
            summary = build_index(
                folders,
                index_path=place,
                model=cast("AudioEncoder", towers),
                options=options,
                on_progress=partial(_show, progress),
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
    as_json: Annotated[bool, typer.Option("--json", help="As JSON; with --skipped one object a line.")] = False,
) -> None:
    """Say what an index holds.

    Examples:

      retrieve index info
      retrieve index info --skipped
    """
    with _opened(index) as opened:
        if skipped:
            for file in opened.skipped():
                path = os.fsdecode(file.path)
                if as_json:
                    typer.echo(json.dumps({"path": path, "reason": file.reason}))
                else:
                    typer.echo(f"{shown_path(path)}: {shown(file.reason)}")
            return
        stats = opened.stats()
    values = {
        "index": str(index_dir(index)),
        "tracks": stats.n_tracks,
        "segments": stats.n_segments,
        "audio_s": round(stats.duration_s, 3),
        "skipped": stats.n_skipped,
        "removed_rows": stats.n_removed_rows,
        "size_bytes": stats.size_bytes,
        "dim": stats.dim,
        "model": stats.encoder_name,
        "model_fingerprint": stats.encoder,
    }
    if as_json:
        typer.echo(json.dumps(values))
        return
    people = {**values, "audio": clock(stats.duration_s), "size": f"{stats.size_bytes / 1e6:.1f} MB"}
    del people["audio_s"], people["size_bytes"]
    print_table(["index", ""], [[name.replace("_", " "), str(value)] for name, value in people.items()])


@group.command("verify", cls=CheckedCommand)
def verify(index: IndexOption = None) -> None:
    """Read a whole index and say what is wrong with it; the exit status is 1 if anything is."""
    with _opened(index) as opened:
        problems = opened.verify()
    for problem in problems:
        print_error(problem)
    if problems:
        raise typer.Exit(_EXIT_PROBLEMS)
    typer.echo("the index is whole")


@group.command("compact", cls=CheckedCommand)
def compact(index: IndexOption = None) -> None:
    """Give back the disk space of tracks that are gone or were indexed anew."""
    with _opened(index, read_only=False) as opened:
        n_rows = opened.compact()
    typer.echo(f"{n_rows} {'row' if n_rows == 1 else 'rows'} dropped")


def _show(progress: Progress, build: BuildProgress) -> None:
    sized = build.stage != "scanning" and build.bytes_total > 0
    progress.update(
        build.stage,
        build.bytes_done if sized else 0,
        build.bytes_total if sized else None,
        note=_progress_note(build),
    )


def _progress_note(build: BuildProgress) -> str:
    """Return the files, the hours of audio, the rate and the time left, as one line."""
    if build.stage == "scanning":
        return f"{build.files_total} files found"
    parts = [f"{build.files_done}/{build.files_total} files", f"{build.audio_s / 3600:.2f} h"]
    if build.rate_x:
        parts.append(f"{build.rate_x:.0f} x real time")
    if build.remaining_s is not None:
        parts.append(f"{clock(build.remaining_s)} left")
    if build.skipped:
        parts.append(f"{build.skipped} skipped")
    return ", ".join(parts)


def _opened(index: Path | None, *, read_only: bool = True) -> VectorIndex:
    from index import VectorIndex

    return VectorIndex.open(index_dir(index), read_only=read_only)


def _check_folders(folders: list[Path]) -> None:
    """A missing folder is said at once, before the model is loaded."""
    for folder in folders:
        os.stat(folder)


def _print_summary(summary: BuildSummary, *, place: Path, as_json: bool) -> None:
    counts = {name: getattr(summary, name) for name in ("added", "updated", "unchanged", "moved", "removed", "skipped")}
    if as_json:
        problems = [{"path": problem.path, "reason": problem.reason} for problem in summary.problems]
        times = {"audio_s": round(summary.audio_s, 3), "wall_s": round(summary.wall_s, 3)}
        values = {
            "index": str(place),
            **counts,
            "segments": summary.n_segments,
            **times,
            "problems": problems,
        }
        typer.echo(json.dumps(values))
        return
    for problem in summary.problems[:_PROBLEMS_SHOWN]:
        print_warning(str(problem))
    if len(summary.problems) > _PROBLEMS_SHOWN:
        print_warning(f"and {len(summary.problems) - _PROBLEMS_SHOWN} more: see retrieve index info --skipped")
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing found"
    rate = f", {summary.audio_s / summary.wall_s:.0f} x real time" if summary.audio_s and summary.wall_s else ""
    typer.echo(f"{told} ({clock(summary.audio_s)} of audio in {summary.wall_s:.1f} s{rate})")
    typer.echo(f"index: {shown(str(place))}")
