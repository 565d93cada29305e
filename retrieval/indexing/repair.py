"""Repair an index: mend its files, then embed the files of damaged tracks again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from encoders.embed import AudioEncoder
from index import VectorIndex, mend_files
from retrieval.indexing.build import embed_again
from retrieval.indexing.types import IngestOptions, OnProgress
from retrieval.library.scan import AudioFile, Problem

__all__ = ["RepairSummary", "repair"]


@dataclass(frozen=True)
class RepairSummary:
    """The result of a repair. Paths are as `os.fsdecode` gives them, sorted.

    Attributes:
        mended: what was done to the files and tables of the index, one line each.
        embedded: damaged tracks that have sound vectors again.
        skipped: damaged tracks whose files are there and cannot be read, with the reason.
        lost: damaged tracks that are still in the index, because their files are gone.
        removed: those that were removed from the index instead.
    """

    mended: tuple[str, ...]
    embedded: tuple[str, ...]
    skipped: tuple[Problem, ...]
    lost: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.skipped or self.lost)


def repair(
    index_path: str | os.PathLike[str],
    *,
    load_model: Callable[[], AudioEncoder],
    remove_lost: bool = False,
    options: IngestOptions = IngestOptions(),  # noqa: B008 - frozen
    on_check: Callable[[int, int], None] | None = None,
    on_progress: OnProgress | None = None,
) -> RepairSummary:
    """Mend an index as far as its files and the music allow. Run it again if it was interrupted.

    Args:
        index_path: the index's folder.
        load_model: gives the model that made the index; called only if a file has to be embedded.
        remove_lost: remove damaged tracks whose files are gone; otherwise they stay, in case a disk is not mounted,
            and searches leave them out.
        options: how to embed.
        on_check: called with the number of vectors checked and that of all.
        on_progress: called while files are embedded.

    Raises:
        IndexMissingError, IndexMismatchError, IndexBusyError: there is no index, another model made it, or it is in
            use.
        IndexDamagedError: what is left of the index does not suffice; the message says what to do.
        IngestInterrupted: Ctrl-C or SIGTERM while files were embedded. What was committed stays.
    """
    mended = mend_files(index_path)
    with VectorIndex.open(Path(index_path), read_only=False) as index:
        damaged = [damage.path for damage in index.check(on_progress=on_check) if damage.path is not None]
        files, lost, skipped = _sorted_out(sorted(damaged))
        if files:
            model = load_model()
            index.manifest.require_encoder(model.fingerprint, path=index.path)
            summary = embed_again(files, index=index, model=model, options=options, on_progress=on_progress)
            skipped += [problem for problem in summary.problems if not _is_sound(index, problem.path)]
        embedded = tuple(file.path for file in files if _is_sound(index, file.path))
        if remove_lost:
            for path in lost:
                index.remove(path)
    names = tuple(map(os.fsdecode, lost))
    return RepairSummary(
        mended=tuple(mended),
        embedded=embedded,
        skipped=tuple(sorted(skipped, key=lambda problem: problem.path)),
        lost=() if remove_lost else names,
        removed=names if remove_lost else (),
    )


def _sorted_out(damaged: list[bytes]) -> tuple[list[AudioFile], list[bytes], list[Problem]]:
    """Return the files that are there, the paths at which there is none, and what the system refuses."""
    files: list[AudioFile] = []
    lost: list[bytes] = []
    refused: list[Problem] = []
    for path in damaged:
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            lost.append(path)
        except OSError as error:
            refused.append(Problem(os.fsdecode(path), error.strerror or str(error)))
        else:
            files.append(AudioFile(os.fsdecode(path), status.st_size, status.st_mtime_ns))
    return files, lost, refused


def _is_sound(index: VectorIndex, path: str) -> bool:
    return index.track(path) is not None and index.is_sound(path)
