"""Read the word-vector files of other tools with gensim, after checking the header fields that gensim trusts.

gensim allocates the matrix that a header announces, and reads words of any length. Here the counts of a header are
compared with the size of the file first, packed files are unpacked up to a bound, and pickles are refused.
"""

from __future__ import annotations

import gzip
import mmap
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from encoders.text.file_kinds import HEAD_BYTES, other_kind
from encoders.text.train import quiet_gensim
from encoders.text.word_vectors import WordVectorsError

__all__ = ["VectorFile", "read_vector_file"]

MAX_DIM = 10_000  # a first line with a greater second number is not a header
MAX_UNPACKED_BYTES = 32 << 30
_COPIED_BYTES = 1 << 22
_LONGEST_WORD_BYTES = 4096
_LONGEST_NAMED = 60  # characters of a word in a message
_LONGEST_LINE_BYTES = _LONGEST_WORD_BYTES + 32 * MAX_DIM
_BOM = b"\xef\xbb\xbf"  # the byte order mark of UTF-8
_FASTTEXT_MAGIC = (793712314).to_bytes(4, "little")
_FASTTEXT_VERSIONS = (11, 12)
# After the magic number and the version: the arguments of training in the order of fastText's args.cc.
_FASTTEXT_ARGUMENTS = (
    *("dim", "ws", "epoch", "min_count", "neg", "word_ngrams", "loss", "model", "bucket", "minn", "maxn"),
    "lr_update_rate",
)
_HEADER = b"%015d %015d\n"  # of fixed length: the numbers are known when the lines are written
_PICKLE = (
    "{path} is a pickle, which can run any program when it is opened. If you trust it, convert it by "
    "gensim.models.KeyedVectors.load(...).save_word2vec_format('vectors.txt') and import that file"
)
_OnWords = Callable[[int, int | None], None]


@dataclass(frozen=True)
class VectorFile:
    """Contents of a word-vector file.

    Attributes:
        format: "fasttext", "binary" or "text" (word2vec), or "glove" (text without a header).
        words: distinct words in the order of the file, the most frequent first.
        vectors: their vectors, with those of their n-grams included [shape=(n, dim)], float32.
        n_read: words read, with repeated ones.
        counts: occurrences of each word in the training text [shape=(n,)]; fastText only.
        buckets: vectors of n-grams [shape=(n_buckets, dim)]; fastText only, None: it has no subwords.
        chars: shortest and longest n-gram; fastText only.
        notes: faults of the file that do no harm, one sentence each.
    """

    format: str
    words: list[str]
    vectors: np.ndarray
    n_read: int
    counts: np.ndarray | None = None
    buckets: np.ndarray | None = None
    chars: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()


def read_vector_file(path: Path, *, limit: int | None = None, on_words: _OnWords | None = None) -> VectorFile:
    """Read a word2vec (text, binary), GloVe or fastText (.bin, .vec) file, packed by gzip or not.

    Text and packed files are copied to a temporary folder (`TMPDIR`), text as word2vec's binary form.

    Args:
        path: the file.
        limit: number of words to read, from the first; None: all. Memory grows with it.
        on_words: called now and then with the number of words checked and `limit`; text files only.

    Raises:
        WordVectorsError: the file is damaged, a pickle or of an unknown format, or its header does not match its size.
        OSError: the file cannot be read, or there is no space for the copy.
    """
    with tempfile.TemporaryDirectory(prefix="word-vectors-") as folder, quiet_gensim():
        copy = Path(folder) / "copy"
        try:
            kind = _format_of(path)
            if kind in {"text", "glove"}:
                return _read_text(path, copy, kind=kind, limit=limit, on_words=on_words)
            read = _read_binary if kind == "binary" else _read_fasttext
            return read(path, _unpacked(path, copy), limit)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise WordVectorsError(f"{path} is truncated or damaged ({error}): copy it again") from None


def _format_of(path: Path) -> str:
    """Return the format of a file by its first bytes; see `VectorFile`."""
    with _opened(path) as file:
        whole_head = file.read(HEAD_BYTES)
    head = whole_head.removeprefix(_BOM)
    if not head:
        raise WordVectorsError(f"{path} is empty: copy it again")
    if head.startswith(_FASTTEXT_MAGIC):
        return "fasttext"
    if (head[0] == 0x80 and head[1:2] <= b"\x08") or path.suffix in {".kv", ".model", ".pkl"}:
        raise WordVectorsError(_PICKLE.format(path=path))
    line, _, rest = head.partition(b"\n")
    if _header(line) is not None:
        second = rest.partition(b"\n")[0]
        if _is_text(second, complete=b"\n" in rest) or not rest.strip():
            return "text"
        if head is not whole_head:
            raise WordVectorsError(
                f"{path} is a binary file with a byte order mark before its header, as an editor writes: it was saved "
                "as text, which damages it; copy it again"
            )
        return "binary"
    if _is_text(line, complete=b"\n" in head) and len(line.split()) > 2:
        return "glove"
    kind = other_kind(whole_head)
    if kind is not None:
        raise WordVectorsError(f"{path} is {kind}")
    raise WordVectorsError(f"{path} is not a word-vector file: give a word2vec, GloVe or fastText file")


def _header(line: bytes) -> tuple[int, int] | None:
    """Return the number of words and of values per word; None: the line is not a header."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() and len(part) < 16 for part in parts):
        return None
    n_words, dim = int(parts[0]), int(parts[1])
    return (n_words, dim) if 1 <= dim <= MAX_DIM else None


def _is_text(line: bytes, *, complete: bool) -> bool:
    """Return whether a line is a word and numbers; the last number of an incomplete line is not checked."""
    if b"\0" in line:
        return False
    try:
        parts = line.decode("utf-8", errors="strict" if complete else "ignore").split()
        for number in parts[1:] if complete else parts[1:-1]:
            float(number)
    except ValueError:
        return False
    return len(parts) > 1


def _opened(path: Path) -> BinaryIO:
    """Open a file for reading, unpacked if it is gzip."""
    return gzip.open(path, "rb") if _is_packed(path) else path.open("rb")  # type: ignore[return-value]


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _unpacked(path: Path, copy: Path) -> Path:
    """Return the file itself, or its unpacked copy if it is gzip."""
    if not _is_packed(path):
        return path
    n_bytes = 0
    with _opened(path) as file, copy.open("wb") as out:
        while data := file.read(_COPIED_BYTES):
            n_bytes += len(data)
            if n_bytes > MAX_UNPACKED_BYTES:
                gib = MAX_UNPACKED_BYTES / 2**30
                raise WordVectorsError(f"{path} unpacks to more than {gib:g} GiB: give a file with fewer words")
            out.write(data)
    return copy


def _read_text(path: Path, copy: Path, *, kind: str, limit: int | None, on_words: _OnWords | None) -> VectorFile:
    n_read, notes = _write_binary(path, copy, has_header=kind == "text", limit=limit, on_words=on_words)
    return replace(_gensim_file(kind, copy, n_read), notes=notes)


def _write_binary(
    path: Path, copy: Path, *, has_header: bool, limit: int | None, on_words: _OnWords | None
) -> tuple[int, tuple[str, ...]]:
    """Write the words of a text file as a word2vec binary file; return their number, and notes on the file.

    gensim's reader of text takes neither byte order marks, tabs nor words with spaces, which files in use have, and is
    five times as slow. A space in a word becomes an underscore.
    """
    n_words = dim = n_read = 0
    header, notes = None, []
    # A number too large for float32 becomes infinite, which is refused below.
    with _opened(path) as file, copy.open("wb") as out, np.errstate(over="ignore"):
        out.write(_HEADER % (0, 0))
        for number, line in enumerate(_lines(file, path), 1):
            if number == 1:
                if line.startswith(_BOM):
                    notes.append("it begins with a byte order mark, which is ignored")
                    line = line.removeprefix(_BOM)
                header = _header(line) if has_header else None
                if header is not None:
                    n_words, dim = header
                    continue
            ends = line.endswith(b"\n")
            line = line.rstrip(b" \r\n")
            if not line:
                continue
            if n_read == limit:
                break
            # Only a space (or a tab) separates values: some words of GloVe are no-break spaces and the like.
            space = b" " if b" " in line else b"\t"
            dim = dim or line.count(space)
            word, *values = line.rsplit(space, dim)
            if dim > MAX_DIM:
                raise WordVectorsError(f"{path}, line {number}: more than {MAX_DIM} values; give a word-vector file")
            if len(values) != dim or not dim:
                why = f"{len(values)} values instead of {dim}"
                if header is not None and not n_read:
                    why += ", which its header announces"
                raise WordVectorsError(
                    f"{path}, line {number}: {why}{'' if ends else ', where the file ends'}; copy it again"
                )
            try:
                vector = np.array(values, dtype="<f4")
            except ValueError as error:
                raise WordVectorsError(f"{path}, line {number}: {error}; copy it again") from None
            if not np.isfinite(vector).all():
                named = word.decode("utf-8", errors="backslashreplace")[:_LONGEST_NAMED]
                raise WordVectorsError(
                    f"{path}, line {number}: the vector of {named!r} is not finite (NaN or infinity); remove the line"
                )
            out.write(word.replace(b" ", b"_") + b" " + vector.tobytes())
            n_read += 1
            if on_words is not None and n_read % 1000 == 0:
                on_words(n_read, limit)
        out.seek(0)
        out.write(_HEADER % (n_read, dim))
    if n_read < n_words and n_read != limit:
        found = f"its header announces {n_words} words, but it has {n_read}"
        raise WordVectorsError(f"{path} is truncated ({found}): copy it again")
    if header is not None and n_read > n_words:
        notes.append(f"its header announces {n_words} words, but it has more: {n_read} are read")
    return n_read, tuple(notes)


def _lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE_BYTES + 1):
        if len(line) > _LONGEST_LINE_BYTES:
            raise WordVectorsError(f"{path} has a line of more than {_LONGEST_LINE_BYTES} bytes: copy it again")
        yield line


def _read_binary(path: Path, file: Path, limit: int | None) -> VectorFile:
    with file.open("rb") as opened:
        header = _header(opened.readline(_LONGEST_WORD_BYTES))
        start = opened.tell()
    assert header is not None  # by _format_of
    n_words, dim = header
    announced = f"its header announces {n_words} words of {dim} values"
    n_bytes = file.stat().st_size - start
    try:
        # A word has a letter and a space at least.
        if n_words * (4 * dim + 2) > n_bytes:
            raise EOFError
        found = _gensim_file("binary", file, min(n_words, limit or n_words))
    except (EOFError, ValueError):
        where = _where_binary_breaks(file, start, dim)
        raise WordVectorsError(
            f"{path} is truncated, or its header is wrong ({announced}, {where}): copy it again"
        ) from None
    if len(found.words) == n_words:  # no word was skipped; a line feed may follow each vector
        words = sum(len(word.encode("utf-8", errors="surrogateescape")) + 1 for word in found.words)
        if n_bytes > words + 4 * dim * n_words + n_words + 1:
            raise WordVectorsError(f"{path} continues after its last word ({announced}): copy it again")
    wrong = np.flatnonzero(~np.isfinite(found.vectors).all(1))
    if len(wrong):
        raise WordVectorsError(
            f"{path}, word {wrong[0] + 1}: the vector of {found.words[wrong[0]][:_LONGEST_NAMED]!r} is not finite (NaN "
            "or infinity), or the header is wrong; copy it again"
        )
    return found


def _where_binary_breaks(file: Path, start: int, dim: int) -> str:
    """Return in words where the last whole word of a word2vec binary file ends."""
    n_words, size = 0, file.stat().st_size
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = start
        while at < size:
            space = data.find(b" ", at, at + _LONGEST_WORD_BYTES)
            if space < 0 or space + 1 + 4 * dim > size:
                break
            at = space + 1 + 4 * dim
            n_words += 1
    return f"but after {n_words} whole words byte {at} of {size} begins none"


def _gensim_file(kind: str, file: Path, n_read: int) -> VectorFile:
    """Read the first words of a word2vec binary file whose header has been checked."""
    from gensim.models import KeyedVectors

    found = KeyedVectors.load_word2vec_format(str(file), binary=True, limit=n_read, unicode_errors="surrogateescape")
    n_words = len(found.key_to_index)  # where words are repeated, gensim leaves empty rows at the end
    return VectorFile(kind, found.index_to_key[:n_words], found.vectors[:n_words], n_read)


def _read_fasttext(path: Path, file: Path, limit: int | None) -> VectorFile:
    from gensim.models.fasttext import load_facebook_vectors

    with tempfile.TemporaryDirectory(prefix="word-vectors-") as folder:
        try:
            found = load_facebook_vectors(str(_checked_fasttext(path, file, Path(folder) / "first", limit)))
        except (AssertionError, ValueError, struct.error) as error:
            if isinstance(error, WordVectorsError):
                raise
            raise WordVectorsError(f"{path} is truncated or damaged ({error}): copy it again") from None
    counts = np.array([found.get_vecattr(word, "count") for word in found.index_to_key], dtype=np.float64)
    buckets = found.vectors_ngrams if len(found.vectors_ngrams) else None
    return VectorFile(
        "fasttext", found.index_to_key, found.vectors, len(found), counts, buckets, (found.min_n, found.max_n)
    )


def _checked_fasttext(path: Path, file: Path, first: Path, limit: int | None) -> Path:
    """Check an unsupervised fastText model (format 11 or 12) against its size.

    Args:
        path: name for messages.
        file: the unpacked file.
        first: where a copy with the first words goes, if there are more than `limit`; all buckets are copied.
        limit: number of words to keep; None: all.

    Returns:
        `file` or `first`.
    """
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        version, *arguments = struct.unpack_from(f"<i{len(_FASTTEXT_ARGUMENTS)}i", data, 4)
        size, n_words, n_labels, n_tokens, pruned = struct.unpack_from("<3i2q", data, 64)
        header: dict[str, Any] = dict(zip(_FASTTEXT_ARGUMENTS, arguments, strict=True))
        dim, n_buckets = header["dim"], header["bucket"]
        if version not in _FASTTEXT_VERSIONS:
            raise WordVectorsError(f"{path} has fastText's format {version}: give a file of format 11 or 12")
        if n_labels:
            raise WordVectorsError(f"{path} is a classifier (supervised fastText): import unsupervised vectors")
        if pruned > 0:
            raise WordVectorsError(f"{path} is a pruned model: import the .bin that it was made from")
        if not 1 <= dim <= MAX_DIM or n_buckets < 0 or size != n_words or size < 1:
            announced = f"{dim} values per word, {n_buckets} buckets, {n_words} words of {size}"
            raise WordVectorsError(f"{path} is damaged (it announces {announced}): copy it again")
        kept = min(size, limit or size)
        at, kept_end = 92, 92
        for row in range(size):
            end = data.find(b"\0", at, at + _LONGEST_WORD_BYTES)
            if end < 0:
                raise EOFError("a word does not end")
            at = end + 10  # the zero, the count (int64) and the type (int8)
            kept_end = at if row < kept else kept_end
        quantised, n_rows, n_columns = struct.unpack_from("<?2q", data, at)
        if quantised:
            raise WordVectorsError(f"{path} is quantised (.ftz): import the .bin that it was made from")
        if (n_rows, n_columns) != (size + n_buckets, dim):
            found = f"a matrix of {n_rows} x {n_columns} instead of {size + n_buckets} x {dim}"
            raise WordVectorsError(f"{path} is damaged ({found}): copy it again")
        matrix = at + 17
        if len(data) < matrix + 4 * dim * n_rows:
            raise EOFError("the matrix is incomplete")
        if kept == size:
            return file
        with first.open("wb") as out:
            out.write(data[:64] + struct.pack("<3i2q", kept, kept, 0, n_tokens, pruned) + data[92:kept_end])
            out.write(struct.pack("<?2q", False, kept + n_buckets, dim))
            for start, n in ((matrix, kept), (matrix + 4 * dim * size, n_buckets)):
                opened.seek(start)
                _copy(opened, out, 4 * dim * n)
    return first


def _copy(source: BinaryIO, target: BinaryIO, n_bytes: int) -> None:
    while n_bytes:
        data = source.read(min(n_bytes, _COPIED_BYTES))
        target.write(data)
        n_bytes -= len(data)
