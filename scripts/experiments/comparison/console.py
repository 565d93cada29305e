"""Console output of the experiments: progress and errors on stderr, exit statuses."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

__all__ = ["RunProgress", "exit_status", "log", "progress_callback"]

_REPORT_EVERY_CLIPS = 200
_REPORT_EVERY_S = 20.0


def log(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr, flush=True)


def progress_callback(task: str) -> Callable[[int, int], None]:
    """Return a function of (done, total) that logs the progress of a task over many clips now and then."""

    def on_clip(done: int, total: int) -> None:
        if done % _REPORT_EVERY_CLIPS == 0 or done == total:
            log(f"{task}: {done} of {total} clips")

    return on_clip


def exit_status(name: str, run: Callable[[], object]) -> int:
    """Run an experiment and return its exit status: 2 for wrong options or data, 130 for an interrupt."""
    try:
        run()
    except (ValueError, OSError) as error:
        log(f"{name}: {error}")
        return 2
    except KeyboardInterrupt:
        log("interrupted; run the same command again to continue")
        return 130
    return 0


class RunProgress:
    """Logs the progress of several training runs and the time left for all of them.

    Args:
        total_steps: of all runs.
    """

    def __init__(self, total_steps: int) -> None:
        self._total, self._done = total_steps, 0
        self._began_s, self._logged_s = time.perf_counter(), 0.0

    def begin(self, title: str) -> TrainerCallback:
        """Return the callback of the next run."""
        progress, before = self, self._done

        class Callback(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                progress._done = before + state.global_step
                progress._log(f"{title}: step {state.global_step} of {state.max_steps}")

        return Callback()

    def _log(self, line: str) -> None:
        now_s = time.perf_counter()
        if now_s - self._logged_s >= _REPORT_EVERY_S:
            self._logged_s = now_s
            left_s = (now_s - self._began_s) / self._done * (self._total - self._done)
            log(f"{line}; all runs: about {left_s / 60:.0f} min left")
