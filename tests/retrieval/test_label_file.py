"""Files of labels: one rule for every command and script."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from retrieval.label_file import LabelFileError, read_label_file


def written(folder: Path, content: bytes) -> Path:
    path = folder / "labels.txt"
    path.write_bytes(content)
    return path


def test_one_label_a_line_and_comments_at_its_start_only(tmp_path: Path) -> None:
    path = written(
        tmp_path, b"\xef\xbb\xbf# head\r\nC# minor\r\n\r\n  # indented\n church \t bells\nflute # wind\nC# minor\n"
    )
    assert read_label_file(path) == ["C# minor", "church bells", "flute # wind"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"piano\n\xff\xfe\n", r"labels\.txt, line 2: not UTF-8 text; save the file as UTF-8"),
        (b"a\r\nb\rcaf\xe9\n", r"labels\.txt, line 3: not UTF-8"),
        (b"\xff\xfea\x00\n\x00\x00\xd8", r"labels\.txt, line 2: not text in UTF-16-LE, as its first bytes say"),
        ("piano\nguitar".encode("utf-16-le"), r"labels\.txt, line 1: UTF-16 without a byte order mark"),
        (b"ID3\x03\x00\x00\x00\x00", r"labels\.txt, line 1: UTF-16 without a byte order mark, or no text"),
        (b"a\n" + b"piano " * 100 + b"\n", r"labels\.txt, line 2: 599 characters; write one label a line"),
        (b"piano\n\n***\n", r"labels\.txt, line 3: '\*\*\*' is not a label"),
        (b"pi\x1bano\n", r"labels\.txt, line 1: .* is not a label"),
        (b"piano\n" * 100 + b"pi\x00ano\n", r"labels\.txt, line 101: .* is not a label"),
        (b"# only a comment\n", r"labels\.txt has no labels"),
        (b"", r"labels\.txt has no labels"),
    ],
)
def test_a_file_that_cannot_be_used_names_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(LabelFileError, match=message):
        read_label_file(written(tmp_path, content))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_that_say_what_they_are_are_read(tmp_path: Path, encoding: str, line_end: str) -> None:
    text = line_end.join(["# C minor", "C# minor", "Beyonc\u00e9", "\u2028 rain\u00a0drops", "C# minor"])
    assert read_label_file(written(tmp_path, text.encode(encoding))) == ["C# minor", "Beyonc\u00e9", "rain drops"]
    big_endian = b"\xfe\xff" + text.encode("utf-16-be")
    assert read_label_file(written(tmp_path, big_endian))[0] == "C# minor"


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piano\n\n# no\nC#\n")))
    assert read_label_file("-") == ["piano", "C#"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piano\n***\n")))
    with pytest.raises(LabelFileError, match=r"^standard input, line 2: '\*\*\*' is not a label"):
        read_label_file("-")


def test_a_hundred_thousand_labels_are_read_at_once(tmp_path: Path) -> None:
    labels = [f"label {i}" for i in range(100_000)]
    assert read_label_file(written(tmp_path, "\n".join(labels * 2).encode())) == labels


def test_a_file_that_is_too_large_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.label_file._MOST_BYTES", 1 << 20)
    path = written(tmp_path, b"")
    os.truncate(path, 1 << 33)  # a hole, no data on disk
    with pytest.raises(LabelFileError, match="has more than 1 MiB: give a text file"):
        read_label_file(path)
