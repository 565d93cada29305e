"""Durable storage of unit vectors by track, and exact search over them.

The package does not depend on audio, words or models: it keeps rows of float32 in append-only part files, a SQLite
catalogue that maps rows to tracks, and a manifest that names the encoder. Public names are loaded on first use, so that
importing the package imports neither FAISS nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index.catalog import Segment, Skipped, Track
    from index.entries import Entry, Sheet
    from index.files import printable
    from index.lock import IndexBusyError
    from index.maintenance import Damage
    from index.manifest import (
        IndexDamagedError,
        IndexMismatchError,
        IndexMissingError,
        IndexReplacedError,
        Manifest,
        TrackDamagedError,
        repair_command,
    )
    from index.repair import mend_files
    from index.search import SegmentMatch
    from index.vector_index import IndexStats, VectorIndex

__all__ = [
    "Damage",
    "Entry",
    "IndexBusyError",
    "IndexDamagedError",
    "IndexMismatchError",
    "IndexMissingError",
    "IndexReplacedError",
    "IndexStats",
    "Manifest",
    "Segment",
    "SegmentMatch",
    "Sheet",
    "Skipped",
    "Track",
    "TrackDamagedError",
    "VectorIndex",
    "mend_files",
    "printable",
    "repair_command",
]

_MODULE_OF = {
    "Damage": "index.maintenance",
    "SegmentMatch": "index.search",
    "IndexBusyError": "index.lock",
    "IndexDamagedError": "index.manifest",
    "IndexMismatchError": "index.manifest",
    "IndexMissingError": "index.manifest",
    "IndexReplacedError": "index.manifest",
    "IndexStats": "index.vector_index",
    "Manifest": "index.manifest",
    "Entry": "index.entries",
    "Segment": "index.catalog",
    "Sheet": "index.entries",
    "Skipped": "index.catalog",
    "Track": "index.catalog",
    "TrackDamagedError": "index.manifest",
    "VectorIndex": "index.vector_index",
    "mend_files": "index.repair",
    "printable": "index.files",
    "repair_command": "index.manifest",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
