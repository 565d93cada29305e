"""A part of an open file as a file of its own, some of its bytes replaced."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

__all__ = ["ByteRange"]


class ByteRange:
    """Bytes `start` to `end` of a descriptor, to read from C through callbacks. It has no name: formats go by content.

    Args:
        descriptor: of a regular file.
        start: first byte.
        end: one past the last byte; None: to the end of the file.
        patches: bytes to read instead of those at an offset from `start`, in order not to believe a header.
    """

    def __init__(
        self, descriptor: int, *, start: int = 0, end: int | None = None, patches: Mapping[int, bytes] | None = None
    ) -> None:
        self.descriptor = descriptor
        self.start = start
        self._patches = dict(patches or {})
        size = os.fstat(descriptor).st_size
        self.size = max(0, (size if end is None else min(end, size)) - start)
        self.is_whole_file = not start and self.size == size and not self._patches
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move. A place before the start, which only a damaged header names, returns a negative error number.

        FFmpeg then goes on or gives up; an exception would look like a fault of the disk.
        """
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}.get(whence)
        if base is None or base + offset < 0:
            return -errno.EINVAL
        self._at = base + offset
        return self._at

    def read(self, n_bytes: int = -1) -> bytes:
        """Return the next bytes, b"" at the end. Raises OSError."""
        data = self.peek(self._at, self.size if n_bytes < 0 else n_bytes)
        self._at += len(data)
        return data

    def peek(self, offset: int, n_bytes: int) -> bytes:
        """Return up to `n_bytes` bytes from an offset without moving. Raises OSError."""
        n_bytes = min(n_bytes, self.size - offset)
        if offset < 0 or n_bytes <= 0:
            return b""
        data = os.pread(self.descriptor, n_bytes, self.start + offset)
        for at, patch in self._patches.items():
            first, last = max(at, offset), min(at + len(patch), offset + len(data))
            if first < last:
                data = data[: first - offset] + patch[first - at : last - at] + data[last - offset :]
        return data
