"""What the tests of the application share: a tone, awkward file names, the command as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[2]


RATE_HZ = 22050


Run = Callable[..., "subprocess.CompletedProcess[str]"]


Call = Callable[..., tuple[int, str, str]]


AWKWARD_NAMES = (
    b"plain.flac",
    b"two words 'and' \"quotes\".wav",
    b"line\nbreak.wav",
    b"not utf-8 \xff\xfe.wav",
    "\N{GUITAR} \N{MULTIPLE MUSICAL NOTES}.ogg".encode(),
    b"#hash.wav",
    b"[bold]markup[reset] \x1b[31m.wav",
)


def tone(*, pitch_hz: float, duration_s: float, seed: int = 0) -> np.ndarray:
    """A decaying, repeated tone with overtones and a little noise [shape=(n,)] float32."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    overtones = [np.sin(2 * np.pi * pitch_hz * k * time_s) / k for k in range(1, 6)]
    noise = np.random.default_rng(seed).normal(size=len(time_s)) * 0.01
    return (0.3 * np.sum(overtones, axis=0) * np.exp(-3.0 * (time_s % 0.5)) + noise).astype(np.float32)


def run_python(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with the packages of this repository."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment(env),
        timeout=100,
        check=False,
    )


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment, with the repository importable and nothing that changes what is printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RETRIEVE", "_RETRIEVE"))}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "100", **(more or {})}


def one_line(text: str, *, start: str) -> bool:
    """Whether `text` is one line that begins so, with no traceback in it."""
    lines: Sequence[str] = text.splitlines()
    return len(lines) == 1 and lines[0].startswith(start) and "Traceback" not in text
