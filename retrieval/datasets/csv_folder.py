"""A folder of clips with a table: labels.csv with the columns `file,labels[,split][,source or group]`.

Labels are separated by semicolons; paths are relative to the table. Further columns are passed over.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from retrieval.datasets.base import DatasetError, TaggedClip, TaggedClips, format_names

__all__ = ["CITATION", "LICENCE", "SPLITS", "TABLE", "read_csv_dataset", "validate"]

CITATION = "Whatever the folder's own papers say: this is a layout, not a collection."
LICENCE = "That of the clips in the folder."
SPLITS: tuple[str, ...] = ()
"""Named by the table's column `split`; a row without one belongs to none."""
TABLE = "labels.csv"


def read_csv_dataset(
    folder: str | os.PathLike[str],
    *,
    drop_bad: bool = False,
    array_rate_hz: int | None = None,
    keep_unlabeled: bool = False,
) -> TaggedClips:
    """The clips of a folder with labels.csv.

    Args:
        folder: the folder, or the table itself under any name.
        drop_bad: leave bad rows out and say so in `dropped`, instead of refusing the dataset.
        array_rate_hz: the sample rate of clips that are .npy arrays.
        keep_unlabeled: return clips without labels instead of treating them as bad.

    Raises:
        DatasetError: the table cannot be read, or has rows with missing files, without labels or twice.
    """
    table = Path(folder) / TABLE if Path(folder).is_dir() else Path(folder)
    clips, problems = _read(table, array_rate_hz=array_rate_hz, keep_unlabeled=keep_unlabeled)
    if problems and not drop_bad:
        raise DatasetError(f"{table}: {'; '.join(problems)}; mend the table, or leave such rows out with --drop-bad")
    if not clips:
        raise DatasetError(f"{table}: no row is usable ({'; '.join(problems) or 'it is empty'})")
    name = table.parent.resolve().name if table.name == TABLE else table.stem
    return TaggedClips(clips=tuple(clips), name=name, dropped=tuple(problems))


def validate(folder: str | os.PathLike[str]) -> list[str]:
    """What is wrong with the table and its clips, one line each."""
    table = Path(folder) / TABLE if Path(folder).is_dir() else Path(folder)
    try:
        clips, problems = _read(table, array_rate_hz=None)
    except DatasetError as error:
        return [str(error)]
    return problems + TaggedClips(clips=tuple(clips), name=str(table)).validate()


def _read(
    table: Path, *, array_rate_hz: int | None, keep_unlabeled: bool = False
) -> tuple[list[TaggedClip], list[str]]:
    """The good rows, and a line for each kind of bad ones."""
    clips: list[TaggedClip] = []
    nameless: list[str] = []
    bad: dict[str, list[str]] = {"missing": [], "empty": [], "twice": [], "at odds": []}
    rows_of: dict[Path, tuple[str, ...]] = {}
    for line, row in _rows(table):
        name = (row.get("file") or "").strip()
        labels = _labels(row.get("labels") or "")
        if not name:
            nameless.append(f"line {line}")
            continue
        path = table.parent / name
        if path in rows_of:
            bad["twice" if rows_of[path] == labels else "at odds"].append(name)
            continue
        rows_of[path] = labels
        if not path.is_file():
            bad["missing"].append(name)
        elif not labels and not keep_unlabeled:
            bad["empty"].append(name)
        else:
            split = (row.get("split") or "").strip() or None
            group = (row.get("group") or row.get("source") or "").strip() or name
            clips.append(TaggedClip(path, labels, split, group, array_rate_hz if path.suffix == ".npy" else None))
    told = [
        ("rows without a file name", nameless),
        ("missing files", bad["missing"]),
        ("rows with empty labels", bad["empty"]),
        ("duplicate rows", bad["twice"]),
        ("duplicate rows with other labels", bad["at odds"]),
    ]
    return clips, [f"{len(names)} {what}: {format_names(names)}" for what, names in told if names]


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows; DatasetError for what is no such table."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in ("file", "labels") if name not in (reader.fieldnames or ())]
            if lacking:
                raise DatasetError(f"{table} has no column {' and no '.join(map(repr, lacking))} in its first line")
            for row in reader:
                yield reader.line_num, row
    except FileNotFoundError:
        raise DatasetError(f"there is no {table}: give a folder with {TABLE}, or the table itself") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{table} is not UTF-8 text: save it as UTF-8") from None
    except csv.Error as error:
        raise DatasetError(f"{table} is no table of comma-separated values: {error}") from None


def _labels(text: str) -> tuple[str, ...]:
    """The labels of a cell with white space tidied, each once."""
    names = (" ".join(label.split()) for label in text.split(";"))
    return tuple(dict.fromkeys(name for name in names if name))
