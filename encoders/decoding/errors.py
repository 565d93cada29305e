"""The error of a file that cannot be decoded, and paths as one printable line."""

from __future__ import annotations

import os
import unicodedata

__all__ = ["AudioDecodeError", "printable_path"]


class AudioDecodeError(ValueError):
    """A file that cannot be decoded; its message is one line, "<path>: <reason>".

    Attributes:
        reason: why, without the path.
        transient: the system refused the file (missing, no permission, read error), so another try may
            succeed.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, *, transient: bool = False) -> None:
        self.reason = " ".join(reason.split())
        self.transient = transient
        super().__init__(path, self.reason)

    def __str__(self) -> str:
        return f"{printable_path(self.args[0])}: {self.reason}"


def printable_path(path: str | bytes | os.PathLike[str]) -> str:
    r"""Return a path as one line that any terminal can print.

    The rule is that of `index.printable`, which this package may not import: bytes that are not UTF-8 become `\xNN`,
    control characters and direction overrides their Python escapes; spaces of every kind and the joiner of emoji stay.
    """
    return "".join(_escaped(character) for character in os.fsdecode(path))


def _escaped(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:  # surrogateescape (PEP 383): the raw byte is the low eight bits
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable() or character == "\u200d" or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
