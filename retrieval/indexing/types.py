"""Options, progress, summary and errors of an index build."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from retrieval.library.passed_over import PassedOver
from retrieval.library.scan import Problem
from retrieval.library.tag_encoding import check_encoding

__all__ = [
    "BuildProgress",
    "BuildSummary",
    "IngestError",
    "IngestInterrupted",
    "IngestOptions",
    "OnProgress",
]

_MAX_WORKERS = 16


@dataclass(frozen=True)
class IngestOptions:
    """How to build.

    Attributes:
        workers: decoding processes; None takes one less than there are CPU cores, from 1 to 16.
        batch_chunks: chunks that the model gets at once.
        strict: raise IngestError at the end if files were skipped or are indexed only in part (all other files are
            indexed).
        retry_skipped: decode files again that were skipped before and have not changed since.
        prune: forget the tracks of folders and links that are gone or empty. Otherwise they are kept and reported,
            because a disk may not be mounted.
        include_hidden: take hidden names, and go into recycle bins, snapshots and the like.
        sniff: take files with an unknown extension, too, if their first bytes are those of sound.
        rescan_tags: read the tags of unchanged files, too: some programs write tags and set the old time again.
        tag_encoding: of tags that do not name theirs and are not UTF-8 ("cp1251"); None: guess it, file by file.
        stall_s: a decoding process that neither sends nor reads anything for so many seconds is killed.
        most_hangs: a file on which the decoder hung in so many builds in a row is not tried again unless it changes or
            `retry_skipped` is set.
        worker_command: what starts a decoding process; None: this Python.

    Raises:
        ValueError: a number is out of range, or the encoding is unknown.
    """

    workers: int | None = None
    batch_chunks: int = 16
    strict: bool = False
    retry_skipped: bool = False
    prune: bool = False
    include_hidden: bool = False
    sniff: bool = False
    rescan_tags: bool = False
    tag_encoding: str | None = None
    stall_s: float = 60.0
    most_hangs: int = 3
    worker_command: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be 1 or more, not {self.workers}")
        if self.batch_chunks < 1:
            raise ValueError(f"batch_chunks must be 1 or more, not {self.batch_chunks}")
        if self.most_hangs < 1:
            raise ValueError(f"most_hangs must be 1 or more, not {self.most_hangs}")
        if self.tag_encoding is not None:
            check_encoding(self.tag_encoding)
        if not (math.isfinite(self.stall_s) and self.stall_s > 0):
            raise ValueError(f"stall_s must be a number of seconds above 0, not {self.stall_s}")

    @property
    def n_workers(self) -> int:
        """How many processes `workers` means on this machine."""
        if self.workers is not None:
            return self.workers
        affinity = getattr(os, "sched_getaffinity", None)  # what a container or taskset allows; Linux only
        n_cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
        return max(1, min(_MAX_WORKERS, n_cpus - 1))


@dataclass(frozen=True)
class BuildProgress:
    """The progress of a build.

    Attributes:
        stage: "scanning", "embedding" or "finishing".
        files_done: files that need nothing more, unchanged and skipped ones included.
        files_total: files found; while scanning, so far.
        skipped: files skipped so far.
        audio_s: seconds of audio embedded so far.
        bytes_done: size of what has been read of the files to read; it grows within a file too.
        bytes_total: size of the files to read.
        elapsed_s: since the build began.
        rate_x: seconds of audio embedded per second; 0.0 at first.
        remaining_s: an estimate, None while there is nothing to estimate from.
        current: the file last begun, printable; may be "".
    """

    stage: str
    files_done: int
    files_total: int
    skipped: int
    audio_s: float
    bytes_done: int
    bytes_total: int
    elapsed_s: float
    rate_x: float
    remaining_s: float | None
    current: str


OnProgress = Callable[[BuildProgress], None]


@dataclass(frozen=True)
class BuildSummary:
    """The result of a build.

    Attributes:
        added: files that are new in the index.
        updated: files whose content or time had changed.
        retagged: files with other tags and the same audio: their vectors are kept.
        unchanged: files that were not read, or of which only the tags were read and are as before.
        moved: files that the index knew under a path that is gone, or that leads over a link; nothing was embedded for
            them.
        removed: tracks forgotten because their file is gone, or has another track under another name.
        kept: tracks that stay although their files are gone (see `IngestOptions.prune`).
        skipped: files that could not be indexed, those of former builds included.
        transient: those of them that the next build tries again even if they do not change.
        partial: files that are indexed only in part because decoding stopped before their end, those of former builds
            included; they are among the added, updated, retagged, unchanged or moved ones too.
        audio_s: seconds of audio that went through the model.
        wall_s: how long it took.
        n_segments: segments written.
        problems: every skipped or partial file, unreadable folder and kept root, with its reason, sorted by path.
        passed_over: what the scan found and did not take.
    """

    added: int
    updated: int
    retagged: int
    unchanged: int
    moved: int
    removed: int
    kept: int
    skipped: int
    transient: int
    partial: int
    audio_s: float
    wall_s: float
    n_segments: int
    problems: tuple[Problem, ...]
    passed_over: PassedOver = field(default_factory=PassedOver)

    @property
    def n_files(self) -> int:
        """How many files are in the index as they are on disk, as far as this build went."""
        return self.added + self.updated + self.retagged + self.unchanged + self.moved


class IngestError(RuntimeError):
    """A build that did not succeed. `summary` is what was done, None if nothing was begun."""

    def __init__(self, message: str, *, summary: BuildSummary | None = None) -> None:
        super().__init__(message)
        self.summary = summary


class IngestInterrupted(KeyboardInterrupt):
    """A build was stopped by Ctrl-C or SIGTERM. What it had committed is kept.

    Attributes:
        summary: what was done until then.
        signal_number: 2 (SIGINT) or 15 (SIGTERM).
    """

    def __init__(self, summary: BuildSummary, signal_number: int) -> None:
        done = summary.added + summary.updated + summary.retagged + summary.moved
        super().__init__(f"stopped; {done} files of this run are in the index. Run the same command again to resume")
        self.summary = summary
        self.signal_number = signal_number
