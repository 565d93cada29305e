"""Text files of labels, one label a line."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LabelFileError", "read_label_file"]


class LabelFileError(ValueError):
    """A label file that cannot be used; the message names the file and the line."""


def read_label_file(path: str | os.PathLike[str]) -> list[str]:
    """Return the labels of a UTF-8 text file in order, each once, with single spaces between words.

    Empty lines and lines that begin with `#` are skipped. A `#` later in a line belongs to the label, as in "C# minor".

    Raises:
        LabelFileError: a line is not UTF-8 text, or has no letter or digit, or there is no label.
        OSError: the file cannot be read.
    """
    shown = os.fspath(path)
    labels: dict[str, None] = {}
    for number, line in enumerate(Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            label = " ".join(line.decode("utf-8").split())
        except UnicodeDecodeError:
            raise LabelFileError(f"{shown}, line {number}: not UTF-8 text; save the file as UTF-8") from None
        if not label or label.startswith("#"):
            continue
        if not label.isprintable() or not any(character.isalnum() for character in label):
            raise LabelFileError(f"{shown}, line {number}: {label!r} is not a label; begin a comment with #")
        labels[label] = None
    if not labels:
        raise LabelFileError(f"{shown} has no labels: write one a line")
    return list(labels)
