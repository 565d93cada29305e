"""The device that a network runs on, and two settings of the process that runs it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["DeviceError", "keep_freed_memory", "no_progress_bars", "usable_device"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
# Older versions of glibc refuse a larger mmap threshold (HEAP_MAX_SIZE / 2 in malloc.c).
_MMAP_THRESHOLD_BYTES = 32 << 20
_TRIM_THRESHOLD_BYTES = 1 << 30


class DeviceError(ValueError):
    """A device that does not exist here, or that torch was built without."""


def usable_device(device: str) -> str:
    """Return the name of a torch device after allocating on it.

    Args:
        device: a torch device, or "auto": a GPU if there is one, else the CPU.

    Raises:
        DeviceError: the device cannot be used.
    """
    import torch

    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"the device {device!r} cannot be used here: {reason}") from None
    return name


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Hide the progress bar that transformers shows while it loads weights."""
    from transformers.utils import logging

    were_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            logging.enable_progress_bar()


def keep_freed_memory() -> bool:
    """Make glibc reuse freed memory instead of returning it to the system. This affects the whole process.

    A convolutional network frees and allocates tens of megabytes per layer. By default each such piece is mapped and
    unmapped, and the kernel zeroes every page again: 40% of the time of embedding, measured on two cores.

    Returns:
        Whether the C library accepted both settings; False where it is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    accepted = [
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES),
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES),
    ]
    return all(accepted)
