"""Files of labels: one rule for every command and script."""

from __future__ import annotations

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
        (b"piano\n\xff\xfe\n", r"labels\.txt, line 2: not UTF-8"),
        (b"piano\n\n***\n", r"labels\.txt, line 3: '\*\*\*' is not a label"),
        (b"pi\x00ano\n", r"labels\.txt, line 1: .* is not a label"),
        (b"# only a comment\n", r"labels\.txt has no labels"),
        (b"", r"labels\.txt has no labels"),
    ],
)
def test_a_file_that_cannot_be_used_names_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(LabelFileError, match=message):
        read_label_file(written(tmp_path, content))
