"""Search a music library by words and tag audio with any labels.

Public names are imported on first use (PEP 562), so that a query does not import what only indexing or tagging needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrieval.label_reading import LabelReading
    from retrieval.query import QueryError
    from retrieval.retriever import Hit, Retriever, default_index_dir
    from retrieval.tagger import FileTags, TagScore
    from retrieval.tagging import ZeroShotTagger
    from retrieval.words import QueryReading

__all__ = [
    "FileTags",
    "Hit",
    "LabelReading",
    "QueryError",
    "QueryReading",
    "Retriever",
    "TagScore",
    "ZeroShotTagger",
    "default_index_dir",
]

_HOMES = {
    "FileTags": "retrieval.tagger",
    "Hit": "retrieval.retriever",
    "LabelReading": "retrieval.label_reading",
    "QueryError": "retrieval.query",
    "QueryReading": "retrieval.words",
    "Retriever": "retrieval.retriever",
    "TagScore": "retrieval.tagger",
    "ZeroShotTagger": "retrieval.tagging",
    "default_index_dir": "retrieval.retriever",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'retrieval' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
