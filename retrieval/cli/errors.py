"""Errors whose cause is outside the program: each ends a command as one line and exit status 2."""

from __future__ import annotations

import os
import sqlite3

__all__ = ["EXPECTED", "expected_message", "is_expected", "usage_message"]

EXPECTED = (
    "encoders.backbones.convert.PublishedError",
    "encoders.checkpoint.ModelDirError",
    "encoders.decoding.errors.AudioDecodeError",
    "encoders.device.DeviceError",
    "encoders.text.clap.PhraseTooLongError",
    "encoders.text.unknown.UnknownWordsError",
    "encoders.text.word_vectors.WordVectorsError",
    "index.lock.IndexBusyError",
    "index.manifest.IndexDamagedError",
    "index.manifest.IndexMismatchError",
    "index.manifest.IndexMissingError",
    "index.manifest.IndexReplacedError",
    "index.manifest.TrackDamagedError",
    "retrieval.datasets.base.DatasetError",
    "retrieval.indexing.types.IngestError",
    "retrieval.indexing.worker_process.WorkerStartError",
    "retrieval.label_file.LabelFileError",
    "retrieval.query.QueryError",
    "retrieval.tagger.LabelError",
    "retrieval.tagging.PublishedModelError",
    "retrieval.training.run_identity.CheckpointError",
)
"""Classes by name, because importing them all would import torch and transformers."""


def is_expected(error: BaseException) -> bool:
    """Return whether an error is a message for the user: one of `EXPECTED`, OSError, or a subclass."""
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    return isinstance(error, OSError) or not names.isdisjoint(EXPECTED)


def expected_message(error: Exception) -> str | None:
    """Return the line that an expected error prints; None for a fault of the program."""
    if isinstance(error, sqlite3.Error):
        return f"the catalogue of the index: {error}"
    if isinstance(error, ImportError) and error.name == "faiss":
        return str(error)
    if not is_expected(error):
        return None
    if isinstance(error, OSError) and error.strerror is not None:
        named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
        return ": ".join([*named, error.strerror])
    return str(error)


def usage_message(error: Exception) -> str | None:
    """Return the line for a command line that cannot be parsed; None for any other error."""
    if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
        return None
    message = str(error.format_message()).rstrip(".")
    command = getattr(error, "ctx", None)
    return f"{message}; see {command.command_path} --help" if command is not None else message
