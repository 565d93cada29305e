"""Read a folder of clips with a table, labels.csv, whose columns are `file,labels[,split][,group][,licence]`.

Labels are separated by semicolons. Paths are relative to the table. A column `source` is read as the group where there
is no `group`. Other columns are ignored.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from retrieval.datasets.base import DatasetError, TaggedClip, TaggedClips, format_names

__all__ = ["TABLE", "read_csv_dataset"]

TABLE = "labels.csv"


def read_csv_dataset(
    folder: str | os.PathLike[str],
    *,
    drop_bad: bool = False,
    array_rate_hz: int | None = None,
    keep_unlabeled: bool = False,
) -> TaggedClips:
    """Read the clips of a folder with labels.csv.

    Args:
        folder: the folder, or the table itself under any name.
        drop_bad: leave bad rows out and list them in `dropped`, instead of raising an error.
        array_rate_hz: sample rate of clips that are .npy arrays.
        keep_unlabeled: return clips without labels instead of treating them as bad.

    Raises:
        DatasetError: the table cannot be read, or has rows without a file name, with missing files, without labels, or
            that occur twice.
    """
    table = Path(folder) / TABLE if Path(folder).is_dir() else Path(folder)
    clips, problems = _read(table, array_rate_hz=array_rate_hz, keep_unlabeled=keep_unlabeled)
    if problems and not drop_bad:
        raise DatasetError(f"{table}: {'; '.join(problems)}; correct the table or leave the rows out with --drop-bad")
    if not clips:
        raise DatasetError(f"{table}: it has no usable row ({'; '.join(problems) or 'it is empty'})")
    name = table.parent.resolve().name if table.name == TABLE else table.stem
    return TaggedClips(clips=tuple(clips), name=name, dropped=tuple(problems))


def _read(
    table: Path, *, array_rate_hz: int | None, keep_unlabeled: bool = False
) -> tuple[list[TaggedClip], list[str]]:
    """Return the clips of good rows, and one line for each kind of bad row."""
    clips: list[TaggedClip] = []
    nameless: list[str] = []
    bad: dict[str, list[str]] = {"missing": [], "empty": [], "twice": [], "conflicting": []}
    rows_of: dict[Path, tuple[str, ...]] = {}
    for line, row in _rows(table):
        name = (row.get("file") or "").strip()
        labels = _labels(row.get("labels") or "")
        if not name:
            nameless.append(f"line {line}")
            continue
        path = table.parent / name
        if path in rows_of:
            bad["twice" if rows_of[path] == labels else "conflicting"].append(name)
            continue
        rows_of[path] = labels
        if not path.is_file():
            bad["missing"].append(name)
        elif not labels and not keep_unlabeled:
            bad["empty"].append(name)
        else:
            split = (row.get("split") or "").strip() or None
            group = (row.get("group") or row.get("source") or "").strip() or name
            rate_hz = array_rate_hz if path.suffix == ".npy" else None
            licence = (row.get("licence") or "").strip()
            clips.append(TaggedClip(path, labels, split, group, rate_hz, licence=licence))
    found = [
        ("rows without a file name", nameless),
        ("missing files", bad["missing"]),
        ("rows with empty labels", bad["empty"]),
        ("duplicate rows", bad["twice"]),
        ("duplicate rows with other labels", bad["conflicting"]),
    ]
    return clips, [f"{len(names)} {what}: {format_names(names)}" for what, names in found if names]


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line numbers and rows.

    Raises:
        DatasetError: the file is not a table with the needed columns.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ("file", "labels") if name not in (reader.fieldnames or ())]
            if missing:
                lacking = " and no column ".join(map(repr, missing))
                raise DatasetError(f"{table} has no column {lacking}: name the columns in the first line")
            for row in reader:
                yield reader.line_num, row
    except FileNotFoundError:
        raise DatasetError(f"{table} does not exist: give a folder with {TABLE}, or the table itself") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{table} is not UTF-8 text: save it as UTF-8") from None
    except csv.Error as error:
        raise DatasetError(f"{table} is not a table of comma-separated values: {error}") from None


def _labels(text: str) -> tuple[str, ...]:
    """Return the labels of a cell in order, without duplicates and with single spaces between words."""
    names = (" ".join(label.split()) for label in text.split(";"))
    return tuple(dict.fromkeys(name for name in names if name))
