"""Mend the files of an index, so that it can be opened; what their vectors were is found out afterwards.

Nothing here knows the music. A part file that is missing or cut short gets zeros in the place of what it has lost: the
tracks concerned then fail their checksum as any damaged track does, keep their record, and can be embedded again.
"""

from __future__ import annotations

import os
from pathlib import Path

from index.catalog import Catalog
from index.files import PathLike, fsync_file, fsync_folder
from index.lock import WriterLock
from index.manifest import read_manifest
from index.vectors import Part, part_name

__all__ = ["mend_files"]


def mend_files(path: PathLike) -> list[str]:
    """Mend the files of an index. Whoever interrupts it can run it again.

    Args:
        path: the folder.

    Returns:
        What was done, one line each; empty if nothing was wrong.

    Raises:
        IndexMissingError: no index is there.
        IndexMismatchError: a newer Earmark made it.
        IndexDamagedError: what is left does not suffice; the message says so and what to do.
        IndexBusyError: another process is writing.
    """
    folder = Path(os.fsdecode(path))
    manifest = read_manifest(folder)
    lock = WriterLock(folder)
    try:
        catalog = Catalog(folder, read_only=False)
        try:
            with catalog.reading():
                catalog.require(manifest)
                parts = catalog.parts()
        finally:
            catalog.close()
        done = [_extend(folder, part, dim=manifest.dim) for part in parts]
    finally:
        lock.release()
    return [line for line in done if line]


def _extend(folder: Path, part: Part, *, dim: int) -> str:
    """Give a part file the size that the catalogue says; return what was done, "" if it had it."""
    path = folder / part_name(part.number)
    needed = part.n_rows * dim * 4
    was_there = path.exists()
    size = path.stat().st_size if was_there else 0
    if was_there and size >= needed:
        return ""
    with open(path, "ab") as file:
        file.truncate(needed)  # the file system keeps no blocks of zeros
        fsync_file(file.fileno())
    if not was_there:
        fsync_folder(folder)
    n_lost = part.n_rows - size // (dim * 4)
    return f"{path.name} {'was cut short' if was_there else 'was missing'}: the vectors of {n_lost} segments are lost"
