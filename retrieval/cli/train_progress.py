"""How far a training run has come: bars on stderr where a terminal shows them, a line an epoch elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from transformers import TrainerCallback

__all__ = ["TrainProgress"]

_SHOWN = ("loss", "eval_map", "active_triplets", "collapse", "bank_collapse")


class TrainProgress:
    """A context: one bar for decoding, one for the steps; figures as lines between them."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> TrainProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), redirect_stdout=False)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def decoded(self, done: int, total: int) -> None:
        """Told of each clip that was decoded."""
        self._show("decoding", done, total)

    def step(self, done: int, total: int) -> None:
        """Told of each step."""
        self._show("training", done, total)

    def figures(self, step: int, epoch: float, logs: dict[str, Any]) -> None:
        """Told of each set of figures."""
        told = [f"{name.removeprefix('eval_')} {logs[name]:.4g}" for name in _SHOWN if name in logs]
        if not told:
            return
        line = f"step {step}, epoch {epoch:.3g}: {', '.join(told)}"
        if self._progress is not None:
            self._progress.console.print(line, highlight=False, markup=False)
        else:
            typer.echo(line, err=True)

    def callback(self) -> TrainerCallback:
        """Return what the Trainer tells of its progress."""
        from transformers import TrainerCallback

        progress = self

        class Telling(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.is_world_process_zero:
                    progress.step(state.global_step, state.max_steps)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
                if state.is_world_process_zero and logs:
                    progress.figures(state.global_step, state.epoch or 0.0, logs)

        return Telling()

    def _show(self, name: str, done: int, total: int) -> None:
        if self._progress is None:
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done, total=total)
