"""Progress on stderr: bars on a terminal, lines or nothing elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from cli_helpers import environment

from retrieval.cli.progress import show_progress

ON_A_TERMINAL = """
from retrieval.cli.progress import show_progress
with show_progress() as progress:
    progress.update("decoding", 1, 2)
    progress.update("training", 3, 10, note="[3 of ten]")
    progress.log("[loss] 0.5")
"""


def test_a_terminal_shows_bars_and_lines() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL], stderr=theirs, stdout=subprocess.PIPE, env=environment({"TERM": "xterm"})
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # Linux reports the closed other end so
        pass
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"")
    assert all(text in shown for text in (b"decoding", b"1/2", b"training", b"[3 of ten]", b"[loss] 0.5"))


def test_without_a_terminal_lines_are_printed_only_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress() as progress:
        progress.update("reading", 1, 2)
        progress.log("a line")
    assert capsys.readouterr() == ("", "a line\n")
    with show_progress(lines=True) as progress:
        for done in range(3):
            progress.update("reading", done, 2)
        progress.update("writing", 1)
    assert capsys.readouterr() == ("", "reading: 0/2\nwriting: 1\n")
