"""glibc's allocator, told to keep what a network frees."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Have freed memory reused instead of returned to the system; True where that is possible (glibc).

    A convolutional network frees and asks for tens of megabytes a layer. By default each such piece is mapped and
    unmapped, and every page of it is zeroed anew: 40% of the time of embedding, measured on two cores.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return bool(mallopt(_M_MMAP_THRESHOLD, _BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _BYTES))
