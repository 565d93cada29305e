"""`retrieve index verify` and `retrieve index repair`: find damage in an index, and mend it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from index import IndexDamagedError, VectorIndex, repair_command
from retrieval.cli.options import DeviceOption, IndexOption, ModelOption, index_dir
from retrieval.cli.output import print_error, print_note, print_warning, shown, shown_path
from retrieval.cli.progress import show_build, show_progress

if TYPE_CHECKING:
    from encoders.embed import AudioEncoder
    from retrieval.indexing.repair import RepairSummary

__all__ = ["repair", "verify"]

_EXIT_PROBLEMS = 1
_LISTED = 10


def verify(
    index: IndexOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check every file and vector of an index; alter nothing.

    Examples:

      retrieve index verify
      retrieve index verify --json

    The exit status is 0 if the index is whole, 1 if something is damaged,
    which `retrieve index repair` mends, and 2 if there is no index to check.
    """
    place = index_dir(index)
    problems = []
    try:
        with VectorIndex.open(place) as opened, show_progress() as progress:
            for damage in opened.check(on_progress=partial(progress.update, "checking")):
                problems.append({"path": damage.file, "reason": damage.reason})
                if not as_json:
                    print_error(str(damage))
    except IndexDamagedError as error:
        problems.append({"path": None, "reason": str(error)})
        if not as_json:
            print_error(str(error))
    else:
        if problems and not as_json:
            n_problems = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
            print_note(f"{n_problems} found; run `{repair_command(place)}`")
    if as_json:
        typer.echo(json.dumps({"index": str(place), "problems": problems}))
    elif not problems:
        typer.echo("no problems found")
    if problems:
        raise typer.Exit(_EXIT_PROBLEMS)


def repair(
    index: IndexOption = None,
    model: ModelOption = None,
    remove_lost: Annotated[
        bool, typer.Option("--remove-lost", help="Remove damaged tracks whose files are gone.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Number of decoding processes.", show_default="by the CPU count"),
    ] = None,
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Mend a damaged index: its files, and the tracks whose vectors have changed.

    Examples:

      retrieve index repair
      retrieve index repair --remove-lost --index loops.index

    Damaged tracks whose files are there are embedded again. Those whose files
    are gone are listed; they stay in the index, where searches leave them out,
    until their files are back or --remove-lost removes them.

    The exit status is 0 if the index is whole afterwards, 1 if tracks are left
    that could not be mended, and 2 if there is no index that can be mended.
    An interrupted repair is resumed by running the same command again.
    """
    from retrieval.indexing.repair import repair as repair_index
    from retrieval.indexing.types import IngestInterrupted, IngestOptions

    def load() -> AudioEncoder:
        from encoders.checkpoint import DEFAULT_MODEL_DIR
        from encoders.loading import load_model

        return load_model(DEFAULT_MODEL_DIR if model is None else model, device=device, share_cores=True)

    place = index_dir(index)
    try:
        with show_progress(lines=True) as progress:
            summary = repair_index(
                place,
                load_model=load,
                remove_lost=remove_lost,
                options=IngestOptions(workers=workers),
                on_check=partial(progress.update, "checking"),
                on_progress=partial(show_build, progress),
            )
    except IngestInterrupted as stop:
        print_error(str(stop), label="")
        raise typer.Exit(128 + stop.signal_number) from None
    if as_json:
        _print_json(summary, place)
    else:
        _print_summary(summary, place)
    if not summary.is_whole:
        raise typer.Exit(_EXIT_PROBLEMS)


def _print_json(summary: RepairSummary, place: Path) -> None:
    values = {
        "index": str(place),
        "mended": summary.mended,
        "embedded": summary.embedded,
        "skipped": [{"path": problem.path, "reason": problem.reason} for problem in summary.skipped],
        "lost": summary.lost,
        "removed": summary.removed,
    }
    typer.echo(json.dumps(values))


def _print_summary(summary: RepairSummary, place: Path) -> None:
    for line in summary.mended:
        typer.echo(shown(line))
    for paths, what in ((summary.embedded, "embedded again"), (summary.removed, "removed from the index")):
        if paths:
            typer.echo(f"{_tracks(len(paths))} {what}")
    for problem in summary.skipped[:_LISTED]:
        print_warning(str(problem))
    if len(summary.skipped) > _LISTED:
        print_warning(f"and {len(summary.skipped) - _LISTED} more that could not be read")
    for path in summary.lost[:_LISTED]:
        print_warning(f"{shown_path(path)}: its vectors are damaged and its file is gone")
    if len(summary.lost) > _LISTED:
        print_warning(f"and {len(summary.lost) - _LISTED} more whose files are gone")
    if summary.lost:
        command = repair_command(place)
        print_note(
            f"{_tracks(len(summary.lost))} lost: bring the files back and run `{command}`, "
            f"or run `{command} --remove-lost` to remove them from the index"
        )
    if not (summary.mended or summary.embedded or summary.removed or summary.skipped or summary.lost):
        typer.echo("nothing to repair")


def _tracks(n: int) -> str:
    return "1 track" if n == 1 else f"{n} tracks"
