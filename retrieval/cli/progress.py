"""Progress of long commands, on stderr: bars on a terminal, lines elsewhere where a command asks for them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from retrieval.cli.output import clock

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID
    from transformers import TrainerCallback

    from retrieval.indexing.types import BuildProgress

__all__ = ["Progress", "show_build", "show_progress", "trainer_callback"]

_LINE_EVERY_S = 10.0
_LOGGED_METRICS = ("loss", "eval_map", "active_triplets", "collapse", "bank_collapse")


class Progress:
    """Receive progress and show it; `show_progress` opens one.

    Args:
        bars: an open rich display; None where there is no terminal.
        lines: without a terminal, print a line at each new stage and every ten seconds.
    """

    def __init__(self, bars: RichProgress | None = None, *, lines: bool = False) -> None:
        self._bars = bars
        self._lines = lines
        self._task_of: dict[str, TaskID] = {}
        self._stage = ""
        self._printed_s = 0.0

    def update(self, stage: str, done: float, total: float | None = None, *, note: str | None = None) -> None:
        """Show that `done` of `total` (None: not known yet) is finished.

        Args:
            stage: the bar to move; a new name opens a new bar.
            done: a count.
            total: a count.
            note: the text after the bar; default: the counts and the time left.
        """
        if self._bars is not None:
            self._update_bar(self._bars, stage, done, total, note)
        elif self._lines:
            self._print_line(stage, note or _counts(done, total))

    def log(self, line: str) -> None:
        """Print a line, above the bars if there are any."""
        if self._bars is None:
            typer.echo(line, err=True)
        else:
            self._bars.console.print(line, highlight=False, markup=False)

    def _update_bar(self, bars: RichProgress, stage: str, done: float, total: float | None, note: str | None) -> None:
        if stage not in self._task_of:
            self._task_of[stage] = bars.add_task(stage, total=total, note="")
        task = self._task_of[stage]
        bars.update(task, completed=done, total=total)
        if note is None:
            left_s = bars.tasks[bars.task_ids.index(task)].time_remaining
            note = _counts(done, total) + ("" if left_s is None else f", {clock(left_s)} left")
        bars.update(task, note=note)

    def _print_line(self, stage: str, note: str) -> None:
        now_s = time.monotonic()
        if stage != self._stage or now_s - self._printed_s >= _LINE_EVERY_S:
            self._stage, self._printed_s = stage, now_s
            typer.echo(f"{stage}: {note}", err=True)


@contextmanager
def show_progress(*, lines: bool = False, hidden: bool = False) -> Iterator[Progress]:
    """Show progress while the body runs.

    Args:
        lines: print lines where stderr is not a terminal; by default nothing is printed there.
        hidden: show no bars, for work that is too short or whose output shows its progress.
    """
    if hidden or not sys.stderr.isatty():
        yield Progress(lines=lines and not hidden)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}", markup=False))
    with RichProgress(*columns, console=Console(stderr=True), redirect_stdout=False, transient=True) as bars:
        yield Progress(bars)


def trainer_callback(progress: Progress) -> TrainerCallback:
    """Return a callback for the transformers Trainer that shows steps as a bar and metrics as lines."""
    from transformers import TrainerCallback

    class ShowProgress(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                progress.update("training", state.global_step, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            values = logs or {}
            shown = [f"{name.removeprefix('eval_')} {values[name]:.4g}" for name in _LOGGED_METRICS if name in values]
            if state.is_world_process_zero and shown:
                progress.log(f"step {state.global_step}, epoch {state.epoch or 0.0:.3g}: {', '.join(shown)}")

    return ShowProgress()


def show_build(progress: Progress, build: BuildProgress) -> None:
    """Show the progress of an index build."""
    sized = build.stage != "scanning" and build.bytes_total > 0
    progress.update(
        build.stage,
        build.bytes_done if sized else 0,
        build.bytes_total if sized else None,
        note=_build_note(build),
    )


def _build_note(build: BuildProgress) -> str:
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


def _counts(done: float, total: float | None) -> str:
    return f"{done:g}" if total is None else f"{done:g}/{total:g}"
