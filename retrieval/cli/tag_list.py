"""A file of tags, one a line, as several commands read it."""

from __future__ import annotations

from pathlib import Path

import typer

from retrieval.cli.output import shown

__all__ = ["tags_of_file"]


def tags_of_file(path: Path, *, option: str) -> list[str]:
    """Return the tags of a file: one a line, each once; # begins a comment.

    Raises:
        typer.BadParameter: it is no UTF-8 text; ``option`` is named.
        OSError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{shown(str(path))} is not UTF-8 text", param_hint=option) from error
    tags = [" ".join(line.split("#", 1)[0].split()) for line in lines]
    return list(dict.fromkeys(tag for tag in tags if tag))
