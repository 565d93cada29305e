"""Print text, tables and errors, with control characters escaped.

rich is imported only if a terminal shows the result, so that queries that are piped or printed as JSON start faster.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from index import printable

__all__ = ["clock", "print_error", "print_note", "print_table", "print_warning", "shortened", "shown", "shown_path"]

_MOST_SHOWN = 80
_MOST_OF_A_LINE = 4000  # characters of a message; half of them from its end, where the reason often is


def shown(text: str) -> str:
    """Return `text` with line breaks, terminal codes and undecodable bytes escaped."""
    return text if text.isprintable() else printable(text)


def shown_path(path: str) -> str:
    """Return a path for display: relative if it is below the working directory."""
    below = os.path.join(os.getcwd(), "")
    return shown(path[len(below) :] if path.startswith(below) and path != below else path)


def shortened(text: str, *, most: int = _MOST_SHOWN) -> str:
    """Return the start of a long text, with "…" at its end."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def clock(seconds: float) -> str:
    """Return seconds as 0:07, 3:25 or 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def print_error(message: str, *, label: str = "error: ") -> None:
    """Print one line on stderr, after what stdout has."""
    sys.stdout.flush()
    line = shown(message.replace("\n", " "))
    if len(line) > _MOST_OF_A_LINE:
        line = line[: _MOST_OF_A_LINE // 2] + "…" + line[-_MOST_OF_A_LINE // 2 :]
    typer.echo(label + line, err=True)


def print_warning(message: str) -> None:
    """Print one line on stderr, after what stdout has."""
    print_error(message, label="warning: ")


def print_note(message: str) -> None:
    """Print one line on stderr, after what stdout has."""
    print_error(message, label="note: ")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[str] = frozenset()) -> None:
    """Print `rows` under `header` on stdout; the columns named in `right` are right-aligned.

    On a terminal rich fits the table to the width; elsewhere each row is one line and nothing is cut off.
    """
    cells = [[shown(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich_table(header, cells, right=right)
        return
    widths = [max(len(cell) for cell in column) for column in zip(header, *cells, strict=True)]
    for row in [list(header), *cells]:
        padded = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(header, row, widths, strict=True)
        ]
        typer.echo("  ".join(padded).rstrip())


def _print_rich_table(header: Sequence[str], cells: Sequence[Sequence[str]], *, right: frozenset[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name in right)
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))  # Text: brackets in a name are not markup
    Console().print(table)
