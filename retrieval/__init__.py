"""Earmark's application: search a music library by words, tag sound with any labels.

Public names are loaded when they are first used (PEP 562), so that importing this package costs nothing and a
query never pays for the parts that only indexing or tagging need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrieval.hits import Hit
    from retrieval.places import default_index_dir
    from retrieval.query import QueryError
    from retrieval.retriever import Retriever
    from retrieval.tagging import FileTags, TagScore, ZeroShotTagger

__all__ = ["FileTags", "Hit", "QueryError", "Retriever", "TagScore", "ZeroShotTagger", "default_index_dir"]

_HOMES = {
    "FileTags": "retrieval.tagging",
    "Hit": "retrieval.hits",
    "QueryError": "retrieval.query",
    "Retriever": "retrieval.retriever",
    "TagScore": "retrieval.tagging",
    "ZeroShotTagger": "retrieval.tagging",
    "default_index_dir": "retrieval.places",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'retrieval' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
