"""How experiments speak: progress and errors on stderr, an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

__all__ = ["status_of", "tell", "telling"]


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def telling(what: str) -> Callable[[int, int], None]:
    """Return what to call after each of many clips."""

    def on_clip(done: int, total: int) -> None:
        if done % 200 == 0 or done == total:
            tell(f"{what}: {done} of {total} clips")

    return on_clip


def status_of(name: str, run: Callable[[], object]) -> int:
    """Run an experiment and return its exit status: 2 for what is wrong with options or data, 130 for Ctrl-C."""
    try:
        run()
    except (ValueError, OSError) as error:
        tell(f"{name}: {error}")
        return 2
    except KeyboardInterrupt:
        tell("stopped; the same command uses what is finished")
        return 130
    return 0
