"""Name what a file is that was given as word vectors and is none, by its first bytes."""

from __future__ import annotations

import re

__all__ = ["HEAD_BYTES", "other_kind"]

HEAD_BYTES = 1 << 16  # of a file: enough for its kind
_PACKED = (
    (b"PK\x03\x04", "a .zip archive: unzip it and import the file in it"),
    (b"PK\x05\x06", "an empty .zip archive: download it again"),
    (b"\xfd7zXZ\0", "packed by xz: unpack it (xz -d) and import the result"),
    (b"BZh", "packed by bzip2: unpack it (bzip2 -d) and import the result"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd: unpack it (zstd -d) and import the result"),
    (b"7z\xbc\xaf\x27\x1c", "a .7z archive: unpack it and import the file in it"),
    (b"Rar!\x1a\x07", "a .rar archive: unpack it and import the file in it"),
    (b"\x93NUMPY", "a numpy array, which has no words: give a file with words and vectors"),
    (b"\x89HDF", "an HDF5 file: give a word2vec, GloVe or fastText file"),
    (b"%PDF-", "a PDF: give a word2vec, GloVe or fastText file"),
)
_TAR_MAGIC = slice(257, 262)
_POINTER = b"version https://git-lfs.github.com/spec/"
_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_XML = re.compile(rb"\s*<(?:\?xml|[A-Za-z][\w:]*[\s>])")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def other_kind(head: bytes) -> str | None:
    """Return what a file is, with what to do, as the end of a sentence ("a web page: ..."); None: nothing known.

    Args:
        head: the first bytes of the file, up to `HEAD_BYTES`.
    """
    for magic, kind in _PACKED:
        if head.startswith(magic):
            return kind
    if head[_TAR_MAGIC] == b"ustar":
        return "a .tar archive: unpack it and import the file in it"
    if head.startswith(_POINTER):
        return "a Git LFS pointer, not the file itself: fetch the file by `git lfs pull`"
    if head.startswith(_UTF16):
        return "text in UTF-16: save it as UTF-8"
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(text):
        return "a web page (HTML), perhaps of an error: download the file itself"
    if _XML.match(text):
        return "an XML document, perhaps of an error: download the file itself"
    if text.lstrip()[:1] in (b"{", b"["):
        return "JSON, perhaps of an error: download the file itself" if _is_json_text(text) else None
    return None


def _is_json_text(text: bytes) -> bool:
    return text.lstrip()[1:].lstrip()[:1] in (b'"', b"{", b"[", b"}", b"]") and b"\0" not in text
