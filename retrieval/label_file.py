"""Labels as text: files with one label a line, and lists without repetitions."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["STDIN", "LabelFileError", "clean_labels", "read_label_file"]

STDIN = "-"  # the path that stands for standard input
_LONGEST_LABEL = 500
_MOST_BYTES = 64 << 20
_LINE_END = re.compile(r"\r\n|\r|\n")
# The longer mark first: that of UTF-32 begins with that of UTF-16.
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class LabelFileError(ValueError):
    """A label file that cannot be used; the message names the file and the line."""


def clean_labels(labels: Iterable[str]) -> list[str]:
    """Return labels in order with single spaces, without empty ones and without repetitions in any case."""
    first_of: dict[str, str] = {}
    for label in labels:
        tidy = " ".join(label.split())
        if tidy:
            first_of.setdefault(tidy.casefold(), tidy)
    return list(first_of.values())


def read_label_file(path: str | os.PathLike[str]) -> list[str]:
    """Return the labels of a text file in order, each once, with single spaces between words.

    Empty lines and lines that begin with `#` are skipped. A `#` later in a line belongs to the label, as in "C# minor".
    The text is UTF-8, or UTF-16 or UTF-32 with a byte order mark. Lines end with a line feed, a carriage
    return or both.

    Args:
        path: of the file; "-" is standard input.

    Raises:
        LabelFileError: a line is in another encoding, has no letter or digit or more than 500 characters, there is no
            label, or the file has more than 64 MiB.
        OSError: the file cannot be read.
    """
    shown = "standard input" if os.fspath(path) == STDIN else os.fspath(path)
    labels: dict[str, None] = {}
    for number, line in enumerate(_LINE_END.split(_decoded(_content(path, shown), shown)), start=1):
        label = " ".join(line.split())
        if not label or label.startswith("#"):
            continue
        if len(label) > _LONGEST_LABEL:
            raise LabelFileError(f"{shown}, line {number}: {len(label)} characters; write one label a line")
        if not label.isprintable() or not any(character.isalnum() for character in label):
            raise LabelFileError(f"{shown}, line {number}: {label!r} is not a label; begin a comment with #")
        labels[label] = None
    if not labels:
        raise LabelFileError(f"{shown} has no labels: write one a line")
    return list(labels)


def _content(path: str | os.PathLike[str], shown: str) -> bytes:
    if os.fspath(path) == STDIN:
        data = sys.stdin.buffer.read(_MOST_BYTES + 1)
    else:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise LabelFileError(f"{shown} has more than {_MOST_BYTES >> 20} MiB: give a text file with one label a line")
    return data


def _decoded(data: bytes, shown: str) -> str:
    mark, encoding = next(((mark, name) for mark, name in _ENCODINGS if data.startswith(mark)), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode(encoding, errors="replace")
        number = len(_LINE_END.findall(before)) + 1
        named = "UTF-8 text" if encoding == "utf-8" else f"text in {encoding.upper()}, as its first bytes say"
        raise LabelFileError(f"{shown}, line {number}: not {named}; save the file as UTF-8") from None
    if not mark and "\0" in text[:200] and len(text) > 1:
        raise LabelFileError(f"{shown}, line 1: UTF-16 without a byte order mark, or no text; save the file as UTF-8")
    return text
