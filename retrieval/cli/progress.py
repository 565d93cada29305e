"""How far an index build has come: a bar on a terminal, a line now and then elsewhere. Both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from retrieval.cli.output import clock

if TYPE_CHECKING:
    from retrieval.indexing.build import BuildProgress

__all__ = ["progress_line", "shown_progress"]

_LINE_EVERY_S = 10.0


@contextmanager
def shown_progress() -> Iterator[Callable[[BuildProgress], None]]:
    """Gives what a build calls with its progress."""
    if sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _Lines()


def progress_line(progress: BuildProgress) -> str:
    """One line for people: files, hours of audio, rate, time left."""
    if progress.stage == "scanning":
        return f"{progress.files_total} files found"
    parts = [f"{progress.files_done}/{progress.files_total} files", f"{progress.audio_s / 3600:.2f} h"]
    if progress.rate_x:
        parts.append(f"{progress.rate_x:.0f} x real time")
    if progress.remaining_s is not None:
        parts.append(f"{clock(progress.remaining_s)} left")
    if progress.skipped:
        parts.append(f"{progress.skipped} skipped")
    return ", ".join(parts)


class _Lines:
    """A line when the stage changes, and every ten seconds."""

    def __init__(self) -> None:
        self._stage = ""
        self._last_s = 0.0

    def __call__(self, progress: BuildProgress) -> None:
        now_s = time.monotonic()
        if progress.stage == self._stage and now_s - self._last_s < _LINE_EVERY_S:
            return
        self._stage, self._last_s = progress.stage, now_s
        typer.echo(f"{progress.stage}: {progress_line(progress)}", err=True)


@contextmanager
def _bar() -> Iterator[Callable[[BuildProgress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[told]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, transient=True, expand=True) as bar:
        task = bar.add_task("starting", total=None, told="")

        def show(progress: BuildProgress) -> None:
            known = progress.stage != "scanning" and progress.bytes_total > 0
            bar.update(
                task,
                description=progress.stage,
                completed=progress.bytes_done if known else 0,
                total=progress.bytes_total if known else None,
                told=progress_line(progress),
            )

        yield show
